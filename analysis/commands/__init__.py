"""What `python -m analysis` does: a module for each command, with `add_to` and `run`, none of which loads much."""
