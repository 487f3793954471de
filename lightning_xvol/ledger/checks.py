"""Shapes that the content of a file must have. Each file is checked once, where it is read.

A shape takes a value and the path that leads to it, and yields a text for each part that does not fit:
`metrics.top1=5 (expected named values)`. Nothing here imports torch.
"""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Shape = Callable[[Any, str], Iterator[str]]

DEEPEST = 32
"""Levels of lists and mappings in a file. A library that walks the content must not run out of stack."""
LARGEST_WHOLE = 2**53
"""Larger whole numbers are not exact as a float."""
LARGEST = 3.4028235e38
"""The largest float of 32 bits: statistics take the fourth power of a number."""
LONGEST_NAME = 128
_MOST_PROBLEMS = 5
_Missing = object()


def is_measured(value: Any, least: float = -LARGEST, most: float = LARGEST) -> bool:
    """Whether `value` is a number from `least` to `most`, or one that is not finite, as in a run that diverged."""
    return is_number(value, least, most) or (isinstance(value, float) and not math.isfinite(value))


def problems(value: Any, *shapes: Shape) -> str:
    """What does not fit into `shapes`, as one text; empty where everything fits. The first shape decides first."""
    for shape in shapes:
        found = list(itertools.islice(shape(value, ""), _MOST_PROBLEMS + 1))
        if found:
            more = ["..."] if len(found) > _MOST_PROBLEMS else []
            return ", ".join([*dict.fromkeys(found[:_MOST_PROBLEMS]), *more])
    return ""


def unfit(value: Any, path: str, expected: str) -> Iterator[str]:
    yield f"{path or 'the content'}={shown(value)} (expected {expected})"


def shown(value: Any) -> str:
    """A short text for any value, however long or deep it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 40
    short.maxdict = short.maxlist = short.maxtuple = 3
    short.maxlevel = 2
    try:
        return short.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(value).__name__}"


def is_whole(value: Any, least: int = -LARGEST_WHOLE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST_WHOLE


def is_number(value: Any, least: float = -LARGEST, most: float = LARGEST) -> bool:
    """Whether `value` is a finite number from `least` to `most`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def plain(value: Any, path: str) -> Iterator[str]:
    """JSON of at most `DEEPEST` levels, whose whole numbers have at most 64 bits."""
    stack: list[tuple[Any, str, int]] = [(value, path, 0)]
    while stack:
        item, where, level = stack.pop()
        if level > DEEPEST:
            yield f"{where[:LONGEST_NAME]} is nested more than {DEEPEST} levels deep"
            return
        if isinstance(item, Mapping):
            stack += [(part, f"{where}.{key}".lstrip("."), level + 1) for key, part in item.items()]
            if not all(isinstance(key, str) for key in item):
                yield from unfit(item, where, "names that are texts")
        elif isinstance(item, (list, tuple)):
            stack += [(part, where, level + 1) for part in item]
        elif isinstance(item, int) and not -(2**63) <= item < 2**63:
            yield from unfit(item, where, "a whole number of 64 bits")
        elif item is not None and not isinstance(item, (str, int, float)):
            yield from unfit(item, where, "plain data")


def anything(value: Any, path: str) -> Iterator[str]:  # noqa: ARG001 (a shape takes both)
    yield from ()


def kind(kinds: type | tuple[type, ...], expected: str) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, kinds):
            yield from unfit(value, path, expected)

    return shape


text = kind(str, "a text")
flag = kind(bool, "true or false")
mapping = kind(dict, "named values")


def line(value: Any, path: str) -> Iterator[str]:
    """A text that a message or the name of a folder can show: no line break and no other control character."""
    if not isinstance(value, str) or not value.isprintable():
        yield from unfit(value, path, "a text without line breaks and control characters")


def name(value: Any, path: str) -> Iterator[str]:
    """A text that can name a folder: letters, digits, `_`, `.` and `-`, and no dot or dash in front."""
    plain_letters = isinstance(value, str) and value.isascii() and value.translate(_NO_MARKS).isalnum()
    if not plain_letters or len(value) > LONGEST_NAME or value[0] in ".-":
        yield from unfit(value, path, "letters, digits, '_', '.' and '-'")


_NO_MARKS = str.maketrans("", "", "._-")


def whole(value: Any, path: str) -> Iterator[str]:
    if not is_whole(value):
        yield from unfit(value, path, "a whole number of at most 2^53")


def whole_from(least: int, most: int = LARGEST_WHOLE) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if not is_whole(value, least) or value > most:
            yield from unfit(value, path, f"a whole number from {least} to {'2^53' if most == LARGEST_WHOLE else most}")

    return shape


count = whole_from(0)


def number(least: float = -LARGEST, most: float = LARGEST) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if not is_number(value, least, most):
            yield from unfit(value, path, f"a number from {least:g} to {most:g}")

    return shape


def measured(least: float = -LARGEST, most: float = LARGEST) -> Shape:
    """As `number`; a value that is missing or not finite is that of a run that diverged, and fits."""

    def shape(value: Any, path: str) -> Iterator[str]:
        if value is not None and not is_measured(value, least, most):
            yield from number(least, most)(value, path)

    return shape


def one_of(*known: Any) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if value not in known:
            yield from unfit(value, path, " or ".join(map(repr, known)))

    return shape


def optional(shape: Shape) -> Shape:
    def optional_shape(value: Any, path: str) -> Iterator[str]:
        if value is not None:
            yield from shape(value, path)

    return optional_shape


def list_of(item: Shape, least: int = 0) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < least:
            yield from unfit(value, path, "a list" if not least else f"a list of at least {least}")
            return
        for part in value:
            yield from item(part, path)

    return shape


def mapping_of(item: Shape) -> Shape:
    def shape(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield from unfit(value, path, "named values")
            return
        for key, part in value.items():
            yield from item(part, f"{path}.{key}".lstrip("."))

    return shape


def fields(required: Mapping[str, Shape] | None = None, others: Mapping[str, Shape] | None = None) -> Shape:
    """Named values: those of `required` must be there, those of `others` may be, and further ones may be anything."""
    needed = required or {}

    def shape(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield from unfit(value, path, "named values")
            return
        for key, item in {**needed, **(others or {})}.items():
            where = f"{path}.{key}".lstrip(".")
            if key in value:
                yield from item(value[key], where)
            elif key in needed:
                yield f"{where} (missing)"

    return shape
