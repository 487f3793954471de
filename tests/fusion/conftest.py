"""One thread, and `fusion_tools` for the tests here."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.threads import one_thread as one_thread

sys.path.insert(0, str(Path(__file__).parent))
