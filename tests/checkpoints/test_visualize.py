"""`python -m lightning_xvol visualize` writes a figure and prints a caption for every registered operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.errors import UserError

pytest.importorskip("matplotlib")
KERNELS = ("aa_convolution", "involution", "self_attention", "pssa", "xvolution", "xvolution_sa", "xvolution_inv")
TAPS = ("pssa", "xvolution", "xvolution_pointwise")


@pytest.mark.parametrize("operator", list(OPERATORS))
def test_every_operator_has_a_figure_with_the_panels_that_apply(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, capsys: Any, operator: str
) -> None:
    output = tmp_path / "figure.png"
    assert call("visualize", "--checkpoint", make_checkpoint(operator), "--out", output) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "averaged over 4 images" in printed and f"wrote {output}" in printed
    assert ("No dynamic kernel is shown" in printed) == (operator not in KERNELS)
    assert ("No tap weights are shown" in printed) == (operator not in TAPS)
    width, height = Image.open(output).size
    assert width == 1050 and height > 400
    assert list(tmp_path.iterdir()) == [output]


def test_a_static_form_has_no_dynamic_kernel(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, capsys: Any
) -> None:
    checkpoint = make_checkpoint("xvolution", **{"operator.options.form": "static"})
    assert call("visualize", "--checkpoint", checkpoint, "--out", tmp_path / "figure.svg") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "No dynamic kernel is shown" in printed and "Weight per head" in printed


def test_the_same_numbers_give_the_same_bytes(make_checkpoint: Callable, call: Callable, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(numpy.arange(3 * 20 * 30, dtype=numpy.uint8).reshape(20, 30, 3)).save(picture)
    arguments = ["--image", picture, "--pixel", "3,4", "--pixel", "31,0", "--stage", "5", "--images", "1"]
    written = []
    for output in (tmp_path / "first.pdf", tmp_path / "second.pdf"):
        assert call("visualize", "--checkpoint", make_checkpoint("pssa"), "--out", output, *arguments) == 0
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_without_the_data_a_picture_is_enough(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_xvol.data.fashion_mnist.SYSTEM_FOLDER", tmp_path / "no_package")
    checkpoint = make_checkpoint("convolution", **{"data.name": "fashion_mnist"})
    arguments = ["visualize", "--checkpoint", checkpoint, "--out", tmp_path / "f.pdf", "--data-dir", tmp_path]
    with pytest.raises(UserError, match="or give a picture with --image"):
        call(*arguments)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    assert call(*arguments, "--image", tmp_path / "red.png") == 0
    assert "averaged over 1 image," in " ".join(capsys.readouterr().out.split())


def test_wrong_arguments_give_one_sentence(make_checkpoint: Callable, call: Callable, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for arguments, message in [
        (["--out", tmp_path / "f.gif"], r"must end in \.png, \.pdf, \.svg"),
        (["--image", tmp_path / "none.png"], "no image at"),
        (["--image", tmp_path / "text.png"], "cannot read --image"),
        (["--pixel", "3"], "must be ROW,COLUMN"),
        (["--pixel", "3,32"], "outside the image of 32 x 32"),
        (["--pixel", "3,3"] * 4, "given 4 times"),
        (["--stage", "3"], "--stage 3 has no operator; choose from 5"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            call("visualize", "--checkpoint", make_checkpoint("pssa"), "--out", tmp_path / "f.pdf", *arguments)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "f.pdf").exists()
