"""`--metric`: a sweep that shows other metrics than its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.sources.frame import SweepLayout
from lightning_xvol.config.metrics import METRICS
from lightning_xvol.errors import UserError, nearest


def with_metrics(sweep: SweepLayout, frame: pd.DataFrame, names: Sequence[str]) -> tuple[SweepLayout, pd.DataFrame]:
    """`sweep` with only the metrics `names`, and without costs. The first becomes the main metric.

    A run that does not have the first metric counts as missing. Without `names`, both are returned as they are.

    Raises:
        UserError: for a metric that no run has.
    """
    if not names:
        return sweep, frame
    known = list(dict.fromkeys(frame["metric"]))
    for name in names:
        if name not in known:
            raise UserError(
                f"--metric {name}: no run of the sweep {sweep.name!r} has it{nearest(name, known)}; "
                f"metrics: {', '.join(known)}"
            )
    first, *others = names
    own = frame[frame["metric"] == sweep.metric]
    lacking = own[~own["cell_id"].isin(frame.loc[frame["metric"] == first, "cell_id"])]
    state = lacking["state"].where(lacking["state"].isin(["failed", "diverged"]), "missing")
    added = lacking.assign(metric=first, last=float("nan"), best=float("nan"), best_epoch=pd.NA, state=state)
    # The rows of a cell stay together, because tables have the order of the frame.
    whole = pd.concat([frame, added.astype(frame.dtypes.to_dict())]).sort_index(kind="stable").reset_index(drop=True)
    labels = {name: label_of(sweep, name) for name in others}
    label = label_of(sweep, first)
    return replace(sweep, metric=first, metric_label=label, secondary_metrics=labels, cost_rows=()), whole


def label_of(sweep: SweepLayout, name: str) -> str:
    """The name of a metric in tables. A metric that no table shows by default keeps its name in records."""
    labels = {sweep.metric: sweep.metric_label, **sweep.secondary_metrics}
    for metric in METRICS.values():
        for known in (metric, metric.on_validation()):
            labels = {known.name: known.label, **known.secondary_metrics} | labels
    return labels.get(name, name)
