"""Sweeps: experiments of many runs, tracked and resumable.

    from ablations import SWEEPS, run

`SWEEPS` maps the name of each sweep to its `Sweep`: rows, axes, baseline and controls. `run` runs one from Python, as
`python -m ablations.<name>` does from a shell, and returns a report:

    report = run("kernel_size", recipe="match_small", seeds=3, jobs=2, out="runs")

Both load on first use, so that importing the package loads nothing heavy. A module of this package with a `SWEEP` is a
sweep; docs/ablations.md says how to add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ablations.engine.runner import run
    from ablations.engine.sweep import Sweep

    SWEEPS: Mapping[str, Sweep]

__all__ = ["SWEEPS", "run"]


def __getattr__(name: str) -> Any:
    if name == "SWEEPS":
        from ablations.engine.catalogue import sweeps

        return sweeps()
    if name == "run":
        from ablations.engine.runner import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
