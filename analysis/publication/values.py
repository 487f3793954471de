"""One number of a sweep, for a sentence."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.publication.verdict_table import told
from analysis.render import INTERVALS
from analysis.statistics import FEWEST_SEEDS, Difference
from analysis.sweep.results import SweepResults
from lightning_xvol.commandline import row_named
from lightning_xvol.errors import UserError, nearest

SHOW = ("mean", "n", "params", "macs", "gain", "verdict")
"""What `--show` names. With `--minus`, `mean` is the difference with its interval, and `gain` its upper end."""


def value(results: SweepResults, flags: argparse.Namespace) -> str:
    """The number that `flags` names.

    Args:
        results: The sweep.
        flags: Has `row`, `at` (pairs of an axis and its value), `minus` (another row, or None), `metric`, `show` (one
            of `SHOW`), `decimals` and `interval` (one of `INTERVALS`).

    Raises:
        UserError: for a row, an axis, a value or a metric that the sweep does not have, or where it has no such number.
    """
    show = flags.show
    _check_effects(flags)
    group = _group(results, flags.row, flags.at, flags.metric)
    if flags.minus is None:
        if show in ("gain", "verdict"):
            raise UserError(f"--show {show} needs --minus ROW")
        if show == "mean":
            return numbers.runs(group["runs"], 1 if flags.decimals is None else flags.decimals)
        return str(group["n"]) if show == "n" else numbers.count(group[show])
    other = _group(results, flags.minus, flags.at, flags.metric)
    if flags.metric not in (None, results.layout.metric):
        raise UserError(f"--minus compares {results.layout.metric} alone, not {flags.metric}")
    place = (group["operator"], *(group[axis] for axis in results.layout.axes))
    [compared] = results.measured.compare_also([(place, (other["operator"], *place[1:]))])
    return _difference(compared.difference, compared.is_resolved, show)


def _check_effects(flags: argparse.Namespace) -> None:
    """Raises a UserError for an option that would change nothing."""
    if flags.decimals is not None and (flags.show != "mean" or flags.minus is not None):
        raise UserError("--decimals is for a mean alone, without --minus and --show")
    if flags.interval != INTERVALS[0] and flags.minus is None:
        raise UserError(f"--interval {flags.interval} is for a difference and needs --minus ROW")
    if flags.metric is not None and flags.show in ("params", "macs"):
        raise UserError(f"--show {flags.show} is the same for each metric and takes no --metric")


def _difference(found: Difference, resolved: bool, show: str) -> str:
    if show == "mean":
        return told(found)
    if show == "n":
        return str(found.n)
    if show == "gain":
        if not found.can_decide:
            raise UserError(f"--show gain needs {FEWEST_SEEDS} runs of both rows, with some spread between runs")
        return numbers.signed(max(found.high, 0.0), 2)
    if show == "verdict":
        return "resolved" if resolved else "not resolved"
    raise UserError(f"--show {show} is a number of one row and takes no --minus")


def _group(results: SweepResults, row: str, at: list[tuple[str, str]], metric: str | None) -> dict[str, Any]:
    layout = results.layout
    summary = results.summary
    if metric not in (None, layout.metric):
        if metric not in results.others:
            known = (layout.metric, *results.others)
            raise UserError(f"no metric {metric!r}{nearest(str(metric), known)}; metrics: {', '.join(known)}")
        summary = results.others[str(metric)]
    operators = dict.fromkeys(summary["operator"])
    named = row_named(row, operators)
    if named is None:
        raise UserError(f"no row {row!r}{nearest(row, operators)}; rows: {', '.join(operators)}")
    own = summary[summary["operator"] == named]
    for axis, text in at:
        if len([each for each, _ in at if each == axis]) > 1:
            raise UserError(f"--at {axis} is given twice; a number has one value of an axis")
        if axis not in layout.axes:
            raise UserError(f"--at {axis}: no such axis{nearest(axis, layout.axes)}; axes: {', '.join(layout.axes)}")
        present = dict.fromkeys(map(str, own[axis]))
        if text not in present:
            raise UserError(f"--at {axis}={text}{nearest(text, present)} must be one of {', '.join(present)}")
        own = own[own[axis].map(str) == text]
    missing = [axis for axis in layout.axes if own[axis].nunique() > 1]
    if missing:
        raise UserError(
            f"row {named!r} has several values of {' and '.join(missing)}; choose with --at {missing[0]}=..."
        )
    [group] = own.to_dict("records")
    if not group["n"]:
        raise UserError(f"row {named!r} has no finished run")
    return {key: None if not isinstance(item, tuple) and pd.isna(item) else item for key, item in group.items()}
