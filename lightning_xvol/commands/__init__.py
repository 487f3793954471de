"""Subcommands of `python -m lightning_xvol`, one module each. Importing one loads no torch; running it does.

Each module has `SUMMARY` and `DESCRIPTION` for its help, `add_arguments(parser)` and `run(parsed)`, which returns the
exit code.
"""
