"""`fusion_report`: differences per layer, on the inputs that the layers see, and costs."""

from __future__ import annotations

import pytest
import torch
from fusion_tools import shake, trained
from torch import nn

from lightning_xvol import fusion, fusion_report
from lightning_xvol.backbones import build_backbone, count_macs, count_parameters
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.report import difference

PATHS = ["layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return shake(build_backbone(BackboneConfig(), OperatorConfig("xvolution"), num_classes=4)).eval()


@pytest.mark.parametrize("block_norms", [False, True])
def test_the_report_has_every_layer_and_the_whole(network: nn.Module, block_norms: bool) -> None:
    report = fusion_report(network, torch.randn(2, 3, 32, 32), block_norms=block_norms)
    assert list(report.layers) == PATHS
    assert all(0 < layer.relative < 1e-4 for layer in report.layers.values())
    assert 0 < report.overall.relative < 1e-4
    fused = fusion.fuse(network, block_norms=block_norms)
    assert report.parameters == (count_parameters(network), count_parameters(fused))
    assert report.parameters[1] < report.parameters[0]
    assert report.macs == (count_macs(network, (3, 32, 32)), count_macs(fused, (3, 32, 32)))
    text = str(report)
    assert all(path in text for path in [*PATHS, "overall", "parameters", "multiply-adds"])
    assert not network.layer2[0].conv2._forward_hooks and not network.layer2[0].bn2._forward_hooks


def test_a_wrong_fold_shows(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows only in its own layer: the other layers get their inputs from the unfused model."""
    fuse = fusion.report.fuse

    def wrong(model: nn.Module, **options: bool) -> nn.Module:
        fused = fuse(model, **options)
        with torch.no_grad():
            fused.layer3[0].conv2.bias += 5
        return fused

    monkeypatch.setattr(fusion.report, "fuse", wrong)
    report = fusion_report(network, torch.randn(2, 3, 32, 32))
    assert report.layers["layer3.0.conv2"].absolute == pytest.approx(5, rel=1e-3)
    assert all(report.layers[path].relative < 1e-4 for path in (PATHS[0], PATHS[2]))
    assert report.overall.relative > 1e-3


def test_a_bare_operator_is_its_own_layer() -> None:
    report = fusion_report(trained("pssa"), torch.randn(1, 6, 9, 8, dtype=torch.double))
    assert list(report.layers) == [""] and "(the operator)" in str(report)
    assert report.layers[""] == report.overall


def test_a_fused_model_has_no_layers(network: nn.Module) -> None:
    report = fusion_report(fusion.fuse(network), torch.randn(2, 3, 32, 32))
    assert not report.layers and report.overall.absolute == 0 == report.overall.relative


def test_wrong_input_is_refused(network: nn.Module) -> None:
    with pytest.raises(UserError, match=r"x must be images \[B, C, H, W\], got \(3, 32, 32\)"):
        fusion_report(network, torch.randn(3, 32, 32))
    with pytest.raises(UserError, match="training mode"):
        fusion_report(network.train(), torch.randn(2, 3, 32, 32))


def test_difference_over_nested_outputs() -> None:
    one = {"a": torch.tensor([1.0, -4.0]), "b": [torch.tensor([2])]}
    other = {"a": torch.tensor([1.0, -3.0]), "b": [torch.tensor([2])]}
    assert difference(other, one) == fusion.report.Difference(1.0, 0.25)
    assert difference(torch.zeros(2), torch.zeros(3)).relative == float("inf")
    assert difference(torch.tensor([float("nan")]), torch.zeros(1)).relative != 0
    assert difference(torch.zeros(1), torch.zeros(1)).relative == 0
