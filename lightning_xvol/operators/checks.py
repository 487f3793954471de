"""Checks of constructor arguments. Each function returns a good value and quotes a bad one in its error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.pssa_options import check_names
from lightning_xvol.errors import UserError, nearest


def option_names(operator: type, options: Iterable[str]) -> None:
    """Refuse an option that the registry does not list for the class `operator`. A class of a user passes unchecked."""
    path = f"{operator.__module__}:{operator.__qualname__}"
    known = next((entry.options for entry in registry.OPERATORS.values() if entry.path == path), None)
    if known is not None:
        check_names(operator.__name__, dict.fromkeys(options), list(known))


def positive_int(name: str, value: Any) -> int:
    """`value` if it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} must be a positive integer, got {value!r}")
    return value


def stride_1_or_2(value: Any) -> int:
    """`value` if it is a stride that operators take."""
    if isinstance(value, bool) or value not in (1, 2):
        raise UserError(f"stride must be 1 or 2, got {value!r}")
    return int(value)


def odd_kernel_size(name: str, value: Any) -> int:
    """`value` if it is odd. Only then has the kernel a centre, and padding `value // 2` keeps the grid."""
    if positive_int(name, value) % 2 == 0:
        raise UserError(f"{name} must be odd, so that the kernel has a centre, got {value!r}")
    return int(value)


def boolean(name: str, value: Any) -> bool:
    """`value` if it is a bool. Python would take the string "false" for true."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, got {value!r}")
    return value


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value` if it is among `known`."""
    names = list(known)
    if value not in names:
        raise UserError(f"unknown {name} {value!r}{nearest(str(value), names)}; known: {', '.join(names)}")
    return str(value)


def distances(name: str, value: Any) -> tuple[int, ...]:
    """`value` as a tuple, if it lists at least one positive integer and none twice."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise UserError(f"{name} must list positive integers such as (1, 3, 5), got {value!r}")
    checked = tuple(positive_int(f"every one of {name}", distance) for distance in value)
    if not checked or len(set(checked)) < len(checked):
        raise UserError(f"{name} must list at least one distance, each once, got {value!r}")
    return checked


def ratio(name: str, value: Any, most: float = math.inf) -> float:
    """`value` if it is a number above 0 and not above `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most or value == math.inf:
        bound = "" if most == math.inf else f" and at most {most:g}"
        raise UserError(f"{name} must be a number above 0{bound}, got {value!r}")
    return float(value)


def divisor(name: str, value: Any, of: str, number: int) -> int:
    """`value` if it is a positive integer that divides `number`, which is called `of`."""
    if number % positive_int(name, value):
        raise UserError(f"{name}={value} does not divide {of}={number}")
    return int(value)


def head_count(num_heads: Any, channels: int) -> int:
    """`num_heads` if it divides `channels`. None gives their largest divisor that is at most max(1, channels // 64)."""
    if num_heads is None:
        return largest_divisor(channels, limit=channels // 64)
    return divisor("num_heads", num_heads, "out_channels", channels)


def heads_of(head_channels: Any, num_heads: Any, channels: int) -> int:
    """The number of heads of `head_channels` each, if these divide `channels` and `num_heads` is not given too."""
    if num_heads is not None:
        raise UserError(
            f"num_heads={num_heads} and head_channels={head_channels} both choose the heads; leave one out (None)"
        )
    return channels // divisor("head_channels", head_channels, "out_channels", channels)


def group_count(group_channels: Any, channels: int) -> int:
    """The number of groups of `group_channels` each. None gives the largest divisor of `channels` up to a 16th."""
    if group_channels is None:
        return largest_divisor(channels, limit=channels // 16)
    return channels // divisor("group_channels", group_channels, "out_channels", channels)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, or 1 where there is none."""
    return next(divisor for divisor in range(max(1, min(number, limit)), 0, -1) if number % divisor == 0)
