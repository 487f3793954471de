"""PSSA, pixel shift self-attention: products of the query with shifted keys, one learned weight per shift.

Paper: X-volution (arXiv 2106.02253), Eq. 7-9, 3.3 and 6.1.2. It describes PSSA twice, and neither description is
whole, so `form` chooses the reading:

* `dot` (default): inner product and value of Eq. 7-9, the weight per tap of 6.1.2.
* `hadamard`: the element-wise product of 6.1.2 with the value of Eq. 8.
* `hadamard_no_value`: 6.1.2 to the letter; up to its activation Conv2Former's modulation.
* `dense`: the abstract and 3.3 to the letter, a standard convolution on the products; 24 C^2 weights, slow.
* `softmax`: not in the paper. Local attention over the same taps, with the parameters of `dot`: the control of leaving
  the softmax out, and of weights of both signs.
* `static`, `static_channel`, `static_dense`: not in the paper. The same taps without query and key: the controls of
  `dot`, `hadamard` and of `dense`, without which a gain of PSSA may be a gain of its reach.

Our reading where the paper is silent: query, key and value are 1x1 convolutions without bias; shifts fill with zeros,
as a convolution pads (under `softmax` a tap outside has the logit w_j and the value 0); tap weights start normal with
variance 1 / fan-in, 1 / T per head or channel and 1 / (T C) for the dense forms; queries and keys are L2-normalised per
head where there is a product and a value, because raw products trained badly (a departure from the paper); raw products
are not scaled, as in Eq. 8; the position bias is added to the product before the tap weight. A bias needs a product,
and it needs a value: without one it would add a constant per channel, which the batch norm removes.

Cost: linear in the number of pixels. Beside its three projections `dot` takes T (2 C + h) multiplications per position
for T taps: less than 0.4 C^2 from C = 128 on. Small maps are computed as masked matrix products (`kernels/matrix.py`),
larger ones by shifts (`kernels/shifts`), which keep nothing for the backward pass but query, key, value and weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.errors import UserError
from lightning_xvol.kernels.spec import FORMS, Form, Spec
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, autocast_dtype, conv_macs, same_memory_format


class PSSA(Operator):
    """`BN(sum_j w_j (<q_0, k_j>_head [+ b_j]) v_j)` over taps j, for `form="dot"`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. The taps are 8 directions times
    `shift_distances`, and with `centre` the position itself. With w and b per channel instead of per head, `hadamard`
    is `sum_j w_j * (q_0 * k_j [+ b_j]) * v_j`; `hadamard_no_value` leaves out v_j; `dense` is `W concat_j(q_0 * k_j)`.
    `softmax` is `sum_j softmax_j(<q_0, k_j>_head / sqrt(d) + w_j) v_j`. The static forms leave out the product and have
    no query and key at all.

    How the arguments interact:

    * `num_heads` is the number of tap weights per tap for `dot`, `softmax` and `static` and the number of groups that
      `normalize` normalises over. Where it is neither it is refused. None takes the largest divisor of C_out not
      above max(1, C_out // 64). `dot` with C_out heads and without normalisation is `hadamard`, with one head it is
      Eq. 8. `head_channels` chooses them by their size, C_out / num_heads, which is the same at every width.
    * `normalize` replaces q by `sqrt(d) q / max(|q|_head, 1e-3)`, k alike, d = C_out / num_heads, and divides the
      inner product of `dot` by sqrt(d). None means True for `dot` and `hadamard`, False for the others (softmax bounds
      its weights itself); the static forms refuse True.
    * `position_encoding` needs a form with a product and a value, and no softmax, whose w_j is such a bias. b starts at
      0, so that on and off differ in nothing else.
    * `propagate` adds Eq. 7's outer sum: a depthwise 3x3 convolution whose centre is fixed at 1 and whose neighbours
      start at 0.
    * `frozen_query_key` leaves the projections of query and key at their random start: a control that has products but
      has not learned them. The static forms refuse it.
    * `stride` subsamples the query positions, keys and values keep the input grid. With `propagate` the attention is
      computed at every position and the outer sum takes the stride, so that at any options stride 2 is stride 1
      subsampled, before the batch norm.

    Raises:
        UserError: for an unknown `form`, `num_heads` that do not divide `out_channels`, an option that the form does
            not have, or a value out of range.

    Example:
        >>> PSSA(16, 32, stride=2, num_heads=4)(torch.randn(2, 16, 15, 9)).shape
        torch.Size([2, 32, 8, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        form: str = "dot",
        shift_distances: Sequence[int] = (1, 3, 5),
        num_heads: int | None = None,
        head_channels: int | None = None,
        normalize: bool | None = None,
        position_encoding: bool = False,
        centre: bool = False,
        propagate: bool = False,
        frozen_query_key: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.form: Form = FORMS[checks.choice("form", form, FORMS)]
        if head_channels is not None:
            num_heads = checks.heads_of(head_channels, num_heads, out_channels)
        self.spec = Spec(
            form=form,
            shift_distances=checks.distances("shift_distances", shift_distances),
            centre=checks.boolean("centre", centre),
            stride=1 if checks.boolean("propagate", propagate) else self.stride,
            num_heads=checks.head_count(num_heads, out_channels),
            normalize=_normalize(form, normalize),
        )
        if num_heads is not None and self.form.weight != "head" and not self.spec.normalize:
            raise UserError(f"num_heads={num_heads} does nothing with form={form!r} and normalize=False; leave it out")
        self.query = self._projection(self.form.product, self.spec.stride)
        self.key = self._projection(self.form.product)
        self.frozen_query_key = checks.boolean("frozen_query_key", frozen_query_key)
        if frozen_query_key:
            for projection in (self.query, self.key):
                if projection is None:
                    raise UserError(f"frozen_query_key=True: form={form!r} has no query and no key; leave it out")
                projection.requires_grad_(False)
        self.value = self._projection(self.form.value)
        self.tap_weight = nn.Parameter(torch.empty(self.spec.weight_shape(out_channels)))
        self.tap_bias: nn.Parameter | None = None
        if _position_encoding(form, position_encoding):
            self.tap_bias = nn.Parameter(torch.empty_like(self.tap_weight))
        self.propagation = nn.Parameter(torch.empty(out_channels, 8)) if propagate else None
        self.norm = nn.BatchNorm2d(out_channels)
        self.reset_parameters()

    def _projection(self, wanted: bool, stride: int = 1) -> nn.Conv2d | None:
        return nn.Conv2d(self.in_channels, self.out_channels, 1, stride, bias=False) if wanted else None

    def reset_parameters(self) -> None:
        """Tap weights of variance 1 / fan-in; position bias and neighbours of the outer sum at zero."""
        nn.init.normal_(self.tap_weight, std=self.tap_weight[0].numel() ** -0.5)
        for parameter in (self.tap_bias, self.propagation):
            if parameter is not None:
                nn.init.zeros_(parameter)

    def attend(self, x: Tensor) -> Tensor:
        """Everything before the batch norm; in float32 where the projections are float16."""
        query, key, value = (None if conv is None else conv(x) for conv in (self.query, self.key, self.value))
        y = kernels.pssa(self.spec, query, key, value, self.tap_weight, self.tap_bias)
        if self.propagation is not None:
            y = kernels.propagate(y, self.propagation, self.stride)
        return same_memory_format(y, x)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attend(x)
        if self.tap_weight.dtype == torch.float16:
            y = y.to(torch.float16)  # a float16 batch norm takes no float32 input
        normed: Tensor = self.norm(y)
        return normed.to(autocast_dtype(x))

    def macs(self, height: int, width: int) -> int:
        positions = _product(self.output_size(height, width))
        queries = _product(self.spec.output_size(height, width))
        projections = (conv for conv in (self.query, self.key, self.value) if conv is not None)
        outer_sum = 0 if self.propagation is None else positions * self.propagation.numel()
        projected = sum(conv_macs(conv, height, width) for conv in projections)
        return projected + queries * self.spec.macs_per_query(self.out_channels) + outer_sum

    def extra_repr(self) -> str:
        spec = self.spec
        heads = f"num_heads={spec.num_heads}, " if self.form.weight == "head" or spec.normalize else ""
        return (
            f"{super().extra_repr()}, form={spec.form}, shift_distances={spec.shift_distances}, {heads}"
            f"normalize={spec.normalize}, position_encoding={self.tap_bias is not None}, centre={spec.centre}, "
            f"propagate={self.propagation is not None}" + (", frozen_query_key=True" if self.frozen_query_key else "")
        )


def _normalize(form: str, normalize: bool | None) -> bool:
    """Whether queries and keys are normalised, None being the default of the form."""
    reading = FORMS[form]
    if normalize is None:
        return reading.product and reading.value and not reading.softmax
    if checks.boolean("normalize", normalize) and not reading.product:
        raise UserError(f"normalize=True scales query and key, and form={form!r} has neither; leave it out")
    return normalize


def _position_encoding(form: str, position_encoding: bool) -> bool:
    """Whether the products get a bias; refused where it could do nothing."""
    if checks.boolean("position_encoding", position_encoding) and not FORMS[form].takes_bias:
        if FORMS[form].softmax:
            why = "adds a weight per tap to the product anyway"
        elif FORMS[form].product:
            why = "has no value: the bias would be a constant that batch norm removes"
        else:
            why = "has no product to add a bias to"
        fitting = ", ".join(name for name, other in FORMS.items() if other.takes_bias)
        raise UserError(f"position_encoding=True: form={form!r} {why}. Forms that take it: {fitting}")
    return position_encoding


def _product(size: tuple[int, int]) -> int:
    return size[0] * size[1]
