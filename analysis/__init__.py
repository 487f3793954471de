"""From finished runs to data frames, tables and figures.

    import analysis

    runs = analysis.load_runs("runs")                             # a pandas.DataFrame
    sweep = analysis.load_sweep("runs", "kernel_size")            # one sweep: .frame, .summary, .layout
    print(analysis.render_table(sweep, "latex"))
    ax = analysis.draw_figure(sweep, size=(3.5, 2.5))             # inches; or draw_figure(sweep, ax=ax)
    ax.figure.savefig("figure.pdf")
    compared = analysis.load_comparison(["mine", "yours"], "kernel_size")     # a comparison is drawn like a sweep
    analysis.write_report("runs", "report.html")

A source is the `--out` folder of a sweep, an archive of one (`results/<recipe>.jsonl.gz`, which
`python -m analysis archive` writes), a folder of W&B offline runs, or a project on a W&B server,
`"wandb:ENTITY/PROJECT"`. Several sources are merged by the ids of their runs. A mistake raises
`lightning_xvol.errors.UserError`, and a file that cannot be read whole gives a warning.

The columns of `load_runs`, which has a row per sweep, run and metric:

    sweep, recipe         the sweep and the recipe that it ran on
    operator, label       the row of the sweep's table, and its name there
    <axis>, ...           a column per axis of a sweep (`kernel_size`, ...), missing in sweeps without this axis
    seed                  runs that differ in their seed alone share a group
    cell_id, group_id     fingerprints of the configuration with and without its seed
    state                 finished, diverged, failed or missing
    metric                the metric, for example `top1`; `val_top1` is that of the validation split
    last, best            its value with the last weights, and with those of the best epoch; shares are in percent
    best_epoch            that epoch; with a test split, the validation split chooses it
    params, macs          parameters, and multiply-adds of one image
    wall_seconds          training and evaluation
    cpu_seconds           the same in CPU time; missing in old records
    torch, device, commit where it was computed, and by which version of the code
    error                 why a failed run failed
    images                the number of test images behind the metric, missing where it is not known

Each planned run has at least the row of its sweep's own metric; the values of a run without a result are missing.
Several sweeps may share a run, which then has rows in each of them:
`runs.drop_duplicates(["cell_id", "metric"])` counts every run once. Runs of `python -m lightning_xvol fit` belong to no
sweep and are left out.

`load_sweep(...).frame` has the same columns without `sweep` and `recipe`. The columns of `.summary` are listed at
`analysis.sweep.summary.summarise`.

Names load on first use: importing the package loads neither pandas nor matplotlib. It never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.render import draw_figure, load_comparison, load_sweep, render_table
    from analysis.report.page import write_report
    from analysis.sources.collection import load_runs

__all__ = ["draw_figure", "load_comparison", "load_runs", "load_sweep", "render_table", "write_report"]

_HOME = {
    "draw_figure": "analysis.render",
    "load_comparison": "analysis.render",
    "load_runs": "analysis.sources.collection",
    "load_sweep": "analysis.render",
    "render_table": "analysis.render",
    "write_report": "analysis.report.page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
