"""The tables, figures and claims of the paper, with our numbers beside the printed ones."""
