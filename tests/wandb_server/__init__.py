"""A small W&B server on 127.0.0.1 for the real wandb client of the environment: standard library, all in memory.

It answers what that client was seen to ask (wandb 0.31): listing with pages, filters and order, history, online runs,
resume, sync, sweeps and their agents, saved views. What it cannot prove is how W&B's own server samples, filters,
limits and permits. A new operation is a function with `@operation` in a module that is imported below.
"""

from tests.wandb_server import histories, runs, sweeps, viewer, views  # noqa: F401  they register their operations
from tests.wandb_server.server import KEY, Fault, WandbServer

__all__ = ["KEY", "Fault", "WandbServer"]
