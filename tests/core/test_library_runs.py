"""Runs on networks of a library and from files of weights: their records, resume under another version, sweeps."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pytorch_lightning import Callback
from torchvision import datasets

import ablations
from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import Resolved
from lightning_xvol.config.schema import from_dict, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.weights import read_trained
from lightning_xvol.ledger.origins import with_origin
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking

TINY: dict[str, Any] = {
    "backbone.stages": (3,), "data.batch_size": 4, "data.train_size": 16, "data.validation_size": 8,
    "data.test_size": 8, "train.steps": 4, "train.checkpoint_every": 2,
}  # fmt: skip
CONTEXT = RunContext(tracking=Tracking("disabled"))


def tiny(name: str, **fields: Any) -> Resolved:
    config = get_recipe("match_small").config("involution")
    for path, value in {"backbone.name": name, **TINY, **fields}.items():
        config = set_value(config, path, value)
    return with_origin(config, None)


class Strike(Callback):
    """Ends a run after step 3."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            raise RuntimeError("struck")


def other_version(monkeypatch: pytest.MonkeyPatch, library: str, version: str) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == library else real(name))


@pytest.mark.parametrize(("library", "network"), [("timm", "test_resnet"), ("torchvision", "resnet18")])
def test_a_run_is_not_resumed_under_another_version_of_the_library(
    library: str, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"{library} is an optional extra")
    config, folder = tiny(f"{library}:{network}"), tmp_path / "cell"
    version = importlib.metadata.version(library)
    with pytest.raises(RuntimeError, match="struck"):
        train(config, folder, RunContext(tracking=Tracking("disabled"), callbacks=[Strike()]))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        other_version(patch, library, "0.0.1")
        with pytest.raises(
            UserError, match=rf"begun with {library} {version.partition('+')[0]}.*, and here is 0\.0\.1"
        ):
            train(config, folder, CONTEXT)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        # A label of the build changes nothing.
        other_version(patch, library, f"{version.partition('+')[0]}+other")
        result = train(config, folder, CONTEXT)
    assert [segment["start_step"] for segment in result["segments"]] == [0, 2]
    assert result["environment"][library].partition("+")[0] == version.partition("+")[0]
    whole = train(config, tmp_path / "whole", CONTEXT)
    assert whole["weights_sha256"] == result["weights_sha256"]
    # A finished run stays finished, whatever is installed.
    other_version(monkeypatch, library, "0.0.1")
    assert train(config, folder, CONTEXT) == json.loads((folder / "result.json").read_text())
    assert read_trained(next((folder / "checkpoints").glob("*.ckpt"))).config.backbone.name == f"{library}:{network}"


def test_a_run_starts_from_its_file_and_needs_it_no_more_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    plain = tiny("torchvision:resnet18", **{"train.steps": 1, "optim.lr": 0.0})
    source: Any = build_backbone(plain.backbone, plain.operator, 4, in_channels=1)
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("layer2.1.conv2.")}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    config = tiny("torchvision:resnet18", **{"train.steps": 1, "optim.lr": 0.0, "backbone.pretrained": str(path)})
    with caplog.at_level(logging.INFO):
        result = train(config, tmp_path / "cell", CONTEXT)
    assert result["cell_id"] != plain.cell_id
    assert result["config"]["backbone"]["pretrained_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"weights from {path}: " in caplog.text and "new: layer2.1.conv2.reduce.weight" in caplog.text
    # With a learning rate of 0, the weights at the end are those at the start.
    path.unlink()
    network = read_trained(next((tmp_path / "cell" / "checkpoints").glob("*.ckpt"))).network
    trained = dict(network.named_parameters())
    assert all(torch.equal(trained[key], value) for key, value in state.items() if key in trained)
    assert not torch.equal(trained["layer2.1.conv2.span.weight"], source.state_dict()["layer2.1.conv2.span.weight"])
    assert train(from_dict(result["config"]), tmp_path / "cell", CONTEXT) == result
    with pytest.raises(UserError, match=r"cannot read backbone\.pretrained="):
        train(from_dict(result["config"]), tmp_path / "new", CONTEXT)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty generated images in CIFAR-10's files, which torchvision would refuse by their checksums."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = numpy.random.RandomState(0).randint(0, 256, (40, 3072)).astype("uint8")
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [number % 10 for number in range(40)]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"thing {number}" for number in range(10)]}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)
    return tmp_path / "data"


SWEEP: dict[str, Any] = {"recipe": "cifar10_resnet18", "smoke": True, "seeds": 1, "wandb": "disabled"}
FEW = {"data.workers": 0, "data.batch_size": 4, "data.limit": 8, "train.steps": 1}


def test_the_operator_sweep_runs_on_a_network_of_timm(cifar: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is an optional extra")
    settings = {"backbone.name": "timm:resnet18", **FEW}
    only = {"operator": ["convolution", "xvolution_inv"]}
    report = ablations.run("operator", out=tmp_path / "runs", data_dir=cifar, settings=settings, only=only, **SWEEP)
    assert report.counts == {"done": 2}
    for cell in report.cells:
        record = json.loads((cell.folder / "result.json").read_text())
        assert record["config"]["backbone"]["name"] == "timm:resnet18"
        assert record["config"]["backbone"]["options"] == {"stem": "small"}
        assert record["environment"]["timm"] == importlib.metadata.version("timm")
        checkpoint = torch.load(next((cell.folder / "checkpoints").glob("*.ckpt")))
        assert checkpoint["run"]["classes"] == [f"thing {number}" for number in range(10)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone.name": "timm:resnet19"}, r"timm has no network 'resnet19' \(did you mean 'resnet18'\?\)"),
        ({"backbone.name": "torchvision:vgg11"}, "torchvision:vgg11 has no conv1 and maxpool, as a ResNet has"),
        ({"backbone.pretrained": "w.pth"}, r"cannot read backbone\.pretrained='w\.pth'"),
        ({"backbone.pretrained": "wrong.pth"}, "lacks .* weights of the network"),
    ],
)
def test_a_sweep_refuses_before_anything_is_written(
    settings: dict[str, str], message: str, cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm", reason="timm is an optional extra")
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1)}, "wrong.pth")
    with pytest.raises(UserError, match=message):
        ablations.run("operator", out=tmp_path / "runs", data_dir=cifar, settings={**FEW, **settings}, **SWEEP)
    assert not (tmp_path / "runs" / "cells").exists()
