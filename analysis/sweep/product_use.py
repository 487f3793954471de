"""Is the product of queries and keys used? The records of `lightning_xvol.training.product_use` in a sweep's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.sources.frame import SweepLayout
from analysis.statistics import summarise
from analysis.table import Block, TableCell

PROBES = {"mean_ablated": "mean coefficients", "q_shuffled": "q of another image"}
_WITH = {
    "mean_ablated": "with every attention coefficient at its mean over training images (mean coefficients, which make "
    "the branch static)",
    "q_shuffled": "with the queries of another image (q of another image)",
}


def columns(summary: pd.DataFrame) -> list[str]:
    """The columns that `with_product_use` added to `summary`."""
    return [name for name in summary.columns if name.removesuffix("_sd").removesuffix("_n") in PROBES]


def with_product_use(sweep: SweepLayout, frame: pd.DataFrame, summary: pd.DataFrame, select: str) -> pd.DataFrame:
    """`summary` with columns per probe that a run recorded: the mean over seeds, standard deviation and number."""
    keys = ["operator", *sweep.axes]
    for name in PROBES:
        metric = f"{sweep.metric}_{name}"
        if (frame["metric"] == metric).any():
            found = summarise(frame, sweep.axes, metric, select, None)
            found = found.rename(columns={"mean": name, "sd": f"{name}_sd", "n": f"{name}_n"})
            summary = summary.merge(found[[*keys, name, f"{name}_sd", f"{name}_n"]], "left", keys)
    return summary


def block(groups: Mapping[str, Mapping[Any, Mapping[str, Any]]], values: Sequence[Any], width: int) -> list[Block]:
    """The block of rows with `width` table cells, for rows with records; no block without any.

    `groups` maps a row label and a column value to a group of the summary.
    """
    empty = TableCell(numbers.DASH)
    rows = []
    for label, group in groups.items():
        for name, what in PROBES.items():
            cells = [_cell(group.get(value, {}), name) for value in values]
            if any(cell is not None for cell in cells):
                shown = [cell or empty for cell in cells] + [empty] * (width - len(cells))
                rows.append((f"{label}, {what}", tuple(shown)))
    return [Block(tuple(rows), heading="Is the product used?")] if rows else []


def _cell(group: Mapping[str, Any], name: str) -> TableCell | None:
    if pd.isna(group.get(name)):
        return None
    value = f"{numbers.number(group[name])} {numbers.PLUS_MINUS} {numbers.number(group[f'{name}_sd'])}"
    count = int(group[f"{name}_n"])
    return TableCell(value, (f"n = {count}",) if count != group["n"] else (), group_id=group["group_id"])


def note(summary: pd.DataFrame, sweep: SweepLayout) -> str:
    found = [what for name, what in _WITH.items() if name in summary.columns]
    if not found:
        return ""
    kept = " (frozen ones keep their statistics)" if sweep.metric.endswith("_ap") else ""
    return (
        f"Is the product used: the trained network {', or '.join(found)}, batch norms recalibrated{kept}. A fall shows "
        "that the trained weights use the product. Only a trained control can show that they need it."
    )
