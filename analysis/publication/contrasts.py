"""The primary contrasts of a protocol: the differences that it named before the runs were made."""

from __future__ import annotations

from analysis import numbers
from analysis.paper.claims import margin_of
from analysis.publication.verdict_table import equalities, told, verdict_of
from analysis.sources.samples import Comparison
from analysis.sweep.results import SweepResults
from analysis.sweep.summary import Place
from analysis.table import escape_markdown
from lightning_xvol.commandline import markdown_table
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.protocol import Protocol


def contrasts(results: SweepResults, protocol: Protocol) -> str:
    """A Markdown table with a line for each primary contrast of a sweep, at each planned value of the axes.

    A line has the difference with its 95 % interval, p after Holm, whether the two rows are equal within margins, their
    parameters, and whether the difference is resolved.

    Raises:
        UserError: where the protocol names no contrast of the sweep, or a row of one has no run.
    """
    layout = results.layout
    wanted = _wanted(results, protocol)
    if not wanted:
        raise UserError(f"{protocol.file} names no contrast of the sweep {layout.name!r} on {layout.recipe}")
    margin = margin_of(layout.metric)
    rows = []
    for (first, second), compared in zip(wanted, results.measured.compare_also(wanted), strict=True):
        found = compared.difference
        names = [layout.labels.get(place[0], place[0]) for place in (first, second)]
        equal = numbers.DASH if margin is None or not found.can_decide else equalities(found, margin)
        rows.append([
            f" {numbers.MINUS} ".join(names), *map(str, first[1:]), str(found.n), told(found), _p(compared),
            equal, _parameters(results, first, second), verdict_of(compared),
        ])  # fmt: skip
    header = (
        "Contrast", *map(layout.axis_label, layout.axes), "n", "Difference [95 %]", "p", "Equal within",
        "Parameters", "Verdict",
    )  # fmt: skip
    aligned = (":--", *[":-:"] * (len(header) - 2), ":--")
    table = markdown_table(
        list(map(escape_markdown, header)), [list(map(escape_markdown, row)) for row in rows], aligned
    )
    notes = (
        f"{layout.metric_label[:1].upper()}{layout.metric_label[1:]}, in points. p: after Holm over all differences of "
        f"the table of the sweep and these. The tests of equality have the level 5 %, unadjusted. The contrasts "
        f"are those of {protocol.file}."
    )
    return f"{table}\n\n{escape_markdown(notes)}"


def _wanted(results: SweepResults, protocol: Protocol) -> list[tuple[Place, Place]]:
    """The places of the two rows of each contrast."""
    layout, places = results.layout, results.measured.places
    rows = {place[0] for place in places}
    found: dict[tuple[Place, Place], None] = {}
    for planned in protocol.of(layout.recipe, layout.name):
        for row, other in planned.contrasts:
            if not {row, other} <= rows:
                raise UserError(f"the sweep {layout.name!r} has no run of {row!r} or of {other!r}")
        found |= dict.fromkeys(planned.pairs(layout.axes, places))
    return list(found)


def _p(compared: Comparison) -> str:
    if not compared.difference.can_decide:
        return numbers.DASH
    return "< 0.001" if compared.p_holm < 0.001 else numbers.number(compared.p_holm, 3)


def _parameters(results: SweepResults, *places: Place) -> str:
    counts = []
    for place in places:
        known = [count for count in results.measured.rows[place]["params"] if count == count]
        counts.append(numbers.count(known[0] if known else None))
    return "; ".join(counts)
