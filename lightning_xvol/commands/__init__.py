"""Subcommands of `python -m lightning_xvol`, one module each. Importing one loads no torch; running it does."""
