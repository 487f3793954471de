"""The kinds of marks in a page, with their flags: `KINDS`. Each kind renders the content of its marks from records.

| kind | what stands there |
| --- | --- |
| `table` | the table of a sweep, with caption and footnotes, as `tables` writes it; `--csv FILE` gets its CSV |
| `scores` | the means of a sweep alone, without differences, costs and footnotes |
| `paper` | rows of a table of the paper (`--table 2`), in its layout |
| `figure` | a figure of a sweep; `--to FILE.png` and `FILE.csv` get the figure and its numbers |
| `verdicts` | a line for each claim, with its parts: runs, interval, equality, control, parameters |
| `tally` | the number of claims by verdict |
| `contrasts` | the primary contrasts of the protocol in a sweep, with intervals, p and parameters |
| `gains` | rows of a sweep minus their static controls, with the upper end of each 95 % interval |
| `cost` | the cells of each sweep by state, with CPU and clock time |
| `protocol` | the protocol with its SHA-256, and which runs of each sweep are exploratory |
| `number`, `verdict`, `hours` | a few words in a sentence |
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from analysis import render
from analysis.publication import contrasts, costs, gains, values, verdict_table
from analysis.publication.marked import Mark
from analysis.publication.place import Place
from analysis.report.frozen import Frozen
from analysis.sweep import overview
from analysis.sweep.results import SweepResults
from analysis.sweep.table import sweep_table
from analysis.table import escape_markdown, to_csv
from lightning_xvol.commandline import Parser
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger.protocol import read_protocol


def table(place: Place) -> str:
    results, csv = place.sweep, place.flags.csv
    text = render.render_table(results, "markdown", place.flags.notes).strip()
    beside = [escape_markdown(line) for line in _planned(place, results)]
    if csv is not None:
        place.add_csv(csv, render.render_table(results, "csv"))
        beside.append(f"[The numbers]({PurePosixPath(csv)}) in full precision.")
    before = "\n" if place.flags.notes == "none" and beside else ""  # a list ends the table, or goes on
    return "\n".join([text + before, *(f"- {line}" for line in beside)])


def scores(place: Place) -> str:
    return sweep_table(place.sweep).scores().markdown_grid()


def _planned(place: Place, results: SweepResults) -> list[str]:
    """Sentences on what the protocol planned in a sweep and what is exploratory; none without `--protocol`."""
    if place.flags.protocol is None:
        return []
    sources = place.sources
    frozen = Frozen.of(sources, overview.overviews(sources)[0], Path(place.flags.protocol))
    item = overview.Overview.of(sources, results.layout, results.frame, results.select)
    return frozen.lines(sources, item)


def paper(place: Place) -> str:
    from analysis.paper.pools import pools
    from analysis.paper.tables import paper_tables

    number = place.flags.table
    found = paper_tables(number, pools(place.sources, str(number)), "last")
    if not found:
        raise UserError(f"--table {number}: the source has no finished run of this table of the paper")
    return "\n\n".join(item.to_markdown().strip() for item in found)


def figure(place: Place) -> str:
    flags, results = place.flags, place.sweep
    from analysis.sweep import figures as sweep_figures  # with matplotlib, which pages without figures do not need

    label = f"{results.layout.title} (recipe {results.layout.recipe})"
    file = PurePosixPath(flags.to)
    drawn = to_csv(sweep_figures.plotted(results, flags.figure))
    content = (label, drawn, flags.figure, flags.size)
    place.add_figure(flags.to, content, lambda: render.draw_figure(results, flags.figure, size=flags.size))
    place.add_csv(str(file.with_suffix(".csv")), drawn)
    return (
        f"![{escape_markdown(flags.alt or label)}]({file})\n\n[The numbers]({file.with_suffix('.csv')}) of the figure."
    )


def verdicts(place: Place) -> str:
    found, by_table = verdict_table.found_by(place.sources)
    path = place.flags.protocol
    primary = None if path is None else verdict_table.primary_contrasts(place.sources, read_protocol(Path(path)))
    return verdict_table.verdict_table(verdict_table.chosen(found, place.flags.claims), by_table, primary)


def tally(place: Place) -> str:
    from analysis.paper.verdicts import tally as counted

    found, _ = verdict_table.found_by(place.sources)
    if place.flags.claims:
        found = verdict_table.chosen(found, place.flags.claims)
    return "\n".join(
        f"- {escape_markdown(data or 'no runs')}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        for data, kinds in counted(found).items()
    )


def verdict(place: Place) -> str:
    if not place.flags.claims:
        raise UserError("--claims is missing; it names the claim, for example --claims 6")
    found, _ = verdict_table.found_by(place.sources)
    own = verdict_table.chosen(found, place.flags.claims)
    return escape_markdown("; ".join(dict.fromkeys(item.verdict for item in own)))


def primary(place: Place) -> str:
    if place.flags.protocol is None:
        raise UserError("--protocol is missing, both here and in <!-- analysis defaults -->")
    return contrasts.contrasts(place.sweep, read_protocol(Path(place.flags.protocol)))


def protocol(place: Place) -> str:
    found, _ = overview.overviews(place.sources)
    path = place.flags.protocol
    frozen = Frozen.of(place.sources, found, None if path is None else Path(path))
    if frozen.protocol is None:
        raise UserError("the runs name no protocol that can be found here; name its file with --protocol")
    lines = [f"Protocol: {frozen.fact}.", *(f"Warning: {text}." for text in frozen.warnings())]
    for item in found:
        about = f"`{item.layout.name}` (recipe {item.layout.recipe})"
        lines += [f"{about}: {escape_markdown(' '.join(frozen.lines(place.sources, item)))}"]
    return "\n".join(f"- {line}" for line in lines)


@dataclass(frozen=True)
class Kind:
    """A kind of mark.

    Attributes:
        render: Returns the content of a mark.
        flags: The flags that it takes beside `--source` and `--protocol`.
        is_block: Whether its mark begins a line and holds a block of lines.
    """

    render: Callable[[Place], str]
    flags: tuple[str, ...] = ()
    is_block: bool = True


_SHARED = ("source", "protocol")
_OF_SWEEP = ("sweep", "only", "interval")
KINDS: Mapping[str, Kind] = {
    "table": Kind(table, (*_OF_SWEEP, "csv", "notes")),
    "scores": Kind(scores, _OF_SWEEP),
    "paper": Kind(paper, ("table",)),
    "figure": Kind(figure, (*_OF_SWEEP, "figure", "to", "size", "alt")),
    "verdicts": Kind(verdicts, ("claims",)),
    "tally": Kind(tally, ("claims",)),
    "contrasts": Kind(primary, _OF_SWEEP),
    "gains": Kind(lambda place: gains.gains(place.sweep), _OF_SWEEP),
    "cost": Kind(lambda place: costs.table(place.sources)),
    "protocol": Kind(protocol),
    "number": Kind(
        lambda place: values.value(place.sweep, place.flags),
        (*_OF_SWEEP, "row", "at", "minus", "metric", "show", "decimals"), is_block=False,
    ),
    "verdict": Kind(verdict, ("claims",), is_block=False),
    "hours": Kind(lambda place: costs.words(place.sources, place.flags.of), ("of",), is_block=False),
}  # fmt: skip


def _claims(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be the numbers of claims, such as 6,7") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE")
    return key, value


_FLAGS: dict[str, dict[str, Any]] = {
    "source": {"action": "append", "default": []},
    "protocol": {},
    "sweep": {"required": True},
    "only": {"action": "append", "default": []},
    "interval": {"choices": render.INTERVALS, "default": render.INTERVALS[0]},
    "csv": {},
    "notes": {"choices": render.NOTES, "default": render.NOTES[0]},
    "table": {"type": int, "choices": (1, 2, 3, 4, 6), "required": True},
    "figure": {"choices": render.FIGURES, "default": render.FIGURES[0]},
    "to": {"required": True},
    "size": {"choices": ("column", "page", "slide")},
    "alt": {},
    "claims": {"type": _claims, "default": []},
    "row": {"required": True},
    "at": {"action": "append", "default": [], "type": _pair},
    "minus": {},
    "metric": {},
    "show": {"choices": values.SHOW, "default": "mean"},
    "decimals": {"type": int, "choices": range(5)},
    "of": {"choices": costs.OF, "default": costs.OF[0]},
}  # fmt: skip


def _parsed(name: str, flags: Sequence[str], words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog=name, add_help=False, allow_abbrev=False)
    given = [word.partition("=")[0] for word in words]
    for flag in flags:
        if given.count(f"--{flag}") > 1 and "action" not in _FLAGS[flag]:
            raise UserError(f"{name}: --{flag} is given twice")
        parser.add_argument(f"--{flag}", **_FLAGS[flag])
    try:
        return parser.parse_args(list(words))
    except UserError as error:
        raise UserError(f"{name}: {str(error).partition('; see ')[0]}; it takes --{', --'.join(flags)}") from error


def rendered(mark: Mark, place: Place) -> str:
    """The content of `mark`.

    Raises:
        UserError: for an unknown kind, an unknown flag, or records that lack what the mark names. The sentence begins
            with the line.
    """
    try:
        name, *words = mark.words
        if name not in KINDS:
            raise UserError(f"no kind {name!r}{nearest(name, KINDS)}; known kinds: {', '.join(KINDS)}")
        kind = KINDS[name]
        if kind.is_block != mark.is_block:
            where = "begin a line" if kind.is_block else "stand within a line, after a word"
            raise UserError(f"a mark of the kind {name!r} must {where}")
        shared = _parsed("defaults", _SHARED, mark.defaults)
        place.flags = _parsed(name, (*_SHARED, *kind.flags), words)
        place.flags.source = place.flags.source or shared.source
        place.flags.protocol = place.flags.protocol or shared.protocol
        return kind.render(place)
    except UserError as error:
        raise UserError(f"line {mark.line}: {error}") from error
