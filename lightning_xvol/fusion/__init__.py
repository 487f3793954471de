"""Fusion: every operator as the one dynamic convolution that it is once training is over (paper 3.3, Eq. 8-9).

A trained X-volution folds into `y_0 = sum_i (w^A_i(x_0, x_i) + w^c_i) x_i + b`: batch norms and branches are gone. It
does not become an `nn.Conv2d`, as the abstract has it: w^A depends on the input. `folds.py` has one small function per
operator that says what goes where, `parts.py` the float64 pieces that they return, `atomic.py` the module that computes
the sum, `walk.py` the search through a model.
"""

from lightning_xvol.fusion.atomic import AtomicXVolution
from lightning_xvol.fusion.report import FusionReport, fusion_report
from lightning_xvol.fusion.walk import fuse

__all__ = ["AtomicXVolution", "FusionReport", "fuse", "fusion_report"]
