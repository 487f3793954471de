"""Sizes in inches, fonts, captions, legends, names beside points and labels of ticks, in every figure that has them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ablations.engine.catalogue import sweeps
from ablations.engine.cells import make_cells
from ablations.engine.plan import describe_cells
from analysis.__main__ import main
from analysis.figures import direct, kinds, legend, text
from analysis.figures.chart import Chart
from analysis.figures.common import TooSmallError
from analysis.figures.style import FONTS, SIZES, Size, read_size
from analysis.render import draw_figure, load_sweep
from analysis.sources.frame import assemble
from analysis.sources.plans import SweepPlan
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.errors import UserError
from tests.analysis import drawn
from tests.analysis.test_figure_sizes import METRIC, every_kind

SMALL = read_size("3.5x2.4")


@pytest.fixture
def summary(make_ledger) -> pd.DataFrame:
    return load_sweep(make_ledger().out, "kernel_size").summary


@pytest.mark.parametrize("style", FONTS)
def test_a_size_in_inches_is_kept_and_its_text_can_be_read(summary: pd.DataFrame, style: str) -> None:
    few = summary[summary["kernel_size"] < 5]
    for kind, ax in every_kind(few, size=SMALL, style=style).items():
        figure = ax.get_figure(root=True)
        FigureCanvasAgg(figure).draw()
        assert tuple(figure.get_size_inches()) == (3.5, 2.4), kind
        shown = [item for item in figure.findobj(Text) if item.get_text() and item.get_visible()]
        assert min(item.get_fontsize() for item in shown) >= 7.0, kind
        assert {item.get_fontfamily()[0] for item in shown} == {FONTS[style][0]}, kind
        page = figure.bbox.padded(1)
        labels = [label for other in figure.axes for label in (other.xaxis.label, other.yaxis.label)]
        for item in [*labels, *figure.texts, *(item for own in figure.legends for item in own.get_texts())]:
            box = item.get_window_extent()
            assert not item.get_text() or (page.containsx(box.x0) and page.containsx(box.x1)), (kind, item)
            assert page.containsy(box.y0) and page.containsy(box.y1), (kind, item)


def test_the_caption_can_be_left_out(summary: pd.DataFrame) -> None:
    two = summary[summary["kernel_size"] < 5]
    for kind, ax in every_kind(two, caption=False).items():
        assert not drawn.note(ax), kind
    assert drawn.note(kinds.lines(Chart(two, "kernel_size", "K", METRIC)))


def test_the_command_takes_size_style_and_caption(
    make_ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["figures", "--source", str(make_ledger().out), "--figure", "figure", "--out", str(tmp_path)]
    assert main([*source, "--size", "3.5x2.4", "--style", "serif", "--no-caption"]) == 0
    assert f"figure-3.5x2.4: {tmp_path}/kernel_size/figure-3.5x2.4.png (.pdf, .svg)" in capsys.readouterr().out
    pdf = (tmp_path / "kernel_size" / "figure-3.5x2.4.pdf").read_bytes()
    [box] = re.findall(rb"/MediaBox \[ ([0-9. ]+) \]", pdf)
    assert [float(value) for value in box.split()] == pytest.approx([0, 0, 252, 172.8])
    assert b"STIX" in pdf and b"DejaVu" not in pdf and b"/Type3" not in pdf


def test_a_figure_without_room_is_named_and_the_others_are_drawn(make_ledger, tmp_path, monkeypatch, capsys) -> None:
    def draw(sweep, kind, **look):
        if kind == "seeds":
            raise TooSmallError("no room")
        return draw_figure(sweep, kind, **look)

    monkeypatch.setattr("analysis.output.rendering.draw_figure", draw)
    assert main(["figures", "--source", str(make_ledger().out), "--out", str(tmp_path / "out"), "--size", "3x3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "seeds: no room"
    assert sorted(path.name for path in tmp_path.glob("out/*/*")) == [
        f"figure-3x3.{end}" for end in ("pdf", "png", "svg")
    ]


def test_a_size_without_room_for_any_figure_is_an_error_that_names_one_with_room(make_ledger, tmp_path: Path) -> None:
    source = ["figures", "--source", str(make_ledger().out), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"figure: 1x1 inches are too small for this figure") as raised:
        main([*source, "--size", "1x1"])
    assert not (tmp_path / "out").exists()
    for name, width, height in re.findall(r"(\w+): 1x1 .*? needs about ([\d.]+)x([\d.]+)", str(raised.value)):
        size = f"{float(width) + 0.1:.1f}x{float(height) + 0.1:.1f}"
        assert main([*source, "--figure", name, "--size", size]) == 0


def test_a_legend_fills_its_lines() -> None:
    assert legend.columns(["Convolution", "X-volution", "X-volution, static"], SIZES["column"]) == 3
    five = ["Convolution", "PSSA", "PSSA, static", "X-volution", "X-volution, static"]
    assert legend.columns(five, SIZES["page"]) == 5
    assert legend.columns(five, SIZES["column"]) == 3, "three and two, not four and one"
    assert legend.columns(["a" * 200, "b"], SIZES["column"]) == 1


@pytest.mark.parametrize("number", [1, 4, 5, 11])
def test_a_legend_is_read_line_by_line(summary: pd.DataFrame, number: int) -> None:
    rows = [summary.assign(row=f"row {place}", operator=f"o{place}") for place in range(number)]
    ax = kinds.lines(Chart(pd.concat(rows, ignore_index=True), "kernel_size", "K", METRIC))
    figure = ax.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    boxes = [(item.get_window_extent(), item.get_text()) for item in figure.legends[0].get_texts()]
    read = [name for _, name in sorted(boxes, key=lambda pair: (-round(pair[0].y0), pair[0].x0))]
    assert read == [f"row {place}" for place in range(number)] == drawn.legend(ax)
    assert figure.bbox.x0 <= min(box.x0 for box, _ in boxes) and max(box.x1 for box, _ in boxes) <= figure.bbox.x1


def points(rows: int, spread: float, seed: int = 0) -> pd.DataFrame:
    """So many rows with costs and means at random places; `spread` is that of their costs."""
    generator = np.random.default_rng(seed)
    means = generator.uniform(40, 100, rows)
    return pd.DataFrame(
        {
            "row": [f"operator {place}" for place in range(rows)], "operator": [f"o{place}" for place in range(rows)],
            "params": 50_000 + spread * generator.uniform(-1, 1, rows), "n": 3, "mean": means, "ci_low": means - 4,
            "ci_high": means + 3, "runs": [(mean - 1, mean, mean + 1) for mean in means],
        }
    )  # fmt: skip


@pytest.mark.parametrize(("rows", "spread"), [(3, 0.0), (5, 1.0), (11, 5_000.0), (15, 20_000.0), (15, 0.0)])
@pytest.mark.parametrize("size", [None, SIZES["column"]])
def test_names_beside_points_cover_neither_points_nor_one_another(rows: int, spread: float, size: Size | None) -> None:
    ax = kinds.scatter(Chart(points(rows, spread), "params", "parameters", METRIC, size=size))
    figure = ax.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    if figure.legends:  # no room: all names are in the legend
        assert len(drawn.legend(ax)) == rows and not drawn.names(ax)
        return
    texts = [item for item in ax.texts if item.get_text()]
    assert sorted(item.get_text() for item in texts) == sorted(drawn.rows(ax))
    boxes = [item.get_bbox_patch().get_window_extent() for item in texts]
    boxes = [box.from_extents(box.x0 + 2, box.y0 + 2, box.x1 - 2, box.y1 - 2) for box in boxes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    markers = [line.get_transform().transform(line.get_xydata())[0] for line in drawn.rows(ax).values()]
    assert not any(box.contains(*marker) for box in boxes for marker in markers)
    at = sorted(marker[0] * 72 / figure.dpi for marker in markers)
    assert np.diff(at).min() > 5, "points of equal cost stand aside"


def test_fifty_points_have_a_legend() -> None:
    ax = kinds.scatter(Chart(points(direct._MOST + 10, 9_000.0), "params", "parameters", METRIC))
    assert len(drawn.legend(ax)) == direct._MOST + 10


def test_widths_of_text_are_those_that_are_drawn(summary: pd.DataFrame) -> None:
    for style in FONTS:
        ax = kinds.lines(Chart(summary, "kernel_size", "kernel size K, in pixels", METRIC, style=style))
        figure = ax.get_figure(root=True)
        figure.set_dpi(720)
        FigureCanvasAgg(figure).draw()
        drawn_width = ax.xaxis.label.get_window_extent().width / 10
        assert text.width("kernel size K, in pixels", 8.0, style) == pytest.approx(drawn_width, rel=0.02)


@pytest.mark.parametrize(
    ("label", "short"),
    [("kernel size K", "K"), ("shift distances L", "L"), ("distance (pixels)", "distance"), ("depth", "depth")],
)
def test_titles_of_panels_say_the_axis(label: str, short: str) -> None:
    assert text.value_of(label, 3) == f"{short} = 3"


@pytest.mark.parametrize("name", sweeps())
def test_tables_and_figures_show_labels_and_no_identifiers(name: str) -> None:
    """Of every sweep: no row, tick or heading is the name of something in the code."""
    sweep, recipe = sweeps()[name], RECIPES[sweeps()[name].recipe]
    plan = describe_cells(sweep, recipe, make_cells(sweep, recipe, 1), smoke=False)
    layout, frame = assemble(SweepPlan(name, plan, name), lambda _: None)
    shown = {*layout.labels.values(), *map(layout.axis_label, layout.axes)}
    shown |= {layout.heading(axis, value) for axis in layout.axes for value in frame[axis].unique()}
    assert not [label for label in shown if "_" in label or re.fullmatch(r"(resnet|vgg)\d+", label)]


def test_the_backbones_of_an_old_plan_have_their_labels(make_ledger) -> None:
    runs = make_ledger(
        {"convolution": {1: [25.0], 3: [70.0]}}, axes=["backbone"], axis_labels={}, figure={"kind": "bars"}
    )
    names = {1: "resnet18", 3: "small_vgg13"}
    for cell in runs.cells:
        cell["axes"]["backbone"] = names[cell["axes"]["kernel_size"]]
    runs.write_sweep()
    ax = draw_figure(load_sweep(runs.out, "kernel_size"))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["ResNet-18", "small VGG-13"]


def anything(seed: int) -> pd.DataFrame:
    """Rows with any numbers of runs and any values; some rows do not vary along the axis `x`."""
    generator = np.random.default_rng(seed)
    numeric, several = generator.random(2) < 0.5
    xs = [-4.0, 0.001, 3.0, 1e6] if numeric else ["a", "resnet18+with+a+long+name (paper)", "_b"]
    ranges = [[97.0, 100.0], [0.0, 1e-9], [-5e11, 50.0], [1e300, 1e300], [-2.0, 40.0]]
    found = []
    for row, (low, high) in enumerate(ranges[seed % 5 :] + ranges[: seed % 2]):
        constant, one = row % 3 == 1, {}
        for place, x in enumerate(xs):
            runs = (
                tuple(generator.uniform(low, high, generator.integers(0, 7)).tolist()) if not (constant and one) else ()
            )
            n, mean = len(runs), float(np.mean(runs)) if runs else np.nan
            half = (high - low) * generator.choice([0.01, 1, 50]) if n > 2 else np.nan
            one = one if constant and one else {
                "operator": f"pssa_{row}" + "_static" * (row % 2), "label": f"row {row}", "n": n, "mean": mean,
                "row": f"row {row}" + (f", softmax = {row % 2}" if several else ""), "runs": runs,
                "group_id": f"{row} {0 if constant else place}", "ci_low": mean - half, "ci_high": mean + half,
                "params": int(10 ** generator.uniform(2, 9)), "macs": int(10 ** generator.uniform(2, 9)),
            }  # fmt: skip
            found.append({**one, "x": x})
    return pd.DataFrame(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", [0, 3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 25))])
def test_any_numbers_can_be_drawn(seed: int) -> None:
    data = anything(seed)
    for name in ("lines", "groups", "dots", "facets", "with_costs", "scatter"):
        shown = data.drop_duplicates("row") if name == "scatter" else data
        metric = METRIC if seed % 2 else "box AP"
        ax = kinds.KINDS[name](Chart(shown, "params" if name == "scatter" else "x", "an axis K", metric))
        FigureCanvasAgg(ax.get_figure(root=True)).draw()
        low, high = ax.get_xlim() if name == "dots" else ax.get_ylim()
        assert np.isfinite([low, high]).all() and low != high, name
