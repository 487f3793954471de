"""The plan of a sweep as a short text in each of its W&B runs. Nothing here imports torch.

The text has one entry for each place of the table (a row, with a value of each axis), and no ids of cells: each run
names its own cell. Rows, axes and seeds repeat themselves and nearly vanish when they are compressed. The ids of groups
do not, so in a large sweep each run holds some bytes of every id (`SHARE`), and its neighbours hold the others. A
reader joins them. So a run of a sweep with 1,000 configurations is hardly longer than one of a sweep with ten. Where
runs are missing, so may be bytes of an id. The id is then a `partial_id` such as `04__________`, unless a run of its
group is here.

The text is JSON, compressed and in base64:

| key | content |
| --- | --- |
| `plan` | the plan without its cells |
| `rows` | the name and the label of each row |
| `row` | for each place, its row, by number |
| `axes` | for each axis, its different values, and for each place the number of its value |
| `seeds` | the different sets of seeds, and for each place the number of its set |
| `back` | for each place, 0 if its group is new, else how many groups ago it came first |
| `part` | which part of each id follows, and of how many parts |
| `ids` | this part of the id of each group; the ids as they are, where they are of another kind |
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_xvol.ledger import checks, files

SHARE = 1000
"""The most bytes of ids that a run holds, for up to `SHARE` groups."""
_ID = re.compile(r"[0-9a-f]{12}")
_ID_BYTES = 6
_MOST_BYTES, _MOST_CELLS = 1 << 24, 1_000_000


def pack(plan: Mapping[str, Any], group_id: str) -> tuple[str, int | None]:
    """The plan as a text for a run of `group_id`, and the number of this group in the plan, if it is there."""
    rows = {cell["operator"]: cell["label"] for cell in plan["cells"]}
    numbers = {row: number for number, row in enumerate(rows)}
    seeds: dict[str, list[int]] = {}
    for cell in plan["cells"]:
        axes = [cell["axes"][axis] for axis in plan["axes"]]
        seeds.setdefault(json.dumps([cell["operator"], axes, cell["group_id"]]), []).append(cell["seed"])
    places = [json.loads(place) for place in seeds]
    groups: dict[str, int] = {}  # the number of each
    back = []
    for *_, group in places:
        back.append(len(groups) - groups[group] if group in groups else 0)
        groups.setdefault(group, len(groups))
    number = groups.get(group_id)
    part, parts, ids = _share(list(groups), number or 0)
    content = {
        "plan": {key: value for key, value in plan.items() if key != "cells"},
        "rows": list(rows.items()),
        "row": [numbers[row] for row, *_ in places],
        "axes": [_column([axes[axis] for _, axes, _ in places]) for axis in range(len(plan["axes"]))],
        "seeds": _column([_ranges(those) for those in seeds.values()]),
        "back": back,
        "part": [part, parts],
        "ids": ids,
    }
    text = json.dumps(content, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode(), number


def _share(groups: Sequence[str], number: int) -> tuple[int, int, Any]:
    """Which part of each id a run of group `number` holds, of how many parts, and these bytes of all ids."""
    if not all(map(_ID.fullmatch, groups)):
        return 0, 1, list(groups)
    parts = next((parts for parts in (1, 2, 3) if len(groups) * _ID_BYTES <= SHARE * parts), _ID_BYTES)
    part, width = number % parts, _ID_BYTES // parts
    pieces = (bytes.fromhex(group)[part * width : (part + 1) * width] for group in groups)
    return part, parts, base64.b64encode(b"".join(pieces)).decode()


def _column(values: Sequence[Any]) -> list[Any]:
    """The different values in the order in which they come, and for each of `values` its number there."""
    numbers: dict[str, int] = {}
    column = [numbers.setdefault(json.dumps(value), len(numbers)) for value in values]
    return [[json.loads(text) for text in numbers], column]


def _ranges(seeds: Iterable[int]) -> list[list[int]]:
    """Ascending whole numbers as pairs of the first and the last of each run of neighbours."""
    pairs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if pairs and pairs[-1][1] == seed - 1:
            pairs[-1][1] = seed
        else:
            pairs.append([seed, seed])
    return pairs


@dataclass(frozen=True)
class _Packed:
    """What one text holds.

    Attributes:
        plan: The plan without its cells.
        places: The row, its label, the values of the axes, the number of the group, and the seeds of each place.
        part, parts: Which part of each id the text holds, of how many.
        pieces: This part of the id of each group, as hexadecimal digits; the whole ids where `parts` is 1.
    """

    plan: Mapping[str, Any]
    places: Sequence[tuple[str, str, Mapping[str, Any], int, Sequence[range]]]
    part: int
    parts: int
    pieces: Sequence[str]

    def is_beside(self, other: _Packed) -> bool:
        """Whether both are texts of one plan, in one version."""
        return (self.parts, self.plan, self.places) == (other.parts, other.plan, other.places)


def unpack(texts: Iterable[str], own: Mapping[int, str], name: str) -> Any:
    """The plan in the texts of its runs, or None where none of them holds one. It is not checked otherwise.

    Every cell has `begun: false` and an id that no run has; a reader finds its run. A cell whose group is not known
    has what is known of its id as `partial_id`.

    Args:
        texts: The texts of the runs of one plan. Others of the same plan may lack.
        own: Maps the number of a group to its id, for the groups of these runs.
        name: A text that no other plan has. It begins the names of groups that are not known.
    """
    read = [found for text in texts if (found := _read(text)) is not None]
    if not read:
        return None
    first = min(read, key=lambda item: item.parts)  # a text of a former version holds whole ids
    ids = _ids([item for item in read if item.is_beside(first)])
    cells = []
    for row, label, axes, number, spans in first.places:
        group, unknown = ids[number], {}
        if agree(own.get(number, ""), group):  # the bytes show a number that is damaged
            group = own[number]
        elif "_" in group and first.parts > 1:
            group, unknown = f"{name}-{number}", {"partial_id": group}
        cell = {"operator": row, "label": label, "axes": axes, "group_id": group, "begun": False, **unknown}
        cells += [
            {**cell, "seed": seed, "cell_id": nobodys(group, seed)} for seed in itertools.chain.from_iterable(spans)
        ]
    return {**first.plan, "cells": cells}


def _ids(texts: Sequence[_Packed]) -> list[str]:
    """The id of each group, from some texts of one plan. A digit that they do not hold is `_`."""
    parts, groups = texts[0].parts, len(texts[0].pieces)
    held = {text.part: text.pieces for text in texts}
    unknown = ["_" * (2 * _ID_BYTES // parts)] * groups
    return ["".join(pieces) for pieces in zip(*(held.get(part, unknown) for part in range(parts)), strict=True)]


def nobodys(group_id: str, seed: int) -> str:
    """An id for a cell that has not begun, which no run has."""
    return f"{group_id}-s{seed}"


def agree(first: str, second: str) -> bool:
    """Whether two ids of groups may be one. Their unknown digits are `_`."""
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(one == other or "_" in (one, other) for one, other in pairs)


def joined(first: str, second: str) -> str:
    """The digits that either of two ids knows; they `agree`."""
    return "".join(other if one == "_" else one for one, other in zip(first, second, strict=True))


def _read(text: str) -> _Packed | None:
    """What a text holds; None for a text of somebody else."""
    try:
        content: Any = files.parse_json(zlib.decompressobj().decompress(base64.b64decode(text), _MOST_BYTES))
        read = _of_former_version(content) if "places" in content else _of_this_version(content)
        return read if sum(len(span) for *_, spans in read.places for span in spans) <= _MOST_CELLS else None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, zlib.error):
        return None


def _of_this_version(content: Any) -> _Packed:
    plan, rows = content["plan"], content["rows"]
    part, parts = content["part"]
    if parts not in (1, 2, 3, _ID_BYTES) or not checks.is_whole(part, 0) or part >= parts:
        raise ValueError("not a part of the ids")
    numbers, count = [], 0
    for back in content["back"]:
        numbers.append(_item(range(count), count - back) if back else count)
        count += not back
    pieces = content["ids"]
    if isinstance(pieces, str):
        held, width = base64.b64decode(pieces), _ID_BYTES // parts
        pieces = [held[place : place + width].hex() for place in range(0, len(held), width)]
    if len(pieces) != count or not all(isinstance(piece, str) for piece in pieces):
        raise ValueError("not an id for each group")
    axes = [dict.fromkeys(plan["axes"]) for _ in numbers]
    for axis, column in zip(plan["axes"], content["axes"], strict=True):
        for own, value in zip(axes, _values(column), strict=True):
            own[axis] = value
    labels = [_item(rows, row) for row in content["row"]]
    columns = zip(labels, axes, numbers, map(_spans, _values(content["seeds"])), strict=True)
    places = [(row, label, own, number, spans) for (row, label), own, number, spans in columns]
    return _Packed(plan, places, part, parts, pieces)


def _of_former_version(content: Any) -> _Packed:
    """A text that holds each place with the whole id of its group."""
    plan, rows = content["plan"], content["rows"]
    groups: dict[str, int] = {}
    places = []
    for row, axes, group, pairs in content["places"]:
        number = groups.setdefault(group, len(groups))
        (operator, label), own = _item(rows, row), dict(zip(plan["axes"], axes, strict=True))
        places.append((operator, label, own, number, _spans(pairs)))
    return _Packed(plan, places, 0, 1, list(groups))


def _values(column: Any) -> list[Any]:
    values, numbers = column
    return [_item(values, number) for number in numbers]


def _item(items: Sequence[Any], number: Any) -> Any:
    if not checks.is_whole(number, 0):
        raise ValueError("not a place in a list")
    return items[number]


def _spans(pairs: Sequence[Sequence[int]]) -> list[range]:
    if not all(map(checks.is_whole, itertools.chain.from_iterable(pairs))):
        raise ValueError("not the seeds of a sweep")
    return [range(first, last + 1) for first, last in pairs]
