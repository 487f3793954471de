"""PSSA as a term of Eq. 9, in all forms.

At an output position `w^A_j = diag(a_j) W` with coefficients a_j `[C]` for tap j and W = W^v, or `W_j diag(a_j) W` for
the dense forms. A form without a value is linear in its keys, apart from their norms, so there W = W^k.

Legend: C channels, T taps, I input channels, h heads, d = C / h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_xvol import kernels
from lightning_xvol.fusion.static import Offset, Static, rows
from lightning_xvol.fusion.term import Position, Projections, Tensors, Term, patches
from lightning_xvol.kernels.reference import normalized
from lightning_xvol.kernels.spec import DIRECTIONS, EPS, FORMS, Form, Spec
from lightning_xvol.operators.base import same_memory_format


@dataclass(frozen=True)
class PSSATerm(Term):
    """Its tensors: `tap_weight`, and where they exist `query`, `key`, `value`, `tap_bias`, `propagation`.

    `stride` is the stride of the operator. With `propagate` the outer sum takes the stride, and the taps have stride 1.
    """

    spec: Spec
    channels: int
    projections: Projections
    stride: int
    propagate: bool = False

    @property
    def form(self) -> Form:
        return FORMS[self.spec.form]

    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        return self.projections.stack(tensors)

    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        return self.projections.unstack(stacked)

    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        maps = self.projections(x, stacked)
        weight, bias = stacked["tap_weight"], stacked.get("tap_bias")
        y = kernels.pssa(self.spec, maps["query"], maps["key"], maps["value"], weight, bias)
        if self.propagate:
            y = kernels.propagate(y, stacked["propagation"], self.stride)
        return same_memory_format(y, x)

    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        channels = self.channels
        queries = math.prod(self.spec.output_size(height, width))
        outer_sum = 8 * channels * -(-height // self.stride) * -(-width // self.stride) if self.propagate else 0
        return self.projections.macs(height, width) + queries * self.spec.macs_per_query(channels) + outer_sum

    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        """The scale goes into the rows of the tap weights, or into the rows of W^v where these weights are per head.

        The outer sum works on each channel alone and does not change the scale.
        """
        name = "value" if self.form.weight == "head" else "tap_weight"
        return {**tensors, name: rows(tensors[name], scale)}

    def without_static(
        self, tensors: Tensors, statics: Sequence[Static]
    ) -> tuple[list[Static], Term | None, dict[str, Tensor]]:
        """The kernels of a static form, `w_j W^v` at tap j, or of a position bias, `w_j b_j W^v`.

        They move from the term to the kernels:

        * `static_dense` moves as a whole, unless its projection to fewer channels saves more than it costs. It is 3x3
          kernels before and after the move.
        * Any other static form moves the distances whose taps some kernel already has.
        * A position bias moves only as a whole, because a part of it would save nothing.
        """
        found = {} if self.propagate else self._static_kernels(tensors)
        if self.spec.form == "static_dense":
            computed = 9 * len(self.spec.shift_distances)
            saved = computed * (self.projections.in_channels - self.channels)
            taken = found if saved <= self.projections.in_channels else {}
        else:
            taken = {taps: kernel for taps, kernel in found.items() if any(s.holds(kernel) for s in statics)}
            if self.form.product and len(taken) < len(found):
                taken = {}
        if not taken:
            return [], self, dict(tensors)
        if self.form.product:
            return list(taken.values()), self, {name: x for name, x in tensors.items() if name != "tap_bias"}
        left = [tap for taps in found if taps not in taken for tap in taps]
        if not left:
            return list(taken.values()), None, {}
        weight = tensors["tap_weight"][:, left]
        return list(taken.values()), replace(self, spec=self._with_taps(left)), {**tensors, "tap_weight": weight}

    def _static_kernels(self, tensors: Tensors) -> dict[tuple[int, ...], Static]:
        """The part that does not depend on the input: by taps, a kernel for each distance and one for the centre."""
        weight, bias = tensors["tap_weight"], tensors.get("tap_bias")
        if self.form.product and bias is None:
            return {}
        weight = weight if bias is None else weight * bias
        value = tensors["value"].flatten(1)  # [C, I]
        if self.form.weight == "dense":
            taps = torch.einsum("otc,ci->oit", weight, value)
        else:
            taps = per_channel(weight, len(value))[:, None] * value[:, :, None]  # [C, I, T]
        kernels_by_taps = {}
        for index, distance in enumerate(self.spec.shift_distances):
            around = taps[:, :, 8 * index : 8 * index + 8]
            ring = torch.cat([around[..., :4], torch.zeros_like(around[..., :1]), around[..., 4:]], 2)
            kernels_by_taps[tuple(range(8 * index, 8 * index + 8))] = Static(ring.unflatten(2, (3, 3)), distance)
        if self.spec.centre:
            kernels_by_taps[(taps.shape[2] - 1,)] = Static(taps[:, :, -1:, None])
        return kernels_by_taps

    def _with_taps(self, taps: Sequence[int]) -> Spec:
        """The spec with these taps, which are whole distances. It has no centre tap, because every kernel has one."""
        chosen = tuple(d for index, d in enumerate(self.spec.shift_distances) if 8 * index in taps)
        return replace(self.spec, shift_distances=chosen, centre=False)

    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        taps = self.spec.offsets
        if not self.propagate:
            return taps
        around = ((0, 0), *DIRECTIONS)
        return tuple(dict.fromkeys((down + i, right + j) for down, right in taps for i, j in around))

    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        row, column = (self.stride * index for index in position)
        if not self.propagate:
            return self._kernel_at(image, (row, column), tensors)
        offsets = self.offsets()
        kernel = image.new_zeros(self.channels, len(image), len(offsets))
        beta = torch.cat([torch.ones_like(tensors["propagation"][:, :1]), tensors["propagation"]], 1)  # [C, 9]
        for index, (down, right) in enumerate(((0, 0), *DIRECTIONS)):
            centre = row + down, column + right
            if not (0 <= centre[0] < image.shape[1] and 0 <= centre[1] < image.shape[2]):
                continue
            at = [offsets.index((down + i, right + j)) for i, j in self.spec.offsets]
            kernel[:, :, at] += rows(self._kernel_at(image, centre, tensors), beta[:, index])
        return kernel

    def _kernel_at(self, image: Tensor, centre: Position, tensors: Tensors) -> Tensor:
        """The kernel of the taps around the input position `centre`: `[C, I, T]`."""
        projection = tensors["value" if self.form.value else "key"].flatten(1)  # [C, I]
        coefficient = self._coefficient(image, centre, tensors)  # [C, T]
        weight = tensors["tap_weight"]
        if self.form.weight == "dense":
            return torch.einsum("otc,ct,ci->oit", weight, coefficient, projection)
        if not self.form.softmax:
            coefficient = per_channel(weight, len(projection)) * coefficient
        return coefficient[:, None] * projection[:, :, None]

    def _coefficient(self, image: Tensor, centre: Position, tensors: Tensors) -> Tensor:
        """a_j without its tap weight; under softmax the tap weight is included: `[C, T]`."""
        around = patches(image, centre, self.spec.offsets)  # [I, T]
        if not self.form.product:
            return around.new_ones(self.channels, around.shape[1])
        query = tensors["query"].flatten(1) @ image[:, centre[0], centre[1], None]  # [C, 1]
        key = tensors["key"].flatten(1) @ around  # [C, T]
        d = len(query) // self.spec.num_heads
        if self.spec.normalize:
            norm = key.unflatten(0, (-1, d)).norm(dim=1).clamp_min(EPS)  # [h, T]
            key_scale = per_channel(math.sqrt(d) / norm, len(key))
            query = normalized(query[None, :, None], self.spec.num_heads)[0, :, 0]
        else:
            key_scale = torch.ones_like(key)
        if not self.form.value:
            return query * key_scale
        product = query * key_scale * key
        if self.spec.form == "dot":
            product = product.unflatten(0, (-1, d)).sum(1) / (math.sqrt(d) if self.spec.normalize else 1)  # [h, T]
        if self.form.softmax:
            product = product.unflatten(0, (-1, d)).sum(1) / math.sqrt(d)  # [h, T]
            return per_channel((product + tensors["tap_weight"]).softmax(1), len(key))
        bias = tensors.get("tap_bias")
        return per_channel(product if bias is None else product + bias, len(key))


def per_channel(table: Tensor, channels: int) -> Tensor:
    """A table `[G, T]`, a row per group of channels, as `[C, T]`."""
    return table.repeat_interleave(channels // len(table), 0)
