"""PSSA and involution at any size. Work and memory grow linearly with the pixels.

`convolutions` has the forms that factor into dilated convolutions. `loops` has the others, tap by tap. All except
`softmax` keep only their arguments for the backward pass and compute the rest again. The code does not look at shapes
while exporting.
"""

from __future__ import annotations

from lightning_xvol.kernels.shifts.convolutions import dense_shift_sum, hadamard, shift_sum
from lightning_xvol.kernels.shifts.loops import dense, dot, involution, softmax

__all__ = ["dense", "dense_shift_sum", "dot", "hadamard", "involution", "shift_sum", "softmax"]
