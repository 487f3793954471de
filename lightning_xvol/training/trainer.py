"""Lightning's Trainer with nothing left to its surroundings.

Lightning takes every argument that a program does not pass from a variable `PL_TRAINER_<ARGUMENT>`, if there is one. So
`make_trainer` passes every argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class Threads(Callback):
    """Keeps the number of CPU threads of a run.

    For several processes, Lightning sets another number, and only where `OMP_NUM_THREADS` is not set.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        torch.set_num_threads(self.threads)


def make_trainer(threads: int, callbacks: Sequence[Callback] = (), **chosen: Any) -> Trainer:
    """A Trainer with the arguments `chosen`, and Lightning's defaults for all others, whatever the environment says.

    Args:
        threads: the number of CPU threads with which it computes.
        callbacks: further callbacks.
        **chosen: arguments of `Trainer`.
    """
    defaults = {name: argument.default for name, argument in inspect.signature(Trainer).parameters.items()}
    return Trainer(**{**defaults, **chosen, "callbacks": [Threads(threads), *callbacks]})
