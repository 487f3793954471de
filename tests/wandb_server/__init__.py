"""A small W&B server on 127.0.0.1 for the installed wandb client. It keeps everything in memory.

It answers the requests that the client of wandb 0.31 sends: listing runs with pages, filters and order, history, online
runs, resume, sync, sweeps and their agents, saved views, and uploads of artifacts. It cannot prove how W&B's own server
samples, filters, limits and permits.

A new operation is a function with `@operation` in a module that this package imports.
"""

# Importing them registers their operations.
from tests.wandb_server import artifacts, histories, runs, sweeps, viewer, views  # noqa: F401
from tests.wandb_server.server import KEY, Fault, WandbServer

__all__ = ["KEY", "Fault", "WandbServer"]
