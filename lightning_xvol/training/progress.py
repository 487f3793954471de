"""The progress of a run as lines, where no terminal can show a bar."""

from __future__ import annotations

import sys
import time

from lightning_xvol.commandline import Reached

LINE_SECONDS = 15.0


class Lines:
    """Prints a line on stderr at the first step, at the last one, and every `LINE_SECONDS` between them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.printed: float | None = None

    def __call__(self, reached: Reached) -> None:
        now = time.monotonic()
        if self.printed is None or reached.step == reached.total or now - self.printed >= LINE_SECONDS:
            self.printed = now
            known = str(reached)
            text = f"{self.name}: step {reached.step} of {reached.total}{': ' if known else ''}{known}"
            print(text, file=sys.stderr, flush=True)
