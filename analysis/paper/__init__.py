"""The tables and claims of the paper, with our numbers beside the printed ones."""
