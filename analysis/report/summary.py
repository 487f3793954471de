"""The text of `python -m analysis summary`: the state of the sweeps and their results."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from analysis.paper import verdicts
from analysis.sources.collection import Collection
from analysis.sweep import overview
from analysis.sweep.overview import STATES, Overview
from lightning_xvol.commandline import columns, duration, terminal_width
from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.printing import printable


def summarise(sources: Collection, select: str = "last") -> str:
    """Counts of cells by state; for each sweep, its best row and its controls; then verdicts and warnings.

    Raises:
        UserError: if no sweep can be shown.
    """
    found, problems = overview.overviews(sources, select)
    lines = [*_counts(found), ""]
    for item in found:
        lines += [f"{item.layout.name}: {item.layout.title} ({item.layout.origin}, {item.layout.budget})"]
        lines += _item("best", f"{item.best_text()}; {item.difference_text()}")
        for text in item.control_texts():
            lines += _item("control", text)
        for text in item.warnings():
            lines += _item("warning", text)
        lines.append("")
    try:
        lines += _claims(sources, select)
    except UserError as error:
        problems.append(f"no verdicts: {error}")
    for text in [*overview.common_warnings(found), *problems]:
        lines += _item("warning", text)
    return printable("\n".join(lines))


def _counts(found: Sequence[Overview]) -> list[str]:
    rows = [["sweep", *STATES, "time"]]
    for item in found:
        counts = item.counts
        done, *others = (str(counts[state]) for state in STATES)
        rows.append([item.layout.name, f"{done}/{item.cells}", *others, duration(item.seconds)])
    runs = overview.all_runs(found)
    states = runs["state"].value_counts()
    done, *others = (str(int(states.get(state, 0))) for state in STATES)
    rows.append(["all runs", f"{done}/{len(runs)}", *others, duration(overview.run_seconds(found))])
    header, *body, total = columns(rows, right=range(1, len(rows[0])))
    rule = "-" * len(header)
    return [header, rule, *body, rule, total]


def _claims(sources: Collection, select: str) -> list[str]:
    counts = verdicts.tally(verdicts.verdicts(sources, select))
    lines = ["claims of the paper (`python -m analysis claims` shows each)"]
    for data, kinds in counts.items():
        lines += _item(data or "no runs", ", ".join(f"{number} {kind}" for kind, number in kinds.items()))
    return [*lines, ""]


def _item(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name}: {text}", terminal_width(), initial_indent="  ", subsequent_indent="    ")
