"""PSSA's `dot` and `hadamard` on a GPU, each in one pass over memory forward and one backward.

The forward pass moves 4 maps and the backward pass 7; no map is kept in between. Both forms are one operation, whose
table of weights has a row per head or per channel (`triton_programs`). It is a custom operation for PyTorch, so
`torch.compile` takes it unchanged. A backward pass that is to be differentiated again takes the plain form of `shifts`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.errors import UserError, first_line
from lightning_xvol.kernels.plain import gradients
from lightning_xvol.kernels.shifts.loops import plain_dot
from lightning_xvol.kernels.spec import Spec
from lightning_xvol.kernels.tiles import Tiles, ceil, channels_last, in_force, power_of_2

FORMS = ("dot", "hadamard")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# With this variable, set before its import, Triton interprets its programs on any device.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
INSTALLED = importlib.util.find_spec("triton") is not None


def serves(x: Tensor) -> bool:
    """Whether maps like x take this path by default."""
    # While Inductor traces nothing can be launched. It compiles with Triton itself, so the answer is known.
    return x.is_cuda and x.dtype in DTYPES and INSTALLED and (torch.compiler.is_compiling() or _launches())


def require(cuda: bool) -> None:
    """Refuse this path where it cannot run.

    Raises:
        UserError: where Triton is missing, or where there is neither CUDA nor the interpreter.
    """
    if not INSTALLED or not (cuda or INTERPRETED):
        raise UserError(
            "path 'triton' needs the package triton and a CUDA device, or TRITON_INTERPRET=1 set before the start; "
            "without these do not force a path"
        )


@functools.cache
def _launches() -> bool:
    """Whether Triton can start a program here. It needs a C compiler and Python's headers, which small images lack."""
    try:
        q = torch.ones(1, 1, 1, 1, device="cuda")
        attend(q, q, q, q.view(1, 1), None, [], 1)
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"PSSA runs without its Triton kernels: {why}", stacklevel=2)
        return False
    return True


def dot(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j <q, S_j k>_head + u_j) S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[h, T]`. The result is `[B, C, H', W']` in the memory format of q.
    """
    require(query.is_cuda)
    y: Tensor = attend(query, key, value, weight, static, spec.shift_distances, spec.stride)
    return y


def hadamard(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j * q * S_j k + u_j) * S_j v`. Arguments as `dot`, but w and u are `[C, T]`."""
    return dot(query, key, value, weight, static, spec)


@torch.library.custom_op("lightning_xvol::attend", mutates_args=())
def attend(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, distances: list[int], stride: int
) -> Tensor:
    """`dot` if the tables have a row per head, `hadamard` if they have a row per channel."""
    from lightning_xvol.kernels import triton_programs as programs

    memory_format = _memory_format(query)
    query, key, value = _converted(query, key, value)
    y = _like(query)
    if not y.numel():
        return y
    tiles, acc = Tiles.of(query, weight), torch.promote_types(query.dtype, torch.float32)
    with torch.cuda.device_of(query):
        programs.forward[tiles.count(query), tiles.groups](
            y, query, key, value, *_tables(weight, static, acc),
            y.stride(), query.stride(), key.stride(), value.stride(),
            _positions(query), query.shape[1], tiles.group, *key.shape[2:], *query.shape[2:],
            DISTANCES=_rings(distances, weight), STRIDE=stride, ACC=programs.ACCUMULATORS[acc], **tiles.constants,
        )  # fmt: skip
    return y.contiguous(memory_format=memory_format)


@torch.library.custom_op("lightning_xvol::attend_backward", mutates_args=())
def attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None,
    distances: list[int], stride: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of query, key, value, weight and static. The last is empty where there is no static."""
    from lightning_xvol.kernels import triton_programs as programs

    memory_formats = [_memory_format(x) for x in (query, key, value)]
    grad, query, key, value = _converted(grad, query, key, value)
    grads = _like(query), _like(key), _like(value)
    tiles, acc = Tiles.of(query, weight), torch.promote_types(query.dtype, torch.float32)
    rings, split = _rings(distances, weight), tiles.variant.split
    count = tiles.count(query if split else key)
    steps = max(1, ceil(count, tiles.variant.runs))
    partial_weight = weight.new_empty(ceil(count, steps), weight.shape[0], 8 * len(rings), dtype=acc)
    partial_static = None if static is None else torch.empty_like(partial_weight)
    tables = _tables(weight, static, acc)

    def launch(cut: Tensor, steps: int, queries: bool, keys: bool) -> None:
        """Start a program for each run of `steps` tiles of `cut`, for the gradients of `queries`, `keys` or both."""
        programs.backward[ceil(tiles.count(cut), steps), tiles.groups](
            *grads, partial_weight, partial_static, grad, query, key, value, *tables,
            *(x.stride() for x in (*grads, grad, query, key, value)),
            _positions(cut), query.shape[1], tiles.group, *key.shape[2:], *query.shape[2:], steps,
            DISTANCES=rings, STRIDE=stride, QUERIES=queries, KEYS=keys, POSITION_SUMS=tiles.variant.position_sums,
            BLOCK_T=power_of_2(8 * len(rings)), ACC=programs.ACCUMULATORS[acc], **tiles.constants,
        )  # fmt: skip

    if key.numel():
        with torch.cuda.device_of(query):
            if split:
                launch(query, steps, queries=True, keys=False)
                launch(key, 1, queries=False, keys=True)
            else:
                launch(key, steps, queries=True, keys=True)
    sums = (x if x is None else x.sum(0)[:, : weight.shape[1]] for x in (partial_weight, partial_static))
    grad_weight, grad_static = (weight.new_empty(0) if x is None else x.to(weight.dtype, copy=True) for x in sums)
    dq, dk, dv = (x.contiguous(memory_format=form) for x, form in zip(grads, memory_formats, strict=True))
    return dq, dk, dv, grad_weight, grad_static


@attend.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return _like(query)


@attend_backward.register_fake
def _(
    _grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    tables = weight.new_empty(weight.shape), weight.new_empty(0 if static is None else static.shape)
    return _like(query), _like(key), _like(value), *tables


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.distances, ctx.stride = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        form = functools.partial(_plain, ctx.distances, ctx.stride)
        return *gradients(form, ctx.saved_tensors, ctx.needs_input_grad, grad), None, None
    *grads, grad_static = attend_backward(grad, *ctx.saved_tensors, ctx.distances, ctx.stride)
    return *grads, grad_static if grad_static.numel() else None, None, None


def _plain(
    distances: list[int], stride: int, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None
) -> Tensor:
    """`attend` in PyTorch's own operations. A table with a row per channel has heads of one channel."""
    spec = Spec("dot", tuple(distances), centre=weight.shape[1] % 8 > 0, stride=stride, num_heads=weight.shape[0])
    q, k, v = (x.unflatten(1, (weight.shape[0], -1)) for x in (query, key, value))  # [B, h, d, H, W]
    return plain_dot(q, k, v, weight, static, spec).flatten(1, 2)


attend.register_autograd(_gradients, setup_context=_save)


def _like(x: Tensor) -> Tensor:
    """An empty map in the memory format of `x`, which may be any view."""
    return torch.empty_like(x, memory_format=_memory_format(x))


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if channels_last(x) else torch.contiguous_format


def _converted(*maps: Tensor) -> Sequence[Tensor]:
    """The maps as the programs read them: in channels_last if the variant converts them."""
    return [x.contiguous(memory_format=torch.channels_last) for x in maps] if in_force().converts else maps


def _positions(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _tables(weight: Tensor, static: Tensor | None, acc: torch.dtype) -> list[Tensor | None]:
    """Tables `[G, T]` as `[T, G]`, so that neighbouring channels are next to each other in memory."""
    return [None if x is None else F.pad(x, (0, -x.shape[1] % 8)).to(acc).t().contiguous() for x in (weight, static)]


def _rings(distances: list[int], weight: Tensor) -> tuple[int, ...]:
    """The distances of the rings of eight taps. A centre is the first tap of a ring at distance 0."""
    return (*distances, 0) if weight.shape[1] % 8 else tuple(distances)
