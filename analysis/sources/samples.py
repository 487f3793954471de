"""The runs of a table as samples: the values of each configuration by seed, their estimates, and how tables tell them.

`STATISTICS` are the columns of every CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.statistics import ALPHA, NAN, NO_DIFFERENCE, Difference, Estimate, Prior, estimates, scale_of

STATISTICS = (
    "n", "mean", "sd", "sd_used", "df", "lowest", "highest", "ci_low", "ci_high", "delta", "delta_low", "delta_high",
    "delta_df", "delta_method", "delta_p", "delta_p_holm", "resolved",
)  # fmt: skip
"""The columns of a CSV that hold statistics, in the order of `table.csv`."""


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


def seed_values(rows: pd.DataFrame, select: str) -> dict[int, float]:
    """Seed to the value of its finished run; `select` is `last` or `best`."""
    seeds, states, values = (rows[name].tolist() for name in ("seed", "state", select))
    runs = zip(seeds, states, values, strict=True)
    return {int(seed): float(value) for seed, state, value in runs if state == "finished"}


def images_of(rows: pd.DataFrame) -> int | None:
    """The number of test images behind the values of a group; None where it is not known."""
    known = [value for value in rows["images"].tolist() if not pd.isna(value)]
    return int(known[0]) if known else None


def groups_of(frame: pd.DataFrame, metric: str) -> dict[str, pd.DataFrame]:
    """The rows of each group for one metric. A group that stands in several places of a table is there once."""
    return {str(group): rows for group, rows in frame[frame["metric"] == metric].groupby("group_id", sort=False)}


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
