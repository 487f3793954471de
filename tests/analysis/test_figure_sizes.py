"""Every kind of figure has the size asked for, embedded fonts, readable ticks, and rows of any name."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from analysis.figures import kinds as figures
from analysis.figures.chart import Chart
from analysis.figures.costs import CostLocator
from analysis.figures.style import SIZES, Size
from analysis.render import load_sweep
from lightning_xvol.config.metrics import METRICS, Metric
from tests.analysis import drawn

NASTY = r"_a%&#$x{}~^\frac$$ <script>alert(1)</script>"
METRIC = "top-1 accuracy (%)"


@pytest.fixture
def summary(make_ledger) -> pd.DataFrame:
    return load_sweep(make_ledger().out, "kernel_size").summary


def epochs(summary: pd.DataFrame) -> pd.DataFrame:
    """A learning curve of two epochs for each of three seeds of every configuration."""
    rows = []
    for group in summary.to_dict("records"):
        named = {key: group[key] for key in ("operator", "row", "kernel_size")}
        for seed in range(3):
            values = {1: 30.0 + seed, 2: group["mean"] + seed}
            means = {"n": 3, "mean": group["mean"], "ci_low": group["mean"] - 1, "ci_high": group["mean"] + 1}
            rows += [
                {**named, **means, "seed": seed, "epoch": epoch, "value": value} for epoch, value in values.items()
            ]
    return pd.DataFrame(rows)


def every_kind(summary: pd.DataFrame, **options):
    """Every kind of figure of a sweep over kernel sizes, by name."""
    one, runs = summary[summary["kernel_size"] == 3], epochs(summary)
    last, of_three = runs[runs["epoch"] == 2], runs[runs["kernel_size"] == 3]
    mean = runs[runs["seed"] == 1].assign(mean=runs["value"])
    mean = mean[mean["kernel_size"] == 3].assign(ci_low=mean["mean"] - 1, ci_high=mean["mean"] + 1)
    axis = ("kernel_size", "kernel size K", METRIC)
    return {
        "lines": figures.lines(Chart(summary, *axis, **options)),
        "groups": figures.groups(Chart(summary, *axis, **options)),
        "dots": figures.dots(Chart(one, None, "", METRIC, **options)),
        "scatter": figures.scatter(Chart(one, "macs", "MACs", METRIC, **options)),
        "with_costs": figures.with_costs(Chart(summary.assign(row=summary["label"]), *axis, **options)),
        "curves": figures.curves(Chart(mean, "epoch", "epoch", METRIC, **options)),
        "seeds": figures.seeds(Chart(last, *axis, **options)),
        "seeds of rows": figures.seeds(Chart(of_three[of_three["epoch"] == 2], None, "", METRIC, **options)),
        "learning": figures.learning(Chart(runs, *axis, **options)),
        "learning of rows": figures.learning(Chart(of_three, "row", "", METRIC, **options)),
    }  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_every_figure_has_the_size_and_the_font_asked_for(summary: pd.DataFrame, name: str) -> None:
    size = SIZES[name]
    for kind, ax in every_kind(summary, size=size).items():
        width, height = ax.get_figure(root=True).get_size_inches()
        font = ax.xaxis.label.get_fontsize()
        if name == "slide":
            assert width / height == pytest.approx(16 / 9, rel=0.01), kind
            assert width >= 6.3
        else:
            assert width == size.width, kind
        assert font == {"column": 8.0, "page": 8.0, "slide": 10.0}[name]


def test_means_far_below_0_percent_do_not_flatten_the_rest(summary: pd.DataFrame) -> None:
    far = summary.assign(row=summary["label"])
    far.loc[far.index[0], ["mean", "ci_low", "ci_high"]] = [-5e11, -9e11, -1e11]
    ax = figures.with_costs(Chart(far, "kernel_size", "kernel size K", METRIC))
    assert ax.get_ylim()[0] >= -4 and ax.get_ylim()[1] > 90
    assert "arrows: beyond the axis, 1 mean down to \N{MINUS SIGN}5.0e11" in drawn.note(ax)


def test_a_legend_above_long_names_of_rows_stays_in_the_figure(summary: pd.DataFrame) -> None:
    rows = summary.assign(row=["a row with heads of 8: " + row[:3] for row in summary["row"]])
    for size in (None, SIZES["column"]):
        ax = figures.dots(Chart(rows, "kernel_size", "kernel size K", METRIC, size=size))
        figure = ax.get_figure(root=True)
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, size


@pytest.mark.parametrize("size", [None, *SIZES.values()])
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_metric_fits_beside_its_curves(summary: pd.DataFrame, metric: Metric, size: Size | None) -> None:
    label = f"validation {metric.label}"
    runs = epochs(summary)[lambda frame: frame["kernel_size"] == 3]
    mean = runs[runs["seed"] == 1].assign(mean=runs["value"], n=1, ci_low=np.nan, ci_high=np.nan)
    curves = figures.curves(Chart(mean, "epoch", "epoch", label, size=size))
    figure = figures.learning(Chart(runs, None, "", label, size=size)).get_figure(root=True)
    for shown, canvas in ((curves.yaxis.label, curves.get_figure(root=True)), (figure._supylabel, figure)):
        FigureCanvasAgg(canvas).draw()
        box = shown.get_window_extent()
        assert canvas.bbox.y0 <= box.y0 and box.y1 <= canvas.bbox.y1 and canvas.bbox.x0 <= box.x0
        assert " ".join(shown.get_text().split()) == label


def test_a_slide_of_many_rows_keeps_its_shape(summary: pd.DataFrame) -> None:
    rows = pd.concat([summary.assign(row=[f"{row} {place}" for row in summary["row"]]) for place in range(4)])
    ax = figures.dots(Chart(rows.reset_index(drop=True), "kernel_size", "K", METRIC, size=SIZES["slide"]))
    width, height = ax.get_figure(root=True).get_size_inches()
    assert height > 3.54 and width / height == pytest.approx(16 / 9, rel=0.01)


def test_a_pdf_is_a_column_wide_and_embeds_its_fonts(summary: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    figures.write(figures.lines(Chart(summary, "kernel_size", "K", METRIC, size=SIZES["column"])), path)
    content = path.read_bytes()
    [box] = re.findall(rb"/MediaBox \[ ([0-9. ]+) \]", content)
    assert [float(value) for value in box.split()] == pytest.approx([0, 0, 3.5 * 72, 2.9 * 72])
    assert b"/FontFile2" in content and b"/Type3" not in content
    figures.write(
        figures.lines(Chart(summary, "kernel_size", "K", METRIC, size=SIZES["column"])), path.with_suffix(".png")
    )
    assert Image.open(path.with_suffix(".png")).size == (1050, 870)


def test_every_kind_shows_names_literally(summary: pd.DataFrame, tmp_path: Path) -> None:
    """A dollar does not begin mathematics, and a backslash does not begin a command."""
    names = {row: f"{NASTY} {row}" for row in summary["row"]}
    nasty = summary.assign(row=summary["row"].map(names), label=summary["label"].map(names))
    nasty["operator"] = [f"{NASTY}{operator}" for operator in nasty["operator"]]
    for kind, ax in every_kind(nasty).items():
        figure = ax.get_figure(root=True)
        FigureCanvasAgg(figure).draw()  # would raise if a name became mathematics
        legends = [*figure.legends, *(legend for other in figure.axes if (legend := other.get_legend()) is not None)]
        shown = [text.get_text() for legend in legends for text in legend.get_texts()]
        shown += [text.get_text() for text in ax.get_yticklabels()] + drawn.names(ax)
        shown += [" ".join(other.get_title("left").split()) for other in figure.axes]
        assert set(names.values()) <= set(shown), kind
    figures.write(ax, tmp_path / "figure.svg")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (26_292, 210_612),
        (3.3e6, 9.9e6),
        (100_100, 100_900),
        (4.0e6, 4.2e6),
        (1e3, 5e9),
        (1.1e6, 1.9e6),
        (9.6e8, 1.04e9),
    ],
)  # fmt: skip
def test_ticks_of_costs_never_overlap(summary: pd.DataFrame, low: float, high: float) -> None:
    costs = np.geomspace(low, high, len(summary)).round().astype(int)
    ax = figures.with_costs(
        Chart(summary.assign(row=summary["label"], params=costs, macs=costs), "kernel_size", "K", METRIC)
    )
    figure = ax.get_figure(root=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for panel in figure.axes[1:]:
        inside = [
            label for tick, label in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True)
            if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]
        ]  # fmt: skip
        assert 2 <= len(inside) <= 5
        boxes = [label.get_window_extent(canvas.get_renderer()) for label in inside]
        assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))
        assert len({label.get_text() for label in inside}) == len(inside)


def test_ticks_of_costs_are_round_numbers() -> None:
    locator = CostLocator()
    assert locator.tick_values(2e4, 4e5) == [3e4, 1e5, 3e5]
    assert locator.tick_values(1e3, 1e9) == [1e3, 1e5, 1e7, 1e9]
    assert locator.tick_values(4.0e6, 4.2e6) == pytest.approx([4.0e6, 4.1e6, 4.2e6], abs=6e4)


def test_cells_without_runs_take_no_room(summary: pd.DataFrame) -> None:
    """`--only` leaves cells without runs. They get no panel, no tick and no line in the legend."""
    both = pd.concat([summary.assign(row=summary["label"] + f", softmax = {value}") for value in ("yes", "no")])
    both = both.reset_index(drop=True)
    both.loc[both["row"].str.endswith("no"), "n"] = 0
    assert len(figures.with_costs(Chart(both, "kernel_size", "K", METRIC)).get_figure(root=True).axes) == 3
    some = summary.copy()
    some.loc[(some["kernel_size"] > 5) | (some["operator"] == "xvolution"), "n"] = 0
    for kind in (figures.lines, figures.groups):
        ax = kind(Chart(some, "kernel_size", "K", METRIC))
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "3", "5"]
        assert drawn.legend(ax) == ["Convolution", "X-volution (static)"]
    some["n"] = 0
    assert len(figures.lines(Chart(some, "kernel_size", "K", METRIC)).get_xticks()) == 5, (
        "without finished runs the figure shows what is planned"
    )
