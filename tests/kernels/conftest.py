"""One thread, and `attention_cases` for the tests here and for those on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.threads import one_thread as one_thread

sys.path.insert(0, str(Path(__file__).parent))
