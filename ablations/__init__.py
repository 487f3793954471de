"""Tracked sweeps: each module with a `SWEEP` is one, run by `python -m ablations.<name>`."""
