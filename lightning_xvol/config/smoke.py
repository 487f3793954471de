"""The budget of `--smoke`: a run that only shows that everything works."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from lightning_xvol.config.schema import RunConfig, set_value

BUDGET = {"data.limit": 256, "train.steps": 20, "train.checkpoint_every": 5}
BATCH = 32
_WEIGHTS = ("detector.pretraining", "detector.weights")


def smoke(config: RunConfig, asked: Collection[str] = ()) -> RunConfig:
    """`config` with the budget of `--smoke`: 20 steps on 256 images.

    A detector that would start from a classification run starts from random weights, so that no such run is needed.
    `--backbone-from` still gives it the weights of one.

    Args:
        config: the configuration before `--set`.
        asked: the fields that `--set` will change. If they choose the weights, these stay as they are.
    """
    for path, value in BUDGET.items():
        config = set_value(config, path, value)
    detector = config.detector
    if detector.pretraining == "own" and detector.weights is None and not {*asked} & set(_WEIGHTS):
        config = dataclasses.replace(config, detector=dataclasses.replace(detector, pretraining="random"))
    return set_value(config, "data.batch_size", min(config.data.batch_size, BATCH))
