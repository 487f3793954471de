"""What a tracked run says of itself: names for people, and what a reader needs to make tables of runs alone.

A run on W&B holds, in keys of its summary that W&B's tables do not show:

| key | content |
| --- | --- |
| `_cell` | its ids, seed and sweep, the digest of the sweep's plan, and the lengths of the run, as JSON |
| `_plan` | the plan of its sweep without the ids of cells: `pack` |
| `_result` | the record, as JSON, once the run is finished |

A W&B run with the table and the figure of a sweep has `{"table": SWEEP}` as `_cell`: it is no run of a cell.
A former version kept them in `config` and in `result_json`. Nothing here imports torch or wandb.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lightning_xvol.ledger import checks, files

CELL, PLAN, RESULT = "_cell", "_plan", "_result"
LONGEST_TAG, LONGEST_NAME = 64, 128
"""The most characters of a tag and of a name on W&B."""
_MOST_BYTES, _MOST_CELLS = 1 << 24, 1_000_000
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


def pack(plan: Mapping[str, Any]) -> str:
    """The plan with one entry for each configuration instead of one for each cell, as a short text.

    The ids of cells are left out, because each run names its own. `unpack` reads it.
    """
    rows = {cell["operator"]: cell["label"] for cell in plan["cells"]}
    numbers = {row: number for number, row in enumerate(rows)}
    seeds: dict[str, list[int]] = {}
    for cell in plan["cells"]:
        axes = [cell["axes"][axis] for axis in plan["axes"]]
        seeds.setdefault(json.dumps([numbers[cell["operator"]], axes, cell["group_id"]]), []).append(cell["seed"])
    content = {key: value for key, value in plan.items() if key != "cells"}
    places = [[*json.loads(place), _ranges(found)] for place, found in seeds.items()]
    text = json.dumps({"plan": content, "rows": list(rows.items()), "places": places}, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(text: str, find_cell: Callable[[str, int], str | None]) -> Any:
    """The plan in a text of `pack`, or None where it holds none. It is not checked otherwise.

    Args:
        text: The text.
        find_cell: Returns the id of the cell of (group id, seed), or None where no run of it is known. Such a cell has
            `begun: false`, and an id that no run has.
    """
    try:
        reader = zlib.decompressobj()
        content: Any = files.parse_json(reader.decompress(base64.b64decode(text), _MOST_BYTES))
        plan, rows, places = (content[key] for key in ("plan", "rows", "places"))
        found = [(rows[number], axes, group, _spans(pairs)) for number, axes, group, pairs in places]
        if sum(len(span) for *_, spans in found for span in spans) > _MOST_CELLS:
            return None
        cells = [
            _cell(row, dict(zip(plan["axes"], axes, strict=True)), group, seed, find_cell)
            for row, axes, group, spans in found
            for seed in itertools.chain.from_iterable(spans)
        ]
        return {**plan, "cells": cells}
    except (ValueError, TypeError, KeyError, IndexError, zlib.error):
        return None


def _cell(
    row: Sequence[str], axes: dict[str, Any], group: str, seed: int, find_cell: Callable[[str, int], str | None]
) -> dict[str, Any]:
    operator, label = row
    known = find_cell(group, seed)
    cell = {"operator": operator, "label": label, "axes": axes, "seed": seed, "cell_id": known or f"{group}-s{seed}"}
    return {**cell, "group_id": group, **({} if known else {"begun": False})}


def _ranges(seeds: Iterable[int]) -> list[list[int]]:
    """Ascending whole numbers as pairs of the first and the last of each run of neighbours."""
    pairs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if pairs and pairs[-1][1] == seed - 1:
            pairs[-1][1] = seed
        else:
            pairs.append([seed, seed])
    return pairs


def _spans(pairs: Sequence[Sequence[int]]) -> list[range]:
    if not all(map(checks.is_whole, itertools.chain.from_iterable(pairs))):
        raise ValueError("not the seeds of a sweep")
    return [range(first, last + 1) for first, last in pairs]
