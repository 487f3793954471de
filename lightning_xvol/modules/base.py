"""The base of the LightningModules of all tasks: optimizer, schedule, seeds, and metrics on pairs of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.distributed import all_gather_object, get_world_size, is_available, is_initialized
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics import Metric

from lightning_xvol.config.metrics import validation_name
from lightning_xvol.config.schema import OptimConfig, RunConfig
from lightning_xvol.seeding import derive_seed, seed_generators

T = TypeVar("T")


def learning_rate_factor(optim: OptimConfig, step: int, total_steps: int) -> float:
    """The factor of `optim.lr` at `step`, counted from 0: linear warm-up, then the schedule (`OptimConfig`)."""
    done = step / total_steps
    if optim.warmup and done < optim.warmup:
        # Rounded first: 0.07 x 100 is 7.000000000000001, and that warm-up has 7 steps, not 8.
        return (step + 1) / math.ceil(round(optim.warmup * total_steps, 6))
    if optim.schedule == "multistep":
        return optim.gamma ** sum(done >= milestone for milestone in optim.milestones)
    return 0.5 * (1 + math.cos(math.pi * (done - optim.warmup) / (1 - optim.warmup)))


def make_optimizer(module: nn.Module, optim: OptimConfig, total_steps: int) -> dict[str, Any]:
    """SGD with momentum (paper 4.1) or AdamW for every trained parameter, with a schedule that moves at each step."""
    groups = _parameter_groups(module, optim)
    optimizer: torch.optim.Optimizer
    if optim.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay)
    else:
        optimizer = torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(optim, step, total_steps)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _parameter_groups(module: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if optim.decay_norms:
        return [{"params": trained}]
    norms = {
        parameter
        for child in module.modules()
        if isinstance(child, (_BatchNorm, nn.GroupNorm, nn.LayerNorm))
        for parameter in child.parameters(recurse=False)
    }
    return [
        {"params": [parameter for parameter in trained if parameter not in norms]},
        {"params": [parameter for parameter in trained if parameter in norms], "weight_decay": 0.0},
    ]


def gather(part: T) -> list[T]:
    """The `part` of every process of the run."""
    if not (is_available() and is_initialized()):
        return [part]
    parts = [part] * get_world_size()
    all_gather_object(parts, part)
    return parts


class TrainedModule(LightningModule):
    """Trains `network` by the optimizer and the schedule of `config`, and logs `train_loss` and `lr`.

    Each batch begins by seeding every global generator from (seed, batch, rank), so that a resumed run needs no random
    state of the run before it.
    """

    def __init__(self, network: nn.Module, config: RunConfig, *, total_steps: int) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.total_steps = total_steps

    def to_memory_format(self, inputs: Any) -> Any:
        """`inputs` in the memory format of the run."""
        return inputs

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        micro_step = self.global_step * self.config.train.accumulate + batch_idx % self.config.train.accumulate
        seed_generators(derive_seed(self.config.seed, "step", micro_step, self.global_rank))

    def log_step(self, loss: Tensor) -> None:
        """Log a training step if somebody sees it: `log` costs a small network some percent of its time."""
        shown = self.trainer.progress_bar_callback is not None
        if not shown and (self.global_step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        self.log("train_loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        return make_optimizer(self.network, self.config.optim, self.total_steps)


class SupervisedModule(TrainedModule):
    """Trains `network`, which maps inputs [B, C, H, W] to outputs. A subclass has the loss and the metrics of a task.

    Each evaluation logs the loss, and every metric in percent. Its steps return the outputs, for callbacks. If the data
    have a test split (`has_test`), metrics on the validation split have a name of their own
    (`lightning_xvol.config.metrics.validation_name`).
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        *,
        metrics: Callable[[], Mapping[str, Metric]],
        total_steps: int,
        has_test: bool = True,
    ) -> None:
        super().__init__(network, config, total_steps=total_steps)
        self.has_test = has_test
        self.metrics = nn.ModuleDict({stage: nn.ModuleDict(metrics()) for stage in ("validation", "test")})

    def metric_name(self, stage: str, metric: str) -> str:
        """The name under which `metric` is logged in `stage`."""
        return validation_name(metric) if stage == "validation" and self.has_test else metric

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of one batch, which training minimises."""
        raise NotImplementedError

    def update(self, metrics: nn.ModuleDict, inputs: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch to each of `metrics`."""
        for metric in metrics.values():
            metric.update(outputs, targets)  # type: ignore[operator]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)

    def to_memory_format(self, inputs: Tensor) -> Tensor:
        if self.config.train.memory_format == "channels_last":
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets, _ = batch
        loss = self.loss(self(self.to_memory_format(inputs)), targets)
        self.log_step(loss)
        return loss

    def _evaluate(self, stage: str, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        inputs, targets, _ = batch
        outputs = self(self.to_memory_format(inputs)).float()
        self.update(self.metrics[stage], inputs, outputs, targets)  # type: ignore[arg-type]
        loss = self.loss(outputs, targets)
        self.log(self.metric_name(stage, "loss"), loss, batch_size=len(targets), sync_dist=True, on_epoch=True)
        return outputs

    def _log_metrics(self, stage: str) -> None:
        for name, metric in self.metrics[stage].items():  # type: ignore[operator]
            self.log(self.metric_name(stage, name), 100 * metric.compute(), prog_bar=True)
            metric.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("validation", batch)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("validation")

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")
