"""Mode `growth`: exact power laws, what global attention compares, and the rows, tables and figure of tiny sizes."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest
import torch

from benchmarks import growth, growth_tables, plot
from benchmarks.__main__ import main
from benchmarks.growth import Point
from benchmarks.measure import Effort, saved_bytes
from benchmarks.power_law import fit
from benchmarks.shapes import GROWTH, SMOKE_GROWTH, Growth
from benchmarks.subjects import Machine

CPU = Machine(torch.device("cpu"))
TINY = Growth(base={"batch": 2, "side": 16, "depth": 1}, batch=(1, 2), side=(16, 32), depth=(1,))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_an_exact_power_law_is_found_without_error(power: float) -> None:
    law = fit({size: 3e-5 * size**power for size in (49, 100, 784, 1600)})
    assert law.exponent == pytest.approx(power) and law.r_squared == pytest.approx(1)
    assert law.error == pytest.approx(0, abs=1e-6)


def test_the_error_and_the_share_of_variance_are_those_of_linear_regression() -> None:
    stats = pytest.importorskip("scipy.stats")
    costs = {1: 2.0, 3: 9.0, 10: 21.0, 50: 200.0}
    expected = stats.linregress([math.log(size) for size in costs], [math.log(cost) for cost in costs.values()])
    law = fit(costs)
    assert (law.exponent, law.error) == (pytest.approx(expected.slope), pytest.approx(expected.stderr))
    assert law.r_squared == pytest.approx(expected.rvalue**2)


def test_few_sizes_have_no_error_and_a_constant_cost_has_exponent_0() -> None:
    assert math.isnan(fit({49: 1.0}).exponent)
    two = fit({1: 1.0, 4: 2.0})
    assert two.exponent == pytest.approx(0.5) and math.isnan(two.error) and math.isnan(two.r_squared)
    constant = fit({1: 2.0, 4: 2.0, 9: 2.0})
    assert (constant.exponent, constant.error) == (0, 0) and math.isnan(constant.r_squared)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("growth")
    assert main(["growth", "--smoke", "--device", "cpu", "--rounds", "1", "--out", str(out)]) == 0
    return out


def test_a_row_per_axis_operator_and_size(smoke: Path) -> None:
    [path] = smoke.glob("growth-*.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    names = ("convolution", "pssa", "xvolution", "self_attention")
    assert [(row["axis"], row["operator"], row[column]) for row in rows for column in [row["axis"]] if column != "depth"
            ] == [(axis, name, str(value)) for axis in ("batch", "side") for name in names
                  for value in SMOKE_GROWTH.axes[axis]]  # fmt: skip
    assert [row["blocks"] for row in rows if row["axis"] == "depth" and row["operator"] == "pssa"] == ["5", "10"]
    for row in rows:
        assert 0 < float(row["step_q1_ms"]) <= float(row["step_ms"]) <= float(row["step_q3_ms"])
        assert int(row["pixels"]) == int(row["side"]) ** 2 and row["note"] == row["peak_bytes"] == ""
        assert (row["over_convolution"] == "1") == (row["operator"] == "convolution")
        assert (row["attention_bytes"] == "0") == (row["operator"] != "self_attention")
    # The point that all axes share is measured once.
    shared = {
        (row["operator"], row["step_ms"])
        for row in rows
        if (row["batch"], row["side"], row["blocks"]) == ("2", "16", "5")
    }
    assert len(shared) == len(names)


def test_the_exponent_of_memory_belongs_to_its_rows(smoke: Path) -> None:
    [path] = smoke.glob("growth-*.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["axis"] == "side" and row["operator"] == "xvolution"]
    law = fit({int(row["pixels"]): int(row["saved_bytes"]) for row in rows})
    for row in rows:
        assert float(row["memory_exponent"]) == pytest.approx(law.exponent, rel=1e-4)
        assert float(row["memory_exponent_error"]) == pytest.approx(law.error, rel=1e-4)
        assert float(row["memory_r_squared"]) == pytest.approx(law.r_squared, rel=1e-4)


def test_markdown_and_figure_are_written(smoke: Path) -> None:
    assert {path.suffix for path in smoke.iterdir()} == {".csv", ".md", ".png", ".pdf", ".svg"}
    [path] = smoke.glob("growth-*.md")
    text = path.read_text()
    assert "SMOKE" in text and "A dash stands" not in text
    for title in ("## Batch, at 16×16 pixels and 5 blocks", "## Pixels, at batch 2 and 5 blocks",
                  "## Depth, at batch 2 and 16×16 pixels"):  # fmt: skip
        assert title in text
    assert text.count("| exponent ") == text.count("| exponent, larger half ") == text.count("| R²") == 3


def test_the_base_is_a_size_of_every_axis() -> None:
    for sizes in (GROWTH, SMOKE_GROWTH):
        assert all(sizes.base[axis] in values for axis, values in sizes.axes.items())
    assert (GROWTH.batch[0], GROWTH.batch[-1], GROWTH.side[0], GROWTH.side[-1]) == (1, 256, 32, 224)


@pytest.mark.parametrize(
    ("name", "layers"), [("self_attention", [(4, 4), (4, 4), (2, 2)]), ("convolution", []), ("xvolution", [])]
)
def test_attention_compares_all_pairs_of_positions_in_every_head(name: str, layers: list[tuple[int, int]]) -> None:
    """At 16x16 pixels the operators of conv3_x to conv5_x see maps of 4x4, 4x4 and 2x2, with 4 heads."""
    point = Point(3, 16, 1)
    network = growth._build(name, point, CPU, 0)
    assert growth.attention_pairs(network, point.shape) == sum(3 * 4 * (rows * cols) ** 2 for rows, cols in layers)


def test_attention_above_the_limit_is_left_out_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4 * 2 * 4 * (2 * 4**4 + 2**4)  # bytes of two images at 16x16
    monkeypatch.setattr(growth_tables, "ATTENTION_BYTES", limit)
    rows = growth.measure(("convolution", "self_attention"), TINY, CPU, Effort(1, 0, 0))
    left_out = [row for row in rows if "note" in row]
    assert [(row["operator"], row["axis"], row["side"]) for row in left_out] == [("self_attention", "side", 32)]
    assert "step_ms" not in left_out[0] and math.isnan(left_out[0]["time_exponent"])
    text = growth_tables.tables(rows)
    [sentence] = [line for line in text.splitlines() if line.startswith("A dash stands where Self-Attention")]
    assert sentence.endswith("2 images of 32×32, 5 blocks (0.0 GiB).")
    [line] = [line for line in text.splitlines() if line.startswith("| 32×32")]
    assert line.count("–") == 2  # its time and its memory
    figure = plot.draw_growth(rows, "here", smoke=True)
    assert [len(panel.lines) for panel in figure.axes[3:]] == [2, 2, 2]


def test_the_figure_has_logarithmic_panels_with_exponents() -> None:
    rows = growth.measure(("convolution", "pssa"), TINY, CPU, Effort(1, 0, 0))
    figure = plot.draw_growth(rows, "here", smoke=False)
    assert [(panel.get_xscale(), panel.get_yscale()) for panel in figure.axes] == [("log", "log")] * 6
    assert [tick.get_text() for tick in figure.axes[4].get_xticklabels()] == ["16²", "32²"]
    law = next(row for row in rows if row["axis"] == "side" and row["operator"] == "pssa")
    texts = [text.get_text() for text in figure.axes[4].get_legend().get_texts()]
    assert texts[1] == f"{law['memory_exponent']:.2f}"
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Convolution", "PSSA"]


def test_memory_is_what_forward_keeps_and_depth_adds_blocks() -> None:
    shallow, deep = (growth._build("convolution", Point(2, 16, depth), CPU, 0).train() for depth in (1, 3))
    x = CPU.input(Point(2, 16, 1).shape, 0)
    [row] = growth.measure(
        ("convolution",), dataclasses.replace(TINY, batch=(2,), side=(), depth=()), CPU, Effort(1, 0, 0)
    )
    assert row["saved_bytes"] == saved_bytes(shallow, x) < saved_bytes(deep, x)
    assert (len(shallow.layer1), len(deep.layer1), len(deep.layer4)) == (2, 6, 3)


def test_peaks_are_shown_instead_of_what_forward_keeps() -> None:
    rows = growth.measure(("convolution",), TINY, CPU, Effort(1, 0, 0))
    assert growth_tables.memory_column(rows) == "saved_bytes"
    assert growth_tables.memory_column([{**row, "peak_bytes": 1_000_000} for row in rows]) == "peak_bytes"
