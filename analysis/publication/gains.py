"""Rows of a sweep against their static controls: their gain, and the largest gain that the runs allow."""

from __future__ import annotations

from analysis import numbers
from analysis.paper.claims import margin_of
from analysis.publication.verdict_table import equalities, told, verdict_of
from analysis.statistics import FEWEST_SEEDS
from analysis.sweep.footnotes import against_controls
from analysis.sweep.results import SweepResults
from analysis.table import escape_markdown
from lightning_xvol.commandline import markdown_table
from lightning_xvol.errors import UserError


def gains(results: SweepResults) -> str:
    """A Markdown table with a line for each row that has a control, at each value of the axes.

    A line has the difference to the control, the largest gain that the runs allow (the upper end of the 95 % interval),
    whether the two are equal within margins, and whether the difference is resolved.

    Raises:
        UserError: where no row has a control with runs.
    """
    layout = results.layout
    axes = list(map(layout.axis_label, layout.axes))
    margin = margin_of(layout.metric)
    rows = []
    for pair, found in against_controls(results):
        for place, compared in found.items():
            difference = compared.difference
            decided = difference.can_decide
            largest = numbers.DASH
            if decided:
                largest = numbers.signed(difference.high, 2) if difference.high > 0 else "none"
            equal = equalities(difference, margin) if decided and margin is not None else numbers.DASH
            rows.append([
                pair.replace(" minus ", f" {numbers.MINUS} "), *map(str, place), str(difference.n),
                told(difference), largest, equal, verdict_of(compared),
            ])  # fmt: skip
    if not rows:
        raise UserError(f"no row of the sweep {layout.name!r} has a control with two runs")
    beside = ("n", "Difference [95 %]", "Largest gain", "Equal within", "Verdict")
    header = ("Row minus its static control", *axes, *beside)
    marks = (":--", *[":-:"] * (len(header) - 2), ":--")
    table = markdown_table(list(map(escape_markdown, header)), [list(map(escape_markdown, row)) for row in rows], marks)
    notes = (
        f"{layout.metric_label[:1].upper()}{layout.metric_label[1:]}, in points. Largest gain: the upper end of the "
        "95 % interval, and none where that is below 0. Verdict: above or below 0 where p is below 5 % after Holm over "
        "all differences of the table of the sweep. The tests of equality have the level 5 %, unadjusted. Fewer than "
        f"{FEWEST_SEEDS} runs of a row decide nothing."
    )
    return f"{table}\n\n{escape_markdown(notes)}"
