"""Diagrams show every module that is built, once, and change with the options of the operator."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.kernels.spec import FORMS
from lightning_xvol.operators import build_operator
from lightning_xvol.visualize import layout
from lightning_xvol.visualize.diagrams import Flow, Taps, compose, diagram
from lightning_xvol.visualize.structure import Part, boxes, outline, structure

pytest.importorskip("matplotlib")


def config(operator: str = "xvolution", **options: Any) -> RunConfig:
    config = get_recipe("match_small").config(operator)
    for name, value in options.items():
        config = set_value(config, f"operator.{name}", value)
    return resolve(config)


def texts(number: int, *arguments: Any, **options: Any) -> list[list[str]]:
    """The boxes of each flow of a figure, from the input on."""
    panels = diagram(number, config(*arguments, **options)).panels
    return [[box.text for box in boxes(panel.part)] for panel in panels if isinstance(panel, Flow)]


def leaves(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if not list(part.children())]


OPTIONS: list[dict[str, Any]] = [
    *({"form": form} for form in FORMS), {"propagate": True, "centre": True, "position_encoding": True},
]  # fmt: skip
CASES = [
    *((name, {}, shape) for name in OPERATORS for shape in ((16, 16, 1), (8, 16, 2))),
    *((name, options, (16, 16, 1)) for name in ("pssa", "xvolution") for options in OPTIONS),
    ("self_attention", {"output_projection": True, "position_encoding": True, "position_size": 8}, (16, 16, 1)),
    ("xvolution", {"dilated_kernel_size": None}, (16, 16, 1)),
]


@pytest.mark.parametrize(("name", "options", "shape"), CASES, ids=str)
@pytest.mark.parametrize("read", [structure, outline])
def test_every_module_is_in_one_box(
    name: str, options: dict[str, Any], shape: tuple[int, int, int], read: Callable[[nn.Module], Part]
) -> None:
    operator = build_operator(name, shape[0], shape[1], stride=shape[2], **options)
    shown = [box.module for box in boxes(read(operator)) if box.module is not None]
    assert len({id(module) for module in shown}) == len(shown)
    covered = [leaf for module in shown for leaf in leaves(module)]
    assert {id(leaf) for leaf in covered} == {id(leaf) for leaf in leaves(operator)}
    if read is structure:  # in `outline`, PSSA is one box and its batch norm another one
        assert len(covered) == len({id(leaf) for leaf in covered}), "no module is in two boxes"


def test_fig_1_of_the_papers_operator() -> None:
    region, training, inference, window = diagram(1, config()).panels
    assert isinstance(training, Flow) and isinstance(inference, Flow)
    assert [box.text for box in boxes(training.part)] == [
        "PSSA, 32\n8 directions,\nL = 1, 3, 5: 24 taps", "BN", "3×3 conv, 32", "5×5 conv, 32\ndilation 2", "BN",
    ]  # fmt: skip
    assert "convolution:\n49 positions in 11×11" in [box.text for box in boxes(inference.part)]
    assert isinstance(region, Taps) and isinstance(window, Taps)
    # Eight directions at distances 1, 3 and 5. A 3x3, and every second position of a 9x9, share the centre.
    expected = {(d * row, d * column) for d in (1, 3, 5) for row in (-1, 0, 1) for column in (-1, 0, 1)} - {(0, 0)}
    assert region.dynamic == window.dynamic == expected
    near = set(itertools.product((-1, 0, 1), repeat=2))
    assert window.static == near | set(itertools.product((-4, -2, 0, 2, 4), repeat=2)) and not region.static
    assert (window.side, region.side) == (11, 15)


def test_options_change_the_diagram() -> None:
    wider = texts(1, kernel_size=7)
    assert "7×7 conv, 32" in wider[0] and "3×3 conv, 32" not in wider[0]
    assert "convolution:\n73 positions in 11×11" in wider[1]
    other = texts(1, shift_distances=(2, 7), dilated_kernel_size=None)
    assert other[0] == ["PSSA, 32\n8 directions,\nL = 2, 7: 16 taps", "BN", "3×3 conv, 32", "BN"]
    assert "convolution:\n25 positions in 15×15" in other[1]
    assert "shift $S_j$:\n8 directions, L = 2, 7, and $x_0$" in texts(4, shift_distances=(2, 7), centre=True)[0]
    assert texts(4, num_heads=8, normalize=False) != texts(4, num_heads=4, normalize=False)


def test_fig_1_of_other_operators() -> None:
    attention = diagram(1, config("self_attention")).panels
    assert len(attention) == 4 and isinstance(attention[0], Taps) and len(attention[0].dynamic) == 13 * 13
    assert "convolution:\nall positions of the map" in texts(1, "xvolution_sa")[1]
    # Without a product of query and key nothing depends on the input.
    [*_, taps] = diagram(1, config(form="static")).panels
    assert isinstance(taps, Taps) and not taps.dynamic and len(taps.static) == 49
    static = diagram(1, config("multi_convolution", kernel_size=5, dilated_kernel_size=None))
    assert [type(panel) for panel in static.panels] == [Flow, Flow, Taps]
    assert static.caption.endswith("they are at inference (25 positions in 5×5). Cells: w^c, 25 positions.")
    plain = diagram(1, config("convolution"))
    assert len(plain.panels) == 1 and plain.caption.endswith("it is one convolution.")
    unknown = diagram(1, config("tests.visualize.test_diagrams:Strange"))
    assert len(unknown.panels) == 1 and "it cannot be written as one convolution" in unknown.caption


class Strange(nn.Module):
    """A module without a `structure` function."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.inner = nn.Conv2d(in_channels, out_channels, 1, stride)


def test_fig_2_puts_the_operator_where_the_paper_does() -> None:
    plain_34, ours_34, plain_50, ours_50 = texts(2)
    assert plain_34 == ["3×3 conv, 512", "BN", "ReLU", "3×3 conv, 512", "BN", "ReLU"]
    assert ours_34 == ["3×3 conv, 512", "BN", "ReLU", "X-volution, 512", "BN", "ReLU"]
    assert plain_50[:4] == ["1×1 conv, 512", "BN", "ReLU", "3×3 conv, 512"]
    assert ours_50 == [
        "1×1 conv, 512", "BN", "ReLU", "X-volution, 512", "BN", "ReLU", "1×1 conv, 2048", "BN", "ReLU",
    ]  # fmt: skip
    assert "PSSA, 512" in texts(2, "pssa")[3]


def test_fig_4_follows_the_form() -> None:
    [dot] = texts(4)
    names = ["Query", "Key", "shift", "$\\times\\ w_j$", "Value", "shift", r"$\sum_j$", "BN"]
    assert all(text.startswith(name) for text, name in zip(dot, names, strict=True))
    [no_value] = texts(4, form="hadamard_no_value", num_heads=None)
    assert not any(text.startswith("Value") for text in no_value)
    [static] = texts(4, form="static")
    assert not any(text.startswith(("Query", "Key")) for text in static)
    with pytest.raises(UserError, match=r"Fig\. 4 shows the structure of PSSA, and 'involution' contains no PSSA"):
        diagram(4, config("involution"))


@pytest.mark.parametrize(
    ("number", "operator", "options"),
    [
        (1, "xvolution", {}), (1, "xvolution_inv", {}), (1, "aa_convolution", {}), (1, "involution", {}),
        (2, "xvolution_sa", {}), (4, "xvolution", {"position_encoding": True, "propagate": True}),
    ],
)  # fmt: skip
def test_boxes_and_texts_do_not_overlap(number: int, operator: str, options: dict[str, Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import FancyBboxPatch

    figure = compose(diagram(number, config(operator, **options)))
    canvas = FigureCanvasAgg(figure)
    [ax] = figure.axes
    drawn = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for first, second in itertools.combinations(drawn, 2):
        assert not first.overlaps(second)
    written = [text.get_window_extent(canvas.get_renderer()) for text in ax.texts if text.get_text()]
    page = figure.bbox.padded(1)
    for first, second in itertools.combinations(written, 2):
        assert not first.overlaps(second)
    assert all(page.contains(*corner) for text in written for corner in text.corners())
    for box in drawn:
        inside = [text for text in written if box.overlaps(text)]
        assert inside and all(box.padded(1).contains(*corner) for text in inside for corner in text.corners())


def test_length_counts_the_characters_that_are_drawn() -> None:
    assert layout._length(r"$\times w_j$: 24") == len("x wj: 24")
    assert layout._length("BN") == 2


def test_the_command_writes_every_figure_and_format(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--recipe", "match_small", "--out", tmp_path / "a"]
    assert call("diagram", *arguments) == 0
    names = {f"figure_{number}.{kind}" for number in (1, 2, 4) for kind in ("png", "pdf", "svg")}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    printed = capsys.readouterr().out
    assert "Fig. 1: X-volution: the positions" in printed and f"wrote {tmp_path}/a/figure_4.png (.pdf, .svg)" in printed
    assert b"/Type3" not in (tmp_path / "a" / "figure_1.pdf").read_bytes()
    call("diagram", *arguments[:2], "--out", tmp_path / "b", "--figure", "1")
    assert (tmp_path / "b" / "figure_1.svg").read_bytes() == (tmp_path / "a" / "figure_1.svg").read_bytes()
    call("diagram", *arguments[:2], "--out", tmp_path / "c", "--figure", "1", "--set", "operator.kernel_size=5")
    assert (tmp_path / "c" / "figure_1.svg").read_bytes() != (tmp_path / "a" / "figure_1.svg").read_bytes()
    capsys.readouterr()
    call("diagram", "--operator", "convolution", "--recipe", "match_small", "--out", tmp_path / "e")
    assert "left out: Fig. 4" in capsys.readouterr().out and not (tmp_path / "e" / "figure_4.png").exists()
    with pytest.raises(UserError, match="contains no PSSA"):
        call("diagram", "--operator", "convolution", "--figure", "4", "--out", tmp_path / "f")
