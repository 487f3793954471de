"""Random changes to JSON values and to bytes, as of files that nobody of us wrote."""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

DEEP = functools.reduce(lambda inner, _: {"a": inner}, range(400), 1)
ODD = (
    None, True, 0, -1, 5, 2**70, 10**400, 1.5, 1e308, float("nan"), float("inf"), -float("inf"), "", "x", "1",
    "\x1b[2J", "\x1b]0;t\x07", "\x00", "\ud800", "a\u202eb", "=1+1", "@SUM(1)", r"\input{x}", "$", "_", "a\nb",
    "../../etc", "torch.hub:load", "y" * 5000, [], [1], [[]], [None], ["x"], [["x", 1]], {}, {"a": 1}, {"last": 1},
    {"": []}, DEEP,
)  # fmt: skip
"""Values that a file may hold in place of any other."""


def changed(value: Any, random_: random.Random) -> Any:
    """A copy of the JSON `value` with one part replaced, removed, added or repeated."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    for _ in range(100):
        holder, key = random_.choice(places)
        kind = random_.choice(("replace", "replace", "replace", "remove", "add", "repeat"))
        if kind == "replace":
            holder[key] = random_.choice(ODD)
        elif kind == "remove":
            del holder[key]
        elif kind == "add" and isinstance(holder, dict):
            holder[random_.choice(("", "x", "\x1b", "seed", "__class__"))] = random_.choice(ODD)
        elif kind == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            continue
        break
    return value


def _places(value: Any) -> Any:
    """Each part of `value` as its container and its key there."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from _places(part)


def damaged(content: bytes, random_: random.Random) -> bytes:
    """`content` cut off, with some bytes changed, or with a piece repeated."""
    place = random_.randrange(len(content))
    kind = random_.choice(("cut", "flip", "repeat", "insert"))
    if kind == "cut":
        return content[:place]
    if kind == "repeat":
        return content[:place] + content[place // 2 :]
    if kind == "insert":
        return content[:place] + random_.randbytes(random_.randrange(1, 9)) + content[place:]
    changed_ = bytearray(content)
    for _ in range(random_.randrange(1, 6)):
        changed_[random_.randrange(len(changed_))] = random_.randrange(256)
    return bytes(changed_)
