"""Rows of a sweep against their static controls: their gain, and the largest gain that the runs allow."""

from __future__ import annotations

from analysis import numbers
from analysis.paper.claims import margin_of
from analysis.publication.verdict_table import equal_within, told
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
            largest = numbers.signed(max(difference.high, 0.0), 2) if decided else numbers.DASH
            equal = numbers.DASH
            if decided and margin is not None:
                equal = ", ".join(equal_within(difference, factor * margin) for factor in (0.5, 1, 2))
            rows.append([
                pair.replace(" minus ", f" {numbers.MINUS} "), *map(str, place), str(difference.n),
                told(difference), largest, equal,
                "resolved" if compared.is_resolved else "not resolved",
            ])  # fmt: skip
    if not rows:
        raise UserError(f"no row of the sweep {layout.name!r} has a control with two runs")
    within = "" if margin is None else f" (half, once, twice {numbers.PLUS_MINUS}{margin:g})"
    beside = ("n", "Difference [95 %]", "Largest gain", f"Equal within{within}", "Verdict")
    header = ("Row minus its static control", *axes, *beside)
    marks = (":--", *[":-:"] * (len(header) - 2), ":--")
    table = markdown_table(list(map(escape_markdown, header)), [list(map(escape_markdown, row)) for row in rows], marks)
    notes = (
        f"{layout.metric_label[:1].upper()}{layout.metric_label[1:]}, in points. Largest gain: the upper end of the "
        "95 % interval, or 0.00 where that is below 0. Resolved: p below 5 % after Holm over all "
        f"differences of the table of the sweep. Fewer than {FEWEST_SEEDS} runs of a row decide nothing."
    )
    return f"{table}\n\n{escape_markdown(notes)}"
