"""Does a trained network use the product of query and key? Two probes change it and evaluate it again, untrained.

* `mean_ablated` replaces each attention coefficient by its mean over training images, for every tap and head (or
  channel). The branch becomes a static convolution.
* `q_shuffled` gives each image the queries of another image of its batch, in every operator.

PSSA multiplies a shifted value by a tap weight and by a coefficient. The coefficient is the product with its position
bias for `dot` and `hadamard`, and the weight of the softmax for `softmax`. In forms without a value, the key is in the
place of the value, and the query is the coefficient. The mean counts only positions whose tap lies inside the map.

Both probes recalibrate batch norms on the same training images, so that a drop does not come from shifted statistics.
The frozen norms of a pretrained detector keep their statistics, because its other weights were trained with them; there
shifted statistics may cause part of a drop. A drop shows that the weights use the product. Only a trained control can
show whether a network needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_xvol.kernels import shifts
from lightning_xvol.kernels.reference import shift
from lightning_xvol.kernels.spec import unit
from lightning_xvol.operators.pssa import PSSA

BATCHES = 8  # batches of training images for the means and the batch norms

Pass = Callable[[nn.Module], None]
"""Passes the training images through a network, one batch at a time, without gradients."""

_STATIC = {"head": "static", "channel": "static_channel", "dense": "static_dense"}


def with_product(network: nn.Module) -> dict[str, PSSA]:
    """Every PSSA of `network` that has a product, by its path."""
    modules = network.named_modules()
    return {path: module for path, module in modules if isinstance(module, PSSA) and module.form.product}


def mean_ablated(network: nn.Module, show: Pass) -> None:
    """Replace every PSSA with a product by its static twin, in place."""
    operators = with_product(network)
    means = {path: _Mean() for path in operators}
    hooks = [operator.register_forward_pre_hook(means[path].add) for path, operator in operators.items()]
    show(network.eval())
    for hook in hooks:
        hook.remove()
    for path, operator in operators.items():
        network.set_submodule(path, static_twin(operator, means[path].value))


def q_shuffled(network: nn.Module, show: Pass) -> None:  # noqa: ARG001
    """Roll the queries of a batch by half its size, in place; a batch of one image is unchanged.

    Half a batch, because neighbours have one class if the images lie in one folder for each class.
    """
    for operator in with_product(network).values():
        operator.get_submodule("query").register_forward_hook(
            lambda _module, _inputs, query: query.roll(len(query) // 2, 0)
        )


PROBES: dict[str, Callable[[nn.Module, Pass], None]] = {"mean_ablated": mean_ablated, "q_shuffled": q_shuffled}


def recalibrate(network: nn.Module, show: Pass) -> None:
    """Give batch norms the mean statistics of the images that `show` passes, and leave the network in eval mode."""
    network.eval()
    momentum = {norm: norm.momentum for norm in network.modules() if isinstance(norm, _BatchNorm)}
    for norm in momentum:
        norm.reset_running_stats()
        norm.momentum = None  # every batch weighs the same
        norm.train()
    show(network)
    for norm in momentum:
        norm.momentum = momentum[norm]
    network.eval()


class _Mean:
    """The mean coefficients of a PSSA over its inputs."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.count: Tensor | float = 0.0

    def add(self, operator: PSSA, inputs: tuple[Tensor]) -> None:
        total, count = coefficient_sums(operator, inputs[0])
        self.total, self.count = self.total + total, self.count + count

    @property
    def value(self) -> Tensor:
        """`[h, T]` or `[C, T]`; 0 for a tap that was never inside the map."""
        return torch.as_tensor(self.total) / torch.as_tensor(self.count).clamp_min(1)


def coefficient_sums(operator: PSSA, x: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the coefficients of each tap, `[h, T]` or `[C, T]`, and the number of its positions, `[T]`."""
    spec, form = operator.spec, operator.form
    query, key = (_exact(operator.get_submodule(name)(x)) for name in ("query", "key"))
    if spec.normalize:
        # `dot` divides the inner product by sqrt(d), so one of the two vectors goes without that factor.
        query = unit(query, spec.num_heads, scaled=spec.form != "dot")
        key = unit(key, spec.num_heads)
    soft = shifts.softmax(query, key, _exact(operator.tap_weight), spec) if form.softmax else None
    ones = torch.ones_like(key[:1, :1])
    totals, counts = [], []
    for tap, offset in enumerate(spec.offsets):
        inside = shift(ones, offset, spec.stride)  # [1, 1, H', W']
        if soft is not None:
            coefficient = soft[:, :, tap] * inside  # [B, h, H', W']
        elif form.value:
            coefficient = query * shift(key, offset, spec.stride)  # [B, C, H', W'], 0 outside
        else:
            coefficient = query * inside
        totals.append(coefficient.sum((2, 3)).sum(0, dtype=torch.double))  # [h] or [C]
        counts.append(len(x) * inside.sum())
    total = torch.stack(totals, 1)
    return (total.unflatten(0, (spec.num_heads, -1)).sum(1) if spec.form == "dot" else total), torch.stack(counts)


def static_twin(operator: PSSA, mean: Tensor) -> PSSA:
    """`operator` with the coefficients `mean`, `[h, T]` or `[C, T]`: a static PSSA that shares its other parameters."""
    spec, form = operator.spec, operator.form
    with torch.device("meta"):  # the lines below set every tensor
        twin = PSSA(
            operator.in_channels,
            operator.out_channels,
            stride=operator.stride,
            form=_STATIC[form.weight],
            shift_distances=spec.shift_distances,
            num_heads=spec.num_heads if form.weight == "head" else None,
            centre=spec.centre,
            propagate=operator.propagation is not None,
        )
    if operator.tap_bias is not None:
        mean = mean + operator.tap_bias
    if form.weight == "dense":
        mean = mean.t()  # [T, C], beside a weight [C, T, C]
    weight = mean if form.softmax else mean * operator.tap_weight
    twin.tap_weight = nn.Parameter(weight.to(operator.tap_weight.dtype))
    twin.value = operator.value if form.value else _keys(operator)
    twin.propagation, twin.norm = operator.propagation, operator.norm
    return twin.eval()


def _keys(operator: PSSA) -> Any:
    """The module that computes the keys of a form without a value, as they enter its products."""
    key = operator.get_submodule("key")
    return nn.Sequential(key, _Normalised(operator.spec.num_heads)) if operator.spec.normalize else key


class _Normalised(nn.Module):
    """The L2 normalisation of PSSA."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        return unit(_exact(x), self.num_heads).to(x.dtype)


def _exact(x: Tensor) -> Tensor:
    """`x` in float32 or more: squares and sums lose too much precision in less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Probe(Callback):
    """Applies the probe `name` to the network of a test run before the test. The run needs an `ImageDataModule`."""

    def __init__(self, name: str) -> None:
        self.change = PROBES[name]

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        show = partial(self._show, trainer, pl_module)
        self.change(pl_module.network, show)
        recalibrate(pl_module.network, show)

    def _show(self, trainer: Trainer, module: Any, network: nn.Module) -> None:
        precision = trainer.precision_plugin
        for batch in trainer.datamodule.calibration_loader(BATCHES):  # type: ignore[attr-defined]
            # As Lightning treats the batches of a test.
            images = trainer.strategy.batch_to_device(precision.convert_input(batch)).images
            with torch.inference_mode(), precision.test_step_context():
                network(module.to_memory_format(images))
