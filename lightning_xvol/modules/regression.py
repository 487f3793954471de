"""Regression of maps on maps as a LightningModule: the variance explained beyond a fitted static 1x1 convolution."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from lightning_xvol.backbones.receptive_field import effective_receptive_field, side_with
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.modules.base import SupervisedModule

REACH_SHARE = 0.95
REACH_MAPS = 32


class ExplainedVariance(Metric):
    """`1 - sum (output - target)^2 / sum (reference - target)^2` over all batches; at best 1.

    With the mean of the targets as reference it is R^2.
    """

    error: Tensor
    of_reference: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "of_reference"):
            self.add_state(name, torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor, reference: Tensor) -> None:
        self.error += (outputs - targets).double().square().sum()
        self.of_reference += (reference - targets).double().square().sum()

    def compute(self) -> Tensor:
        return 1 - self.error / self.of_reference


class StaticFit(NamedTuple):
    """The 1x1 convolution from C to C' channels with the least squared error.

    Attributes:
        weight: `[C', C + 1, 1, 1]`, with the bias last.
        scale: root mean square of its error.
        mean: mean of the targets, `[C', 1, 1]`.
    """

    weight: Tensor
    scale: Tensor
    mean: Tensor


def fit_static(batches: Iterable[tuple[Tensor, Tensor]]) -> StaticFit:
    """Fit targets `[B, C', H, W]` to inputs `[B, C, H, W]` over all `batches`, in float64."""
    inputs_squared, products, targets_squared = (torch.zeros((), dtype=torch.double) for _ in range(3))
    for inputs, targets in batches:
        x = _with_ones(inputs).double().movedim(1, 0).flatten(1)  # [C + 1, B H W]
        y = targets.double().movedim(1, 0).flatten(1)  # [C', B H W]
        inputs_squared = inputs_squared + x @ x.mT
        products = products + y @ x.mT
        targets_squared = targets_squared + y.square().sum()
    # Dependent inputs, such as a channel that is always 0, allow many solutions: this takes the smallest.
    weight = torch.linalg.lstsq(inputs_squared, products.mT, driver="gelsd").solution.mT
    positions = inputs_squared[-1, -1]
    error = (targets_squared - (weight * products).sum()) / (positions * len(products))
    return StaticFit(weight[:, :, None, None], error.clamp(min=0).sqrt(), products[:, -1, None, None] / positions)


def _with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)


class RegressionModule(SupervisedModule):
    """Trains `network` on the part of the targets that a static 1x1 convolution does not explain.

    The convolution is fitted to the training split beforehand. The output is `static(x) + scale * network(x)`, where
    `scale` is the root mean square error of `static(x)`. The loss is the mean squared error in units of `scale`.

    Metrics:
        `explained_beyond_static`: `1 - MSE / MSE of static(x)`, in percent.
        `explained_variance`: the explained part of the variance of the targets, in percent.
        `reach`: the radius, in pixels, of the smallest square around a position that holds 95 % of the gradient of the
            network's output at that position.
    """

    static_weight: Tensor
    static_scale: Tensor
    static_mean: Tensor

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        *,
        static: StaticFit,
        total_steps: int,
        has_test: bool = True,
    ) -> None:
        def metrics() -> dict[str, Metric]:
            return {name: ExplainedVariance() for name in ("explained_beyond_static", "explained_variance")}

        super().__init__(network, config, metrics=metrics, total_steps=total_steps, has_test=has_test)
        for name, value in static._asdict().items():
            self.register_buffer(f"static_{name}", value.float())

    def fixed(self, inputs: Tensor) -> Tensor:
        """The output of the static convolution."""
        return F.conv2d(_with_ones(inputs), self.static_weight.to(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fixed(inputs) + self.static_scale * self.network(inputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs / self.static_scale, targets / self.static_scale)

    def update(self, metrics: nn.ModuleDict, inputs: Tensor, outputs: Tensor, targets: Tensor) -> None:
        beyond, whole = (metrics[name] for name in ("explained_beyond_static", "explained_variance"))
        beyond.update(outputs, targets, self.fixed(inputs))  # type: ignore[operator]
        whole.update(outputs, targets, self.static_mean)  # type: ignore[operator]

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        outputs = super().validation_step(batch, batch_idx)
        if batch_idx == 0:
            reach = self._reach(batch[0][:REACH_MAPS])
            self.log(self.metric_name("validation", "reach"), reach, on_step=False, on_epoch=True, sync_dist=True)
        return outputs

    def _reach(self, inputs: Tensor) -> float:
        # Lightning evaluates in inference mode, whose tensors have no gradient.
        with torch.inference_mode(False):
            field, centre = effective_receptive_field(self.network, self.network, inputs.clone())
        if not torch.isfinite(field).all():
            return math.nan  # the network has exploded, and `Watch` records the run as diverged
        return (side_with(field.cpu(), centre, REACH_SHARE) - 1) / 2
