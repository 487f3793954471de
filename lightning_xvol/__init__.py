"""X-volution in PyTorch Lightning: operators, networks that hold them, and runs that train those networks.

Import what you need from the package itself:

| name | what it is |
| --- | --- |
| `build_operator` | makes an operator by its name: `build_operator("xvolution", 64, 64)` |
| `OPERATORS` | the registered operators by name, with their options and defaults |
| `replace_operators` | replaces the 3x3 convolutions of a network by an operator |
| `fuse` | a copy of a trained network whose operators are folded, for inference |
| `fusion_report` | how far the folded network differs from the trained one, and what it saves |
| `AtomicXVolution` | what `fuse` makes of an operator: one dynamic convolution |
| `RunConfig` | the configuration of a run: operator, backbone, data, optimizer, budget, seed |
| `train` | trains a `RunConfig` in a folder and returns its record |

Examples:
    >>> import torch
    >>> from lightning_xvol import build_operator, fuse
    >>> operator = build_operator("xvolution", 16, 32, stride=2)
    >>> operator(torch.randn(1, 16, 9, 7)).shape
    torch.Size([1, 32, 5, 4])
    >>> fused = fuse(operator.eval())

The names load on first use, so that `import lightning_xvol` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_xvol.backbones import replace_operators
    from lightning_xvol.config.registry import OPERATORS
    from lightning_xvol.config.schema import RunConfig
    from lightning_xvol.fusion import AtomicXVolution, fuse, fusion_report
    from lightning_xvol.operators import build_operator
    from lightning_xvol.training.run import train

__all__ = [
    "OPERATORS",
    "AtomicXVolution",
    "RunConfig",
    "build_operator",
    "fuse",
    "fusion_report",
    "replace_operators",
    "train",
]

_HOME = {
    "OPERATORS": "lightning_xvol.config.registry",
    "AtomicXVolution": "lightning_xvol.fusion",
    "RunConfig": "lightning_xvol.config.schema",
    "build_operator": "lightning_xvol.operators",
    "fuse": "lightning_xvol.fusion",
    "fusion_report": "lightning_xvol.fusion",
    "replace_operators": "lightning_xvol.backbones",
    "train": "lightning_xvol.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
