"""The W&B dashboard of a project: a workspace (a saved view of its runs) and a report, with a section for each sweep.

Panels and filters use the names that `lightning_xvol.training.tracking` logs. W&B itself computes the mean over the
runs of a group; bands and whiskers are the standard deviation.

In the workspace, a group is W&B's `Group`: the configuration without its seed. The view has one filter, and all
sections show the runs that pass it. In the report, each section has a run set for each row of the sweep's table,
grouped by the columns of the table.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from analysis.dashboard.views import REPORT, WORKSPACE, View
from analysis.paper import tables as paper_tables
from analysis.paper.pools import pools
from analysis.render import PAPER_TABLES, WITHOUT_RUNS, render_table
from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout, assemble, axis_value
from analysis.sources.plans import SweepPlan
from analysis.sweep.results import SweepResults
from lightning_xvol.config import registry
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.config.schema import flat
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.plan import COSTS
from lightning_xvol.surroundings.programs import run_program

TITLE = "X-volution ablations"
NAME = "xvolutionablations"
STEP = "step"
MOST = 100  # lines or bars in a panel; W&B's default is 10
INTRODUCTION = (
    "Written by `python -m analysis dashboard`, which overwrites all changes; change a copy instead. Lines and bars "
    "are means over seeds with their standard deviation. Each section has a run set for each row of its table. Untick "
    "a run set to leave an operator out."
)

Filter = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """The part of the dashboard that shows one sweep.

    Attributes:
        sweep: The layout of the sweep.
        curves: The metrics that it shows by training step.
        rows: For each row of its table, the filters that select its runs.
        column: The setting that tells the columns of a row apart.
        table: The table in Markdown; empty without runs.
    """

    sweep: SweepLayout
    curves: tuple[str, ...]
    rows: Mapping[str, Sequence[Filter]]
    column: str
    table: str = ""

    @property
    def title(self) -> str:
        return f"{'SMOKE: ' if self.sweep.smoke else ''}{self.sweep.title} ({self.sweep.name})"


def sections_of(sources: Collection, select: str) -> list[Section]:
    """The sweeps of `sources` with their tables. A row shows all runs of its configurations, of any sweep.

    Raises:
        UserError: as `Collection.load`.
    """
    sections = []
    for sweep, frame in sources.variants(sources.sweeps()):
        results = SweepResults.of(sources, sweep, frame, select)
        rows = {
            row: [_filter("run", "group", "IN", _groups(sources, groups["group_id"].tolist()))]
            for row, groups in results.summary.groupby("row", sort=False)
        }
        validated = validation_name(sweep.metric)
        curve = validated if (frame["metric"] == validated).any() else sweep.metric
        sections.append(Section(sweep, (curve,), rows, _column(sweep, frame, sources), render_table(results)))
    return sections


def _groups(sources: Collection, ids: Sequence[str]) -> list[str]:
    """W&B's names of the groups with these ids, as runs of any sweep of `sources` and of a former version have them."""
    names = [name for group in ids for name in sources.group_names(group)]
    return list(dict.fromkeys([*names, *ids]))


def known_sections() -> list[Section]:
    """Every sweep that `python -m ablations` lists. A row shows the runs tracked under its name, of any recipe.

    Raises:
        UserError: if the command fails.
    """
    command = [sys.executable, "-m", "ablations", "--format", "json"]
    done = run_program(command)
    if done.returncode:
        raise UserError(f"cannot list the sweeps: {done.stderr.strip()[-300:]}; name runs with --source")
    return [_known_section(content) for content in json.loads(done.stdout)]


def _known_section(content: Mapping[str, Any]) -> Section:
    plan = SweepPlan.of(content["sweep"], content, "python -m ablations")
    if plan.fault:
        raise UserError(plan.fault)
    sweep, _ = assemble(plan, lambda _: None)
    beside = [axis for axis in sweep.axes if axis != sweep.column_axis]
    rows: dict[str, list[Filter]] = {}
    for cell in content["cells"]:
        axes = {axis: cell["axes"][axis] for axis in beside}
        texts = (sweep.place(axis, axis_value(value)) for axis, value in axes.items())
        rows[", ".join([sweep.labels[cell["operator"]], *texts])] = [
            _filter("run", "jobType", "=", sweep.name),
            _filter("config", "row", "=", cell["operator"]),
            *(_filter("config", _axis(axis), "=", value) for axis, value in axes.items()),
        ]
    return Section(sweep, (validation_name(sweep.metric), sweep.metric), rows, _labelled_column(sweep))


def _column(sweep: SweepLayout, frame: pd.DataFrame, sources: Collection) -> str:
    """A setting whose value differs between all configurations of a row. Otherwise the axis as the sweep logs it.

    The logged axis is second choice, because a run carries the axes of the sweep that ran it first.
    """
    rows = ["operator", *(axis for axis in sweep.axes if axis != sweep.column_axis)]
    found: list[set[str]] = []
    for _, runs in frame[frame["state"] == "finished"].groupby(rows):
        outcomes = [sources.outcome(cell) for cell in runs.drop_duplicates("group_id")["cell_id"]]
        settings = [flat(outcome.result["config"] or {}) for outcome in outcomes if outcome and outcome.result]
        if len(settings) > 1:
            keys = set.intersection(*map(set, settings))
            found.append({key for key in keys if len({json.dumps(each[key]) for each in settings}) == len(settings)})
    return min(set.intersection(*found), default=_labelled_column(sweep)) if found else _labelled_column(sweep)


def _labelled_column(sweep: SweepLayout) -> str:
    """The axis as the sweep logs it. A sweep without axes has one configuration per row, named by its operator."""
    return "operator_name" if sweep.column_axis is None else _axis(sweep.column_axis)


def _axis(name: str) -> str:
    return f"axis_{name}"


def paper_markdown(sources: Collection, select: str) -> list[str]:
    """The paper's tables for which there are runs, in Markdown."""
    numbers = [number for number in PAPER_TABLES if number not in WITHOUT_RUNS]
    made = (paper_tables.paper_tables(number, pools(sources, str(number), select), select) for number in numbers)
    return [table.to_markdown() for tables in made for table in tables]


def views(
    sources: Collection | None, select: str, entity: str, project: str, project_id: str | None = None
) -> list[View]:
    """The workspace and the report of `sources`. Without sources, they show every known sweep and no tables.

    Raises:
        UserError: if the sweeps cannot be read.
    """
    sections = known_sections() if sources is None else sections_of(sources, select)
    papers = [] if sources is None else paper_markdown(sources, select)
    return [workspace(sections, entity, project), report(sections, papers, entity, project, project_id)]


def workspace(sections: Sequence[Section], entity: str, project: str) -> View:
    """The saved view. Its filter selects the runs of the sweeps. A second filter, by operator, is prepared but off."""
    view = ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            ws.Section(
                name=section.title,
                panels=[_note(section), *_panels(section, wr.Metric("Group"))],
                is_open=number == 0,
                layout_settings=ws.SectionLayoutSettings(columns=2, rows=3),
            )
            for number, section in enumerate(sections)
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MOST),
        runset_settings=ws.RunsetSettings(
            pinned_columns=["run:displayName", "run:jobType", "config:row.value", "config:seed.value"]
        ),
    )
    _set_filters(
        view,
        _filter("run", "jobType", "IN", [section.sweep.name for section in sections]),
        _filter("config", "operator_name", "IN", list(registry.OPERATORS), disabled=True),
    )
    shows = f"sections: {len(sections)}"
    return View("workspace", WORKSPACE, f"nw-{NAME}-v", TITLE, _plain(view._to_model().spec), shows)


def report(
    sections: Sequence[Section], papers: Sequence[str], entity: str, project: str, project_id: str | None = None
) -> View:
    """The report. Its run sets also name the project by W&B's internal id, which only the server knows."""
    blocks: list[Any] = [wr.MarkdownBlock(text=INTRODUCTION), wr.TableOfContents()]
    if papers:
        blocks += [wr.H1(text="The paper's tables"), *(wr.MarkdownBlock(text=table) for table in papers)]
    for section in sections:
        blocks.append(wr.H1(text=section.title))
        if section.table:
            blocks.append(wr.MarkdownBlock(text=section.table))
        blocks.append(wr.PanelGrid(runsets=_run_sets(section), panels=_panels(section, wr.Config(section.column))))
    made = wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")
    spec = _plain(made._to_model().spec)
    named = {"name": project, "entityName": entity} | ({} if project_id is None else {"id": project_id})
    for block in spec["blocks"]:
        for run_set in block.get("metadata", {}).get("runSets", []):
            run_set["project"] = named
    tables = len(papers) + sum(bool(section.table) for section in sections)
    return View("report", REPORT, NAME, TITLE, spec, f"sections: {len(sections)}, tables: {tables}")


def _panels(section: Section, group: wr.Config | wr.Metric) -> list[Any]:
    sweep, metric, label = section.sweep, section.sweep.metric, section.sweep.metric_label
    shown = f"validation {label}" if section.curves == (validation_name(metric),) else label
    cost = sweep.figure_x if sweep.figure_x in COSTS else "macs"
    groups: dict[str, Any] = {"groupby": group, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    groups |= {"max_runs_to_show": MOST}
    curves: dict[str, Any] = {"x": STEP, "title_x": "step", "smoothing_type": "none", **groups}
    columns = [
        *(wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in ("row", *map(_axis, sweep.axes), "seed")),
        *(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name)) for name in (*COSTS, metric)),
    ]
    panels: list[Any] = [
        wr.LinePlot(
            title=f"{shown} while training", y=list(section.curves), title_y=shown,
            layout=wr.Layout(x=0, y=0, w=12, h=8), **curves,
        ),
        wr.LinePlot(
            title="training loss", y=["train_loss"], title_y="loss", layout=wr.Layout(x=12, y=0, w=12, h=8), **curves
        ),
        wr.BarPlot(
            title=f"{label}, last", metrics=[metric], title_x=label, max_bars_to_show=MOST,
            layout=wr.Layout(x=0, y=8, w=12, h=8), **groups,
        ),
        wr.ScatterPlot(
            title=f"{label} against {COSTS[cost]}", x=wr.SummaryMetric(cost), y=wr.SummaryMetric(metric), log_x=True,
            layout=wr.Layout(x=12, y=8, w=12, h=8),
        ),
        wr.ParallelCoordinatesPlot(title="runs", columns=columns, layout=wr.Layout(x=0, y=16, w=24, h=8)),
    ]  # fmt: skip
    for panel in panels:
        panel._id = _id(sweep.name, panel.title)
    return panels


def _note(section: Section) -> wr.MarkdownPanel:
    name = section.sweep.name
    advice = f"Narrow the filter *Job Type* to `{name}` to see only the runs that this sweep began."
    note = wr.MarkdownPanel(markdown=f"{advice}\n\n{section.table}".strip())
    note._id = _id(name, "note")
    return note


def _run_sets(section: Section) -> list[wr.Runset]:
    run_sets = [wr.Runset(name=row) for row in section.rows]
    for run_set, (row, filters) in zip(run_sets, section.rows.items(), strict=True):
        run_set._id = _id(section.sweep.name, row)
        _set_filters(run_set, *filters)
    return run_sets


def _filter(section: str, name: str, operation: str, value: Any, disabled: bool = False) -> Filter:
    return {"key": {"section": section, "name": name}, "op": operation, "value": value, "disabled": disabled}


def _set_filters(target: ws.Workspace | wr.Runset, *filters: Filter) -> None:
    """Show only runs that pass all filters.

    This sets private fields, because the library's filter expressions neither support disabled filters nor quote names.
    """
    joined = [*filters[:1], *({**other, "connector": "AND"} for other in filters[1:])]
    target._stashed_filters_v2 = {"filterFormat": "filterV2", "filters": joined}
    target._stashed_filter_string = ""


def _id(*parts: str | None) -> str:
    """A fixed id instead of the library's random one, so that saving again changes only what is new."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _plain(spec: Any) -> dict[str, Any]:
    return dict(json.loads(spec.model_dump_json(by_alias=True, exclude_none=True)))
