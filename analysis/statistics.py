"""Means, spreads and differences over seeds.

The seed is the unit of replication. A mean comes with the standard deviation (ddof 1) and Student's t interval; one
seed has neither. A difference to the baseline is taken within seeds where both rows have exactly the same seeds, and by
Welch's t interval otherwise. Diverged, failed and missing runs are counted and never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats would take a second to import

CONFIDENCE = 0.95
NAN = math.nan


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, with NaN for what `n` does not allow."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of two means; `method` says where its interval comes from: `paired`, `welch`, or `none`."""

    mean: float
    low: float
    high: float
    method: str


NO_DIFFERENCE = Difference(NAN, NAN, NAN, "none")


def half_width(standard_error: float, degrees: float) -> float:
    """Half the width of Student's t interval."""
    return float(stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * standard_error


def estimate(values: Sequence[float]) -> Estimate:
    n = len(values)
    if n == 0:
        return Estimate(0, NAN, NAN, NAN, NAN)
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(1, mean, NAN, NAN, NAN)
    sd = float(np.std(values, ddof=1))
    half = half_width(sd / math.sqrt(n), n - 1)
    return Estimate(n, mean, sd, mean - half, mean + half)


def difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """`values` minus `baseline`, each a value per seed."""
    if not values or not baseline:
        return NO_DIFFERENCE
    if values.keys() == baseline.keys():
        paired = estimate([values[seed] - baseline[seed] for seed in sorted(values)])
        return Difference(paired.mean, paired.low, paired.high, "paired" if paired.n > 1 else "none")
    ours, theirs = estimate(list(values.values())), estimate(list(baseline.values()))
    mean = ours.mean - theirs.mean
    if min(ours.n, theirs.n) < 2:
        return Difference(mean, NAN, NAN, "none")
    parts = (ours.sd**2 / ours.n, theirs.sd**2 / theirs.n)
    total = sum(parts)
    if total == 0:
        return Difference(mean, mean, mean, "welch")
    degrees = total**2 / (parts[0] ** 2 / (ours.n - 1) + parts[1] ** 2 / (theirs.n - 1))
    half = half_width(math.sqrt(total), degrees)
    return Difference(mean, mean - half, mean + half, "welch")


def seed_values(rows: pd.DataFrame, select: str) -> dict[int, float]:
    """The `select` value (`last` or `best`) of each finished run, by seed."""
    finished = rows[rows["state"] == "finished"]
    return {int(seed): float(value) for seed, value in zip(finished["seed"], finished[select], strict=True)}


def compare(
    frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, row: str, other: str
) -> dict[tuple[Any, ...], Difference]:
    """Row label `row` minus row label `other` wherever both stand at the same `axes`, by the values of the axes."""
    groups = _groups(frame, axes, metric)
    return {
        key[1:]: difference(seed_values(rows, select), seed_values(groups[other, *key[1:]], select))
        for key, rows in groups.items()
        if key[0] == row and (other, *key[1:]) in groups
    }


def summarise(frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, baseline: str | None) -> pd.DataFrame:
    """A row per group in the frame's order.

    Columns: `operator`, `label`, the axes, `metric`, `planned`, `n`, `diverged`, `mean`, `sd`, `ci_low`, `ci_high`,
    `delta`, `delta_low`, `delta_high`, `delta_method`, `params`, `macs`, `wall_seconds` (mean over the finished runs),
    `group_id`, `added_params` (beyond the baseline's). The baseline has no delta.
    """
    groups = _groups(frame, axes, metric)
    summary = []
    for key, rows in groups.items():
        values = seed_values(rows, select)
        mean = estimate(list(values.values()))
        delta = NO_DIFFERENCE
        if key[0] != baseline and (baseline, *key[1:]) in groups:
            delta = difference(values, seed_values(groups[baseline, *key[1:]], select))
        counts = {name: rows[name].dropna() for name in ("params", "macs")}
        summary.append(
            {
                "operator": key[0],
                "label": rows["label"].iloc[0],
                **dict(zip(axes, key[1:], strict=True)),
                "metric": metric,
                "planned": len(rows),
                "n": mean.n,
                "diverged": int((rows["state"] == "diverged").sum()),
                "mean": mean.mean,
                "sd": mean.sd,
                "ci_low": mean.low,
                "ci_high": mean.high,
                "delta": delta.mean,
                "delta_low": delta.low,
                "delta_high": delta.high,
                "delta_method": delta.method,
                **{name: int(count.iloc[0]) if len(count) else pd.NA for name, count in counts.items()},
                "wall_seconds": float(rows.loc[rows["state"] == "finished", "wall_seconds"].mean()),
                "group_id": rows["group_id"].iloc[0],
            }
        )
    table = pd.DataFrame(summary).astype({"params": "Int64", "macs": "Int64"})
    return table.assign(added_params=_added(table, axes, baseline))


def _added(summary: pd.DataFrame, axes: Sequence[str], baseline: str | None) -> pd.Series:
    """Parameters beyond those of the baseline at the same axes; none where either is unknown."""
    places = summary[list(axes)].apply(tuple, axis=1) if axes else pd.Series([()] * len(summary), index=summary.index)
    of_baseline = summary["operator"] == baseline
    base = dict(zip(places[of_baseline], summary.loc[of_baseline, "params"], strict=True))
    return summary["params"] - places.map(lambda place: base.get(place, pd.NA)).astype("Int64")


def _groups(frame: pd.DataFrame, axes: Sequence[str], metric: str) -> dict[tuple[Any, ...], pd.DataFrame]:
    rows = frame[frame["metric"] == metric]
    return {tuple(key): group for key, group in rows.groupby(["operator", *axes], sort=False)}
