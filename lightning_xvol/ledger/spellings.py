"""Finds runs that an older version finished under another id.

Older versions wrote sets in any order, and computed every weight gradient in the plain form.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_xvol.config.resolved import AsWritten, Resolved, one_form, sections
from lightning_xvol.config.schema import RunConfig, WeightGradient, from_record, nested
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record

Spelling = tuple[tuple[int, ...], tuple[float, ...], WeightGradient]
"""`backbone.stages`, `optim.milestones` and `train.weight_gradient`."""


def as_begun(configs: Sequence[Resolved], out: Path) -> list[Resolved]:
    """`configs`, where those of a group that `out` holds in an older spelling are in that spelling.

    All seeds of a group take the spelling in which most of them are finished, so that they stay one group. A group that
    asks for the plain weight gradient keeps it.
    """
    open_groups = {config.group_id for config in configs if not _is_there(config, out)}
    if not open_groups or not (out / "cells").is_dir():
        return list(configs)
    # By group: how many of the wanted seeds are finished in each spelling. A tie goes to the spelling of today.
    counts: dict[str, Counter[Spelling]] = {group: Counter() for group in open_groups}
    for config in configs:
        if config.group_id in open_groups:
            counts[config.group_id][_spelling(config)] += _is_there(config, out)
    asked = {config.cell_id for config in configs}
    for config in _written_otherwise(out, configs):
        for form in _forms_of_today(config):
            if form.group_id in open_groups and form.cell_id != config.cell_id:
                counts[form.group_id][_spelling(config)] += form.cell_id in asked
    chosen = {group: max(spellings, key=lambda item: spellings[item]) for group, spellings in counts.items()}
    return [_spelled(config, chosen.get(config.group_id, _spelling(config))) for config in configs]


def as_recorded(result: Mapping[str, Any]) -> AsWritten:
    """The configuration of a record in the spelling of its run. So it has the ids of that run.

    Raises:
        UserError: for the configuration of another version.
    """
    return AsWritten(**sections(from_record(result["config"])))


def _is_there(config: Resolved, out: Path) -> bool:
    return (record.cell_folder(out, config.cell_id) / "result.json").exists()


def _spelling(config: RunConfig) -> Spelling:
    return config.backbone.stages, config.optim.milestones, config.train.weight_gradient


def _spelled(config: Resolved, spelling: Spelling) -> Resolved:
    if spelling == _spelling(config):
        return config
    stages, milestones, weight_gradient = spelling
    return AsWritten(
        **sections(config)
        | {
            "backbone": dataclasses.replace(config.backbone, stages=stages),
            "optim": dataclasses.replace(config.optim, milestones=milestones),
        }
        | {"train": dataclasses.replace(config.train, weight_gradient=weight_gradient)}
    )


def _forms_of_today(config: Resolved) -> Iterator[Resolved]:
    """What `config` is called today: with its lists in one form, and also with today's weight gradient."""
    form = one_form(config)
    yield form
    today = dataclasses.replace(form, train=dataclasses.replace(form.train, weight_gradient="live_taps"))
    if today.group_id != form.group_id:
        yield today


def _written_otherwise(out: Path, asked: Sequence[Resolved]) -> Iterator[AsWritten]:
    """The finished runs of `out` with operator and seed of an `asked` run whose records may be in an older spelling."""
    seeds = {config.seed for config in asked}
    operators = [nested(config) for config in {repr(config.operator): config.operator for config in asked}.values()]
    for path in sorted((out / "cells").glob("*/result.json")):
        if ".old-" in path.parent.name:
            continue
        result = record.read_result(path.parent)
        if result is None or result["seed"] not in seeds or not _is_older(result["config"]):
            continue
        if not any(_may_be(result["config"]["operator"], operator) for operator in operators):
            continue
        try:
            config = as_recorded(result)
        except UserError:  # of another version
            continue
        if config.cell_id == result["cell_id"] == path.parent.name:
            yield config


def _may_be(recorded: Any, operator: Any) -> bool:
    """Whether the `recorded` operator is `operator`, which may have newer options."""
    options = operator["options"]
    return bool(recorded["name"] == operator["name"]) and all(
        options.get(name) == value for name, value in recorded["options"].items()
    )


def _is_older(config: Any) -> bool:
    return record.in_older_order(config) or config["train"].get("weight_gradient", "plain") == "plain"
