"""Means, spreads and differences over seeds.

The seed is the unit of replication. A mean comes with the standard deviation (ddof 1) and Student's t interval; one
seed has neither. A difference to the baseline is taken within seeds where both rows have exactly the same seeds, and by
Welch's t interval otherwise; on request its interval comes from a bootstrap over the same units. Diverged, failed and
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
    """A difference of two means; `method` says how it was taken: `paired`, `welch`, or `none` where n allows neither.

    `error` is its standard error with so many `degrees` of freedom, `n` the pairs or the smaller of the two counts.
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
        """Two-sided, of no difference (t test)."""
        return min(1.0, 2 * min(self.below(0.0), self.above(0.0))) if self.method != "none" else NAN

    def below(self, bound: float) -> float:
        """p of the hypothesis that the difference is at most `bound`, against its being larger."""
        return self._tail(bound - self.mean)

    def above(self, bound: float) -> float:
        """p of the hypothesis that the difference is at least `bound`, against its being smaller."""
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
    """`values` minus `baseline`, each a value per seed. `interval`: `t` or `bootstrap`."""
    return contrast([(1.0, values), (-1.0, baseline)], interval)


def contrast(terms: Sequence[tuple[float, Mapping[int, float]]], interval: str = "t") -> Difference:
    """A sum of weighted means, each weight with its values per seed: within seeds where all have the same ones.

    Otherwise its interval is Welch's, with Satterthwaite's degrees of freedom.
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
    """The sum of the means of `parts`."""
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
    """The percentile interval of the sum of the means of `samples`, by resampling each.

    The generator is seeded, so that the same values give the same interval. With few seeds it is too narrow.
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
    """p of two one-sided t tests (Schuirmann 1987): small where the difference lies within +-`margin`."""
    return max(found.below(-margin), found.above(margin)) if found.method != "none" else NAN


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjustment for as many comparisons as there are p-values; NaN is no comparison and stays."""
    adjusted = list(p_values)
    order = sorted((place for place, p in enumerate(p_values) if not math.isnan(p)), key=p_values.__getitem__)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def seeds_to_resolve(found: Difference, distance: float, confidence: float = CONFIDENCE) -> int | None:
    """How many more seeds a row would bring half the interval below `distance`, if mean and spread stay.

    None where no spread is known, or where more than `MOST_SEEDS` would be needed.
    """
    if found.method == "none" or distance <= 0:
        return None
    spread = found.error * math.sqrt(found.n)  # of one seed
    for n in range(found.n, MOST_SEEDS + 1):
        degrees = found.degrees * (n - 1) / (found.n - 1)
        if half_width(spread / math.sqrt(n), degrees, confidence) < distance:
            return n - found.n
    return None


def seed_values(rows: pd.DataFrame, select: str) -> dict[int, float]:
    """The `select` value (`last` or `best`) of each finished run, by seed."""
    finished = rows[rows["state"] == "finished"]
    return {int(seed): float(value) for seed, value in zip(finished["seed"], finished[select], strict=True)}


def compare(
    frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, row: str, other: str, interval: str = "t"
) -> dict[tuple[Any, ...], Difference]:
    """Row label `row` minus row label `other` wherever both stand at the same `axes`, by the values of the axes."""
    groups = _groups(frame, axes, metric)
    return {
        key[1:]: difference(seed_values(rows, select), seed_values(groups[other, *key[1:]], select), interval)
        for key, rows in groups.items()
        if key[0] == row and (other, *key[1:]) in groups
    }


def summarise(
    frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, baseline: str | None, interval: str = "t"
) -> pd.DataFrame:
    """A row per group in the frame's order.

    Columns: `operator`, `label`, the axes, `metric`, `planned`, `n`, `diverged`, `mean`, `sd`, `ci_low`, `ci_high`,
    `delta`, `delta_low`, `delta_high`, `delta_method`, `delta_p`, `params`, `macs`, `wall_seconds` (mean over the
    finished runs), `group_id`, `added_params` (beyond the baseline's). The baseline has no delta.
    """
    groups = _groups(frame, axes, metric)
    summary = []
    for key, rows in groups.items():
        values = seed_values(rows, select)
        mean = estimate(list(values.values()))
        delta = NO_DIFFERENCE
        if key[0] != baseline and (baseline, *key[1:]) in groups:
            delta = difference(values, seed_values(groups[baseline, *key[1:]], select), interval)
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
                "delta_p": delta.p,
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
