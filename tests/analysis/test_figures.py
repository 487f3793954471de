"""Figures of means show the numbers of the summary, with their intervals and a fixed look for each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures import kinds as figures
from analysis.figures.chart import Chart
from analysis.figures.style import PURPLE, SIZES, Style, style
from analysis.render import load_sweep
from lightning_xvol.config.registry import OPERATORS
from tests.analysis import drawn
from tests.analysis.drawn import bars, intervals
from tests.analysis.drawn import rows as curves

METRIC = "top-1 accuracy (%)"
LABELS_OF_SWEEPS = ("pssa_1", "pssa_3", "pssa_5", "pssa_hadamard", "convolution_11x11", "xvolution_linear")


def summary_of(runs):
    return load_sweep(runs.out, "kernel_size").summary


def draw(summary, ax=None, **options):
    return figures.lines(Chart(summary, "kernel_size", "kernel size K", METRIC, **options), ax)


def test_lines_show_means_and_intervals_at_the_values_of_the_axis(make_ledger) -> None:
    summary = summary_of(make_ledger())
    ax = draw(summary)
    lines = curves(ax)
    assert list(lines) == ["Convolution", "X-volution", "X-volution (static)"]
    assert ax.get_xticks().tolist() == [1, 3, 5, 7, 9]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "3", "5", "7", "9"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("kernel size K", METRIC)
    means = summary[summary["operator"] == "xvolution"]["mean"]
    np.testing.assert_allclose(lines["X-volution"].get_ydata(), means)
    assert len(bars(ax)) == 3
    expected = summary[summary["operator"] == "xvolution"][["ci_low", "ci_high"]].to_numpy()
    np.testing.assert_allclose(intervals(ax)[5:10], expected)
    assert drawn.note(ax) == "Dots: runs; error bars: 95 % interval, n = 3 seeds"


def test_the_number_of_runs_decides_what_is_drawn(make_ledger) -> None:
    values = [98.0, 98.4, 98.8, 98.2, 98.6]
    for n in (1, 2, 3, 4, 5):
        scores = {"convolution": {1: [25.0] * n, 3: [70.0 + 0.1 * k for k in range(n)]}, "xvolution": {3: values[:n]}}
        for kind in (figures.lines, figures.scatter, figures.groups):
            summary = summary_of(make_ledger(scores))
            x = "params" if kind is figures.scatter else "kernel_size"
            ax = kind(Chart(summary, x, "x", METRIC))
            assert bool(bars(ax)) == (n >= 3), kind
            shown = [(list(line.get_ydata()), line.get_alpha()) for line in drawn.dots(ax)]
            assert [values[:n] in [dots for dots, _ in shown]] == [n >= 2], "a dot for each run"
            assert {alpha for _, alpha in shown} == ({0.4} if n >= 5 else {0.9} if n >= 2 else set())
    ax = draw(summary_of(make_ledger({"convolution": {1: [25.0, 26.0], 3: [70.0, 71.0]}})))
    assert curves(ax)["Convolution"].get_markevery() == [], "no mean of two"
    assert drawn.note(ax) == "Dots: runs; n = 2 seeds, no error bars"


@pytest.mark.parametrize("sizes", [[1], [1, 3], [1, 3, 5, 7, 9]])
def test_rows_stand_apart_and_at_their_tick(make_ledger, sizes: list[int]) -> None:
    """Also where the axis has one value, rows are a few points aside: less than a third of the way to the next tick."""
    summary = summary_of(make_ledger())
    ax = draw(summary[summary["kernel_size"].isin(sizes)])
    FigureCanvasAgg(ax.get_figure(root=True)).draw()
    lines = curves(ax).values()
    assert all(line.get_xdata().tolist() == sizes for line in lines), "at the ticks, but for a few points"
    shifts = np.array([drawn.aside(line) for line in lines])
    assert np.diff(shifts).min() > 2 and np.abs(shifts).max() < 5
    ticks = ax.transData.transform([(tick, 0) for tick in ax.get_xticks()])[:, 0] * 72 / ax.get_figure(root=True).dpi
    assert len(sizes) == 1 or np.ptp(shifts) < np.diff(ticks).min() / 3


def test_an_interval_that_leaves_the_axes_ends_in_an_arrow(make_ledger) -> None:
    summary = summary_of(make_ledger())
    assert not drawn.arrows(draw(summary)), "all intervals fit"
    summary = summary.assign(mean=summary["mean"].clip(97), ci_low=summary["mean"].clip(97) - 0.2)
    summary = summary.assign(ci_high=summary["mean"] + 0.2, runs=[(mean,) * 3 for mean in summary["mean"]])
    summary.loc[1, "ci_low"] = 20.0  # much longer than the others
    for kind in (figures.lines, figures.groups, figures.scatter):
        ax = kind(Chart(summary, "params" if kind is figures.scatter else "kernel_size", "x", METRIC))
        low, high = ax.get_ylim()
        assert low > 85 and 100 < high < 101, "the axis shows what differs"
        [arrow] = drawn.arrows(ax)
        assert (arrow.get_marker(), arrow.get_ydata().tolist()) == (7, [low])
        assert arrow.get_color() == style("convolution").color
        assert "arrows: beyond the axis" in drawn.note(ax)
    one = summary[summary["kernel_size"] == 3].reset_index(drop=True)
    [arrow] = drawn.arrows(figures.dots(Chart(one, None, "", METRIC)))
    assert arrow.get_marker() == 4 and arrow.get_ydata().tolist() == [0.0]


def constant_baseline(summary: pd.DataFrame) -> pd.DataFrame:
    """`summary` with a convolution that is the same runs at every kernel size."""
    of = {name: summary[summary["operator"] == name] for name in summary["operator"].unique()}
    first = of["convolution"].iloc[[1]].drop(columns="kernel_size")
    of["convolution"] = of["convolution"][["kernel_size"]].merge(first, "cross")
    return pd.concat(of.values(), ignore_index=True)


@pytest.mark.parametrize("kind", ["lines", "groups", "dots", "with_costs", "facets"])
def test_a_baseline_that_does_not_vary_is_one_line_with_its_band(make_ledger, kind: str) -> None:
    summary = constant_baseline(summary_of(make_ledger()))
    ax = figures.KINDS[kind](Chart(summary, "kernel_size", "kernel size K", METRIC))
    line, mean = curves(ax)["Convolution"], summary["mean"][0]
    values = line.get_xdata() if kind == "dots" else line.get_ydata()
    assert values == [mean, mean] and drawn.legend(ax).count("Convolution") == 1
    bands = [patch for patch in ax.patches if patch.get_alpha() == 0.12]
    assert len(bands) == 1 and "error bars and bands" in drawn.note(ax)
    edges = np.asarray(bands[0].get_extents().transformed(ax.transData.inverted()))[:, 0 if kind == "dots" else 1]
    np.testing.assert_allclose(edges, summary.loc[0, ["ci_low", "ci_high"]].tolist())
    two = summary.assign(n=2, runs=[runs[:2] for runs in summary["runs"]])
    ax = figures.KINDS[kind](Chart(two, "kernel_size", "kernel size K", METRIC))
    assert not [patch for patch in ax.patches if patch.get_alpha() == 0.12], "two runs have no interval"
    assert curves(ax)["Convolution"].get_xydata().ravel().tolist().count(summary["runs"][0][0]) == 2


def test_controls_are_dashed_and_each_operator_has_its_look(make_ledger) -> None:
    lines = curves(draw(summary_of(make_ledger())))
    assert [line.get_linestyle() for line in lines.values()] == ["-", "-", "--"]
    assert lines["X-volution"].get_color() == style("xvolution").color
    known = [style(name) for name in ("convolution", "xvolution", "xvolution_static", "pssa")]
    assert len({(look.color, look.marker) for look in known}) == len(known)


def test_an_unknown_row_has_a_stable_look() -> None:
    look = style("my_operator")
    assert look == style("my_operator") == Style(PURPLE, "8")
    assert style("my_operator_static").linestyle == "--"


def test_no_unknown_row_looks_like_a_row_of_most_sweeps() -> None:
    usual = {style(row).color for row in ("convolution", "xvolution", "xvolution_static", "pssa", "pssa_static")}
    unknown = [style(f"package.module:Operator{number}") for number in range(300)]
    assert len(usual) == 4 and not usual & {look.color for look in unknown}
    fixed = {(look.color, look.marker) for look in map(style, [*OPERATORS, *LABELS_OF_SWEEPS])}
    assert not fixed & {(look.color, look.marker) for look in unknown}
    assert len({(look.color, look.marker) for look in unknown}) > 10, "they differ"


def test_means_of_one_seed_have_no_bars_and_are_at_the_ticks(make_ledger) -> None:
    ax = draw(summary_of(make_ledger({"convolution": {1: [25.0], 3: [70.0]}, "xvolution": {1: [96.0], 3: [97.0]}})))
    assert not bars(ax)
    assert [line.get_xdata().tolist() for line in curves(ax).values()] == [[1, 3], [1, 3]]
    assert {drawn.aside(line) for line in curves(ax).values()} == {0.0}
    assert drawn.note(ax) == "n = 1 seed, no error bars"


def test_a_missing_group_leaves_a_gap(make_ledger) -> None:
    runs = make_ledger()
    for seed in range(3):
        runs.lose("convolution", 5, seed)
    runs.lose("convolution", 7, 0)
    ax = draw(summary_of(runs))
    assert np.isnan(curves(ax)["Convolution"].get_ydata()).tolist() == [False, False, True, False, False]
    assert len(bars(ax)[0].lines[2][0].get_segments()) == 3, "neither nothing nor two runs have an interval"
    assert "n = 2–3 seeds" in drawn.note(ax)
    assert ax.get_xticks().tolist() == [1, 3, 5, 7, 9]


def test_a_sweep_without_finished_runs_can_be_drawn(make_ledger, tmp_path: Path) -> None:
    runs = make_ledger({"convolution": {1: [25.0], 3: [70.0]}})
    for size in (1, 3):
        runs.lose("convolution", size, 0)
    ax = draw(summary_of(runs))
    assert ax.get_xticks().tolist() == [1, 3]
    figures.write(ax, tmp_path / "figure.png")


def test_lines_can_be_drawn_into_given_axes(make_ledger) -> None:
    given = Figure().subplots()
    assert draw(summary_of(make_ledger()), ax=given, smoke=True) is given
    texts = [text.get_text() for text in given.texts]
    assert texts == ["SMOKE", "Dots: runs; error bars: 95 % interval, n = 3 seeds"]
    assert len(given.get_legend().get_texts()) == 3 and not given.figure.legends


def test_values_that_are_text_keep_their_order(make_ledger) -> None:
    summary = summary_of(make_ledger())
    ax = draw(summary.assign(kernel_size=summary["kernel_size"].map({1: "one", 3: "a", 5: "b", 7: "c", 9: "d"})))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["one", "a", "b", "c", "d"]


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_numbers_give_the_same_bytes(make_ledger, tmp_path: Path, suffix: str) -> None:
    summary = summary_of(make_ledger())
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    figures.write(draw(summary), first)
    figures.write(draw(summary), second)
    assert first.read_bytes() == second.read_bytes()


def test_with_costs_has_a_row_of_panels_for_each_value_of_the_other_axes(make_ledger, tmp_path: Path) -> None:
    summary = summary_of(make_ledger())
    both = pd.concat([summary.assign(row=summary["label"] + f", softmax = {value}") for value in ("yes", "no")])
    both = both.reset_index(drop=True)
    first = figures.with_costs(Chart(both, "kernel_size", "kernel size K", METRIC, smoke=True))
    panels = first.get_figure().axes
    assert len(panels) == 6
    assert [ax.get_xlabel() for ax in panels[:3]] == ["kernel size K", "parameters", "MACs per map"]
    assert [panels[place].get_title(loc="left") for place in (0, 3)] == ["softmax = yes", "softmax = no"]
    assert [ax.get_xscale() for ax in panels[:3]] == ["linear", "log", "log"]
    convolution = summary[summary["operator"] == "convolution"]
    for ax, column in zip(panels[3:], ("kernel_size", "params", "macs"), strict=True):
        line = curves(ax)["Convolution"]
        assert line.get_xdata().tolist() == convolution[column].tolist()
        assert line.get_ydata().tolist() == convolution["mean"].tolist()
    figures.write(first, tmp_path / "figure.png")


def costs(make_ledger, **scores):
    """The summary of a sweep without axes. The kernel size of a row only chooses its costs in the ledger."""
    runs = make_ledger(scores, axes=[], figure={"kind": "scatter", "x": "macs"})
    sweep = load_sweep(runs.out, "kernel_size")
    assert (sweep.layout.figure_x, sweep.layout.column_axis) == ("macs", None)
    return sweep.summary


def test_a_scatter_has_a_point_for_each_row_at_its_cost(make_ledger) -> None:
    summary = costs(make_ledger, convolution={1: [90.0, 92.0, 91.0]}, xvolution_static={3: [95.0, 96.0, 95.5]})
    ax = figures.scatter(Chart(summary, "macs", "MACs per image", METRIC, smoke=True))
    points = curves(ax)
    assert {name: (*line.get_xdata(), *line.get_ydata()) for name, line in points.items()} == {
        "Convolution": (26_292_000, 91.0),
        "X-volution (static)": (46_836_000, 95.5),
    }
    assert {line.get_linestyle() for line in points.values()} == {"None"}
    assert len(bars(ax)) == 2 and ax.get_xscale() == "linear"
    assert ax.xaxis.get_major_formatter()(30_000_000) == "30M"
    assert drawn.names(ax) == ["SMOKE", "Convolution", "X-volution (static)"]


def test_a_scatter_is_logarithmic_over_a_wide_range_and_leaves_out_missing_rows(make_ledger) -> None:
    summary = costs(make_ledger, convolution={1: [90.0]}, xvolution={1: [91.0]})
    summary.loc[1, "macs"] = 3_000_000_000
    assert figures.scatter(Chart(summary, "macs", "MACs", "%")).get_xscale() == "log"
    summary.loc[1, "n"] = 0
    ax = figures.scatter(Chart(summary, "macs", "MACs", "%"))
    assert ax.get_xscale() == "linear" and list(curves(ax)) == ["Convolution"]


def test_rows_stand_side_by_side_in_groups_and_controls_are_hollow(make_ledger) -> None:
    summary = summary_of(make_ledger())
    summary = summary.assign(kernel_size=[f"K{size}" for size in summary["kernel_size"]])
    ax = figures.groups(Chart(summary, "kernel_size", "K", METRIC))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["K1", "K3", "K5", "K7", "K9"]
    FigureCanvasAgg(ax.get_figure(root=True)).draw()
    lines, width = curves(ax), 72 * ax.bbox.width / ax.get_figure(root=True).dpi / 5
    for row, own in summary.groupby("row"):
        np.testing.assert_allclose(lines[row].get_ydata(), own["mean"])
    shifts = np.array([drawn.aside(line) for line in lines.values()])
    assert np.diff(shifts).min() > 4, "rows do not cover one another"
    assert np.abs(shifts).max() < width / 2 - 4, "groups do not overlap"
    assert [line.get_markerfacecolor() == "white" for line in lines.values()] == [False, False, True]
    assert len(bars(ax)) == 3
    low = summary.assign(mean=98.0, ci_low=97.5, ci_high=98.4, runs=[(97.8, 98.0, 98.2)] * len(summary))
    for kind in ("groups", "bars"):
        assert figures.KINDS[kind](Chart(low, "kernel_size", "K", METRIC)).get_ylim()[0] > 97, "no axis from 0"


def test_dots_have_a_line_for_each_row(make_ledger) -> None:
    summary = costs(make_ledger, convolution={1: [90.0, 92.0, 91.0]}, xvolution={3: [95.0, 96.0, 95.5]})
    ax = figures.dots(Chart(summary, None, "", METRIC))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Convolution", "X-volution"]
    points = [(*line.get_xdata(), *line.get_ydata()) for line in ax.get_lines() if line.get_marker() in "os"]
    means = [point for point in points if len(point) == 2]
    assert means == [(91.0, 0.0), (95.5, 1.0)]
    assert not ax.get_figure(root=True).legends and ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is at the top"
    several = summary_of(make_ledger())
    ax = figures.dots(Chart(several, "kernel_size", "kernel size K", METRIC))
    assert drawn.legend(ax) == [f"K = {size}" for size in (1, 3, 5, 7, 9)]
    words = several.assign(kernel_size=several["kernel_size"].map({1: "a", 3: "b", 5: "c", 7: "d", 9: "e"}))
    figure = figures.dots(Chart(words, "kernel_size", "variant", METRIC)).get_figure(root=True)
    assert figure.legends[0].get_title().get_text() == "variant"


def test_curves_have_a_band_for_their_intervals() -> None:
    values = {"operator": "pssa", "row": "PSSA", "epoch": [1, 2], "mean": [30.0, 50.0]}
    bounds = {"ci_low": [28.0, 45.0], "ci_high": [32.0, 55.0]}
    ax = figures.curves(Chart(pd.DataFrame({**values, **bounds, "n": 3}), "epoch", "epoch", METRIC))
    [line] = ax.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[1, 30], [2, 50]])
    [band] = ax.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == 28 and corners[:, 1].max() == 55
    assert drawn.note(ax) == "Bands: 95 % interval, n = 3 seeds"
    nothing = pd.DataFrame(columns=["operator", "row", "epoch", "n", "mean", "ci_low", "ci_high"])
    assert drawn.note(figures.curves(Chart(nothing, "epoch", "epoch", "%"))) == "no finished run"
    two = pd.DataFrame({**values, **bounds, "n": 2, "runs": [(29.0, 31.0), (48.0, 52.0)]})
    ax = figures.curves(Chart(two, "epoch", "epoch", METRIC))
    assert [line.get_ydata().tolist() for line in ax.get_lines()] == [[29, 48], [31, 52]], (
        "two runs stand without a mean"
    )
    assert drawn.note(ax) == "Lines: runs; n = 2 seeds, no bands"


def test_a_variant_has_the_colour_of_its_operator() -> None:
    assert style("pssa_position").color == style("pssa").color
    assert style("xvolution_sa_large").color == style("xvolution_sa").color


FAMILIES = ("pssa_1", "pssa", "pssa_1_3")


def many_rows() -> pd.DataFrame:
    names = ["convolution", *(name for family in FAMILIES for name in (family, f"{family}_static"))]
    return pd.DataFrame(
        [
            {"operator": name, "row": f"row {name}", "label": name, "distance": distance, "n": 2}
            | {"runs": (10.0 * place, 10.0 * place + 2 * distance), "mean": 10.0 * place + distance}
            | {"ci_low": 10.0 * place, "ci_high": 10.0 * place + 2 * distance}
            for place, name in enumerate(names)
            for distance in (8, 12)
        ]
    )


def test_facets_show_each_row_with_its_control_and_the_baseline() -> None:
    first = figures.facets(Chart(many_rows(), "distance", "distance (pixels)", METRIC))
    figure = first.get_figure(root=True)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in panels] == [f"row {family}" for family in FAMILIES]
    for place, ax in enumerate(panels):
        lines = curves(ax)
        assert list(lines) == ["row convolution", "PSSA", "PSSA, static"]
        heights = [line.get_ydata()[0] for line in lines.values()]
        np.testing.assert_allclose(heights, [8, 10 * (2 * place + 1) + 8, 10 * (2 * place + 2) + 8])
        colors = [line.get_color() for line in lines.values()]
        assert colors == [style(name).color for name in ("convolution", "pssa", "pssa_static")], (
            "the colours of the operators"
        )
        assert ax.get_ylim() == panels[0].get_ylim()
    assert drawn.legend(first) == list(lines)


def test_facets_have_a_panel_for_each_value_of_further_axes() -> None:
    summary = many_rows()
    both = pd.concat([summary.assign(row=summary["label"] + f", softmax = {value}") for value in ("yes", "no")])
    both = both.reset_index(drop=True)
    controls = {family: (f"{family}_static",) for family in FAMILIES}
    chart = Chart(both, "distance", "distance (pixels)", METRIC, controls=controls)
    panels = [ax for ax in figures.facets(chart).get_figure(root=True).axes if ax.get_visible()]
    assert [ax.get_title("left") for ax in panels] == [*FAMILIES, *FAMILIES]
    assert [panels[place].get_ylabel() for place in (0, 3)] == ["softmax = yes", "softmax = no"]
    one = both[both["operator"].isin(["convolution", "pssa", "pssa_static"])].reset_index(drop=True)
    panels = figures.facets(Chart(one, "distance", "distance", METRIC)).get_figure(root=True).axes
    assert [ax.get_title("left") for ax in panels] == ["softmax = yes", "softmax = no"]
    assert list(curves(panels[0])) == ["convolution", "pssa", "pssa_static"]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("size", [None, "column"])
def test_facets_need_only_one_row(rows: int, size: str | None, tmp_path: Path) -> None:
    summary = many_rows()
    summary = summary[summary["operator"].isin(summary["operator"].unique()[:rows])]
    ax = figures.facets(Chart(summary, "distance", "distance", METRIC, size=size and SIZES[size]))
    figures.write(ax, tmp_path / "figure.png")
    assert len(curves(ax)) == rows
