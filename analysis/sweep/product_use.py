"""Is the product used? What `lightning_xvol.training.product_use` recorded, beside a sweep's accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.sources.frame import SweepLayout
from analysis.statistics import summarise
from analysis.table import Block, TableCell

ABLATIONS = {"mean_ablated": "mean coefficients", "q_shuffled": "q of another image"}
_WITH = {
    "mean_ablated": "with every attention coefficient at its mean over training images (mean coefficients; the branch "
    "is static then)",
    "q_shuffled": "with the queries of another image (q of another image)",
}


def columns(summary: pd.DataFrame) -> list[str]:
    """Those of `with_product_use`, where it found any."""
    return [name for name in summary.columns if name.removesuffix("_sd").removesuffix("_n") in ABLATIONS]


def with_product_use(sweep: SweepLayout, frame: pd.DataFrame, summary: pd.DataFrame, select: str) -> pd.DataFrame:
    """`summary` and, per ablation that any run recorded, its mean over seeds, their standard deviation and number."""
    keys = ["operator", *sweep.axes]
    for name in ABLATIONS:
        metric = f"{sweep.metric}_{name}"
        if (frame["metric"] == metric).any():
            found = summarise(frame, sweep.axes, metric, select, None)
            found = found.rename(columns={"mean": name, "sd": f"{name}_sd", "n": f"{name}_n"})
            summary = summary.merge(found[[*keys, name, f"{name}_sd", f"{name}_n"]], "left", keys)
    return summary


def block(groups: Mapping[str, Mapping[Any, Mapping[str, Any]]], values: Sequence[Any], width: int) -> list[Block]:
    """Rows of `width` entries for those of `groups` (row label, column value, group) with a product; none, no block."""
    empty = TableCell(numbers.DASH)
    rows = []
    for label, group in groups.items():
        for name, what in ABLATIONS.items():
            entries = [_entry(group.get(value, {}), name) for value in values]
            if any(entry is not None for entry in entries):
                shown = [entry or empty for entry in entries] + [empty] * (width - len(entries))
                rows.append((f"{label}, {what}", tuple(shown)))
    return [Block(tuple(rows), heading="Is the product used?")] if rows else []


def _entry(group: Mapping[str, Any], name: str) -> TableCell | None:
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
        "that the trained weights use the product; that it is needed, only a trained control can show."
    )
