"""`attention_cases`, which the interpreter's tests of the Triton kernels use too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))
