"""The table of a comparison: a line for each row of the sweep, a column for each side, and the differences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.compare.comparison import FIRST, Comparison
from analysis.sources.samples import STATISTICS
from analysis.statistics import ALPHA, FEWEST_SEEDS
from analysis.sweep import display, footnotes
from analysis.sweep.table import axis_values, run_remarks
from analysis.table import Block, Table, TableCell
from lightning_xvol.ledger.plan import COSTS

_MOST_NAMED = 6


def comparison_table(compared: Comparison) -> Table:
    """The table. Each side after the first has a second column, with its differences to the first side.

    Raises:
        UserError: where `--only` names what the table does not have, or leaves nothing.
    """
    sweep, summary = compared.layout, compared.summary
    several = len(compared.sides) > 2
    columns = [compared.names[0]]
    for name in compared.names[1:]:
        columns += [name, f"{name}: difference" if several else "difference"]
    metric = sweep.metric_label[:1].upper() + sweep.metric_label[1:]
    shown = f"mean {numbers.PLUS_MINUS} standard deviation" if summary["n"].max() >= FEWEST_SEEDS else "single runs"
    return Table(
        name=f"compare-{sweep.name}",
        title=_title(compared),
        caption=f"{metric}, {shown}.",
        stub="Operator",
        spanner="",
        columns=tuple(columns),
        blocks=_blocks(compared),
        bold="",
        notes=tuple(notes(compared)),
        tidy=tidy(compared),
        short_notes=tuple(short_notes(compared)),
    )


def _blocks(compared: Comparison) -> tuple[Block, ...]:
    """A block for each place on the axes, with the rows of the sweep that it has."""
    sweep, summary = compared.layout, compared.summary
    common = footnotes.common_n(summary)
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    for group in summary.to_dict("records"):
        place = tuple(group[axis] for axis in sweep.axes)
        groups.setdefault(place, {}).setdefault(group["operator"], []).append(group)
    blocks = []
    for place in itertools.product(*(axis_values(summary, axis) for axis in sweep.axes)):
        heading = ", ".join(f"{sweep.axis_label(axis)} = {at}" for axis, at in zip(sweep.axes, place, strict=True))
        rows = [(sweep.labels[row], _cells(compared, own, common)) for row, own in groups.get(place, {}).items()]
        blocks += [Block(tuple(rows), heading)] if rows else []
    return tuple(blocks)


def _title(compared: Comparison) -> str:
    layouts = [side.layout for side in compared.sides]
    recipes = list(dict.fromkeys(layout.recipe for layout in layouts))
    smoke = "SMOKE: " if layouts[0].smoke else ""
    if any(layout.set_by_hand for layout in layouts):
        return f"{smoke}{layouts[0].title}: {' against '.join(compared.names)} ({layouts[0].data})."
    named = f"recipe{'s' if len(recipes) > 1 else ''} {' and '.join(recipes)}"
    return f"{smoke}{layouts[0].title}: {' against '.join(compared.names)} ({named})."


def _cells(compared: Comparison, groups: list[dict[str, Any]], common: int) -> tuple[TableCell, ...]:
    cells = []
    for group in groups:
        cells.append(TableCell(numbers.runs(group["runs"]), run_remarks(group, common), group_id=group["group_id"]))
        if group["side"] != FIRST:
            cells.append(TableCell(_difference(compared, group), group_id=group["group_id"]))
    return tuple(cells)


def _difference(compared: Comparison, group: Mapping[str, Any]) -> str:
    if pd.isna(group["delta"]):
        return numbers.DASH
    found = compared.difference(group)
    return footnotes.difference_text(found.difference) + (numbers.DAGGER if found.is_resolved else "")


def tidy(compared: Comparison) -> pd.DataFrame:
    """The contents of the CSV: a line for each row of the sweep and each side, with differences to the first side."""
    axes = compared.layout.axes
    columns = ["operator", *axes, "settings", "metric", "planned", "diverged", *STATISTICS, *COSTS, "group_id"]
    return compared.summary[columns].reset_index(drop=True)


def notes(compared: Comparison) -> list[str]:
    """The footnotes: warnings, sides, estimator, number of seeds, intervals, what is left out, and the data."""
    sweep, summary = compared.layout, compared.summary
    runs = compared.frame[compared.frame["metric"] == sweep.metric]
    lines = footnotes.warnings(runs, compared.select)
    lines += [_sides(compared), footnotes.estimator(sweep, summary, compared.select)]
    lines += [footnotes.replication(runs, summary)]
    if (summary["n"] > 1).any():
        prior = compared.measured.prior
        lines.append(footnotes.intervals_note(compared.interval, None if prior is None else prior.degrees))
    if summary["delta"].notna().any():
        family = numbers.counted(compared.measured.comparisons, "difference")
        lines.append(
            f"Difference: the mean minus that of {compared.names[0]} in the same row, in points, with its 95 % "
            f"interval; {numbers.DAGGER}: resolved, p below {100 * ALPHA:.0f} % after Holm over the {family} of the "
            "table."
        )
    if summary.loc[summary["side"] != FIRST, "delta"].isna().any():
        lines.append(f"{numbers.DASH}: there is no difference, because a side has fewer than two runs.")
    lines.append(display.note(compared.only, len(summary), len(compared.whole), compared.metrics))
    lines.append(_left_out("the settings are equal", compared.alike))
    lines.append(_left_out("not every side has a finished run", compared.apart))
    lines.append(f"{_data(compared)}; {footnotes.computed_by(runs)}.")
    if sweep.smoke:
        lines.append("SMOKE: a budget of a few steps shows that everything runs; the numbers mean nothing.")
    return [line for line in lines if line]


def short_notes(compared: Comparison) -> list[str]:
    """A sentence on the estimator and the number of seeds, one on the data, and warnings."""
    sweep, summary = compared.layout, compared.summary
    runs = compared.frame[compared.frame["metric"] == sweep.metric]
    difference = ""
    if summary["delta"].notna().any():
        difference = f"; differences to {compared.names[0]} with 95 % interval, {numbers.DAGGER} where resolved"
    return [
        f"{footnotes.short_estimator(sweep, summary, compared.select)}{difference}.",
        f"{_data(compared)}; {footnotes.commits_of(runs)}.",
        *footnotes.warnings(runs, compared.select),
    ]


def _data(compared: Comparison) -> str:
    budgets = dict.fromkeys(side.layout.budget for side in compared.sides)
    return f"Data: {compared.layout.data}; budget: {' and '.join(budgets)}"


def _sides(compared: Comparison) -> str:
    """Where the runs of each side come from, and every setting in which the sides differ."""
    where = [
        side.where if name == side.where.strip("'") else f"{name}: {side.where}"
        for name, side in zip(compared.names, compared.sides, strict=True)
    ]
    listed = [f"{path} {' / '.join(values)}" for path, (_, values) in compared.settings.items()]
    return f"Sides: {'; '.join(where)}. They differ in {', '.join(listed)}, and in no other setting."


def _left_out(why: str, rows: Any) -> str:
    if not rows:
        return ""
    more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    return f"Left out, because {why}: {'; '.join(rows[:_MOST_NAMED])}{more}."
