"""The commands of `python -m analysis`. Each module has `add_to` and `run`, and importing it loads nothing heavy."""
