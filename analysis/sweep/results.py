"""One sweep with its runs and their means: what tables, footnotes and figures are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import pandas as pd

from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout
from analysis.statistics import holm, summarise
from analysis.sweep import product_use


@dataclass(frozen=True)
class SweepResults:
    """One sweep with its results; `analysis.load_sweep` makes it.

    Attributes:
        layout: The sweep itself: its name, title, recipe, metric, axes and row labels.
        frame: A row per run and metric.
        summary: A row per group (a row label at values of the axes): see `summary_of`.
        select: Which evaluation of a run counts, `last` or `best`.
        sources: Where the runs come from.
    """

    layout: SweepLayout
    frame: pd.DataFrame
    summary: pd.DataFrame
    select: str
    sources: Collection

    @classmethod
    def of(
        cls, sources: Collection, layout: SweepLayout, frame: pd.DataFrame, select: str, interval: str = "t",
        adjust: bool = False,
    ) -> Self:  # fmt: skip
        """The results of the sweep `layout` with the runs of `frame`; the rest is as in `summary_of`."""
        return cls(layout, frame, summary_of(layout, frame, select, interval, adjust), select, sources)


def summary_of(
    sweep: SweepLayout, frame: pd.DataFrame, select: str, interval: str = "t", adjust: bool = False
) -> pd.DataFrame:
    """`statistics.summarise` for the sweep's metric, with a column `row`: the name of the group in table and legend.

    That name is the label of the operator, followed by the axes that do not run across.

    Args:
        sweep: The sweep.
        frame: Its runs.
        select: Which evaluation of a run counts: `last` or `best`.
        interval: How the interval of a difference is computed: `t` or `bootstrap`.
        adjust: Whether Holm's method adjusts the p-values for all differences of the table.
    """
    summary = summarise(frame, sweep.axes, sweep.metric, select, sweep.baseline, interval)
    if adjust:
        summary["delta_p"] = holm(summary["delta_p"].tolist())
    summary.attrs |= {"interval": interval, "adjusted": adjust}
    others = [axis for axis in sweep.axes if axis != sweep.column_axis]
    rows = [
        ", ".join([group["label"], *(f"{sweep.axis_label(axis)} = {group[axis]}" for axis in others)])
        for group in summary.to_dict("records")
    ]
    return product_use.with_product_use(sweep, frame, summary.assign(row=rows), select)
