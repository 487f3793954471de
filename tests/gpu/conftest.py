"""`attention_cases`, what the Triton kernels are held to in the interpreter too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))
