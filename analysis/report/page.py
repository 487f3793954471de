"""Puts the page together. Its tables and figures are those that the other commands write."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from analysis import numbers
from analysis.paper import verdicts
from analysis.paper.claims import Claim
from analysis.paper.pools import pools
from analysis.paper.shown import Shown
from analysis.paper.tables import paper_tables
from analysis.paper.verdicts import Verdict
from analysis.render import PAPER_TABLES, WITHOUT_RUNS, check_notes
from analysis.report.drawing import Drawing, draw
from analysis.report.frozen import Frozen
from analysis.report.runs import ReportedRuns
from analysis.sources.collection import Collection, Sources, collect
from analysis.sweep import overview
from analysis.sweep.overview import Overview
from analysis.sweep.table import sweep_table
from analysis.table import Table
from lightning_xvol.commandline import duration
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files
from lightning_xvol.surroundings.printing import printable

HERE = Path(__file__).parent
TONES = dict(zip(verdicts.KINDS, ("good", "good", "bad", "bad", "open", "open", "own", "none", "none"), strict=True))


@dataclass(frozen=True)
class Section:
    """A sweep of the page.

    Attributes:
        number: The number by which the filters know the sweep.
        name: The name of the sweep in the contents.
        anchor: The id of the section.
        operators: The numbers of the operators in the sweep.
        warnings: What is missing or wrong.
        overview: The results of the sweep.
        table: The table of the sweep.
        drawings: The figures by their name.
        protocol: What of the sweep the protocol planned, and what is exploratory.
    """

    number: int
    name: str
    anchor: str
    operators: list[int]
    warnings: list[str]
    overview: Overview
    table: Table
    drawings: dict[str, Drawing]
    protocol: list[str]


def write_report(
    sources: Sources, path: str | Path, command: str = "", select: str = "last", protocol: str | Path | None = None,
    only: Mapping[str, Sequence[Any]] | None = None, metrics: Sequence[str] = (), notes: str = "full",
) -> Path:  # fmt: skip
    """Write one page with verdicts, tables, figures and runs to the file `path`, whole or not at all.

    Args:
        sources: One or several of: the `--out` folder of a sweep, an archive, a folder of W&B runs, `wandb:NAME`.
        path: The file to write, for example `report.html`.
        command: The command that the page names in its footer (default: the call of this function).
        select: Which evaluation of a run counts: `last` or `best`.
        protocol: The protocol of the experiment (default: the file that the runs name, if it is here).
        only, metrics: The rows, columns and metrics that are shown, as in `load_sweep`. Sweeps that have none of them
            are left out.
        notes: The footnotes of the tables: `full`, `short` or `none`.

    Returns:
        The path of the file.

    Raises:
        UserError: if no sweep can be shown, `path` is a folder, the file cannot be written, `protocol` is not a
            protocol, or `notes` is unknown.
    """
    check_notes(notes)
    path = Path(path)
    if path.is_dir():
        raise UserError(f"the report {str(path)!r} is a folder; name a file, for example {str(path / 'report.html')!r}")
    command = command or f"analysis.write_report(..., {str(path)!r})"
    page = html(collect(sources), command, select, protocol, only, metrics, notes)
    files.make_folder(path.parent)
    files.write_text(path, page)
    return path


def html(
    sources: Collection, command: str, select: str = "last", protocol: str | Path | None = None,
    only: Mapping[str, Sequence[Any]] | None = None, metrics: Sequence[str] = (), notes: str = "full",
) -> str:  # fmt: skip
    """The text of the page. Its footer names `command`. The other arguments are those of `write_report`.

    Raises:
        UserError: if no sweep can be shown.
    """
    texts = {key: [str(value) for value in values] for key, values in (only or {}).items()}
    found, problems = overview.overviews(sources, select, texts, metrics)
    runs = ReportedRuns(sources, found)
    shown = Shown.of(texts, metrics, strict=False)
    claims, tables, others = _of_the_paper(sources, select, shown)
    problems += others
    frozen = Frozen.of(sources, found, None if protocol is None else Path(protocol))
    several = len({item.layout.recipe for item in found}) > 1
    sections = [
        _section(number, item, runs, several, frozen.lines(sources, item), notes) for number, item in enumerate(found)
    ]
    script = files.read_text(HERE / "filter.js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"duration": duration, "prose": prose}
    text = environment.get_template("page.html").render(
        style=Markup(files.read_text(HERE / "style.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        facts=_facts(found, texts, metrics) | ({"Protocol": frozen.fact} if frozen.fact else {}),
        warnings=[
            *problems,
            *frozen.warnings(),
            *overview.common_warnings(found),
            *_cannot_reproduce(found),
            *sources.losses,
        ],
        incomplete=[section for section in sections if section.warnings],
        tallies=verdicts.tally(claims),
        claims=_by_claim(claims),
        not_run=[verdict for verdict in claims if verdict.kind == "not run"],
        tones=TONES,
        legend=verdicts.LEGEND,
        sections=sections,
        paper_tables=[table.with_notes(notes) for table in tables],
        runs=runs,
        select=select,
        command=command,
    )
    return printable(text)


def prose(text: str) -> Markup:
    """HTML for `text`, where text between backticks becomes code."""
    parts = text.split("`")
    quoted = (Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(parts))
    return Markup("").join(quoted)


def _of_the_paper(sources: Collection, select: str, shown: Shown) -> tuple[list[Verdict], list[Table], list[str]]:
    """The verdicts and the paper's tables that are `shown`, and a sentence for each that a damaged sweep prevents."""
    problems: list[str] = []
    try:
        found = [verdict for verdict in verdicts.verdicts(sources, select) if shown.has_claim(verdict)]
    except UserError as error:
        found = []
        problems.append(f"no verdicts: {error}")
    tables: list[Table] = []
    for number in (number for number in PAPER_TABLES if number not in WITHOUT_RUNS):
        try:
            tables += paper_tables(number, pools(sources, str(number), select), select, shown)
        except UserError as error:
            problems.append(f"no Table {number}: {error}")
    return found, tables, problems


def _section(
    number: int, item: Overview, runs: ReportedRuns, several: bool, protocol: list[str], notes: str
) -> Section:
    sweep = item.layout
    anchor = f"sweep-{number + 1}"
    warnings = item.warnings()
    try:
        drawings = draw(item, anchor)
    except UserError as error:
        drawings = {}
        warnings.append(str(error))
    return Section(
        number=number,
        name=sweep.name.replace("_", " ") + (f" ({sweep.recipe})" if several else ""),
        anchor=anchor,
        operators=sorted(runs.operators[label] for label in sweep.labels.values() if label in runs.operators),
        warnings=warnings,
        overview=item,
        table=sweep_table(item).with_notes(notes),
        drawings=drawings,
        protocol=protocol,
    )


def _facts(found: Sequence[Overview], only: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> dict[str, str]:
    runs = overview.all_runs(found)
    done = runs[runs["state"].isin(["finished", "diverged"])]
    data = dict.fromkeys(f"{item.layout.data} (recipe {item.layout.recipe})" for item in found)
    asked = [f"{key}: {', '.join(values)}" for key, values in (*only.items(), ("metric", metrics)) if values]
    return ({"Only": "; ".join(asked)} if asked else {}) | {
        "Data": "; ".join(data),
        "Runs": f"{len(done)} of {len(runs)} done",
        "Seeds": numbers.integers(runs["seed"].tolist()),
        "Computing": duration(overview.run_seconds(found)),
        "Commit": ", ".join(dict.fromkeys(done["commit"].map(numbers.short_commit))) or numbers.DASH,
    }


def _cannot_reproduce(found: Sequence[Overview]) -> list[str]:
    others = dict.fromkeys(item.layout.data for item in found if item.layout.reproduces is None)
    smoke = [item.layout.name for item in found if item.layout.smoke]
    lines = []
    if others:
        lines.append(f"{', '.join(others)}: these data cannot reproduce the paper; no printed numbers are shown")
    if smoke:
        lines.append(f"SMOKE: {', '.join(smoke)}: the budget is a few steps; the numbers mean nothing")
    return lines


def _by_claim(claims: Sequence[Verdict]) -> list[tuple[Claim, list[Verdict]]]:
    """The claims that runs or printed numbers decide, each with its verdicts."""
    found: dict[int, tuple[Claim, list[Verdict]]] = {}
    for verdict in claims:
        if verdict.kind != "not run":
            found.setdefault(verdict.claim.number, (verdict.claim, []))[1].append(verdict)
    return list(found.values())
