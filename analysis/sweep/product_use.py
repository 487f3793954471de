"""Is the product of queries and keys used? The records of `lightning_xvol.training.product_use` in a sweep's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.sources.frame import SweepLayout
from analysis.table import Block, TableCell

FINE_TUNED = "mean_finetuned"
PROBES = {
    "mean_ablated": "mean coefficients", FINE_TUNED: "mean coefficients, fine-tuned",
    "q_shuffled": "q of another image",
}  # fmt: skip
_WITH = {
    "mean_ablated": "with every attention coefficient at its mean over training images (mean coefficients, which make "
    "the branch static)",
    "q_shuffled": "with the queries of another image (q of another image)",
}

_FINE_TUNED_NOTE = (
    " Fine-tuned: the network with mean coefficients after further training of all its weights, for a share of the "
    "budget (train.finetune_ablated), from a tenth of the largest learning rate. The difference to the intact network "
    "is also paired by seed. It favours the fine-tuned network, because the intact one gets no further training."
)


def metric_of(metric: str, probe: str) -> str:
    """The name of `metric` in records where it is measured under a probe."""
    return f"{metric}_{probe}"


def block(
    summaries: Mapping[str, pd.DataFrame], metric: str, groups: Mapping[str, Mapping[Any, Mapping[str, Any]]],
    values: Sequence[Any], width: int,
) -> list[Block]:  # fmt: skip
    """The block of rows with `width` table cells, for rows with records; no block without any.

    `groups` maps a row label and a column value to a group of the summary; `summaries` maps a metric to its summary.
    """
    empty = TableCell(numbers.DASH)
    found = {
        name: {group["group_id"]: group for group in summaries[metric_of(metric, name)].to_dict("records")}
        for name in PROBES if metric_of(metric, name) in summaries
    }  # fmt: skip
    rows = []
    for label, group in groups.items():
        for name, own in found.items():
            cells = [_cell(group[value], own) if value in group else None for value in values]
            if any(cell is not None for cell in cells):
                shown = [cell or empty for cell in cells] + [empty] * (width - len(cells))
                rows.append((f"{label}, {PROBES[name]}", tuple(shown)))
    return [Block(tuple(rows), heading="Is the product used?")] if rows else []


def _cell(group: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> TableCell | None:
    probed = own.get(group["group_id"])
    if probed is None or not probed["n"]:
        return None
    extremes = numbers.extremes(probed["runs"])
    remarks = ([extremes] if extremes else []) + ([f"n = {probed['n']}"] if probed["n"] != group["n"] else [])
    return TableCell(numbers.runs(probed["runs"]), tuple(remarks), group_id=group["group_id"])


def note(summaries: Mapping[str, pd.DataFrame], sweep: SweepLayout) -> str:
    found = [what for name, what in _WITH.items() if metric_of(sweep.metric, name) in summaries]
    if not found:
        return ""
    tuned = metric_of(sweep.metric, FINE_TUNED) in summaries
    kept = " (frozen ones keep their statistics)" if sweep.metric.endswith("_ap") else ""
    return (
        f"Is the product used: the trained network {', or '.join(found)}, batch norms recalibrated{kept}. A fall shows "
        "that the trained weights use the product. Only a trained control can show that they need it. In the CSV, the "
        "difference of these rows is to the intact network, paired by seed, because the weights are the same."
    ) + (_FINE_TUNED_NOTE if tuned else "")
