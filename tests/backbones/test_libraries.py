"""Backbones by their names in timm and torchvision."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from lightning_xvol.backbones import build_backbone
from lightning_xvol.backbones.strides import stage_blocks
from lightning_xvol.config import libraries, registry
from lightning_xvol.config.imports import FromFile
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig, from_dict, set_value, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.operators.xvolution import XVolution
from tests.commands import call as call
from tests.threads import one_thread as one_thread

ROOT = Path(__file__).resolve().parents[2]
timm = pytest.importorskip("timm", reason="timm is an optional extra")

QUICK = ["timm:test_resnet", "timm:resnet14t", "torchvision:resnet18"]
SLOW = [
    "timm:resnet18", "timm:resnet50", "timm:resnet50_gn", "timm:seresnet18", "timm:ecaresnet26t", "timm:resnetaa34d",
    "timm:legacy_seresnet50", "timm:resnetrs50", "torchvision:resnet50", "torchvision:wide_resnet50_2",
]  # fmt: skip
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def build(name: str, operator: str = "xvolution", classes: int = 3, channels: int = 3, **fields: object) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(
        BackboneConfig(name, **{"stages": (5,), **fields}), OperatorConfig(operator), classes, channels
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_network_takes_the_operator_in_the_chosen_stage_and_runs(name: str) -> None:
    network = build(name, stages=(2, 3))
    assert network.replaced and all(path.startswith(("layer1.", "layer2.")) for path in network.replaced)
    operators = [path for path, module in network.named_modules() if isinstance(module, XVolution)]
    assert operators == list(network.replaced)
    images = torch.randn(2, 3, 32, 32)
    network(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(images).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("timm:resnet14t", lambda: timm.create_model("resnet14t", pretrained=False, num_classes=3)),
        ("torchvision:resnet18", lambda: models.resnet18(num_classes=3)),
    ],
)
def test_the_network_is_the_librarys_own_and_only_its_convolutions_are_ours(name: str, theirs: object) -> None:
    own, other = build(name, "convolution", stride_in_1x1=False).eval(), theirs().eval()
    state = {
        key.replace(".conv.weight", ".weight") if key.rpartition(".conv.")[0] in own.replaced else key: value
        for key, value in own.state_dict().items()
        if "stride_mark" not in key
    }
    other.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(own(images), other(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["timm:resnet14t", "torchvision:resnet18"])
def test_the_small_stem_keeps_the_size_of_a_small_image(name: str) -> None:
    for stem, channels, size in (("imagenet", 3, 8), ("small", 1, 32)):
        network = build(name, "convolution", channels=channels, options={"stem": stem}).eval()
        sizes = []
        network.layer1.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(inputs[0].shape[-1]))
        network(torch.randn(1, channels, 32, 32))
        assert sizes == [size]


def test_the_stem_of_the_recipe_stays_where_a_network_of_a_library_takes_its_place() -> None:
    config = set_value(
        RunConfig(backbone=BackboneConfig("resnet18", options={"stem": "small"})), "backbone.name", "x:Y"
    )
    assert config.backbone.options == {}
    config = RunConfig(backbone=BackboneConfig("resnet18", options={"stem": "small"}))
    for name in ("timm:resnet18", "torchvision:resnet18"):
        assert resolve(set_value(config, "backbone.name", name)).backbone.options == {"stem": "small"}
    with pytest.raises(UserError, match=r"backbone 'timm:resnet18' has no field 'backbone.pretraned'"):
        set_value(set_value(config, "backbone.name", "timm:resnet18"), "backbone.pretraned", "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet5", r"timm has no network 'resnet5' \(did you mean 'resnet\d+'\?\)"),
        ("timm:", "timm has no network ''"),
        ("timm:resnet50.a1_in1k", r"names the weights 'a1_in1k', and nothing is downloaded: .* timm:resnet50, and the"),
        ("timm:hf-hub:timm/resnet50.a1_in1k", "timm has no network 'hf-hub:timm"),
        ("timm:local-dir:/tmp", "timm has no network 'local-dir:/tmp'"),
        ("timm:resnext50_32x4d", "has groups=32"),
        ("timm:vit_tiny_patch16_224", "VisionTransformer has nothing to replace in stages"),
        ("timm:resnetaa50", r"set backbone\.stride_in_1x1=false"),
        ("torchvision:vgg11", "VGG has nothing to replace"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no network 'fasterrcnn_resnet50_fpn'"),
        ("torchvision:quantized_resnet50", "torchvision has no network"),
    ],
)
def test_a_network_that_takes_no_operator_is_refused_in_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused, torch.device("meta"):
        build(name)
    assert "\n" not in str(refused.value)


def test_every_residual_network_of_timm_runs_or_is_refused_in_one_sentence() -> None:
    """On the meta device, a quarter of the networks that have a ResNet's name."""
    known = list(timm.list_models(["*resnet1*", "*resnet2*", "*resnet3*", "*resnext5*"]))[::4]
    taken = 0
    for name in known:
        with torch.device("meta"), contextlib.suppress(UserError):
            network = build(f"timm:{name}")
            assert any(blocks for _, _, blocks, _ in stage_blocks(network, [5])), name
            taken += 1
    assert len(known) > 12 and taken >= len(known) // 3


def test_a_file_may_name_a_network_of_a_library_but_no_other_path_to_it() -> None:
    values = to_dict(set_value(RunConfig(), "backbone.name", "timm:resnet18"))
    assert type(from_dict(values, source="a file").backbone.name) is str
    values["operator"] = {"name": "timm:resnet18", "options": {}}
    assert isinstance(from_dict(values, source="a file").operator.name, FromFile)
    assert libraries.split("operator", "timm:resnet18") is None and libraries.split("backbone", "resnet18") is None


def test_no_command_before_a_run_imports_timm() -> None:
    program = (
        "import sys\nfrom lightning_xvol import __main__\n"
        "sys.argv = ['x', 'fit', '--dry-run', '--set', 'backbone.name=timm:resnet18']\n"
        "__main__.main()\nassert not {'timm', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "name: timm:resnet18" in done.stdout, done.stderr
    assert registry.lookup("backbone", "timm:resnet18").label == "resnet18 (timm)"


def test_without_timm_every_command_says_so(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == "timm":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setitem(sys.modules, "timm", None)
    for command in (["describe"], ["fit", "--wandb", "disabled", "--out", tmp_path / "runs"]):
        with pytest.raises(UserError, match=r"^backbone 'timm:resnet18' needs timm, which is not installed: pip inst"):
            call(*command, "--set", "backbone.name=timm:resnet18")
    assert not (tmp_path / "runs").exists()
    assert call("fit", "--dry-run", "--set", "backbone.name=timm:resnet18") == 0
