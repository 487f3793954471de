"""What a tracked run says of itself: names for people, and what a reader needs to make tables of runs alone.

A run on W&B holds, in keys of its summary that W&B's tables do not show:

| key | content |
| --- | --- |
| `_cell` | its ids, seed and sweep, the digest of the sweep's plan, its number there, and its lengths, as JSON |
| `_plan` | the plan of its sweep without the ids of cells (`lightning_xvol.ledger.packed`) |
| `_result` | the record, as JSON, once the run is finished |

A W&B run with the table and the figure of a sweep has `{"table": SWEEP}` as `_cell`: it is no run of a cell.
A former version kept them in `config` and in `result_json`. Nothing here imports torch or wandb.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

CELL, PLAN, RESULT = "_cell", "_plan", "_result"
LONGEST_TAG, LONGEST_NAME = 64, 128
"""The most characters of a tag and of a name on W&B."""
_SYMBOL = re.compile(r"\b([A-Z])$")


def value_text(value: Any) -> str:
    """A value of an axis as tables write it: a list as `1+3+5`, a flag as `yes` or `no`."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(value_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def cell_name(row: str, axes: Mapping[str, Any], axis_labels: Mapping[str, str]) -> str:
    """A configuration in a few words, for example `xvolution K=5`.

    An axis whose label ends in a symbol, such as `kernel size K`, is called by the symbol.
    """
    symbols = [match[1] if (match := _SYMBOL.search(axis_labels.get(axis, ""))) else axis for axis in axes]
    names = symbols if len(set(symbols)) == len(symbols) else list(axes)
    return " ".join([row, *(f"{name}={value_text(value)}" for name, value in zip(names, axes.values(), strict=True))])


def run_name(cell: str, seed: int) -> str:
    """The name of a run: `xvolution K=5 s0`."""
    return f"{_cut(cell, LONGEST_NAME - 8)} s{seed}"


def group_name(cell: str, recipe: str, group_id: str) -> str:
    """The name of the runs that differ in their seed alone: `xvolution K=5 · match_small (0604309d)`."""
    ending = f" ({group_id[:8]})"
    return _cut(f"{cell} · {recipe}" if recipe else cell, LONGEST_NAME - len(ending)) + ending


def tag_names(tags: Iterable[str]) -> list[str]:
    """Each of `tags` once, as long as W&B takes it."""
    return list(dict.fromkeys(_cut(tag, LONGEST_TAG) for tag in tags if tag))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def digest(plan: Mapping[str, Any]) -> str:
    """A short hash of the content of `cells.json`. Runs with equal digests were begun for the same plan."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:12]
