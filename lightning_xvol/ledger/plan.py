"""What the plan of a sweep, `OUT/<sweep>/cells.json`, must hold. Nothing here imports torch.

A source of `analysis` and a sweep that replaces an older plan both check it here, where they have read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_xvol.ledger import checks

SCHEMA = 1
COSTS = {"params": "parameters", "macs": "MACs per image", "wall_seconds": "seconds a run"}
"""What a run costs: columns of the frame and their names in tables and figures."""
RESERVED = {
    "sweep", "recipe", "operator", "label", "seed", "cell_id", "group_id", "state", "metric", "last", "best",
    "best_epoch", "torch", "device", "commit", "error", "cpu_seconds", *COSTS,
}  # fmt: skip
"""Columns of every frame; no axis can have such a name."""


def _axis_value(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _axis_value(part, path)
    elif value is not None and not isinstance(value, (str, bool)):
        yield from (checks.whole if isinstance(value, int) else checks.number())(value, path)


def _pairs(value: Any, path: str) -> Iterator[str]:
    """Texts by name, as a mapping or as a list of pairs, which keeps their order."""
    fit = checks.mapping_of(checks.text) if isinstance(value, dict) else checks.list_of(_pair)
    yield from fit(value, path)


def _pair(value: Any, path: str) -> Iterator[str]:
    yield from checks.list_of(checks.text)(value, path)
    if isinstance(value, list) and len(value) != 2:
        yield from checks.unfit(value, path, "a pair of texts")


_optional_text = checks.optional(checks.text)
_CELL = checks.fields(
    {
        "operator": checks.text, "label": checks.text, "axes": checks.mapping_of(_axis_value), "seed": checks.whole,
        "cell_id": checks.name, "group_id": checks.text,
    },
    {"partial_id": checks.text},
)  # fmt: skip
_PLAN = checks.fields(
    {
        **dict.fromkeys(("sweep", "title", "recipe", "data", "budget", "metric", "metric_label", "note"), checks.text),
        **dict.fromkeys(("sweep", "recipe"), checks.line),
        "axes": checks.list_of(checks.text),
        "axis_labels": checks.mapping_of(checks.text),
        "baseline": _optional_text,
        "controls": checks.mapping_of(checks.list_of(checks.text)),
        "beside": _pairs,
        "below": checks.list_of(checks.one_of(*COSTS, "added_params")),
        "paper": checks.mapping_of(_axis_value),
        "smoke": checks.flag,
        "reproduces": checks.optional(checks.list_of(checks.text, 2)),
        "figure": checks.optional(checks.fields(others={"kind": _optional_text, "x": _optional_text})),
        "cells": checks.list_of(_CELL),
    },
    {"settings": checks.optional(checks.list_of(checks.text))},
)


def fault(content: Any, where: str) -> str:
    """Why the content of the file `where` is no plan, as a sentence; empty where it is one."""
    if not isinstance(content, dict):
        return f"cannot read {where!r} as JSON; run the sweep's command again, finished cells are kept"
    if content.get("schema") != SCHEMA:
        return f"{where!r} has schema {checks.shown(content.get('schema'))}, this version reads {SCHEMA}"
    unfit = checks.problems(content, checks.plain, _PLAN)
    if unfit:
        return f"{where!r} has missing or unfit values: {unfit}; run the sweep's command again"
    axes = content["axes"]
    lacking = [axis for axis in axes if any(axis not in cell["axes"] for cell in content["cells"])]
    if lacking:
        named = ", ".join(f"cells.axes.{axis}" for axis in lacking)
        return f"{where!r} has missing or unfit values: {named} (missing); run the sweep's command again"
    if not content["cells"]:
        return f"{where!r} lists no cells; run the sweep's command again"
    clash = sorted(RESERVED.intersection(axes))
    if clash:
        return f"{where!r} has an axis {clash[0]!r}, which is a column of every table; rename the axis"
    if len(set(axes)) < len(axes):
        return f"{where!r} lists an axis twice ({', '.join(axes)}); rename one"
    return ""
