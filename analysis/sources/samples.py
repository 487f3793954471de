"""The runs of a table as samples: the values of each configuration by seed, their estimates, and how tables tell them.

`STATISTICS` are the columns of every CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.statistics import ALPHA, NAN, NO_DIFFERENCE, Difference, Estimate, Prior, estimates, scale_of

STATISTICS = (
    "n", "mean", "sd", "sd_used", "df", "lowest", "highest", "ci_low", "ci_high", "delta", "delta_low", "delta_high",
    "delta_df", "delta_method", "delta_p", "delta_p_holm", "resolved",
)  # fmt: skip
"""The columns of a CSV that hold statistics, in the order of `table.csv`."""


Group = Mapping[str, Sequence[Any]]
"""The runs of one group: the values of each column of the frame."""


@dataclass(frozen=True)
class Comparison:
    """A difference, and its p after Holm's adjustment for all differences of its table."""

    difference: Difference
    p_holm: float

    @property
    def is_resolved(self) -> bool:
        """Whether the two rows differ: p below 5 % after Holm, from at least three runs on both sides."""
        return self.difference.can_decide and self.p_holm < ALPHA


NOT_COMPARED = Comparison(NO_DIFFERENCE, NAN)


def seed_values(rows: Group, select: str) -> dict[int, float]:
    """Seed to the value of its finished run; `select` is `last` or `best`."""
    runs = zip(rows["seed"], rows["state"], rows[select], strict=True)
    return {int(seed): float(value) for seed, state, value in runs if state == "finished"}


def images_of(rows: Group) -> int | None:
    """The number of test images behind the values of a group; None where it is not known."""
    known = [value for value in rows["images"] if not pd.isna(value)]
    return int(known[0]) if known else None


def groups_by(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[Any, ...], Group]:
    """The rows of each value of the columns `keys`, in their order. A frame per group would take ten times as long."""
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(zip(*(columns[name] for name in keys), strict=True)):
        places.setdefault(key, []).append(place)
    return {key: {name: [values[at] for at in own] for name, values in columns.items()} for key, own in places.items()}


def estimates_of(
    samples: Mapping[str, Iterable[float]], images: Mapping[str, int | None], metric: str, interval: str = "moderated"
) -> tuple[dict[str, Estimate], Prior | None]:
    """The estimate of each group, with the prior of all of them, which are one table and metric."""
    found, prior = estimates(
        [list(values) for values in samples.values()], scale_of(metric), [images[name] for name in samples], interval
    )
    return dict(zip(samples, found, strict=True)), prior


def statistics_of(item: Estimate, compared: Comparison) -> dict[str, Any]:
    """The values of `STATISTICS` for a row of a table; `resolved` is missing where there is no difference."""
    delta = compared.difference
    values = (
        item.n, item.mean, item.sd, item.sd_used, item.df, item.lowest, item.highest, item.low, item.high, delta.mean,
        delta.low, delta.high, delta.degrees, delta.method, delta.p, compared.p_holm,
        pd.NA if pd.isna(delta.mean) else compared.is_resolved,
    )  # fmt: skip
    return dict(zip(STATISTICS, values, strict=True))
