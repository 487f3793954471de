"""How tables and figures write numbers: with U+2212 as minus, and an en dash where a value is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev
from typing import Any

import pandas as pd

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
DAGGER = "\N{DAGGER}"
FAR_APART = 10.0
"""Runs that lie further apart than these points are no normal scatter: a mean and a deviation would hide it."""


def number(value: float, decimals: int = 1) -> str:
    """`12.3`; a million or more is written as `5.4e11`."""
    if math.isnan(value):
        return DASH
    text = f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.1e}".replace("e+", "e")
    return (text if float(text) else text.removeprefix("-")).replace("-", MINUS)


def signed(value: float, decimals: int = 1) -> str:
    """`value` with its sign; a value that rounds to zero has none."""
    text = number(value, decimals)
    return f"+{text}" if value > 0 and float(text) else text


def runs(values: Sequence[float], decimals: int = 1) -> str:
    """What a table shows of runs: one run as it is, two runs both, and from three on `97.5 ± 0.6`."""
    if len(values) < 3:
        return ", ".join(number(value, decimals) for value in values) or DASH
    return f"{number(math.fsum(values) / len(values), decimals)} {PLUS_MINUS} {number(stdev(values), decimals)}"


def extremes(values: Sequence[float], decimals: int = 1) -> str:
    """`24.0 to 99.6` where three or more runs lie more than `FAR_APART` points apart; else empty."""
    if len(values) < 3 or max(values) - min(values) <= FAR_APART:
        return ""
    return f"{number(min(values), decimals)} to {number(max(values), decimals)}"


def count(value: Any) -> str:
    """A number of parameters or multiply-adds: 512, 44.7k, 25.6M, 4.1G; a dash for none."""
    if pd.isna(value):
        return DASH
    if value < 1e3:
        return f"{value}"
    if value < 999.95e3:
        return f"{value / 1e3:.1f}k"
    return f"{value / 1e6:.1f}M" if value < 999.95e6 else f"{value / 1e9:.1f}G"


def short_count(value: float) -> str:
    """A number of parameters or multiply-adds on an axis: 30k, 1.25M."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.4g}{letter}"
    return f"{value:.4g}"


def added_count(value: Any) -> str:
    """A difference in parameters or multiply-adds, with its sign."""
    if pd.isna(value):
        return DASH
    return f"{'+' if value > 0 else MINUS if value < 0 else ''}{count(abs(value))}"


def integers(values: Sequence[int]) -> str:
    """`0, 1, 2`; more than four consecutive numbers are written as `0-9`, with an en dash."""
    ordered = sorted(set(values))
    if len(ordered) > 4 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}{DASH}{ordered[-1]}"
    return ", ".join(map(str, ordered))


def counted(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number} {noun}" + ("s" if number != 1 else "")


def short_commit(commit: str | None) -> str:
    """The first ten digits of the hash, and its suffix (`-dirty`) if it has one."""
    if not isinstance(commit, str) or not commit:
        return "unknown"
    digest, dash, rest = commit.partition("-")
    return digest[:10] + dash + rest
