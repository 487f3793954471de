"""The functions that `import analysis` offers, on a ledger that is read here with `json` alone."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import analysis
from analysis.__main__ import main
from analysis.figures import kinds
from lightning_xvol.errors import UserError

ROOT = Path(__file__).parents[2]
SMALL = {"convolution": {1: [24.0, 25.0], 3: [70.0, 71.0]}, "xvolution": {1: [97.0, 98.0], 3: [98.0, 99.0]}}
COLUMNS = [
    "sweep", "recipe", "operator", "label", "kernel_size", "seed", "cell_id", "group_id", "state", "metric", "last",
    "best", "best_epoch", "params", "macs", "wall_seconds", "cpu_seconds", "torch", "device", "commit", "error",
    "images",
]  # fmt: skip


def recorded(out: Path) -> dict[tuple[str, str], dict]:
    """By cell and metric, what `result.json` holds."""
    results = [json.loads(path.read_text()) for path in out.glob("cells/*/result.json")]
    return {(result["cell_id"], metric): result for result in results for metric in result["metrics"]}


@pytest.fixture
def two_sweeps(make_ledger):
    """A ledger whose second sweep, without axes, shares the runs of kernel size 3 with the first."""
    runs = make_ledger(SMALL)
    shared = [cell | {"axes": {}} for cell in runs.cells if cell["axes"]["kernel_size"] == 3]
    runs.sweep |= {"sweep": "efficiency", "axes": [], "cells": shared, "figure": {"kind": "scatter", "x": "macs"}}
    runs.write_sweep()
    return runs


def test_load_runs_has_a_row_per_run_and_metric_as_recorded(make_ledger):
    out = make_ledger(SMALL).out
    runs, records = analysis.load_runs(out), recorded(out)
    assert runs.columns.tolist() == COLUMNS
    assert len(runs) == len(records) == 16
    for row in runs.to_dict("records"):
        record = records[row["cell_id"], row["metric"]]
        assert (row["sweep"], row["recipe"], row["state"]) == ("kernel_size", "match_small", "finished")
        assert {key: row[key] for key in ("last", "best", "best_epoch")} == record["metrics"][row["metric"]]
        for key in ("seed", "group_id", "params", "macs", "wall_seconds", "commit"):
            assert row[key] == record[key]
        assert (row["torch"], row["device"]) == (record["environment"]["torch"], record["environment"]["device"])
        assert pd.isna(row["error"])


def test_load_runs_tells_unfinished_runs_by_their_state(make_ledger):
    runs = make_ledger(SMALL)
    runs.lose("convolution", 1, 0)
    runs.diverge("convolution", 3, 0)
    runs.lose("xvolution", 1, 1)
    (runs.folder("xvolution", 1, 1) / "failure.json").write_text(json.dumps({"error": "out of memory"}))
    frame = analysis.load_runs(str(runs.out))
    by_cell = frame[frame["metric"] == "top1"].set_index("cell_id")
    states = {cell["cell_id"]: by_cell.loc[cell["cell_id"], "state"] for cell in runs.cells}
    expected = {("convolution", 1, 0): "missing", ("convolution", 3, 0): "diverged", ("xvolution", 1, 1): "failed"}
    for cell in runs.cells:
        place = (cell["operator"], cell["axes"]["kernel_size"], cell["seed"])
        assert states[cell["cell_id"]] == expected.get(place, "finished")
    assert by_cell.loc[runs.cell("xvolution", 1, 1)["cell_id"], "error"] == "out of memory"
    assert math.isnan(by_cell.loc[runs.cell("convolution", 1, 0)["cell_id"], "last"])


def test_a_run_of_two_sweeps_has_rows_in_each_and_an_axis_is_missing_where_a_sweep_lacks_it(two_sweeps):
    runs = analysis.load_runs(two_sweeps.out)
    assert runs.groupby("sweep").size().to_dict() == {"efficiency": 8, "kernel_size": 16}
    assert runs.loc[runs["sweep"] == "efficiency", "kernel_size"].isna().all()
    assert runs.loc[runs["sweep"] == "kernel_size", "kernel_size"].unique().tolist() == [1, 3]
    assert str(runs["kernel_size"].dtype) == "Int64"
    assert len(runs.drop_duplicates(["cell_id", "metric"])) == len(recorded(two_sweeps.out))


def test_sources_are_merged_by_the_ids_of_their_runs(make_ledger, tmp_path):
    out = make_ledger(SMALL).out
    other = (tmp_path / "runs").rename(tmp_path / "elsewhere")
    again = make_ledger(SMALL)
    again.lose("convolution", 1, 0)
    assert analysis.load_runs(out, other).equals(analysis.load_runs(other))
    assert analysis.load_runs([out, other]).equals(analysis.load_runs(other))


def test_load_sweep_gives_layout_frame_and_summary(make_ledger):
    out = make_ledger(SMALL).out
    sweep = analysis.load_sweep(out, "kernel_size")
    assert (sweep.layout.name, sweep.layout.metric, sweep.layout.axes) == ("kernel_size", "top1", ("kernel_size",))
    runs = analysis.load_runs(out)
    pd.testing.assert_frame_equal(sweep.frame, runs.drop(columns=["sweep", "recipe"]).astype({"kernel_size": "int64"}))
    groups: dict[tuple[str, int], list[float]] = {}
    for cell in json.loads((out / "kernel_size" / "cells.json").read_text())["cells"]:
        last = recorded(out)[cell["cell_id"], "top1"]["metrics"]["top1"]["last"]
        groups.setdefault((cell["operator"], cell["axes"]["kernel_size"]), []).append(last)
    means = sweep.summary.set_index(["operator", "kernel_size"])["mean"].to_dict()
    assert means == pytest.approx({key: sum(values) / len(values) for key, values in groups.items()})


def test_render_table_writes_what_the_command_writes(make_ledger, tmp_path):
    out = make_ledger(SMALL).out
    sweep = analysis.load_sweep([out], "kernel_size")
    assert main(["tables", "--source", str(out), "--out", str(tmp_path / "tables")]) == 0
    folder = tmp_path / "tables" / "kernel_size"
    for format, name in {"markdown": "table.md", "latex": "table.tex", "csv": "table.csv"}.items():
        assert analysis.render_table(sweep, format) == (folder / name).read_text()
    assert "24.0, 25.0" in analysis.render_table(sweep) == analysis.render_table(sweep, "markdown")


def test_draw_figure_draws_into_given_axes(make_ledger):
    sweep = analysis.load_sweep(make_ledger(SMALL).out, "kernel_size")
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    assert analysis.draw_figure(sweep, ax=left) is left
    assert analysis.draw_figure(sweep, "seeds", ax=right) is right
    assert figure.axes == [left, right]
    lines = {line.get_label(): line.get_ydata().tolist() for line in left.get_lines()}
    assert (lines["Convolution"], lines["X-volution"]) == ([24.5, 70.5], [97.5, 98.5])


@pytest.mark.parametrize(
    "kind", [None, "lines", "groups", "bars", "dots", "scatter", "curves", "facets", "with_costs", "seeds"]
)
def test_a_figure_is_as_large_as_asked(make_ledger, kind):
    sweep = analysis.load_sweep(make_ledger(SMALL).out, "kernel_size")
    ax = analysis.draw_figure(sweep, kind, size=(5.0, 2.0))
    assert tuple(ax.figure.get_size_inches()) == (5.0, 2.0)
    assert analysis.draw_figure(sweep, kind, size="page").figure.get_figwidth() == 7.2


def test_write_report_writes_the_file_that_it_names(make_ledger, tmp_path):
    out = make_ledger(SMALL).out
    path = analysis.write_report(str(out), tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    page = path.read_text()
    assert page.startswith("<!DOCTYPE html>") and "24.5" in page and "analysis.write_report" in page


def test_mistakes_are_sentences(make_ledger, tmp_path):
    runs = make_ledger(SMALL)
    sweep = analysis.load_sweep(runs.out, "kernel_size")
    mistakes = {
        "no source is named": lambda: analysis.load_runs(),
        "no such folder; give the --out folder": lambda: analysis.load_runs(tmp_path / "nothing"),
        "neither a ledger": lambda: analysis.load_runs(runs.out / "cells"),
        "no sweep 'kernel'.*did you mean 'kernel_size'": lambda: analysis.load_sweep(runs.out, "kernel"),
        "select='lats' must be one of last, best": lambda: analysis.load_sweep(runs.out, "kernel_size", "lats"),
        "interval='z' must be one of": lambda: analysis.load_sweep(runs.out, "kernel_size", interval="z"),
        "format='html' must be one of markdown": lambda: analysis.render_table(sweep, "html"),
        "no kind of figure 'line'.*did you mean 'lines'": lambda: analysis.draw_figure(sweep, "line"),
        r"size=\(0, 3\) must have a width and a height": lambda: analysis.draw_figure(sweep, size=(0, 3)),
        r"size='colum' must be .*did you mean 'column'": lambda: analysis.draw_figure(sweep, size="colum"),
        "style='serf'.*did you mean 'serif'": lambda: analysis.draw_figure(sweep, style="serf"),
        "size='50x2' must have .* of 1 to 40 inches": lambda: analysis.draw_figure(sweep, size="50x2"),
        "size='nanx2' must have": lambda: analysis.draw_figure(sweep, size="nanx2"),
        r"1x1 inches are too small .* needs about \d": lambda: analysis.draw_figure(sweep, size=(1, 1)),
        "cannot both be given": lambda: analysis.draw_figure(sweep, ax=Figure().subplots(), size=(3, 3)),
        "None is not a source; give the --out": lambda: analysis.load_runs(None),
        "str is not a sweep; give the result of load_sweep": lambda: analysis.render_table("kernel_size"),
        "DataFrame is not a sweep": lambda: analysis.draw_figure(sweep.frame),
        "no kind of figure <Axes": lambda: analysis.draw_figure(sweep, Figure().subplots()),
        "several panels": lambda: analysis.draw_figure(sweep, "learning", ax=Figure().subplots()),
        "is a folder; name a file": lambda: analysis.write_report(runs.out, tmp_path),
    }
    for message, call in mistakes.items():
        with pytest.raises(UserError, match=message):
            call()


def test_a_figure_without_runs_is_refused(make_ledger):
    runs = make_ledger({"convolution": {1: [24.0]}}, axes=[], figure=None)
    sweep = analysis.load_sweep(runs.out, "kernel_size")
    with pytest.raises(UserError, match="asks for no figure; choose a kind"):
        analysis.draw_figure(sweep)
    with pytest.raises(UserError, match="known kinds: figure, seeds, learning, lines, facets, scatter, groups, dots"):
        analysis.draw_figure(sweep, "bar")
    with pytest.raises(UserError, match=r"'bars' needs an axis.*use dots or scatter"):
        analysis.draw_figure(sweep, "bars")
    runs.lose("convolution", 1, 0)
    with pytest.raises(UserError, match="no run of the sweep 'kernel_size' has finished"):
        analysis.draw_figure(analysis.load_sweep(runs.out, "kernel_size"), "seeds")


def test_a_file_that_cannot_be_read_whole_gives_a_warning(make_ledger, start_run, tmp_path):
    runs = make_ledger(SMALL)
    cell = runs.cells[0]
    start_run(runs.sweep, cell).write(tmp_path / "wandb" / "run-1.wandb")
    (tmp_path / "wandb" / "run-2.wandb").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"run-2\.wandb: the file is empty"):
        frame = analysis.load_runs(tmp_path / "wandb")
    assert set(frame["state"]) == {"missing"} and len(frame) == len(runs.cells)


def test_pages_name_every_kind_of_figure_by_its_name_of_today():
    [sweeps] = re.findall(r"^- `figure` is one of(.*?)\.$", (ROOT / "docs/ablations.md").read_text(), re.M | re.S)
    assert set(re.findall(r"`(\w+)`", sweeps)) == set(kinds.NAMES)
    [python] = re.findall(r"Kinds are(.*?)\.", (ROOT / "docs/analysis.md").read_text(), re.S)
    assert set(re.findall(r"`(\w+)`", python)) == {*kinds.NAMES, "seeds", "learning"}


def test_no_public_name_is_the_name_of_a_module():
    modules = {module.name for module in pkgutil.iter_modules(analysis.__path__)}
    assert not modules & set(analysis.__all__)
    for name in analysis.__all__:
        home = importlib.import_module(getattr(analysis, name).__module__)
        assert getattr(home, name) is getattr(analysis, name)
    with pytest.raises(AttributeError, match="no attribute 'load_run'"):
        analysis.load_run  # noqa: B018


def test_the_docstring_documents_every_column(make_ledger):
    described = analysis.__doc__ or ""
    for column in analysis.load_runs(make_ledger(SMALL).out).columns:
        assert column in described, column


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"numpy", "pandas", "scipy", "matplotlib", "torch", "wandb", "jinja2"}
    code = f"import sys, analysis; dir(analysis); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
