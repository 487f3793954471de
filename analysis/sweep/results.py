"""One sweep with its runs and their statistics: what tables, footnotes and figures are made from."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import pandas as pd

from analysis.sources.chosen_metrics import with_metrics
from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout
from analysis.sources.samples import STATISTICS
from analysis.statistics import NAN, Prior
from analysis.sweep import display, product_use
from analysis.sweep.summary import Measured, describe, pairs_of, summarise
from lightning_xvol.config.metrics import METRICS


@dataclass(frozen=True)
class SweepResults:
    """One sweep with its results; `analysis.load_sweep` makes it.

    Attributes:
        layout: The sweep itself: its name, title, recipe, metric, axes and row labels.
        frame: A row per run and metric.
        select: Which evaluation of a run counts, `last` or `best`.
        sources: Where the runs come from.
        interval: How intervals are computed: `moderated` or `t`.
        only: The rows and columns that are shown, as values of `operator` or of an axis. The statistics stay those of
            the whole table.
        metrics: The metrics that are shown instead of the sweep's own.
    """

    layout: SweepLayout
    frame: pd.DataFrame
    select: str
    sources: Collection
    interval: str = "moderated"
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metrics: Sequence[str] = ()

    @classmethod
    def of(
        cls, sources: Collection, layout: SweepLayout, frame: pd.DataFrame, select: str, interval: str = "moderated",
        only: Mapping[str, Sequence[str]] | None = None, metrics: Sequence[str] = (),
    ) -> Self:  # fmt: skip
        """The results of the sweep `layout` with the runs of `frame`.

        Raises:
            UserError: for a metric that no run has.
        """
        layout, frame = with_metrics(layout, frame, metrics)
        return cls(layout, frame, select, sources, interval, only or {}, metrics)

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """The rows of `whole` that are shown.

        Raises:
            UserError: where `only` names what the table does not have, or leaves nothing.
        """
        return display.shown(self.whole, self.layout.axes, self.only)

    @functools.cached_property
    def visible(self) -> pd.DataFrame:
        """The groups of `summary` in the rows and columns that tables and figures show (`display.with_results`)."""
        return display.with_results(self.summary, ("row", self.layout.column_axis))

    @functools.cached_property
    def whole(self) -> pd.DataFrame:
        """A row per group for the sweep's metric (`analysis.sweep.summary.summarise`).

        It has a column `row` beside: the name of the group in table and legend. That is the label of the operator,
        followed by the axes that do not run across.
        """
        return self._summary(self.layout.metric)

    @functools.cached_property
    def measured(self) -> Measured:
        """The statistics of the sweep's metric."""
        return self._measured(self.layout.metric)

    @functools.cached_property
    def others(self) -> dict[str, pd.DataFrame]:
        """Metric to its summary, for all other metrics of the table and its CSV that a run has recorded."""
        probes = [product_use.metric_of(self.layout.metric, name) for name in product_use.PROBES]
        recorded = set(self.frame["metric"])
        only_in_csv = [
            name for metric in METRICS.values() if metric.name == self.layout.metric for name in metric.only_in_csv
        ]
        names = [name for name in (*self.layout.secondary_metrics, *only_in_csv, *probes) if name in recorded]
        found = {name: self._summary(name) for name in names}
        shown = set(self.summary["group_id"])
        return {name: summary[summary["group_id"].isin(shown)] for name, summary in found.items()}

    @property
    def prior(self) -> Prior | None:
        """What the variances of the table have in common; None without one."""
        return self.measured.prior

    def diagnostic(self) -> str:
        """The prior in words."""
        if self.prior is None:
            return "no variance prior: fewer than five rows with two runs, or --interval t"
        return describe(self.prior, self.measured, self.layout.metric)

    def _measured(self, metric: str) -> Measured:
        sweep = self.layout
        pairs = pairs_of(list(sweep.labels), sweep.baseline, sweep.controls)
        return Measured(self.frame, sweep.axes, metric, self.select, pairs, self.interval)

    def _summary(self, metric: str) -> pd.DataFrame:
        sweep, own = self.layout, metric == self.layout.metric
        measured = self.measured if own else self._measured(metric)
        probes = [product_use.metric_of(sweep.metric, name) for name in product_use.PROBES]
        intact = self.measured if metric in probes else None
        summary = summarise(measured, sweep.axes, metric, sweep.baseline, intact)
        if not own:
            summary = self._completed(summary, metric, fill=metric not in probes)
        return summary.assign(row=_names(summary, sweep))

    def _completed(self, summary: pd.DataFrame, metric: str, fill: bool) -> pd.DataFrame:
        """The summary of a further metric, which a run without a record lacks: counts of all runs, and all groups."""
        counts = self.whole.drop_duplicates("group_id").set_index("group_id")
        for name in ("planned", "diverged"):
            summary[name] = summary["group_id"].map(counts[name])
        lacking = self.whole[~self.whole["group_id"].isin(summary["group_id"])]
        if not fill or lacking.empty:
            return summary
        statistics = dict.fromkeys(STATISTICS, NAN) | {"n": 0, "delta_method": "none", "resolved": pd.NA}
        empty = lacking.drop(columns="row").assign(metric=metric, runs=[()] * len(lacking), **statistics)
        both = pd.concat([summary, empty.astype(summary.dtypes.to_dict())])
        places = ["operator", *self.layout.axes]
        return self.whole[places].merge(both, "left", places)[summary.columns]


def _names(summary: pd.DataFrame, sweep: SweepLayout) -> Sequence[str]:
    others = [axis for axis in sweep.axes if axis != sweep.column_axis]
    return [
        ", ".join([group["label"], *(sweep.place(axis, group[axis]) for axis in others)])
        for group in summary.to_dict("records")
    ]
