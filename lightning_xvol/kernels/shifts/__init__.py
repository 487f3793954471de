"""PSSA and involution at any size: work and memory grow with the pixels.

`convolutions` has what factors into dilated convolutions, `loops` what does not and goes tap by tap. All but `softmax`
keep nothing for backward but their arguments and compute the rest again. While exporting no shape is looked at.
"""

from __future__ import annotations

from lightning_xvol.kernels.shifts.convolutions import dense_shift_sum, hadamard, shift_sum
from lightning_xvol.kernels.shifts.loops import dense, dot, involution, softmax

__all__ = ["dense", "dense_shift_sum", "dot", "hadamard", "involution", "shift_sum", "softmax"]
