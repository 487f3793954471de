"""A file that names an import path runs no code before somebody trusts it.

Each test has a module `evil` in the working directory, which leaves a marker where it is imported, and a file of
weights or of configuration that names it.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import safetensors.torch
import torch
import yaml

from lightning_xvol.config import registry
from lightning_xvol.config.imports import FromFile, texts
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig, from_dict, set_value, to_dict
from lightning_xvol.detection.predict import read_detector
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.weights import load_fused, read_trained
from lightning_xvol.ledger.origins import with_origin
from lightning_xvol.training.run import build_network

ROOT = Path(__file__).resolve().parents[2]
EVIL = """
from pathlib import Path

import torch
from lightning_xvol.backbones.small_resnet import SmallResNet
from lightning_xvol.data.match import Match
from lightning_xvol.operators.xvolution import XVolution

Path({marker!r}).touch()


class Operator(torch.nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, inner=None, num_heads=None):
        super().__init__()
        self.operator = XVolution(in_channels, out_channels, stride=stride, num_heads=num_heads)

    def forward(self, x):
        return self.operator(x)


class Backbone(SmallResNet):
    pass


class Data(Match):
    pass
"""
HUBCONF = "from pathlib import Path\nPath({marker!r}).touch()\n\n\ndef network(**options):\n    return None\n"
MATCH = get_recipe("match_small").config("xvolution")
SHAPES = get_recipe("shapes_faster_rcnn").config("xvolution")
SMALL = {
    "backbone.stages": (5,), "backbone.options.blocks": (1, 1, 1, 1), "data.limit": 4, "train.steps": 1,
    "data.batch_size": 2,
}  # fmt: skip
HOSTILE: dict[str, dict[str, Any]] = {
    "operator": {"operator": {"name": "evil:Operator", "options": {}}},
    "backbone": {"backbone": {"name": "evil:Backbone", "options": {"blocks": [1, 1, 1, 1]}}},
    "data": {"data": {"name": "evil:Data", "options": {"canvas": 32}}},
    "hub": {
        "backbone": {
            "name": "torch.hub:load",
            "options": {"repo_or_dir": "hub", "model": "network", "source": "local", "trust_repo": True},
        }
    },
    "nested": {"operator": {"name": "evil:Operator", "options": {"inner": [{"deep": "evil:Operator"}]}}},
    "option": {"operator": {"name": "xvolution", "options": {"num_heads": "evil:Operator"}}},
    "quoted": {"operator": {"name": "xvolution", "options": {"num_heads": "['evil:Operator']"}}},
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the module `evil` and the hub's folder leave; the working directory holds both."""
    path = tmp_path / "marker"
    folder = tmp_path / "work"
    (folder / "hub").mkdir(parents=True)
    (folder / "evil.py").write_text(EVIL.format(marker=str(path)))
    (folder / "hub" / "hubconf.py").write_text(HUBCONF.format(marker=str(path)))
    PIL.Image.new("RGB", (64, 64)).save(folder / "picture.png")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield path
    for name in ("evil", "hubconf"):
        sys.modules.pop(name, None)


def config_of(base: RunConfig, hostile: Mapping[str, Any], fields: Mapping[str, Any] = SMALL) -> dict[str, Any]:
    """The stored configuration of `base` with `fields`, in which `hostile` replaces name and options of a section."""
    for path, value in fields.items():
        base = set_value(base, path, value)
    values = to_dict(resolve(base))
    return values | {kind: values[kind] | section for kind, section in hostile.items()}


def write_checkpoint(path: Path, config: Mapping[str, Any], network: torch.nn.Module | None = None) -> Path:
    weights = {} if network is None else {f"network.{name}": value for name, value in network.state_dict().items()}
    classes = 6 if config["data"]["name"] == "shapes_coco" else 4
    run = {
        "config": dict(config), "num_classes": classes, "image_shape": (1, 32, 32), "cell_id": "0", "step": 1,
        "classes": list("abcdef")[:classes],
    }  # fmt: skip
    torch.save({"run": run, "state_dict": weights}, path)
    return path


def write_fused(path: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor] | None = None) -> Path:
    header = {"config": config, "num_classes": 4, "image_shape": (1, 32, 32), "block_norms": False}
    metadata = {name: json.dumps(value) for name, value in header.items()}
    safetensors.torch.save_file(dict(weights or {"w": torch.zeros(1)}), path, metadata)
    return path


def write_yaml(path: Path, values: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(values)))
    return path


COMMANDS: dict[str, tuple[RunConfig, list[str]]] = {
    "fuse": (MATCH, ["fuse", "--checkpoint", "file", "--out", "out.safetensors"]),
    "export": (MATCH, ["export", "--checkpoint", "file", "--out", "out.pt2", "--format", "torch-export"]),
    "visualize": (MATCH, ["visualize", "--checkpoint", "file", "--out", "out.png", "--images", "1"]),
    "predict": (SHAPES, ["predict", "--checkpoint", "file", "--image", "picture.png", "--out", "out.png"]),
    "describe": (MATCH, ["describe", "--config", "file"]),
    "fit": (MATCH, ["fit", "--config", "file", "--wandb", "disabled", "--out", "out"]),
    "fit --dry-run": (MATCH, ["fit", "--config", "file", "--dry-run"]),
    "diagram": (MATCH, ["diagram", "--config", "file", "--figure", "1", "--out", "out"]),
}


def refused(action: Callable[[], Any], marker: Path, file: str = "file") -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and file in message and "--trust" in message and "trust=True" in message
    assert "'evil:" in message or "'torch.hub:load'" in message
    assert not marker.exists() and "evil" not in sys.modules and sorted(Path().iterdir()) == before


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_a_file_names(command: str, hostile: str, call: Callable, marker: Path) -> None:
    base, arguments = COMMANDS[command]
    config = config_of(base, HOSTILE[hostile])
    write_checkpoint(Path("file"), config) if "--checkpoint" in arguments else write_yaml(Path("file"), config)
    refused(lambda: call(*arguments), marker)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_loader_imports_what_a_file_names(hostile: str, marker: Path) -> None:
    config = config_of(MATCH, HOSTILE[hostile])
    write_checkpoint(Path("file"), config)
    refused(lambda: read_trained(Path("file")), marker)
    write_fused(Path("file"), config)
    refused(lambda: load_fused(Path("file")), marker)
    write_checkpoint(Path("file"), config_of(SHAPES, HOSTILE[hostile]))
    refused(lambda: read_detector(Path("file")), marker)


def test_the_commands_exit_with_2_and_one_line(marker: Path) -> None:
    write_yaml(Path("file"), config_of(MATCH, HOSTILE["operator"]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lightning_xvol", "describe", "--config", "file"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("error: --config 'file' names the import path 'evil:Operator'")
    assert not marker.exists()


TRUSTED = config_of(MATCH, {**HOSTILE["operator"], **HOSTILE["backbone"], **HOSTILE["data"]})


@pytest.fixture
def trained(marker: Path) -> Path:
    """The checkpoint of a network whose operator, backbone and data are classes of the working directory."""
    network = build_network(from_dict(TRUSTED, trust=True), 4, 1).eval()
    return write_checkpoint(Path("file"), TRUSTED, network)


@pytest.mark.parametrize("command", ["visualize", pytest.param("export", marks=pytest.mark.slow)])
def test_a_trusted_checkpoint_goes_through_its_commands(command: str, trained: Path, call: Callable) -> None:
    assert call(*COMMANDS[command][1], "--trust") == 0


def test_a_trusted_checkpoint_fuses_to_a_file_that_needs_trust(trained: Path, call: Callable, marker: Path) -> None:
    assert call(*COMMANDS["fuse"][1], "--trust") == 0
    assert type(read_trained(trained, trust=True).network).__name__ == "Backbone"
    with pytest.raises(UserError, match=r"'out.safetensors' names the import path 'evil:Operator'"):
        load_fused(Path("out.safetensors"))
    fused = load_fused(Path("out.safetensors"), trust=True)
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        expected = read_trained(trained, trust=True).network(image)
        torch.testing.assert_close(fused(image), expected, rtol=1e-4, atol=1e-4)
    assert marker.exists()


def test_a_trusted_detector_predicts(call: Callable, marker: Path) -> None:
    config = config_of(SHAPES, {"operator": {"name": "evil:Operator", "options": {}}}, {"detector.preset": "tiny"})
    write_checkpoint(Path("file"), config, build_network(from_dict(config, trust=True), 6, 3))
    assert call(*COMMANDS["predict"][1], "--trust") == 0
    assert Path("out.png").exists()


@pytest.mark.parametrize("command", ["describe", "fit --dry-run", "diagram"])
def test_a_trusted_configuration_goes_through_every_command(command: str, call: Callable, marker: Path) -> None:
    write_yaml(Path("file"), TRUSTED)
    assert call(*COMMANDS[command][1], "--trust") == 0
    assert marker.exists() == (command != "fit --dry-run")


@pytest.mark.parametrize(
    "flags",
    [
        ["--operator", "evil:Operator"],
        ["--set", "operator.name=evil:Operator"],
        ["--operator", "evil:Operator", "--set", "operator.inner='evil:Operator'"],
    ],
    ids=str,
)
def test_what_is_typed_is_free_also_where_a_file_names_it_too(flags: list[str], call: Callable, marker: Path) -> None:
    write_yaml(Path("file"), {"operator": {"name": "evil:Operator"}})
    assert call("describe", "--config", "file", *flags) == 0
    assert marker.exists()


def test_typing_one_path_frees_no_other(call: Callable, marker: Path) -> None:
    write_yaml(Path("file"), {"operator": {"name": "evil:Operator", "options": {"inner": "other:Thing"}}})
    with pytest.raises(UserError, match="names the import path 'other:Thing'"):
        call("describe", "--config", "file", "--operator", "evil:Operator")
    assert not marker.exists()


@pytest.mark.parametrize("hostile", ["operator", "backbone", "data", "nested"])
def test_a_path_of_a_file_stays_one_through_every_change(hostile: str, marker: Path) -> None:
    """Nothing that is done to a configuration makes its paths importable."""
    first = from_dict(config_of(MATCH, HOSTILE[hostile]), source="'file'")
    paths = [text for text in texts(first) if isinstance(text, FromFile)]
    assert paths
    changes: list[Callable[[RunConfig], RunConfig]] = [
        resolve,
        lambda config: set_value(config, "optim.lr", 0.5),
        lambda config: set_value(config, "operator.options.num_heads", 2),
        lambda config: with_origin(config, None),
        lambda config: pickle.loads(pickle.dumps(config)),
        copy.deepcopy,
        lambda config: from_dict(json.loads(json.dumps(to_dict(config))), source="'file'"),
        lambda config: from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config))), source="'file'"),
        lambda config: from_dict({"optim": {"lr": 0.25}}, config, source="'other'"),
    ]
    for change in [*changes, *reversed(changes)]:
        first = change(first)
        found = [text for text in texts(first) if isinstance(text, FromFile)]
        assert (found, {path.source for path in found}) == (paths, {"'file'"})
    refused(lambda: _build_all(first), marker)
    assert first == from_dict(to_dict(first), trust=True)
    assert resolve(first).cell_id == resolve(from_dict(to_dict(first), trust=True)).cell_id


def _build_all(config: RunConfig) -> None:
    for kind in registry.KINDS:
        registry.load(kind, getattr(config, kind).name)
    registry.load("operator", config.operator.options["inner"][0]["deep"])


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("operator", "torch.hub:load", "is not a class that derives from torch.nn.Module"),
        ("operator", "subprocess:Popen", "is not a class that derives from torch.nn.Module"),
        ("operator", "torch:Tensor", "is not a class that derives from torch.nn.Module"),
        ("backbone", "torch.hub:load", "is neither a class that derives from torch.nn.Module nor a function"),
        ("backbone", "os:system", "is neither"),
        ("backbone", "builtins:exec", "is neither"),
        ("data", "subprocess:Popen", "lacks num_classes, image_shape, train, validation, test"),
        ("data", "os:system", "is not a class"),
        ("operator", ".evil:Operator", "is not an import path"),
        ("operator", ":Operator", "is not an import path"),
        ("operator", "evil:", "is not an import path"),
        ("operator", "evil:Operator:x", "is not an import path"),
        ("operator", " evil:Operator", "is not an import path"),
        ("operator", "evil:Operator\n", "is not an import path"),
    ],
)
def test_even_a_typed_path_must_lead_to_what_is_asked_for(kind: str, path: str, message: str, marker: Path) -> None:
    with pytest.raises(UserError, match=message):
        registry.load(kind, path)
    assert not marker.exists()


def test_a_typed_hub_file_is_not_called(marker: Path) -> None:
    """`torch.hub:load` would take the arguments of a backbone, and run the file that its options name."""
    from lightning_xvol.backbones import build_backbone

    options = HOSTILE["hub"]["backbone"]["options"]
    with pytest.raises(UserError, match=r"'torch.hub:load' is neither a class"):
        build_backbone(BackboneConfig("torch.hub:load", options=options), OperatorConfig(), 4)
    assert not marker.exists()
