"""`python -m lightning_xvol export` writes a graph with the outputs of the trained network, at any size."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_xvol.errors import UserError
from lightning_xvol.fusion import export as exporting
from lightning_xvol.fusion.weights import read_trained

ROOT = Path(__file__).resolve().parents[2]
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `export` is not installed",
)
# Other sizes than those that the command checks.
SIZES = [(1, 1, 40, 33), (5, 1, 32, 50)]


@needs_onnx
@pytest.mark.parametrize("operator", ["convolution", "pssa", "xvolution"])
def test_an_exported_graph_has_the_outputs_of_the_trained_network(
    make_checkpoint: Callable,
    call: Callable,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    operator: str,
) -> None:
    """Export as ONNX by the command, and the program that it traces as an archive."""
    import onnx

    programs, trace = [], exporting.trace
    monkeypatch.setattr(exporting, "trace", lambda *arguments: programs.append(trace(*arguments)) or programs[0])
    checkpoint, output = make_checkpoint(operator), tmp_path / "model.onnx"
    flags = ["--no-fuse"] if operator == "pssa" else []
    assert call("export", "--checkpoint", checkpoint, "--out", output, *flags) == 0
    printed = capsys.readouterr().out
    assert "opset 20" in printed and "largest difference" in printed and f"wrote {output}" in printed
    assert ("fused 1 operator" in printed) == (not flags)
    assert list(tmp_path.iterdir()) == [output]

    model = onnx.load(output)
    assert {opset.version for opset in model.opset_import if opset.domain == ""} == {exporting.OPSET}
    sides = model.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 1, "height", "width"]
    notes = {item.key: item.value for item in model.metadata_props}
    assert notes["cell_id"] == "0" and json.loads(notes["config"])["operator"]["name"] == operator
    assert json.loads(notes["fused"]) is not bool(flags)
    network = read_trained(checkpoint).network
    archive = exporting.to_archive(programs[0], {})
    for loaded in (exporting.load_onnx(output.read_bytes()), exporting.load_archive(archive)):
        assert exporting.compare(loaded, network, SIZES).relative < 1e-5


def test_torch_export_writes_a_program_that_torch_loads(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, capsys: Any
) -> None:
    checkpoint, output = make_checkpoint("convolution"), tmp_path / "model.pt2"
    assert call("export", "--checkpoint", checkpoint, "--out", output, "--format", "torch-export") == 0
    assert "loaded again" in capsys.readouterr().out
    notes = {exporting.METADATA: ""}
    torch.export.load(io.BytesIO(output.read_bytes()), extra_files=notes)
    assert json.loads(notes[exporting.METADATA])["step"] == 3
    network = read_trained(checkpoint).network
    loaded = exporting.load_archive(output.read_bytes())
    assert exporting.compare(loaded, network, SIZES).relative < 1e-5
    with pytest.raises(UserError, match="does not take images of 1x1x8x8"):
        loaded(torch.zeros(1, 1, 8, 8))


def test_beyond_the_tolerance_nothing_is_written(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, capsys: Any
) -> None:
    arguments = ["--out", tmp_path / "model.pt2", "--format", "torch-export", "--tolerance", "0"]
    assert call("export", "--checkpoint", make_checkpoint("convolution"), *arguments) == 1
    assert "above the tolerance 0; wrote nothing" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


class Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ones(64, 72)


class Untraceable(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_network_of_one_size_or_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(UserError, match="works for one height and width only"):
        exporting.trace(Fixed(), (1, 32, 32))
    with pytest.raises(UserError, match="cannot trace the network"):
        exporting.trace(Untraceable(), (1, 32, 32))


def test_the_error_for_a_model_without_operators_names_no_fuse() -> None:
    with pytest.raises(UserError, match="--no-fuse exports the network"):
        exporting.fused(torch.nn.Linear(2, 2).eval())


def test_the_help_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, runpy, contextlib\n"
        "sys.argv = ['lightning_xvol', sys.argv[1], '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('lightning_xvol', run_name='__main__')\n"
        "assert not {'torch', 'matplotlib', 'numpy', 'onnx'} & set(sys.modules)"
    )
    for command in ("export", "visualize"):
        done = subprocess.run([sys.executable, "-c", code, command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "--checkpoint" in done.stdout, done.stderr


class Payload:
    """An object whose unpickling would run code."""


@pytest.mark.parametrize("command", ["export", "visualize"])
def test_wrong_checkpoints_and_outputs_give_one_sentence(
    make_checkpoint: Callable, call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    output = tmp_path / "out.pdf"
    torch.save({"run": Payload(), "state_dict": {}}, tmp_path / "pickled.ckpt")
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps({"run": {}}))
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    for checkpoint, message in [
        ("missing.ckpt", "no checkpoint at"),
        ("pickled.ckpt", "holds more than tensors and plain data; it is not loaded"),
        ("raw.ckpt", "incomplete or not a checkpoint"),
        ("other.ckpt", "no checkpoint of a cell"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            call(command, "--checkpoint", tmp_path / checkpoint, "--out", output)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no folder"):
        call(command, "--checkpoint", make_checkpoint("pssa"), "--out", tmp_path / "nowhere" / "out.pdf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        call(command, "--checkpoint", make_checkpoint("pssa"), "--out", output)
    assert not output.exists()
