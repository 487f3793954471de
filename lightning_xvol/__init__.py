"""X-volution in PyTorch Lightning: operators, backbones and tracked ablations.

The names below load on first use, so that importing the package, as every command line does, does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_xvol.backbones import replace_operators
    from lightning_xvol.fusion import AtomicXVolution, fuse, fusion_report
    from lightning_xvol.operators import OPERATORS, build_operator

__all__ = ["OPERATORS", "AtomicXVolution", "build_operator", "fuse", "fusion_report", "replace_operators"]

_HOME = {
    "OPERATORS": "lightning_xvol.config.registry",
    "AtomicXVolution": "lightning_xvol.fusion",
    "build_operator": "lightning_xvol.operators",
    "fuse": "lightning_xvol.fusion",
    "fusion_report": "lightning_xvol.fusion",
    "replace_operators": "lightning_xvol.backbones",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
