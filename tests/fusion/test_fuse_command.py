"""`python -m lightning_xvol fuse` from a trained cell to fused weights that load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion_tools import error

from lightning_xvol import __main__
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.weights import load_fused, read_trained
from lightning_xvol.training.tracking import Tracking

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small cell, trained for a few steps."""
    from lightning_xvol.config.schema import set_value
    from lightning_xvol.training.run import RunContext, train

    folder = tmp_path_factory.mktemp("cell")
    config = get_recipe("match_small").config("xvolution")
    for path, value in {"train.steps": 4, "data.limit": 32, "data.batch_size": 16}.items():
        config = set_value(config, path, value)
    train(resolve(config), folder, RunContext(tracking=Tracking("disabled")))
    [path] = (folder / "checkpoints").glob("*.ckpt")
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    monkeypatch.setattr(sys, "argv", ["lightning_xvol", "fuse", *map(str, arguments)])
    return __main__.main()


@pytest.mark.parametrize("flags", [[], ["--block-norms"]], ids=str)
def test_writes_weights_that_load(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, flags: list[str]
) -> None:
    output = tmp_path / "fused.safetensors"
    assert call(monkeypatch, "--checkpoint", checkpoint, "--out", output, *flags) == 0
    printed = capsys.readouterr().out
    assert "layer4.0.conv2" in printed and "overall" in printed and str(output) in printed
    assert list(tmp_path.iterdir()) == [output]
    fused, trained = load_fused(output), read_trained(checkpoint)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert error(fused(x), trained.network(x)) < 1e-5
    assert (fused.layer4[0].conv2.fusion == 2) == bool(flags)


def test_the_header_has_the_configuration(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors = pytest.importorskip("safetensors")
    output = tmp_path / "fused.safetensors"
    call(monkeypatch, "--checkpoint", checkpoint, "--output", output)  # the former spelling of --out
    with safetensors.safe_open(output, "pt") as file:
        header = file.metadata()
    content = torch.load(checkpoint, weights_only=True)["run"]
    assert json.loads(header["config"]) == content["config"]
    assert json.loads(header["cell_id"]) == content["cell_id"]
    assert json.loads(header["image_shape"]) == [1, 32, 32]


def test_a_difference_above_the_tolerance_writes_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "fused.safetensors"
    assert call(monkeypatch, "--checkpoint", checkpoint, "--out", output, "--tolerance", "0") == 1
    assert "above the tolerance 0; wrote nothing" in capsys.readouterr().out
    assert not output.exists()


def test_old_checkpoints_without_image_size_are_read(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    del content["run"]["image_shape"], content["run"]["num_classes"]
    torch.save(content, tmp_path / "old.ckpt")
    assert read_trained(tmp_path / "old.ckpt").image_shape == (1, 32, 32)


def test_mistakes_get_one_sentence(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn.ckpt").write_bytes(checkpoint.read_bytes()[:1000])
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "state_dict": {}}, tmp_path / "empty.ckpt")
    content["run"]["config"]["operator"] = {"name": "convolution", "options": {}}
    content["state_dict"] = {
        f"network.{name}": tensor for name, tensor in plain_network(content["run"]["config"]).state_dict().items()
    }
    torch.save(content, tmp_path / "convolution.ckpt")
    good = tmp_path / "fused.safetensors"
    for source, output, message in [
        ("missing.ckpt", good, r"no checkpoint at"),
        ("torn.ckpt", good, r"incomplete or not a checkpoint"),
        ("other.ckpt", good, r"no checkpoint of a cell"),
        ("empty.ckpt", good, r"do not fit their configuration's network"),
        ("convolution.ckpt", good, r"nothing to fuse"),
        (checkpoint, tmp_path / "nowhere" / "f", r"there is no folder"),
        (checkpoint, tmp_path, r"is a folder"),
        (checkpoint, checkpoint, r"are the same file"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            call(monkeypatch, "--checkpoint", tmp_path / source, "--out", output)
        assert "\n" not in str(caught.value)
    for tolerance in ("-1", "nan", "small"):
        with pytest.raises(UserError, match="must be a number of at least 0"):
            call(monkeypatch, "--checkpoint", checkpoint, "--out", good, "--tolerance", tolerance)
    assert not good.exists()


def plain_network(config: dict[str, Any]) -> torch.nn.Module:
    from lightning_xvol.config.schema import from_dict
    from lightning_xvol.training.run import build_network

    return build_network(from_dict(config), 4, 1)


def test_mistakes_in_fused_files_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(UserError, match="no file at"):
        load_fused(tmp_path / "missing")
    (tmp_path / "torn").write_bytes(b"12345678901234")
    with pytest.raises(UserError, match="incomplete or not a safetensors"):
        load_fused(tmp_path / "torn")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(UserError, match="no configuration in its header"):
        load_fused(tmp_path / "plain")


def test_the_command_exits_2_and_loads_no_torch_for_its_parser(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lightning_xvol", "fuse", "--checkpoint", "nowhere.ckpt", "--out", tmp_path / "f"]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: no checkpoint") and result.stderr.count("\n") == 1
    code = "import sys, lightning_xvol.__main__ as m; m.make_parser(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
