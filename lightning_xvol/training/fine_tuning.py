"""What further training recovers after the product is removed (`train.finetune_ablated`).

The start is the network of the probe `mean_ablated` (`lightning_xvol.training.product_use`): every attention
coefficient has its mean over training images, so each PSSA is a static convolution. A copy of this network is trained
for the given share of the run's steps, and evaluated once more on the split of the final evaluation.

* The weights that the run trained are trained further. Among them are the tap weights of the static convolution, which
  begin with the mean coefficients in them. Query and key are gone.
* The optimizer is that of the run, begun anew. Its learning rate falls as a cosine from one tenth of the run's largest
  to zero, without warm-up (`lightning_xvol.config.fine_tuning`).
* Steps and epochs count on from the end of the training, and with them the order of the images, their augmentation and
  the seeds.

No checkpoint holds a fine-tuning. A run that is killed during the fine-tuning resumes at its last step and begins the
fine-tuning anew, so its results are the same. The weights and all other metrics of the run are those of a run without
it.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from lightning_xvol.config.fine_tuning import fine_tuning_schedule, fine_tuning_steps
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.module import ImageDataModule, StepPlan
from lightning_xvol.modules.base import TrainedModule
from lightning_xvol.training.callbacks import Diverged, begin_at
from lightning_xvol.training.tasks import task_of
from lightning_xvol.training.trainer import make_trainer

ABLATED = "mean_ablated"
"""The probe whose network is fine-tuned."""
FINE_TUNED = "mean_finetuned"
"""The end of the name of the fine-tuned network's metric, like the name of a probe."""

log = logging.getLogger(__name__)


def fine_tuned(
    ablated: nn.Module, config: RunConfig, data: ImageDataModule, compute: Mapping[str, Any]
) -> TrainedModule | None:
    """A fine-tuned copy of `ablated`; None if its loss does not stay finite.

    Args:
        ablated: the module of a finished run, without the products of its network.
        config: the configuration of the run.
        data: the data of the run.
        compute: the arguments of the run's trainer that say how it computes.
    """
    steps = fine_tuning_steps(config, data.plan.total_steps)
    further = data.continued(steps)
    tuned = dataclasses.replace(config, optim=fine_tuning_schedule(config.optim))
    # Tensors from the inference mode of the evaluation cannot be trained, but copies of them can.
    module = task_of(config).module(copy.deepcopy(ablated).train(), tuned, further)
    module.total_steps = steps  # the schedule begins anew
    log.info("fine-tuning without the product: %d steps", steps)
    trainer = make_trainer(
        threads=config.train.threads,
        max_epochs=-1,
        max_steps=further.plan.total_steps,
        **compute,
        accumulate_grad_batches=config.train.accumulate,
        gradient_clip_val=config.optim.clip,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[_GoOn(further.plan, further.first_step)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, datamodule=further)
    except Diverged as error:
        log.warning("fine-tuning without the product: %s; the run has no result of it", error)
        return None
    return module


class _GoOn(Callback):
    """Counts on from the end of a training, and stops if a loss or a parameter is no longer finite."""

    def __init__(self, plan: StepPlan, first_step: int) -> None:
        self.plan, self.first_step = plan, first_step

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        begin_at(trainer, self.plan, self.first_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Each process sees its own loss, but all of them must stop.
        if not trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(outputs["loss"]))):
            raise Diverged(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not all(torch.isfinite(parameter).all() for parameter in pl_module.parameters()):
            raise Diverged(trainer.global_step)
