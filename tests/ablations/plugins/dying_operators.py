"""An operator that lets its process be killed beside one of its writes, to see what is left then."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from faulty_operators import Sound


class DiesWriting(Sound):
    """kill -9 right before or after (`moment`) the file called `file` is put in its place, while `switch` exists."""

    def __init__(self, *args: Any, file: str = "", moment: str = "", switch: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not Path(switch).exists() or os.replace.__module__ == __name__:
            return
        # The operator is built before anything is written. Configurations are checked in another process.
        replace = os.replace

        def dying(source: Any, target: Any) -> None:
            if Path(target).name == file and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
            if Path(target).name == file:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = dying
