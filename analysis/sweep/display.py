"""The rows and columns of a table that are shown: those of `--only` that have results.

The statistics stay those of the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import numbers
from lightning_xvol.commandline import row_named
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger.plan import COSTS


def costs(summary: pd.DataFrame) -> dict[str, str]:
    """The costs that stand beside the scores of `summary`, columns with their names.

    CPU time takes the place of wall time where every group has it, because other work on the machine lengthens wall
    time.
    """
    has_cpu_time = summary.loc[summary["n"] > 0, "cpu_seconds"].notna()
    if has_cpu_time.empty or not has_cpu_time.all():
        return COSTS
    return {key: label for key, label in COSTS.items() if key != "wall_seconds"} | {"cpu_seconds": "CPU seconds a run"}


def shown(summary: pd.DataFrame, axes: Sequence[str], only: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows of `summary` whose `operator` and axes have the values in `only`.

    Raises:
        UserError: for an unknown key, a value that no row has, or where nothing is left.
    """
    keys = ("operator", *axes)
    kept = summary
    for key, values in only.items():
        if key not in keys:
            raise UserError(f"--only {key}: no such key{nearest(key, keys)}; keys: {', '.join(keys)}")
        present = dict.fromkeys(map(str, summary[key]))
        wanted = [row_named(value, present) if key == "operator" else value for value in values]
        for value, found in zip(values, wanted, strict=True):
            if found not in present:
                raise UserError(
                    f"--only {key}={value} selects nothing{nearest(value, present)}; values: {', '.join(present)}"
                )
        kept = kept[kept[key].map(str).isin(wanted)]
    if kept.empty:
        raise UserError(f"--only {describe(only)} shows nothing; no row of the table has all these values")
    return kept


def describe(only: Mapping[str, Sequence[str]]) -> str:
    """`operator=convolution,xvolution kernel_size=3`."""
    return " ".join(f"{key}={','.join(values)}" for key, values in only.items())


def note(only: Mapping[str, Sequence[str]], count: int, of: int, metrics: Sequence[str] = ()) -> str:
    """The footnote of a table that shows `count` of its `of` groups, or `metrics` alone; empty where it shows all."""
    shown = [f"{count} of {of} groups (--only {describe(only)})"] if only else []
    shown += [f"only --metric {','.join(metrics)}"] if metrics else []
    if not shown:
        return ""
    hiding = " or metrics" if metrics else ""
    return (
        f"Shown: {'; '.join(shown)}; intervals and p are those of the whole table, so hiding rows{hiding} does not "
        "change them."
    )


def with_results(summary: pd.DataFrame, lines: Sequence[str | None]) -> pd.DataFrame:
    """`summary` without the rows and columns of the table in which no run of their own has finished or diverged.

    Groups that stand in every column, such as a convolution beside stages, are nobody's own.

    Args:
        summary: A row per group.
        lines: The columns of `summary` whose values are the rows and the columns of the table; None for no columns.

    Returns:
        The groups that are left; all of them where no run has a result.
    """
    done = summary[(summary["n"] > 0) | (summary["diverged"] > 0)]
    if done.empty:
        return summary
    kept = summary
    for line in filter(None, lines):
        places = done.groupby("group_id")[line].nunique()
        own = done[done["group_id"].isin(places.index[places < summary[line].nunique()])]
        kept = kept[kept[line].isin((done if own.empty else own)[line])]
    return kept


def left_note(summary: pd.DataFrame, visible: pd.DataFrame, runs: pd.DataFrame, axis: str | None) -> str:
    """The footnote of a table that leaves out lines without a result; empty where it leaves out none.

    Args:
        summary, visible: The groups that the table could show, and those that it shows.
        runs: A row per cell.
        axis: The axis whose values are the columns; None for no axis.
    """
    hidden = [
        numbers.counted(gone, noun)
        for noun, line in (("row", "row"), ("column", axis))
        if line is not None and (gone := summary[line].nunique() - visible[line].nunique())
    ]
    if not hidden:
        return ""
    cells = runs[runs["group_id"].isin(summary["group_id"])].drop_duplicates("cell_id")
    left = int((~cells["state"].isin(["finished", "diverged"])).sum())
    their = "its" if hidden in (["1 row"], ["1 column"]) else "their"
    return (
        f"Not shown: {' and '.join(hidden)} without a finished run of {their} own; {left} of {len(cells)} runs are "
        "left. The CSV lists all."
    )
