"""Every weight of the model comes from the file or is declared new; otherwise loading fails."""

import dataclasses

import pytest
import torch
from torchvision.models import resnet50

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.detectors import PRESETS
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig
from lightning_xvol.detection.model import build_detector
from lightning_xvol.detection.weights import load_backbone
from lightning_xvol.errors import UserError
from lightning_xvol.modules.classification import ClassificationModule

SMALL = BackboneConfig(options={"strides": (2, 2, 2, 2)}, stages=(5,))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A file with the exact keys and shapes of torchvision's ResNet-50, and random values."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in resnet50().state_dict().items()
    }
    torch.save(state, path)
    return path


def resnet50_detector(operator, stride_in_1x1=True, pretraining="torchvision"):
    backbone = BackboneConfig("resnet50", (5,), stride_in_1x1)
    preset = PRESETS["detectron2"]
    return build_detector(backbone, OperatorConfig(operator), preset, 80, masks=False, pretraining=pretraining)


def test_torchvisions_weights_load_and_only_the_replaced_operators_are_new(theirs):
    detector = resnet50_detector("xvolution")
    body = detector.backbone.body
    expected = {
        f"layer4.{block}.conv2.{name}"
        for block in range(3)
        for name in body["layer4"][block].conv2.state_dict()
        if not name.endswith("num_batches_tracked")
    }
    random = {name: body.state_dict()[name].clone() for name in expected}
    report = load_backbone(detector, theirs)
    assert set(report.new) == expected and report.resized == ()
    old = {f"layer4.{block}.conv2.weight" for block in range(3)}
    assert set(report.unexpected) == old | {"fc.weight", "fc.bias"}
    state, source = body.state_dict(), torch.load(theirs)
    assert set(report.loaded) == {name for name in source if "tracked" not in name} - set(report.unexpected)
    for name in report.loaded:
        assert torch.equal(state[name], source[name]), name
    for name in report.new:
        assert torch.equal(state[name], random[name]), name
    values = {name: value.numel() for name, value in state.items() if "tracked" not in name and "mark" not in name}
    assert report.fraction == pytest.approx(sum(values[name] for name in report.loaded) / sum(values.values()))
    assert f"{len(expected)} new (layer4.0.conv2." in str(report)


def test_the_baseline_takes_all_of_torchvisions_weights(theirs):
    detector = resnet50_detector("convolution", stride_in_1x1=False)
    report = load_backbone(detector, theirs)
    assert report.new == () and set(report.unexpected) == {"fc.weight", "fc.bias"} and report.fraction == 1
    source = torch.load(theirs)
    for block in range(3):
        own = detector.backbone.body["layer4"][block].conv2.conv.weight
        assert torch.equal(own, source[f"layer4.{block}.conv2.weight"])


def test_files_of_old_torch_load_too(tmp_path, theirs):
    path = tmp_path / "old.pth"
    torch.save(torch.load(theirs), path, _use_new_zipfile_serialization=False)
    assert len(load_backbone(resnet50_detector("pssa"), path).loaded) > 200


def classifier(path, operator="self_attention", backbone=SMALL, **options):
    """Write a checkpoint in the format of a classification run."""
    torch.manual_seed(1)
    operator_config = OperatorConfig(operator, options)
    network = build_backbone(backbone, operator_config, num_classes=10)
    module = ClassificationModule(network, RunConfig(operator_config, backbone), num_classes=10, total_steps=1)
    torch.save({"state_dict": module.state_dict(), "run": {"cell_id": "x"}, "global_step": 3}, path)
    return network


def detector_for(operator="self_attention", backbone=SMALL, pretraining="own", **options):
    torch.manual_seed(2)
    return build_detector(
        backbone, OperatorConfig(operator, options), PRESETS["tiny"], 6, masks=False, pretraining=pretraining
    )


def test_our_own_checkpoint_fills_the_body_of_the_same_operator(tmp_path):
    network = classifier(tmp_path / "own.ckpt", "xvolution").eval()
    detector = detector_for("xvolution").eval()
    report = load_backbone(detector, tmp_path / "own.ckpt")
    assert (report.new, report.resized, set(report.unexpected), report.fraction) == (
        (),
        (),
        {"fc.weight", "fc.bias"},
        1,
    )
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels = detector.backbone.body(image)
        x = network.relu(network.bn1(network.conv1(image)))
        for number, layer in enumerate((network.layer1, network.layer2, network.layer3, network.layer4)):
            x = layer(x)
            torch.testing.assert_close(levels[str(number)], x)


def test_tables_of_relative_positions_are_stretched_and_reported(tmp_path):
    network = classifier(tmp_path / "own.ckpt", position_encoding=True, position_size=4)
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(7, 32, generator=generator)
    network.layer4[0].conv2.positions.rows.data = table
    checkpoint = torch.load(tmp_path / "own.ckpt")
    checkpoint["state_dict"]["network.layer4.0.conv2.positions.rows"] = table
    torch.save(checkpoint, tmp_path / "own.ckpt")
    detector = detector_for(position_encoding=True, position_size=7)
    report = load_backbone(detector, tmp_path / "own.ckpt")
    assert set(report.resized) == {f"layer4.0.conv2.positions.{name}" for name in ("rows", "columns")}
    assert "2 resized (layer4.0.conv2.positions.rows" in str(report) and report.new == ()
    stretched = detector.backbone.body["layer4"][0].conv2.positions.rows
    # 7 offsets become 13: every second one is old, and the others lie half-way between two old ones.
    torch.testing.assert_close(stretched[::2].detach(), table)
    torch.testing.assert_close(stretched[1::2].detach(), (table[1:] + table[:-1]) / 2)


def refused(detector, path, *parts):
    with pytest.raises(UserError) as caught:
        load_backbone(detector, path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for part in parts:
        assert part in message


def test_weights_of_another_operator_are_refused(tmp_path):
    classifier(tmp_path / "own.ckpt", "self_attention")
    refused(detector_for("pssa"), tmp_path / "own.ckpt", "lacks", "layer4.0.conv2.", "only nothing was declared new")


def test_weights_of_another_network_are_refused(tmp_path):
    classifier(tmp_path / "own.ckpt")
    wider = dataclasses.replace(SMALL, options={"strides": (2, 2, 2, 2), "stem_width": 24})
    with pytest.raises(UserError, match=r"conv1\.weight is \[16, 3, 3, 3\] .* \[24, 3, 3, 3\] in the model"):
        load_backbone(detector_for(backbone=wider), tmp_path / "own.ckpt")


def test_weights_of_another_origin_are_refused(theirs, tmp_path):
    classifier(tmp_path / "own.ckpt")
    refused(detector_for(pretraining="torchvision"), tmp_path / "own.ckpt", "pretraining='own'")
    refused(resnet50_detector("pssa", pretraining="own"), theirs, "pretraining='torchvision'")
    refused(detector_for(pretraining="random"), tmp_path / "own.ckpt", "random weights")


def test_weights_of_another_stride_are_refused(tmp_path):
    classifier(tmp_path / "own.ckpt", backbone=dataclasses.replace(SMALL, stride_in_1x1=False))
    with pytest.raises(UserError, match="stride_in_1x1=False"):
        load_backbone(detector_for(), tmp_path / "own.ckpt")


@pytest.mark.parametrize("content", [b"", b"no weights", None, [torch.zeros(1)], {"weight": torch.zeros(1)}])
def test_a_file_without_such_weights_is_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    refused(detector_for(), path)


def test_a_torn_file_is_named(tmp_path):
    path = tmp_path / "own.ckpt"
    classifier(path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(detector_for(), path, "incomplete")
