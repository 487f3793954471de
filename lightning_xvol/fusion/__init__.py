"""Fusion: a trained operator becomes one dynamic convolution (paper 3.3, Eq. 8-9).

A trained X-volution folds into `y_0 = sum_i (w^A_i(x_0, x_i) + w^c_i) x_i + b`, without batch norms and branches. The
abstract calls the result a standard convolution, but it is no `nn.Conv2d`: w^A depends on the input.

* `folds.py`: one small function per operator that says where each of its tensors goes.
* `parts.py`: the float64 pieces that these functions return.
* `static.py`, `term.py` and the `*_term.py`: the two halves of the sum, w^c and w^A.
* `atomic.py`: the module that computes the sum.
* `walk.py`: `fuse`, which finds the operators of a model and replaces them.
* `report.py`, `weights.py`, `export.py`: what fusion changed, files of fused weights, ONNX and `torch.export`.
"""

from lightning_xvol.fusion.atomic import AtomicXVolution
from lightning_xvol.fusion.report import FusionReport, fusion_report
from lightning_xvol.fusion.walk import fuse

__all__ = ["AtomicXVolution", "FusionReport", "fuse", "fusion_report"]
