"""Figures of single runs show their values beside the means, and their learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.__main__ import main
from analysis.figures import kinds as figures
from analysis.figures.chart import Chart
from analysis.render import draw_figure, load_sweep
from lightning_xvol.errors import UserError
from tests.analysis import drawn
from tests.analysis.drawn import intervals

METRIC = "top-1 accuracy (%)"
OPERATORS = {"A": "convolution", "B": "pssa"}
VALUES = {("A", 1): [70.0, 72.0, 71.0], ("A", 3): [80.0, 83.0], ("B", 1): [60.0]}


def runs() -> pd.DataFrame:
    rows = [
        {"operator": OPERATORS[row], "row": row, "size": size, "seed": seed, "value": value, "n": len(values)}
        | {"mean": np.mean(values), "ci_low": np.mean(values) - 2, "ci_high": np.mean(values) + 1}
        for (row, size), values in VALUES.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def dots(ax, across: bool) -> list[list[float]]:
    """The values of the single runs of each strip."""
    lines = [line for line in ax.get_lines() if line.get_marker() == "."]
    return [list(line.get_xdata() if across else line.get_ydata()) for line in lines]


def test_every_run_is_a_dot_beside_its_mean_and_interval() -> None:
    ax = figures.seeds(Chart(runs(), "size", "size", METRIC))
    assert dots(ax, across=False) == list(VALUES.values())
    marked = [line for line in ax.get_lines() if line.get_marker() not in (".", "None", None, "_")]
    assert [list(line.get_ydata()) for line in marked] == [[71.0], [], []], "one or two runs have no mean"
    assert intervals(ax, across=False) == [[69.0, 72.0]]
    assert drawn.legend(ax) == ["A", "B"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "3"]
    assert drawn.note(ax) == "Dots: runs, one for each seed (n = 1–3); beside them their mean with its 95 % interval"


def test_without_an_axis_each_row_has_a_line_of_the_figure() -> None:
    one = runs()[lambda frame: frame["size"] == 1]
    ax = figures.seeds(Chart(one, None, "", METRIC, smoke=True))
    assert dots(ax, across=True) == [VALUES["A", 1], VALUES["B", 1]]
    assert intervals(ax, across=True) == [[69.0, 72.0]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["A", "B"]
    assert "SMOKE" in [text.get_text() for text in ax.texts]
    single = figures.seeds(Chart(one[one["row"] == "B"], None, "", METRIC))
    assert "interval" not in drawn.note(single)


def test_strips_do_not_cover_one_another() -> None:
    lines = figures.seeds(Chart(runs(), "size", "size", METRIC)).get_lines()
    reach = {
        row: [x for line in lines if line.get_color() == color for x in line.get_xdata() if x < 0.5]
        for row, color in {"A": lines[0].get_color(), "B": lines[-1].get_color()}.items()
    }
    assert max(reach["A"]) < min(reach["B"])


def learning() -> pd.DataFrame:
    rows = [
        {"operator": "a", "row": "A", "size": size, "seed": seed, "epoch": epoch, "value": 10.0 * epoch + size + seed}
        for size in (1, 3) for seed in (0, 1) for epoch in (1, 2, 3)
        if (seed, epoch) != (1, 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_learning_curves_have_a_panel_for_each_value_and_a_line_for_each_run() -> None:
    first = figures.learning(Chart(learning(), "size", "size", METRIC))
    panels = first.get_figure(root=True).axes
    assert [ax.get_title("left") for ax in panels] == ["size = 1", "size = 3"]
    for ax, size in zip(panels, (1, 3), strict=True):
        zero, one, mean = ax.get_lines()
        np.testing.assert_allclose(zero.get_xydata(), [[1, 10 + size], [2, 20 + size], [3, 30 + size]])
        np.testing.assert_allclose(one.get_ydata(), [11 + size, 21 + size, np.nan])
        # The mean ends with the shorter run: only one seed has the last epoch.
        np.testing.assert_allclose(mean.get_xydata(), [[1, 10.5 + size], [2, 20.5 + size]])
        assert mean.get_linewidth() > zero.get_linewidth()
    assert drawn.legend(first) == ["A"]


def test_learning_curves_can_be_drawn_into_given_axes() -> None:
    given = Figure().subplots(2, 2)
    first = figures.learning(Chart(learning(), "size", "size", METRIC, smoke=True), given)
    assert first is given[0, 0] and [ax.get_visible() for ax in given.flat] == [True, True, False, False]
    assert "SMOKE" in [text.get_text() for text in first.get_figure(root=True).texts]


def test_a_single_epoch_is_visible() -> None:
    epochs = learning()[lambda frame: frame["epoch"] == 1]
    ax = figures.learning(Chart(epochs, "size", "size", METRIC))
    assert all(line.get_marker() == "." for line in ax.get_lines())
    assert [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]] == [1]


def test_learning_curves_by_row_have_titles_and_no_legend() -> None:
    many = pd.concat([learning().assign(row=f"row {number}", operator=f"o{number}") for number in range(5)])
    many = many[many["size"] == 1]
    figure = figures.learning(Chart(many, "row", "", METRIC)).get_figure(root=True)
    assert [ax.get_title("left") for ax in figure.axes] == [*(f"row {number}" for number in range(5)), ""]
    assert [ax.get_visible() for ax in figure.axes] == [True] * 5 + [False] and not figure.legends


def test_the_command_draws_the_figures_that_have_runs(
    make_ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_ledger({"convolution": {1: [25.0, 26.0]}})
    source = ["figures", "--source", str(runs.out)]
    assert main([*source, "--out", str(tmp_path / "a")]) == 0
    names = {path.name for path in (tmp_path / "a" / "kernel_size").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("figure", "seeds") for kind in ("png", "pdf", "svg")}
    runs.write_curves()
    assert main([*source, "--figure", "learning", "--size", "slide"]) == 0
    assert f"learning-slide: {runs.out}/kernel_size/learning-slide.png (.pdf, .svg)" in capsys.readouterr().out
    assert not (runs.out / "kernel_size" / "figure.png").exists()
    empty = make_ledger({"convolution": {1: [25.0]}}, figure=None)
    for cell in empty.cells:
        empty.lose(cell["operator"], cell["axes"]["kernel_size"], cell["seed"])
    assert main(source) == 0
    assert "kernel_size: no runs for figure or seeds or learning" in capsys.readouterr().out


CURVES = {"kind": "curves", "x": "kernel_size"}


def figure_of(runs, name: str):
    """The figure `name` of a ledger."""
    return draw_figure(load_sweep(runs.out, "kernel_size"), name)


def y_label(ax) -> str:
    figure = ax.get_figure(root=True)
    return ax.get_ylabel() or figure.get_supylabel()


def test_curves_on_the_validation_split_say_so(make_ledger) -> None:
    runs = make_ledger({"convolution": {1: [25.0, 26.0]}}, figure=CURVES)
    runs.write_curves()
    assert y_label(figure_of(runs, "figure")) == y_label(figure_of(runs, "learning")) == f"validation {METRIC}"
    assert y_label(figure_of(runs, "seeds")) == METRIC, "the dots show the numbers of the table"


def test_without_a_test_split_curves_show_the_metric_of_the_table(make_ledger) -> None:
    runs = make_ledger({"convolution": {1: [25.0, 26.0]}}, figure=CURVES, metric="box_ap", metric_label="box AP")
    for cell in runs.cells:
        runs.write(cell, 25.0, metrics={"box_ap": {"last": 25.0, "best": 25.0, "best_epoch": 2}})
    runs.write_curves("box_ap")
    figure, learning = figure_of(runs, "figure"), figure_of(runs, "learning")
    assert y_label(figure) == y_label(learning) == "box AP"
    assert [line.get_ydata().tolist() for line in figure.get_lines()] == [[10.0, 20.0], [11.0, 21.0]]
    assert learning.get_lines()[-1].get_ydata().tolist() == [10.5, 20.5]


def test_a_run_without_validation_values_has_no_learning_curve(make_ledger) -> None:
    runs = make_ledger({"convolution": {1: [25.0, 26.0]}})
    runs.write_curves()
    (runs.folder("convolution", 1, 1) / "metrics.csv").write_text("step,epoch,name,value\n2,2,top1,99\n")
    assert {tuple(line.get_ydata()) for line in figure_of(runs, "learning").get_lines()} == {(10.0, 20.0)}


def test_a_sweep_is_never_drawn_outside_its_folder(make_ledger, tmp_path: Path) -> None:
    runs = make_ledger(sweep="kernel_size")
    folder = runs.out / "kernel_size"
    (runs.out / "name..").mkdir()
    (folder / "cells.json").rename(runs.out / "name.." / "cells.json")
    assert main(["figures", "--source", str(runs.out), "--figure", "seeds", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "name.." / "seeds.png").exists()
    from analysis.output.rendering import folder_of

    for name in ("../up", "a/b", "..", ""):
        with pytest.raises(UserError, match="must be a plain name"):
            folder_of(tmp_path, name)
