"""One operator at one shape as calls that can be timed: forward, forward + backward, literal, fused."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import Call, peak_bytes, saved_bytes
from benchmarks.shapes import Shape
from lightning_xvol import kernels
from lightning_xvol.backbones import count_macs, count_parameters
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError, one_line
from lightning_xvol.fusion import fuse
from lightning_xvol.kernels.spec import Spec
from lightning_xvol.operators import build_operator
from lightning_xvol.seeding import derive_seed, seed_generators

Timing = Literal["forward", "training", "reference_forward", "reference_training", "fused_forward"]

# Literal global attention keeps a matrix of all pairs of positions: 18 GB per head at 200 x 334.
REFERENCE_BYTES = 4 << 30


@dataclass(frozen=True)
class Machine:
    """The device on which everything is measured, and the dtype and memory format of its tensors."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    def input(self, shape: Shape, seed: int) -> Tensor:
        """A standard normal input. Every operator gets the same one."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "input", shape.name))
        x = torch.randn(shape.batch, shape.channels, shape.height, shape.width, generator=generator)
        return x.to(self.device, self.dtype, memory_format=self.memory_format)

    def tap_weight(self, spec: Spec, channels: int, seed: int) -> Tensor:
        """Random tap weights for PSSA's arithmetic alone."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "weights", spec.form))
        weight = torch.randn(spec.weight_shape(channels), generator=generator) / len(spec.offsets) ** 0.5
        return weight.to(self.device, self.dtype)

    def move(self, module: nn.Module) -> nn.Module:
        """`module` on the device, in the dtype and the memory format."""
        return module.to(self.device, self.dtype, memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


@dataclass(frozen=True)
class Subject:
    """An operator at one shape, with stride 1 and as many output as input channels.

    Attributes:
        name: the key of its samples, unique among the subjects that are compared.
        label: its name in tables.
        params: its parameters.
        macs: multiply-adds of one image.
        saved_bytes: what a forward pass keeps for backward, without input and parameters.
        reference_saved_bytes: the same for the literal reference; None if that does not run.
        calls: what is timed.
        note: a sentence for the reader of the table.
    """

    name: str
    label: str
    params: int
    macs: int
    saved_bytes: int
    reference_saved_bytes: int | None
    calls: dict[Timing, Call]
    note: str = ""


@contextlib.contextmanager
def failing_at(shape: Shape, what: str = "an operator") -> Iterator[None]:
    """Turn any error in this block, from a mistake in a foreign operator to too little memory, into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} fails at {shape}: {one_line(error)}") from error


def make_subject(
    name: str,
    shape: Shape,
    machine: Machine,
    seed: int,
    literal: bool = True,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Subject:
    """Build the operator `name` for `shape`, with its default options or `options`.

    `literal=False` leaves out the literal reference.

    Raises:
        UserError: if it cannot be built, or does not run at this shape.
    """
    seed_generators(derive_seed(seed, "weights", name))
    x = machine.input(shape, seed)
    with failing_at(shape, f"operator {name!r}"):
        operator = machine.move(build_operator(name, shape.channels, shape.channels, **(options or {})))
        fast_bytes = saved_bytes(operator.train(), x)
    training = _training(operator, x)
    calls: dict[Timing, Call] = {"forward": inference(operator, x), "training": training}
    note, reference = "", _reference_bytes(operator, x) if literal else None
    if reference is not None and reference > REFERENCE_BYTES:
        note, reference = f"literal reference not run: it would keep {reference / 1e9:.1f} GB", None
    elif reference is not None:
        calls |= {"reference_forward": literally(calls["forward"]), "reference_training": literally(training)}
    fused = _fused(operator)
    if fused is not None:
        calls["fused_forward"] = inference(fused, x)
    image = (shape.channels, shape.height, shape.width)
    return Subject(
        name=name if label is None else label,
        label=registry.label("operator", name) if label is None else label,
        params=count_parameters(operator),
        macs=count_macs(operator, image),
        saved_bytes=fast_bytes,
        reference_saved_bytes=reference,
        calls=calls,
        note=note,
    )


def inference(module: nn.Module, x: Tensor) -> Call:
    """A forward pass of a copy of `module` in evaluation mode."""
    evaluated = copy.deepcopy(module).eval()

    def call() -> Tensor:
        with torch.inference_mode():
            output: Tensor = evaluated(x)
            return output

    return call


def _training(operator: nn.Module, x: Tensor) -> Call:
    """Forward and backward, with a gradient for the input, as in the middle of a network."""
    trained = copy.deepcopy(operator).train()
    x = x.clone().requires_grad_()
    wanted = [x, *(parameter for parameter in trained.parameters() if parameter.requires_grad)]
    gradient = torch.ones_like(x)

    def call() -> object:
        return torch.autograd.grad(trained(x), wanted, gradient, allow_unused=True)

    return call


def literally(call: Call) -> Call:
    """`call` with the literal reference of each kernel."""

    def literal() -> object:
        with kernels.force("reference"):
            return call()

    return literal


def _fused(operator: nn.Module) -> nn.Module | None:
    """The fused operator; None if `operator` has nothing to fuse or is not known."""
    with contextlib.suppress(UserError):
        return fuse(copy.deepcopy(operator).eval())
    return None


class _Operations(TorchDispatchMode):
    """Lists the names of the operations in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def _reference_bytes(operator: nn.Module, x: Tensor) -> int | None:
    """The bytes that the literal reference keeps for backward, found on the meta device.

    None if there is no literal reference: forcing it does not change which operations run.
    """
    operator, x = copy.deepcopy(operator).to("meta"), x.to("meta")
    try:
        with _Operations() as usual:
            operator(x)
        with kernels.force("reference"), _Operations() as literal:
            operator(x)
        if usual.names == literal.names:
            return None
        with kernels.force("reference"):
            return saved_bytes(operator, x)
    except (RuntimeError, NotImplementedError):  # a foreign operator that does not run there
        return None


def training_peak(subject: Subject, device: torch.device) -> int | None:
    """Peak bytes of forward + backward on CUDA; None on a CPU."""
    return peak_bytes(subject.calls["training"], device) if device.type == "cuda" else None
