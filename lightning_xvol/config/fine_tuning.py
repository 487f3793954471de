"""Which runs are fine-tuned without their product (`train.finetune_ablated`), and how. Nothing here imports torch."""

from __future__ import annotations

import dataclasses

from lightning_xvol.config import registry
from lightning_xvol.config.schema import OptimConfig, RunConfig

LEARNING_RATE = 0.1
"""The first learning rate, as a share of the run's largest.

A cosine over the whole budget has this rate after four fifths of the budget. It is low enough not to begin the training
again, and high enough to move the weights in some percent of the budget.
"""


def is_fine_tuned(config: RunConfig) -> bool:
    """Whether the run of the resolved `config` ends with a fine-tuning, as far as the configuration tells.

    A registered operator without a product of PSSA has nothing to remove. The run then keeps its id and its results.
    """
    return config.train.finetune_ablated > 0 and _may_have_product(config)


def _may_have_product(config: RunConfig) -> bool:
    operator = config.operator
    if not registry.is_known("operator", operator.name):
        return True  # a class from elsewhere may hold a PSSA
    return operator.name in ("pssa", "xvolution") and not str(operator.options.get("form")).startswith("static")


def fine_tuning_steps(config: RunConfig, total_steps: int) -> int:
    """The number of steps of the fine-tuning after a training of `total_steps` steps: at least one."""
    return max(1, round(config.train.finetune_ablated * total_steps))


def fine_tuning_schedule(optim: OptimConfig) -> OptimConfig:
    """The optimizer of the fine-tuning: a cosine without warm-up, from `LEARNING_RATE` to zero."""
    return dataclasses.replace(optim, lr=LEARNING_RATE * optim.lr, schedule="cosine", warmup=0.0)
