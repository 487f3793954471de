"""The statistics of a sweep's table: the functions of `analysis.statistics`, applied to the frame of its runs.

The prior of the variances and Holm's family are always those of the whole table and one metric. The family holds each
difference that the table tells once: of a row to the baseline, and of a row to its control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import numbers
from analysis.sources.samples import (
    NOT_COMPARED,
    Comparison,
    Group,
    estimates_of,
    groups_by,
    images_of,
    seed_values,
    statistics_of,
)  # fmt: skip
from analysis.statistics import NAN, UNBOUNDED, Difference, Estimate, Prior, contrast, holm, paired, scale_of

Place = tuple[Any, ...]
"""A row label, and the values of the axes."""
Pair = tuple[str, str]
"""Two row labels, or two groups."""


class Measured:
    """One metric of a table.

    Attributes:
        places: Where the table shows which group.
        rows: The rows of the frame at each place.
        samples: The values of the finished runs of each group by seed.
        estimates: The estimate of each group.
        prior: What the variances of all groups have in common; None without one.
        pairs: The groups that the table compares, which are Holm's family.
    """

    def __init__(
        self, frame: pd.DataFrame, axes: Sequence[str], metric: str, select: str, pairs: Sequence[Pair] = (),
        interval: str = "moderated",
    ) -> None:  # fmt: skip
        own = frame[frame["metric"] == metric]
        self.rows: dict[Place, Group] = groups_by(own, ["operator", *axes])
        self.places = {place: str(rows["group_id"][0]) for place, rows in self.rows.items()}
        # A group that stands in several places of a table counts once.
        groups = {str(group): rows for (group,), rows in groups_by(own, ["group_id"]).items()}
        self.samples = {group: seed_values(rows, select) for group, rows in groups.items()}
        images = {group: images_of(rows) for group, rows in groups.items()}
        values = {group: sample.values() for group, sample in self.samples.items()}
        self.estimates, self.prior = estimates_of(values, images, metric, interval)
        self.pairs = self._compared(pairs)
        p_values = holm([self._difference(*pair).p for pair in self.pairs])
        self._adjusted = {frozenset(pair): p for pair, p in zip(self.pairs, p_values, strict=True)}

    def estimate(self, place: Place) -> Estimate:
        return self.estimates[self.places[place]]

    def compare(self, place: Place, other: str) -> Comparison:
        """The group at `place` minus that of the row `other` at the same values of the axes."""
        there = (other, *place[1:])
        if place[0] == other or there not in self.places:
            return NOT_COMPARED
        groups = self.places[place], self.places[there]
        return Comparison(self._difference(*groups), self._adjusted.get(frozenset(groups), NAN))

    def compare_also(self, wanted: Sequence[tuple[Place, Place]]) -> list[Comparison]:
        """The first of each two places minus the second. Holm's family is that of the table and these differences."""
        own = [(self.places[place], self.places[other]) for place, other in wanted]
        known = {frozenset(pair): pair for pair in (*self.pairs, *own)}
        adjusted = dict(zip(known, holm([self._difference(*pair).p for pair in known.values()]), strict=True))
        return [Comparison(self._difference(*pair), adjusted[frozenset(pair)]) for pair in own]

    def _difference(self, group: str, other: str) -> Difference:
        return contrast([(1.0, self.estimates[group]), (-1.0, self.estimates[other])])

    def _compared(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The groups at the places of `pairs` of rows, each two of them once."""
        found: dict[frozenset[str], Pair] = {}
        for row, other in pairs:
            for place, group in self.places.items():
                there = self.places.get((other, *place[1:]))
                if place[0] == row != other and there is not None:
                    found.setdefault(frozenset((group, there)), (group, there))
        return list(found.values())

    @property
    def comparisons(self) -> int:
        """The number of differences in Holm's family."""
        return sum(p == p for p in self._adjusted.values())


def pairs_of(labels: Sequence[str], baseline: str | None, controls: Mapping[str, Sequence[str]]) -> list[Pair]:
    """What a table compares: every row with the baseline, and rows with their controls."""
    found = [(row, baseline) for row in labels if baseline is not None and row != baseline]
    return found + [(row, control) for row, others in controls.items() for control in others]


def summarise(
    measured: Measured, axes: Sequence[str], metric: str, baseline: str | None, intact: Measured | None = None
) -> pd.DataFrame:
    """A row per group, in the order of the table. A group is a row label at values of the axes.

    Its columns:

    - `operator`, `label`, the axes, `metric`, `group_id`;
    - `planned`, `n`, `diverged`: the number of all, of the finished and of the diverged runs;
    - `runs`: the values of the finished runs; `mean`, `sd`, `lowest`, `highest`: their mean, own standard deviation
      (ddof 1) and extremes;
    - `sd_used`, `df`: the deviation that intervals and differences use, and its degrees of freedom;
    - `ci_low`, `ci_high`: the 95 % interval of the mean;
    - `delta`, `delta_low`, `delta_high`, `delta_df`, `delta_method`: the difference to the baseline at the same axes,
      its 95 % interval, and how it was computed (`Difference.method`); the baseline has none;
    - `delta_p`, `delta_p_holm`, `resolved`: its p, p after Holm, and whether it is below 5 % with three runs on both
      sides;
    - `params`, `macs`, `wall_seconds`, `cpu_seconds`: the costs of a run, the seconds as the mean over the finished
      runs. `cpu_seconds` is missing where one of them was not on a CPU or did not record it;
    - `added_params`: the parameters beyond those of the baseline.

    With `intact`, another evaluation of the same weights, the difference is to it, and paired by seed.
    """
    evaluations = {} if intact is None else _paired(measured, intact)
    summary = []
    for place, rows in measured.rows.items():
        item, group = measured.estimate(place), measured.places[place]
        compared = NOT_COMPARED
        if intact is not None:
            compared = evaluations[group]
        elif baseline is not None:
            compared = measured.compare(place, baseline)
        states = rows["state"]
        counts = {name: [each for each in rows[name] if not pd.isna(each)] for name in ("params", "macs")}
        summary.append(
            {
                "operator": place[0],
                "label": rows["label"][0],
                **dict(zip(axes, place[1:], strict=True)),
                "metric": metric,
                "planned": len(states),
                "diverged": states.count("diverged"),
                "runs": tuple(measured.samples[group].values()),
                **statistics_of(item, compared),
                **{name: int(count[0]) if count else pd.NA for name, count in counts.items()},
                "wall_seconds": _mean([each for each in _finished(rows, "wall_seconds") if not pd.isna(each)]),
                "cpu_seconds": _mean(_cpu_seconds(rows)),
                "group_id": group,
            }
        )
    table = pd.DataFrame(summary).astype({"params": "Int64", "macs": "Int64", "resolved": "boolean"})
    return table.assign(added_params=_added(table, axes, baseline))


def _finished(rows: Group, column: str) -> list[Any]:
    """The values of a column for the finished runs of a group."""
    return [each for each, state in zip(rows[column], rows["state"], strict=True) if state == "finished"]


def _cpu_seconds(rows: Group) -> list[float]:
    """The CPU time of the finished runs of a group; nothing where one of them was on another device or has none."""
    seconds = _finished(rows, "cpu_seconds")
    on_cpu = all(str(device).startswith("cpu") for device in _finished(rows, "device"))
    return [] if not on_cpu or any(map(pd.isna, seconds)) else seconds


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else NAN


def _paired(measured: Measured, intact: Measured) -> dict[str, Comparison]:
    """For each group, its values minus those of `intact`, which are of the same trained weights."""
    found = {}
    for group, values in measured.samples.items():
        others = intact.samples.get(group, {})
        seeds = [seed for seed in values if seed in others]
        found[group] = paired([values[seed] for seed in seeds], [others[seed] for seed in seeds])
    adjusted = holm([difference.p for difference in found.values()])
    return {group: Comparison(item, p) for (group, item), p in zip(found.items(), adjusted, strict=True)}


def _added(summary: pd.DataFrame, axes: Sequence[str], baseline: str | None) -> pd.Series:
    """Parameters beyond those of the baseline at the same axes; missing where one of the two is unknown."""
    keys = summary[list(axes)].apply(tuple, axis=1) if axes else pd.Series([()] * len(summary), index=summary.index)
    of_baseline = summary["operator"] == baseline
    base = dict(zip(keys[of_baseline], summary.loc[of_baseline, "params"], strict=True))
    return summary["params"] - keys.map(lambda key: base.get(key, pd.NA)).astype("Int64")


def describe(prior: Prior, measured: Measured, metric: str) -> str:
    """`variance prior: d0 = 4.4 over 11 entries, typical sd 4.5 points at 84 %`."""
    means = sorted(item.mean for item in measured.estimates.values() if item.n > 1)
    middle, scale = means[len(means) // 2], scale_of(metric)
    share = min(max(middle / 100, 1e-6), 1 - 1e-6)
    slope = 2 * (share * (1 - share)) ** 0.5 if scale.arcsine else 1.0
    spread = numbers.number(100 * slope * prior.variance**0.5, 2)
    return (
        f"variance prior of {metric}: d0 = {prior.degrees:.1f} over {numbers.counted(prior.entries, 'entry')}, typical "
        f"sd {spread} points at {numbers.number(middle)}{'' if scale == UNBOUNDED else ' %'}"
    ).replace("entrys", "entries")
