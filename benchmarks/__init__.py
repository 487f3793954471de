"""What operators, networks and loaders cost on this machine. `python -m benchmarks MODE` measures.

All numbers of a table come from one run. In each round everything is measured once, in a random but seeded order.
Tables give the median and the quartiles over the rounds. A ratio is taken within each round, and tables give the median
of these ratios. This package runs from the checkout, and importing it loads nothing heavy.
"""
