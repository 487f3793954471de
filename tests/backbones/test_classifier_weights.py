"""A classifier starts from a file: every weight comes from it or is declared new; otherwise nothing is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from lightning_xvol.backbones import build_backbone
from lightning_xvol.backbones.pretrained import LoadReport, load, plan_load, read_weights
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig, from_dict, set_value, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.origins import with_origin
from lightning_xvol.training.pretrained import check_pretrained, load_pretrained


def randomised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the keys and shapes of torchvision's ResNet-18 for 5 classes, and random values."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(randomised(models.resnet18(num_classes=5).state_dict()), path)
    return path


def loaded(
    backbone: BackboneConfig, path: Path, operator: str = "pssa", classes: int = 5
) -> tuple[Any, dict[str, Tensor], LoadReport]:
    """The network after loading, its state before, and the report."""
    torch.manual_seed(0)
    network: Any = build_backbone(backbone, OperatorConfig(operator), classes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = read_weights(path)
    taken, report = plan_load(network, network.replaced, backbone, weights, path)
    load(network, taken, weights)
    return network, before, report


def weights_below(network: nn.Module, *paths: str) -> set[str]:
    keys = (key for key in network.state_dict() if not key.endswith("num_batches_tracked"))
    return {key for key in keys if key.startswith(tuple(f"{path}." for path in paths))}


def check_report(network: Any, before: dict[str, Tensor], report: LoadReport, source: dict[str, Tensor]) -> None:
    """Loaded keys hold the values of the file, new ones what they had, and nothing is left out."""
    state = network.state_dict()
    for key in report.loaded:
        theirs = key if key in source else key.replace(".conv.weight", ".weight")
        assert torch.equal(state[key], source[theirs]), key
    assert all(torch.equal(state[key], before[key]) for key in report.new)
    counted = {key for key in state if "num_batches" not in key and "stride_mark" not in key}
    assert {*report.loaded, *report.new} == counted and not {*report.loaded} & {*report.new}


def test_the_report_names_exactly_the_replaced_weights(theirs: Path) -> None:
    network, before, report = loaded(BackboneConfig("torchvision:resnet18", (5,), pretrained="x"), theirs)
    assert network.replaced == ("layer4.0.conv2", "layer4.1.conv2")
    assert set(report.new) == weights_below(network, *network.replaced)
    assert report.unexpected == ("layer4.0.conv2.weight", "layer4.1.conv2.weight") and report.resized == ()
    check_report(network, before, report, torch.load(theirs))
    assert all(f"new: {key}" in report.details() for key in report.new)


def test_timms_resnet50_takes_a_file_of_random_values(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional extra")
    source = randomised(timm.create_model("resnet50", pretrained=False, num_classes=5).state_dict())
    safetensors.torch.save_file(source, tmp_path / "model.safetensors")
    backbone = BackboneConfig("timm:resnet50", (5,), pretrained="x")
    network, before, report = loaded(backbone, tmp_path / "model.safetensors", "involution")
    assert set(report.new) == weights_below(network, *network.replaced) and len(network.replaced) == 3
    assert set(report.unexpected) == {f"{path}.weight" for path in network.replaced}
    check_report(network, before, report, source)


def test_other_blocks_stride_where_a_librarys_weights_need_it() -> None:
    network: Any = build_backbone(
        BackboneConfig("torchvision:resnet50", (5,), pretrained="x"), OperatorConfig("pssa"), 5
    )
    stages = (network.layer2, network.layer3, network.layer4)
    assert [stage[0].conv1.stride for stage in stages] == [(1, 1), (1, 1), (2, 2)]
    assert [stage[0].conv2.stride for stage in stages[:2]] == [(2, 2), (2, 2)]
    for name in ("convolution", "pssa"):
        plain = build_backbone(
            BackboneConfig("torchvision:resnet50", (5,), stride_in_1x1=False, pretrained="x"), OperatorConfig(name), 5
        )
        assert plain.layer4[0].conv1.stride == (1, 1)
    with pytest.raises(UserError, match=r"stride_in_1x1=True has moved the stride of layer4\.0\.conv2; set"):
        build_backbone(BackboneConfig("torchvision:resnet50", (5,), pretrained="x"), OperatorConfig("convolution"), 5)


def test_the_baseline_computes_what_the_library_computes(theirs: Path) -> None:
    backbone = BackboneConfig("torchvision:resnet18", (5,), pretrained="x")
    network, _, report = loaded(backbone, theirs, "convolution")
    assert report.new == report.unexpected == () and report.fraction == 1
    original = models.resnet18(num_classes=5)
    original.load_state_dict(torch.load(theirs))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network.eval()(images), original.eval()(images), rtol=1e-4)


@pytest.mark.parametrize("how", ["state_dict", "model", "module", "legacy", "half"])
def test_files_of_training_scripts_and_of_old_torch_load_too(how: str, theirs: Path, tmp_path: Path) -> None:
    state = torch.load(theirs)
    content: Any = {
        "state_dict": {"epoch": 3, "state_dict": state},
        "model": {"model": state},
        "module": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "legacy": state,
        "half": {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    }[how]
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=how != "legacy")
    network, _, report = loaded(BackboneConfig("torchvision:resnet18", (5,), pretrained="x"), tmp_path / "x.pth")
    assert len(report.unexpected) == 2
    assert torch.allclose(network.fc.weight, state["fc.weight"], atol=1e-3) and network.fc.weight.dtype == torch.float32


def test_what_is_missing_must_be_declared_new(theirs: Path, tmp_path: Path) -> None:
    backbone = BackboneConfig("torchvision:resnet18", (5,), pretrained="x")
    with pytest.raises(UserError, match=r"fc\.weight is \[5, 512\] .* and \[7, 512\] .* backbone\.pretrained_new=fc$"):
        loaded(backbone, theirs, classes=7)
    declared = dataclasses.replace(backbone, pretrained_new=("fc",))
    network, before, report = loaded(declared, theirs, classes=7)
    assert set(report.new) == weights_below(network, "fc", *network.replaced)
    assert {"fc.weight", "fc.bias"} <= set(report.unexpected)
    check_report(network, before, report, torch.load(theirs))
    # A module that is declared new keeps its random values even where those of the file would fit.
    network, before, report = loaded(declared, theirs)
    assert torch.equal(network.fc.weight, before["fc.weight"])
    state = torch.load(theirs)
    for key in ("layer1.0.bn1.weight", "layer1.0.bn1.running_var"):
        del state[key]
    torch.save(state, tmp_path / "short.pth")
    declared_here = r"layer4\.0\.conv2, layer4\.1\.conv2 is declared new"
    message = rf"lacks 2 weights .*layer1\.0\.bn1\.weight.* only {declared_here}.*pretrained_new=layer1\.0\.bn1$"
    with pytest.raises(UserError, match=message):
        loaded(backbone, tmp_path / "short.pth")
    loaded(dataclasses.replace(backbone, pretrained_new=("layer1.0.bn1",)), tmp_path / "short.pth")
    with pytest.raises(UserError, match=r"pretrained_new=fv is no module .*the last ones are .*, fc$"):
        loaded(dataclasses.replace(backbone, pretrained_new=("fv",)), theirs)


def test_a_checkpoint_of_our_own_brings_its_operator_and_says_where_it_strides(tmp_path: Path) -> None:
    backbone = BackboneConfig(stages=(5,))
    first = build_backbone(backbone, OperatorConfig("pssa"), 5)
    state = {f"network.{key}": value for key, value in randomised(first.state_dict()).items()}
    torch.save({"run": {"config": {}}, "state_dict": state}, tmp_path / "step=1.ckpt")
    own = dataclasses.replace(backbone, pretrained="x", pretrained_kind="own")
    _, _, report = loaded(own, tmp_path / "step=1.ckpt")
    assert report.new == report.unexpected == () and report.fraction == 1
    with pytest.raises(UserError, match=r"checkpoint of our own; set backbone\.pretrained_kind=own"):
        loaded(dataclasses.replace(own, pretrained_kind="library"), tmp_path / "step=1.ckpt")
    with pytest.raises(UserError, match="made with stride_in_1x1=True"):
        loaded(dataclasses.replace(own, stride_in_1x1=False), tmp_path / "step=1.ckpt")
    # Another operator has weights of the same names, such as those of its norm, and must not take a part of them.
    with pytest.raises(UserError, match=r"has a part of the operator layer4\.0\.conv2 and lacks .*reduce\.weight"):
        loaded(own, tmp_path / "step=1.ckpt", "involution")
    declared = dataclasses.replace(own, pretrained_new=("layer4.0.conv2",))
    network, _, report = loaded(declared, tmp_path / "step=1.ckpt", "involution")
    assert set(report.new) == weights_below(network, *network.replaced)
    key = next(key for key in state if ".conv2." in key and "layer4" in key)
    torch.save({"run": {}, "state_dict": {name: state[name] for name in state if name != key}}, tmp_path / "part.ckpt")
    with pytest.raises(UserError, match=r"has a part of the operator layer4\.0\.conv2 and lacks layer4\.0\.conv2\."):
        loaded(own, tmp_path / "part.ckpt")
    plain = {name: value for name, value in randomised(first.state_dict()).items() if "stride_mark" not in name}
    torch.save(plain, tmp_path / "plain.pth")
    with pytest.raises(UserError, match=r"does not say where its blocks stride.*pretrained_kind=library"):
        loaded(own, tmp_path / "plain.pth")


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_code_of_a_file_runs_and_a_damaged_file_is_one_sentence(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for zipped in (True, False):
        torch.save({"conv1.weight": Evil()}, "evil.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError):
            read_weights(Path("evil.pth"))
    Path("evil.safetensors").write_bytes(Path("evil.pth").read_bytes())
    with pytest.raises(UserError, match="not a safetensors file"):
        read_weights(Path("evil.safetensors"))
    assert not Path("ran").exists()
    for content in ([1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}, torch.zeros(3), {"model": {}}):
        torch.save(content, "other.pth")
        with pytest.raises(UserError, match="holds no weights of a network"):
            read_weights(Path("other.pth"))
    with pytest.raises(UserError, match=r"no checkpoint at 'none\.pth'"):
        read_weights(Path("none.pth"))
    small = {"a": torch.arange(4.0), "b": torch.zeros(2, 2)}
    generator = random.Random(0)
    for zipped in (True, False):
        torch.save(small, "small.pth", _use_new_zipfile_serialization=zipped)
        whole = Path("small.pth").read_bytes()
        for _ in range(60):
            torn = bytearray(whole[: generator.randrange(len(whole))] if generator.random() < 0.5 else whole)
            for _ in range(3):
                if torn:
                    torn[generator.randrange(len(torn))] ^= 1 << generator.randrange(8)
            Path("torn.pth").write_bytes(torn)
            try:
                read_weights(Path("torn.pth"))
            except UserError as error:
                assert "torn.pth" in str(error) and "\n" not in str(error)  # noqa: PT017


def starting_from(path: Path, **fields: Any) -> RunConfig:
    config = RECIPES["match_small"].config("pssa")
    for name, value in {"backbone.pretrained": str(path), **fields}.items():
        config = set_value(config, name, value)
    return config


def test_the_identity_holds_the_sha256_of_the_file_and_not_its_path(tmp_path: Path) -> None:
    cells = {}
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        found = with_origin(starting_from(tmp_path / name), None)
        assert found.backbone.pretrained_sha256 == hashlib.sha256(content).hexdigest()
        cells[name] = found.cell_id
        # A record leads to the same run without the file.
        assert with_origin(from_dict(to_dict(found)), None).cell_id == found.cell_id
    plain = resolve(RECIPES["match_small"].config("pssa"))
    assert cells["a.pth"] == cells["b.pth"] and len({*cells.values(), plain.cell_id}) == 3
    # Another file forgets the digest of the first, also one that is written to the same place.
    changed = with_origin(set_value(found, "backbone.pretrained", str(tmp_path / "a.pth")), None)
    assert changed.cell_id == cells["a.pth"]
    (tmp_path / "c.pth").write_bytes(b"12")
    assert with_origin(starting_from(tmp_path / "c.pth"), None).cell_id not in cells.values()
    more = [{"backbone.pretrained_new": new} for new in ("fc", "fc,conv1")]
    kinds = [with_origin(starting_from(tmp_path / "a.pth", **fields), None) for fields in more]
    assert [kind.backbone.pretrained_new for kind in kinds] == [("fc",), ("fc", "conv1")]
    assert len({kind.cell_id for kind in kinds} | {cells["a.pth"]}) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone.pretrained": "/none.pth"}, r"cannot read backbone\.pretrained='/none\.pth': No such file"),
        ({"backbone.pretrained": "/"}, r"cannot read backbone\.pretrained='/': not a regular file"),
        ({"backbone.pretrained_new": "fc"}, r"pretrained_new and .* go with backbone\.pretrained=FILE"),
        ({"backbone.pretrained_kind": "own"}, r"go with backbone\.pretrained=FILE"),
        ({"backbone.pretrained_sha256": "12"}, "must be 64 hexadecimal digits"),
        ({"backbone.pretrained": "x", "data.name": "shapes_coco"}, r"detector takes its weights by --backbone-from"),
    ],
)
def test_wrong_fields_give_one_sentence(fields: dict[str, str], message: str) -> None:
    config = RECIPES["match_small"].config("pssa")
    for name, value in fields.items():
        config = set_value(config, name, value)
    with pytest.raises(UserError, match=message):
        with_origin(config, None)


def test_a_run_takes_the_very_file_of_its_identity(tmp_path: Path, theirs: Path) -> None:
    config = set_value(starting_from(tmp_path / "w.pth"), "backbone.name", "torchvision:resnet18")
    (tmp_path / "w.pth").write_bytes(theirs.read_bytes())
    known: Resolved = with_origin(config, None)
    network = build_backbone(known.backbone, known.operator, 5)
    load_pretrained(network, known)
    with torch.device("meta"):
        check_pretrained(build_backbone(known.backbone, known.operator, 5), known)
    (tmp_path / "w.pth").write_bytes(theirs.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"has the SHA-256 .* and this run starts from a file with"):
        load_pretrained(network, known)
    without = dataclasses.replace(known, backbone=dataclasses.replace(known.backbone, pretrained=None))
    with pytest.raises(UserError, match=r"are needed; name their file with backbone\.pretrained=FILE"):
        load_pretrained(network, without)
    assert without.cell_id == known.cell_id
