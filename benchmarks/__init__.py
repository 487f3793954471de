"""What operators and loaders cost on this machine, as ratios of what was measured side by side in one run.

Whatever is compared alternates in random but seeded order within each round; tables give medians and quartiles of the
rounds, and medians of the ratios that each round gave. Importing this package loads nothing heavy.
"""
