"""PSSA, pixel shift self-attention: products of the query with shifted keys, and one learned weight per shift.

Paper: X-volution (arXiv 2106.02253), Eq. 7-9, 3.3 and 6.1.2. It describes PSSA twice, and neither description is
complete. So `form` chooses one:

* `dot` (default): inner product and value of Eq. 7-9, weight per tap of 6.1.2.
* `hadamard`: element-wise product of 6.1.2, value of Eq. 8.
* `hadamard_no_value`: 6.1.2 to the letter. Up to its activation this is Conv2Former's modulation.
* `dense`: the abstract and 3.3 to the letter, a standard convolution on the products. 24 C^2 weights, slow.
* `softmax`: not in the paper. Local attention over the same taps, with the parameters of `dot`. It is the control for
  leaving out the softmax and for weights of both signs.
* `static`, `static_channel`, `static_dense`: not in the paper. The same taps without query and key. They are the
  controls of `dot`, `hadamard` and `dense`: without them a gain of PSSA may be a gain of its reach.

Where the paper is silent we choose:

* Query, key and value are 1x1 convolutions without bias.
* Shifts fill with zeros, as a convolution pads. Under `softmax` a tap outside the map has the logit w_j and the
  value 0.
* Tap weights start normal with variance 1 / fan-in: 1 / T per head or channel, 1 / (T C) for the dense forms.
* Queries and keys are L2-normalised per head where there is a product and a value, because raw products trained badly.
  This departs from the paper. Raw products are not scaled, as in Eq. 8.
* The position bias is added to the product before the tap weight. It needs a product and a value: without a value it
  would add a constant per channel, which the batch norm removes.

Cost: linear in the number of pixels. Beside its three projections `dot` takes T (2 C + h) multiplications per position
for T taps: less than 0.4 C^2 from C = 128 on. Small maps are computed as masked matrix products (`kernels/matrix.py`),
larger ones by shifts (`kernels/shifts`), which keep only query, key, value and weights for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.config.pssa_options import PSSAOptions, pssa_options
from lightning_xvol.errors import UserError
from lightning_xvol.kernels.spec import FORMS, Form, Spec
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, autocast_dtype, conv_macs, same_memory_format


class PSSA(Operator):
    """`BN(sum_j w_j (<q_0, k_j>_head [+ b_j]) v_j)` over taps j, for `form="dot"`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. The taps are 8 directions times
    `shift_distances`, and with `centre` also the position itself. The other forms:

    * `hadamard`: `sum_j w_j * (q_0 * k_j [+ b_j]) * v_j`, with w and b per channel instead of per head.
    * `hadamard_no_value`: `sum_j w_j * (q_0 * k_j)`, with w per channel.
    * `dense`: `W concat_j(q_0 * k_j)`.
    * `softmax`: `sum_j softmax_j(<q_0, k_j>_head / sqrt(d) + w_j) v_j`.
    * `static`, `static_channel`, `static_dense`: without the product. They have no query and no key at all.

    Args:
        stride: subsamples the query positions; keys and values keep the input grid. With `propagate` the attention is
            computed at every position and the outer sum takes the stride. So at any options stride 2 is stride 1
            subsampled, before the batch norm.
        options: those of `PSSAOptions`, which describes each.

    Raises:
        UserError: for an unknown `form` or option, `num_heads` that do not divide `out_channels`, an option that the
            form does not have, or a value out of range.

    Examples:
        >>> PSSA(16, 32, stride=2, num_heads=4)(torch.randn(2, 16, 15, 9)).shape
        torch.Size([2, 32, 8, 5])
    """

    float32_products = False  # whether the arithmetic is float32 where the projections are bfloat16

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, **options: Any) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        chosen = pssa_options(options)
        self.form: Form = FORMS[checks.choice("form", chosen.form, FORMS)]
        self.spec = self._checked_spec(chosen)
        self.query = self._projection(self.form.product, self.spec.stride)
        self.key = self._projection(self.form.product)
        self.frozen_query_key = checks.boolean("frozen_query_key", chosen.frozen_query_key)
        if self.frozen_query_key:
            for projection in (self.query, self.key):
                if projection is None:
                    raise UserError(
                        f"frozen_query_key=True: form={chosen.form!r} has no query and no key; leave it out"
                    )
                projection.requires_grad_(False)
        self.value = self._projection(self.form.value)
        self.tap_weight = nn.Parameter(torch.empty(self.spec.weight_shape(out_channels)))
        self.tap_bias: nn.Parameter | None = None
        if _position_encoding(chosen.form, chosen.position_encoding):
            self.tap_bias = nn.Parameter(torch.empty_like(self.tap_weight))
        self.propagation = nn.Parameter(torch.empty(out_channels, 8)) if chosen.propagate else None
        self.norm = nn.BatchNorm2d(out_channels)
        self.reset_parameters()

    def _checked_spec(self, chosen: PSSAOptions) -> Spec:
        """What the kernels compute for these options."""
        form, num_heads = chosen.form, chosen.num_heads
        if chosen.head_channels is not None:
            num_heads = checks.heads_of(chosen.head_channels, num_heads, self.out_channels)
        spec = Spec(
            form=form,
            shift_distances=checks.distances("shift_distances", chosen.shift_distances),
            centre=checks.boolean("centre", chosen.centre),
            stride=1 if checks.boolean("propagate", chosen.propagate) else self.stride,
            num_heads=checks.head_count(num_heads, self.out_channels),
            normalize=_normalize(form, chosen.normalize),
        )
        if num_heads is not None and self.form.weight != "head" and not spec.normalize:
            raise UserError(f"num_heads={num_heads} does nothing with form={form!r} and normalize=False; leave it out")
        return spec

    def _projection(self, wanted: bool, stride: int = 1) -> nn.Conv2d | None:
        return nn.Conv2d(self.in_channels, self.out_channels, 1, stride, bias=False) if wanted else None

    def reset_parameters(self) -> None:
        """Tap weights get variance 1 / fan-in; position bias and neighbours of the outer sum start at zero."""
        nn.init.normal_(self.tap_weight, std=self.tap_weight[0].numel() ** -0.5)
        for parameter in (self.tap_bias, self.propagation):
            if parameter is not None:
                nn.init.zeros_(parameter)

    def attend(self, x: Tensor) -> Tensor:
        """PSSA before its batch norm, in float32 where the projections are float16."""
        query, key, value = (None if conv is None else conv(x) for conv in (self.query, self.key, self.value))
        if self.float32_products and self.tap_weight.dtype == torch.float32:
            query, key, value = (None if z is None else z.float() for z in (query, key, value))
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
    """Whether queries and keys are normalised; None asks for the default of the form."""
    known = FORMS[form]
    if normalize is None:
        return known.product and known.value and not known.softmax
    if checks.boolean("normalize", normalize) and not known.product:
        raise UserError(f"normalize=True scales query and key, and form={form!r} has neither; leave it out")
    return normalize


def _position_encoding(form: str, position_encoding: bool) -> bool:
    """Whether the products get a bias. Refused where a bias could do nothing."""
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


def use_float32_products(network: nn.Module, wanted: bool) -> None:
    """Choose for every PSSA of `network` whether its arithmetic is float32 where its projections are bfloat16."""
    for module in network.modules():
        if isinstance(module, PSSA):
            module.float32_products = wanted


def _product(size: tuple[int, int]) -> int:
    return size[0] * size[1]
