"""Means, spreads and differences over seeds.

The seed is the unit of replication. A mean comes with the standard deviation (ddof 1) and Student's t interval; a
single seed has neither. A difference to the baseline is paired by seed where both rows have exactly the same seeds.
Otherwise it has Welch's t interval. On request a bootstrap over the same units gives the interval. Diverged, failed and
missing runs are counted and never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # Student's t and its quantile; scipy.stats would take a second to import

CONFIDENCE = 0.95
RESAMPLES = 10_000
BOOTSTRAP_SEED = 0
MOST_SEEDS = 1000
NAN = math.nan

Group = Mapping[str, Sequence[Any]]
"""The runs of one group: the values of each column of the frame."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds. A value is NaN if there are too few seeds for it."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of means, with its 95 % interval.

    Attributes:
        mean: The difference.
        low, high: The bounds of its interval.
        method: How it was computed: `paired`, `welch`, or `none` where there are too few seeds for an interval.
        error: Its standard error.
        degrees: The degrees of freedom of `error`.
        n: The number of pairs, or the smallest number of seeds.
    """

    mean: float
    low: float
    high: float
    method: str
    error: float = NAN
    degrees: float = NAN
    n: int = 0

    @property
    def p(self) -> float:
        """The two-sided p of a t test of no difference."""
        return min(1.0, 2 * min(self.below(0.0), self.above(0.0))) if self.method != "none" else NAN

    def below(self, bound: float) -> float:
        """p of the hypothesis that the difference is at most `bound`; the alternative is that it is larger."""
        return self._tail(bound - self.mean)

    def above(self, bound: float) -> float:
        """p of the hypothesis that the difference is at least `bound`; the alternative is that it is smaller."""
        return self._tail(self.mean - bound)

    def _tail(self, distance: float) -> float:
        if self.error == 0:
            return 0.5 if distance == 0 else float(distance > 0)
        return float(stdtr(self.degrees, distance / self.error))


NO_DIFFERENCE = Difference(NAN, NAN, NAN, "none")


def half_width(standard_error: float, degrees: float, confidence: float = CONFIDENCE) -> float:
    """Half the width of Student's t interval."""
    return float(stdtrit(degrees, 0.5 + confidence / 2)) * standard_error


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of `values`, one value per seed."""
    n = len(values)
    if n == 0:
        return Estimate(0, NAN, NAN, NAN, NAN)
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(1, mean, NAN, NAN, NAN)
    sd = float(np.std(values, ddof=1))
    half = half_width(sd / math.sqrt(n), n - 1)
    return Estimate(n, mean, sd, mean - half, mean + half)


def difference(values: Mapping[int, float], baseline: Mapping[int, float], interval: str = "t") -> Difference:
    """`values` minus `baseline`, which both map a seed to its value. `interval` is `t` or `bootstrap`."""
    return contrast([(1.0, values), (-1.0, baseline)], interval)


def contrast(terms: Sequence[tuple[float, Mapping[int, float]]], interval: str = "t") -> Difference:
    """A weighted sum of means; each of `terms` is a weight and the values by seed.

    It is paired by seed where all terms have the same seeds. Otherwise its interval is Welch's, with Satterthwaite's
    degrees of freedom.
    """
    if not all(values for _, values in terms):
        return NO_DIFFERENCE
    seeds = sorted(terms[0][1])
    if all(sorted(values) == seeds for _, values in terms):
        samples = [[math.fsum(weight * values[seed] for weight, values in terms) for seed in seeds]]
        found = _paired(samples[0])
    else:
        samples = [[weight * values[seed] for seed in sorted(values)] for weight, values in terms]
        found = _welch([estimate(sample) for sample in samples])
    if interval == "bootstrap" and found.method != "none":
        low, high = bootstrap(*samples)
        return replace(found, low=low, high=high)
    return found


def _paired(differences: Sequence[float]) -> Difference:
    found = estimate(differences)
    if found.n < 2:
        return Difference(found.mean, NAN, NAN, "none", n=found.n)
    return Difference(found.mean, found.low, found.high, "paired", found.sd / math.sqrt(found.n), found.n - 1, found.n)


def _welch(parts: Sequence[Estimate]) -> Difference:
    """The sum of the means of `parts`, whose seeds differ."""
    mean, n = math.fsum(part.mean for part in parts), min(part.n for part in parts)
    if n < 2:
        return Difference(mean, NAN, NAN, "none", n=n)
    variances = [part.sd**2 / part.n for part in parts]
    total = sum(variances)
    if total == 0:
        return Difference(mean, mean, mean, "welch", 0.0, sum(part.n - 1 for part in parts), n)
    degrees = total**2 / sum(variance**2 / (part.n - 1) for variance, part in zip(variances, parts, strict=True))
    half = half_width(math.sqrt(total), degrees)
    return Difference(mean, mean - half, mean + half, "welch", math.sqrt(total), degrees, n)


def bootstrap(*samples: Sequence[float]) -> tuple[float, float]:
    """The percentile interval of the sum of the means of `samples`; each sample is resampled by itself.

    The generator is seeded, so that the same values give the same interval. With few seeds the interval is too narrow.
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    means = sum(
        np.asarray(sample)[generator.integers(0, len(sample), (RESAMPLES, len(sample)))].mean(axis=-1)
        for sample in samples
    )
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def equivalence(found: Difference, margin: float) -> float:
    """p of two one-sided t tests (Schuirmann 1987); it is small where the difference lies within +-`margin`."""
    return max(found.below(-margin), found.above(margin)) if found.method != "none" else NAN


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's (1979) adjustment for their number; a NaN is no comparison and stays NaN."""
    adjusted = list(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=p_values.__getitem__)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def seeds_to_resolve(found: Difference, distance: float, confidence: float = CONFIDENCE) -> int | None:
    """The number of further seeds per row that brings half the interval below `distance`, if mean and spread stay.

    None where the spread is unknown, or where the row would need more than `MOST_SEEDS`.
    """
    if found.method == "none" or distance <= 0:
        return None
    spread = found.error * math.sqrt(found.n)  # the standard deviation of one seed's difference
    for n in range(found.n, MOST_SEEDS + 1):
        degrees = found.degrees * (n - 1) / (found.n - 1)
        if half_width(spread / math.sqrt(n), degrees, confidence) < distance:
            return n - found.n
    return None


def seed_values(rows: Group, select: str) -> dict[int, float]:
    """Maps a seed to the value of its finished run; `select` is `last` or `best`."""
    runs = zip(rows["seed"], rows["state"], rows[select], strict=True)
    return {int(seed): float(value) for seed, state, value in runs if state == "finished"}


def compare(
    frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, row: str, other: str, interval: str = "t"
) -> dict[tuple[Any, ...], Difference]:
    """The row `row` minus the row `other`, by the values of `axes` at which there are both."""
    groups = _groups(frame, axes, metric)
    return {
        key[1:]: difference(seed_values(rows, select), seed_values(groups[other, *key[1:]], select), interval)
        for key, rows in groups.items()
        if key[0] == row and (other, *key[1:]) in groups
    }


def summarise(
    frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, baseline: str | None, interval: str = "t"
) -> pd.DataFrame:
    """A row per group, in the order of `frame`. A group is a row label at values of the axes.

    Its columns:

    - `operator`, `label`, the axes, `metric`, `group_id`;
    - `planned`, `n`, `diverged`: the number of all, of the finished and of the diverged runs;
    - `mean`, `sd`, `ci_low`, `ci_high`: over the finished runs, with the 95 % interval of the mean;
    - `delta`, `delta_low`, `delta_high`, `delta_method`, `delta_p`: the difference to the baseline at the same axes,
      its 95 % interval, how it was computed (`Difference.method`) and its p; the baseline has none;
    - `params`, `macs`, `wall_seconds`: the costs of a run, the seconds as the mean over the finished runs;
    - `added_params`: the parameters beyond those of the baseline.
    """
    groups = _groups(frame, axes, metric)
    summary = []
    for key, rows in groups.items():
        values = seed_values(rows, select)
        mean = estimate(list(values.values()))
        delta = NO_DIFFERENCE
        if key[0] != baseline and (baseline, *key[1:]) in groups:
            delta = difference(values, seed_values(groups[baseline, *key[1:]], select), interval)
        states = rows["state"]
        counts = {name: [each for each in rows[name] if not pd.isna(each)] for name in ("params", "macs")}
        timed = zip(rows["wall_seconds"], states, strict=True)
        seconds = [each for each, state in timed if state == "finished" and not pd.isna(each)]
        summary.append(
            {
                "operator": key[0],
                "label": rows["label"][0],
                **dict(zip(axes, key[1:], strict=True)),
                "metric": metric,
                "planned": len(states),
                "n": mean.n,
                "diverged": states.count("diverged"),
                "mean": mean.mean,
                "sd": mean.sd,
                "ci_low": mean.low,
                "ci_high": mean.high,
                "delta": delta.mean,
                "delta_low": delta.low,
                "delta_high": delta.high,
                "delta_method": delta.method,
                "delta_p": delta.p,
                **{name: int(count[0]) if count else pd.NA for name, count in counts.items()},
                "wall_seconds": float(np.mean(seconds)) if seconds else NAN,
                "group_id": rows["group_id"][0],
            }
        )
    table = pd.DataFrame(summary).astype({"params": "Int64", "macs": "Int64"})
    return table.assign(added_params=_added(table, axes, baseline))


def _added(summary: pd.DataFrame, axes: Sequence[str], baseline: str | None) -> pd.Series:
    """Parameters beyond those of the baseline at the same axes; missing where one of the two is unknown."""
    keys = summary[list(axes)].apply(tuple, axis=1) if axes else pd.Series([()] * len(summary), index=summary.index)
    of_baseline = summary["operator"] == baseline
    base = dict(zip(keys[of_baseline], summary.loc[of_baseline, "params"], strict=True))
    return summary["params"] - keys.map(lambda key: base.get(key, pd.NA)).astype("Int64")


def _groups(frame: pd.DataFrame, axes: Sequence[str], metric: str) -> dict[tuple[Any, ...], Group]:
    """The runs of each group, by row label and values of the axes. A frame per group would take ten times as long."""
    rows = frame[frame["metric"] == metric]
    columns = {str(name): rows[name].tolist() for name in rows.columns}
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(zip(*(columns[name] for name in ("operator", *axes)), strict=True)):
        places.setdefault(key, []).append(place)
    return {key: {name: [values[at] for at in own] for name, values in columns.items()} for key, own in places.items()}
