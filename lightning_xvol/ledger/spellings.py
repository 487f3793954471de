"""Finds runs that an older version finished under another id, because it wrote a set in another order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_xvol.config.resolved import AsWritten, Resolved, one_form, sections
from lightning_xvol.config.schema import RunConfig, from_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record


def as_begun(configs: Sequence[Resolved], out: Path) -> list[Resolved]:
    """`configs`, where those of a group that `out` holds under an older order of its lists are in that order.

    All seeds of a group take the order in which most of them are finished, so that they stay one group.
    """
    open_groups = {config.group_id for config in configs if not _is_there(config, out)}
    if not open_groups or not (out / "cells").is_dir():
        return list(configs)
    written = [config for config in _written_otherwise(out) if one_form(config).group_id in open_groups]
    if not written:
        return list(configs)
    asked = {config.cell_id for config in configs}
    # By group: how many of the wanted seeds are finished in each order. A tie goes to the order of today.
    counts: dict[str, Counter[tuple[tuple[int, ...], tuple[float, ...]]]] = {group: Counter() for group in open_groups}
    for config in configs:
        if config.group_id in open_groups:
            counts[config.group_id][_order(config)] += _is_there(config, out)
    for config in written:
        form = one_form(config)
        counts[form.group_id][_order(config)] += form.cell_id in asked
    chosen = {group: max(orders, key=lambda order: orders[order]) for group, orders in counts.items()}
    return [_in_order(config, chosen.get(config.group_id, _order(config))) for config in configs]


def _is_there(config: Resolved, out: Path) -> bool:
    return (record.cell_folder(out, config.cell_id) / "result.json").exists()


def _order(config: RunConfig) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return config.backbone.stages, config.optim.milestones


def _in_order(config: Resolved, order: tuple[tuple[int, ...], tuple[float, ...]]) -> Resolved:
    if order == _order(config):
        return config
    stages, milestones = order
    return AsWritten(
        **sections(config)
        | {
            "backbone": dataclasses.replace(config.backbone, stages=stages),
            "optim": dataclasses.replace(config.optim, milestones=milestones),
        }
    )


def _written_otherwise(out: Path) -> Iterator[AsWritten]:
    """The finished runs of `out` whose records have lists in an older order, and ids that follow from it."""
    for path in sorted((out / "cells").glob("*/result.json")):
        if ".old-" in path.parent.name:
            continue
        result = record.read_result(path.parent)
        if result is None or not record.in_older_order(result["config"]):
            continue
        try:
            config = AsWritten(**sections(from_dict(result["config"])))
        except UserError:  # of another version
            continue
        if config.cell_id == result["cell_id"] == path.parent.name:
            yield config
