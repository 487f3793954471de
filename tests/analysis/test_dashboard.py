"""The W&B dashboard shows what runs log, and saving it twice makes one workspace and one report."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ablations import SWEEPS
from ablations.engine.catalogue import plans
from analysis import dashboard
from analysis.__main__ import main
from analysis.output.paper import render_paper
from analysis.output.sweep import render
from analysis.sources import server
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError, run_command_line
from tests.analysis.test_paper_tables import write_sweep
from tests.wandb_server import Fault, WandbServer

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces

GOLDEN = Path(__file__).with_name("dashboard.json")
SCORES = {"convolution": {3: [70.0, 71.0], 5: [95.0, 96.0]}, "xvolution": {3: [98.0, 99.0], 5: [99.0, 99.5]}}
PLACE = ["--entity", "tester", "--project", "demo"]
KINDS = ["Run History Line Plot", "Run History Line Plot", "Bar Chart", "Scatter Plot", "Parallel Coordinates Plot"]


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["dashboard", *PLACE, *arguments, "--dry-run"]) == 0
    return json.loads(capsys.readouterr().out)


def sections(printed: Mapping[str, Any]) -> list[dict[str, Any]]:
    return printed["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]


def blocks(printed: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in printed["report"]["spec"]["blocks"] if block["type"] == kind]


def grids(printed: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in blocks(printed, "panel-grid")]


def without_tables(value: Any) -> Any:
    """Texts of several lines are tables, which another test compares with those of the renderer."""
    if isinstance(value, dict):
        return {key: without_tables(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_tables(item) for item in value]
    return "..." if isinstance(value, str) and "\n" in value else value


def depth(value: Any) -> int:
    """How many brackets deep JSON is."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, items)) if items else 0


def golden_text(value: Any, indent: str = "") -> str:
    """JSON with a line for each value that is at most three brackets deep, such as a panel or a block."""
    if depth(value) <= 3:
        return json.dumps(value)
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
    lines = [f"{json.dumps(key) + ': ' if key else ''}{golden_text(item, indent + ' ')}" for key, item in pairs]
    return f"{opened}\n" + ",\n".join(f"{indent} {line}" for line in lines) + f"\n{indent}{closed}"


def test_the_dashboard_is_that_of_the_golden_file(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """To write the file anew, delete it and run this test. Then look at what changed."""
    printed = without_tables(dry_run(capsys, "--source", str(make_ledger(SCORES).out)))
    if not GOLDEN.exists():
        GOLDEN.write_text(golden_text(printed) + "\n")
        pytest.fail("written anew")
    assert printed == json.loads(GOLDEN.read_text())


def test_the_same_runs_give_the_same_dashboard_with_unique_ids(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(make_ledger(SCORES).out)
    printed = dry_run(capsys, "--source", source)
    assert dry_run(capsys, "--source", source) == printed
    for view in ("workspace", "report"):
        found = re.findall(r'"__id__": "(\w+)"', json.dumps(printed[view]))
        assert len(found) == len(set(found)) >= 5


def test_its_tables_are_those_of_the_renderer(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_ledger(SCORES).out
    printed = dry_run(capsys, "--source", str(source))
    table = render(Collection([source]), "kernel_size", source).markdown
    assert [block["content"] for block in blocks(printed, "markdown-block")][1:] == [table]
    assert table.strip() in sections(printed)[0]["panels"][0]["config"]["value"]


def test_the_papers_tables_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("convolution", {}, {"top1": 70.0}), ("xvolution", {}, {"top1": 80.0})]
    write_sweep(tmp_path, "operator", "match_small", rows)
    tables = [made.markdown for made in render_paper(Collection([tmp_path]), [], tmp_path)]
    _, *shown, _ = (block["content"] for block in blocks(dry_run(capsys, "--source", str(tmp_path)), "markdown-block"))
    assert shown == tables != []


def test_a_run_set_selects_the_configurations_of_a_row(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    runs = make_ledger(SCORES)
    [grid] = grids(dry_run(capsys, "--source", str(runs.out)))
    for run_set, operator in zip(grid["runSets"], SCORES, strict=True):
        ids = {cell["group_id"]: cell["axes"]["kernel_size"] for cell in runs.cells if cell["operator"] == operator}
        groups = [f"{operator} K={size} · match_small ({group[:8]})" for group, size in ids.items()] + list(ids)
        [item] = run_set["filters"]["filters"]
        assert (item["key"], item["op"], item["value"]) == ({"section": "run", "name": "group"}, "IN", groups)
        assert run_set["project"] == {"name": "demo", "entityName": "tester"}
    assert [run_set["name"] for run_set in grid["runSets"]] == ["Convolution", "X-volution"]


def test_columns_are_grouped_by_the_configured_setting(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """The axes that a run logs are those of the sweep that ran it first. They are the second choice."""
    runs = make_ledger(SCORES)
    for largest, group in ((5, "operator_kernel_size.value"), (3, "axis_kernel_size.value")):
        for cell in runs.cells:
            options = {"kernel_size": min(cell["axes"]["kernel_size"], largest), "form": "dot"}
            operator = {"name": cell["operator"], "options": options}
            runs.write(cell, 50.0, config={"operator": operator, "train": {"epochs": 3, "steps": None}})
        [grid] = grids(dry_run(capsys, "--source", str(runs.out)))
        grouped = [panel["config"].get("groupBy") for panel in grid["panelBankSectionConfig"]["panels"]]
        assert grouped == [group] * 3 + [None] * 2


def test_without_a_source_every_known_sweep_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    printed = dry_run(capsys)
    known = plans()
    [by_sweep, by_operator] = printed["workspace"]["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert by_sweep["value"] == [plan["sweep"] for plan in known] and not by_sweep["disabled"]
    assert {"xvolution", "pssa"} < set(by_operator["value"]) and by_operator["disabled"], "it hides no run"
    for plan, section, grid in zip(known, sections(printed), grids(printed), strict=True):
        assert section["name"] == f"{plan['title']} ({plan['sweep']})"
        assert [panel["viewType"] for panel in section["panels"]] == ["Markdown Panel", *KINDS]
        assert [panel["viewType"] for panel in grid["panelBankSectionConfig"]["panels"]] == KINDS
        curve, _, bars, *_ = grid["panelBankSectionConfig"]["panels"]
        assert curve["config"]["metrics"] == [f"val_{plan['metric']}", plan["metric"]]
        assert bars["config"]["metrics"] == [plan["metric"]]
        # Filters and groups together distinguish all configurations of a sweep.
        distinguished = {
            (json.dumps(run_set["filters"]), json.dumps(cell["axes"].get(group_of(bars))))
            for run_set in grid["runSets"] for cell in plan["cells"] if holds(run_set["filters"], labels_of(plan, cell))
        }  # fmt: skip
        assert len(distinguished) == len({json.dumps([cell["operator"], cell["axes"]]) for cell in plan["cells"]})
    assert len(blocks(printed, "markdown-block")) == 1, "no tables without runs"


def group_of(panel: Mapping[str, Any]) -> str:
    return panel["config"]["groupBy"].removeprefix("axis_").removesuffix(".value")


def labels_of(plan: Mapping[str, Any], cell: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of `cell` logs about itself, by W&B's section and name."""
    axes = {f"config:axis_{axis}": value for axis, value in cell["axes"].items()}
    return {"run:jobType": plan["sweep"], "run:group": cell["group_id"], "config:row": cell["operator"], **axes}


def holds(filters: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether W&B would show a run: all filters must hold."""
    tests = {"=": lambda value, wanted: value == wanted, "IN": lambda value, wanted: value in wanted}
    items = [item for item in filters["filters"] if not item["disabled"]]
    assert all(item.get("connector", "AND") == "AND" for item in items)
    return all(
        tests[item["op"]](labels.get(f"{item['key']['section']}:{item['key']['name']}"), item["value"])
        for item in items
    )


def test_panels_and_filters_name_what_a_run_logs(
    wandb_server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runs train, log to the server, and are compared with the dashboard as the server stores them."""
    from ablations.engine.cli import command
    from ablations.kernel_size import SWEEP

    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "runs"
    small = {"backbone.widths": "4,4,8,8", "backbone.stem_width": "4", "train.steps": "12"}
    small |= {f"data.{split}_size": "40" for split in ("train", "validation", "test")}
    arguments = ["--smoke", "--seeds", "1", "--only", "kernel_size=3", "--only", "operator=convolution,xvolution"]
    arguments += ["--wandb", "online", "--wandb-project", "demo", "--launcher", "inline", "--out", str(out)]
    assert command(SWEEP, [*arguments, *(word for item in small.items() for word in ("--set", "=".join(item)))]) == 0
    runs = list(wandb_server.store.runs.values())
    capsys.readouterr()
    from_ledger = dry_run(capsys, "--source", str(out))
    assert dry_run(capsys, "--source", "wandb:tester/demo") == from_ledger
    for printed in (from_ledger, dry_run(capsys)):
        section = next(n for n, found in enumerate(sections(printed)) if found["name"].endswith("(kernel_size)"))
        shown = [*sections(printed)[section]["panels"], *grids(printed)[section]["panelBankSectionConfig"]["panels"]]
        for run in runs:
            rows = [json.loads(row) for row in run.history]
            logged = {name for row in rows for name in row}
            columns = {f"config:{name}.value" for name in run.config} | {f"summary:{name}" for name in run.summary}
            for config in (panel["config"] for panel in shown):
                if "xAxisTitle" in config and config.get("xAxis"):  # curves
                    assert {config["xAxis"], *config["metrics"]} <= logged
                elif "metrics" in config:  # bars
                    assert set(config["metrics"]) <= set(run.summary)
                accessors = {column["accessor"] for column in config.get("columns", ())}
                assert (
                    accessors | {config[axis] for axis in ("xAxis", "yAxis") if ":" in config.get(axis, "")} <= columns
                )
                if "groupBy" in config:
                    assert config["groupBy"] == "group" or config["groupBy"].removesuffix(".value") in run.config
            labels = {f"config:{name}": value["value"] for name, value in run.config.items()}
            labels |= {"run:group": run.group, "run:jobType": run.job_type}
            own = [
                run_set["name"] for run_set in grids(printed)[section]["runSets"] if holds(run_set["filters"], labels)
            ]
            assert own == [SWEEPS["kernel_size"].rows[labels["config:row"]]]
            assert holds(printed["workspace"]["spec"]["section"]["runSets"][0]["filters"], labels)
    assert len(runs) == 2


def test_saving_twice_updates_both_views(
    wandb_server: WandbServer, make_ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_ledger(SCORES)
    wandb_server.store.project("tester", "demo")
    # Another person's report of the same title stays as it is.
    wandb_server.store.views["theirs"] = {
        "id": "theirs", "entityName": "tester", "projectName": "demo", "type": "runs", "name": "k2j3h4", "spec": "{}",
        "displayName": "X-volution ablations",
    }  # fmt: skip
    arguments = ["dashboard", *PLACE, "--source", str(runs.out)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    ours = [view for view in wandb_server.store.views.values() if view["id"] != "theirs"]
    assert [(view["type"], view["displayName"]) for view in ours] == [
        ("project-view", "X-volution ablations"), ("runs", "X-volution ablations"),
    ]  # fmt: skip
    printed = dry_run(capsys, "--source", str(runs.out))
    assert json.loads(ours[0]["spec"]) == printed["workspace"]["spec"]
    saved = re.sub(r'(, )?"id": "1"', "", ours[1]["spec"])  # the project's internal id
    assert saved != ours[1]["spec"] and json.loads(saved) == printed["report"]["spec"]
    assert first == (
        f"workspace created (sections: 1): {wandb_server.address}/tester/demo?nw=xvolutionablations\n"
        "report created (sections: 1, tables: 1): "
        f"{wandb_server.address}/tester/demo/reports/X-volution-ablations--{ours[1]['id'].rstrip('=')}\n"
    )
    check_by_the_library(*re.findall(r"http\S+", first))
    runs.write(runs.cell("convolution", 3, 0), 10.0)
    assert main(arguments) == 0
    assert capsys.readouterr().out == first.replace("created", "updated")
    assert {view["id"] for view in wandb_server.store.views.values()} == {"theirs", *(view["id"] for view in ours)}
    updated = wandb_server.store.views[ours[1]["id"]]["spec"]
    assert "10.0, " in updated and "10.0, " not in ours[1]["spec"], "the new run"
    assert wandb_server.store.views["theirs"]["spec"] == "{}"


def check_by_the_library(workspace: str, report: str) -> None:
    """wandb-workspaces finds both views at their addresses and understands them."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    loaded = ws.Workspace.from_url(workspace)
    assert loaded.runset_settings.filters.startswith("Metric(\"JobType\") in ['kernel_size'] and ")
    [section] = loaded.sections
    assert [type(panel) for panel in section.panels[:4]] == [wr.MarkdownPanel, wr.LinePlot, wr.LinePlot, wr.BarPlot]
    [grid] = [block for block in wr.Report.from_url(report).blocks if isinstance(block, wr.PanelGrid)]
    assert [(run_set.entity, run_set.project) for run_set in grid.runsets] == [("tester", "demo")] * 2
    curves, _, bars, scatter, runs = grid.panels
    assert (curves.x, curves.y) == (wr.Metric("step"), [wr.Metric("val_top1")])
    assert curves.groupby == bars.groupby == wr.Config("axis_kernel_size")
    assert (scatter.x, scatter.y) == (wr.SummaryMetric("macs"), wr.SummaryMetric("top1"))
    assert wr.Config("seed") in [column.metric for column in runs.columns]


def test_a_dry_run_needs_no_network(
    wandb_server: WandbServer, make_ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert dry_run(capsys, "--source", str(make_ledger(SCORES).out))
    assert wandb_server.requests == []


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The single line on stderr of a command that ends with exit code 2."""
    import wandb

    wandb.teardown()  # otherwise it keeps the previous key
    with pytest.raises(SystemExit) as ended:
        run_command_line(lambda: main(["dashboard", *arguments]))
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.out == ""
    [line] = printed.err.splitlines()
    return line


def test_each_failure_is_one_line(
    wandb_server: WandbServer, make_ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--source", str(make_ledger(SCORES).out)]
    assert "--entity" in failure(capsys, *source)
    assert "--entity 'tester/demo' must be one name" in failure(capsys, "--entity", "tester/demo", *source)
    assert "'tester/demo'" in failure(capsys, *PLACE, *source), "there is no such project, and the command makes none"
    assert wandb_server.store.projects == {}
    wandb_server.faults.append(Fault(404, operation="FindView"))
    assert "check entity and project" in failure(capsys, *PLACE, *source)
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    assert "does not accept the API key" in failure(capsys, *PLACE, *source)
    monkeypatch.delenv("WANDB_API_KEY")
    assert "No API key" in failure(capsys, *PLACE, *source)
    assert wandb_server.store.views == {}


def test_an_unreachable_server_is_one_line(
    wandb_server: WandbServer, make_ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "PATIENCE", {**server.PATIENCE, "x_graphql_retry_max": 1})
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    line = failure(capsys, *PLACE, "--source", str(make_ledger(SCORES).out))
    assert "no answer from the server" in line and "WANDB_BASE_URL" in line


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("panels", "views"):
        monkeypatch.delitem(sys.modules, f"analysis.dashboard.{name}", raising=False)
        monkeypatch.delattr(dashboard, name, raising=False)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"needs wandb_workspaces\S*, which is not installed; make env"):
        main(["dashboard", *PLACE, "--dry-run"])
