"""`replace_every` and the networks of the sweep over backbones."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from lightning_xvol.backbones import build_backbone, count_parameters, replace_every
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from lightning_xvol.visualize.architecture import describe

ALL = (2, 3, 4, 5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "small_resnet", "small_vgg13"])
def test_no_spatial_convolution_is_left(name: str) -> None:
    """Only operators contain spatial convolutions, and every map keeps its size."""
    with torch.device("meta"):
        plain = build_backbone(BackboneConfig(name, ALL), OperatorConfig("convolution", {"kernel_size": 1}), 4)
        model = build_backbone(BackboneConfig(name, ALL, places="every"), OperatorConfig("xvolution"), 4)
        maps = []
        for network in (plain, model):
            sizes: list[tuple[str, torch.Size]] = []
            for path, module in network.named_modules():
                if (path.startswith("layer") and path.count(".") == 1) or path in ("conv1", "stem"):
                    module.register_forward_hook(lambda _, __, y, path=path, sizes=sizes: sizes.append((path, y.shape)))
            assert network(torch.randn(2, 3, 65, 47)).shape == (2, 4)
            maps.append(sizes)
    assert maps[0] == maps[1]
    inside = [path for path, module in model.named_modules() if type(module).__name__ == "XVolution"]
    spatial = [
        path for path, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    ]
    assert spatial and all(path.startswith(tuple(f"{operator}." for operator in inside)) for path in spatial)
    expected = {"resnet18": 1 + 16, "resnet50": 1 + 16, "small_resnet": 1 + 5, "small_vgg13": 10}
    assert len(inside) == expected[name]


def test_strides_and_channels_are_those_of_the_convolutions() -> None:
    model = torchvision.models.resnet18(weights=None, num_classes=5)
    convolutions = {path: module for path, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    paths = replace_every(model.eval(), "pssa")
    assert paths[0] == "conv1" and "layer2.0.conv1" in paths and "layer2.0.downsample.0" not in paths
    for path in paths:
        operator, old = model.get_submodule(path), convolutions[path]
        assert (operator.in_channels, operator.out_channels) == (old.in_channels, old.out_channels)
        assert operator.stride == old.stride[0] and not operator.training
    assert model(torch.randn(1, 3, 33, 65)).isfinite().all()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), "groups=2"),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False), r"dilation=\(2, 2\)"),
        (nn.Conv2d(4, 4, 3, bias=False), r"padding=\(0, 0\)"),
        (nn.Conv2d(4, 4, 2, padding=1, bias=False), r"kernel_size=\(2, 2\)"),
        (nn.Conv2d(4, 4, 3, padding=1), "1 has a bias"),
        (nn.Conv2d(4, 4, 1, bias=False), "no nn.Conv2d above 1x1"),
    ],
)
def test_a_convolution_that_cannot_be_replaced_leaves_the_model_unchanged(module: nn.Module, message: str) -> None:
    model = (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), module) if message[0] != "n" else nn.Sequential(module)
    )
    with pytest.raises(UserError, match=message):
        replace_every(model, "convolution")
    assert all(type(child) is nn.Conv2d for child in model)


def test_places_every_needs_every_stage() -> None:
    with pytest.raises(UserError, match=r"places=every needs all stages: .*not \(5,\)"):
        resolve(RunConfig(backbone=BackboneConfig("resnet18", (5,), places="every")))


@pytest.mark.parametrize("name", ["resnet18", "small_vgg13"])
def test_describe_names_the_operators_of_stem_and_blocks(name: str) -> None:
    config = RunConfig(backbone=BackboneConfig(name, ALL, places="every"), operator=OperatorConfig("xvolution"))
    described = describe(config)
    for stage in described["stages"][:-1]:
        kinds = {layer["name"] for layer in stage["layers"] if not layer["kind"].endswith("pool")}
        assert kinds == {"X-volution"}
        assert all("." not in layer["path"].partition("conv")[2] for layer in stage["layers"]), "a part of an operator"
    assert sum(stage["macs"] for stage in described["stages"]) == described["macs"]


def test_vgg13_is_torchvisions_up_to_its_head() -> None:
    with torch.device("meta"):
        ours = build_backbone(BackboneConfig("vgg13", (5,)), OperatorConfig("convolution"), 7)
        theirs = torchvision.models.vgg13_bn(weights=None).features
    shapes = [module.weight.shape for module in ours.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [module.weight.shape for module in theirs.modules() if isinstance(module, nn.Conv2d)]
    for size in [(32, 32), (33, 17), (1, 1)]:
        assert ours(torch.randn(2, 3, *size, device="meta")).shape == (2, 7)
    with pytest.raises(UserError, match=r"widths=\(8, 8\) of vgg13 must be five numbers"):
        build_backbone(BackboneConfig("vgg13", (5,), options={"widths": (8, 8)}), OperatorConfig(), 4)
    with pytest.raises(UserError, match="num_classes=0 of vgg13"):
        build_backbone(BackboneConfig("vgg13", (5,)), OperatorConfig(), 0)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_small_resnet_has_the_blocks_and_kernels_of_the_large_one(name: str) -> None:
    with torch.device("meta"):
        small = build_backbone(BackboneConfig(f"small_{name}", ALL), OperatorConfig(), 4)
        large = build_backbone(BackboneConfig(name, ALL), OperatorConfig(), 4)

    def kernels(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (path, module.kernel_size)
            for path, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and "layer" in path and "downsample" not in path
        ]

    assert kernels(small) == kernels(large)


def test_a_basic_block_is_torchvisions() -> None:
    torch.manual_seed(0)
    options = {"block": "basic", "widths": (64, 64, 64, 64), "expansion": 1, "stem_width": 64, "blocks": (1, 1, 1, 1)}
    model = build_backbone(BackboneConfig("small_resnet", (5,), options=options), OperatorConfig(), 4).eval()
    block = model.layer2[0]
    theirs = torchvision.models.resnet.BasicBlock(64, 64, stride=2, downsample=block.downsample).eval()
    theirs.load_state_dict(block.state_dict())
    x = torch.randn(2, 64, 9, 7)
    torch.testing.assert_close(block(x), theirs(x))
    with pytest.raises(UserError, match="block='wide' of small_resnet must be one of bottleneck, basic"):
        build_backbone(BackboneConfig(options={"block": "wide"}), OperatorConfig(), 4)


def test_heads_by_their_size() -> None:
    torch.manual_seed(0)
    by_size = build_operator("pssa", 6, 12, head_channels=3)
    by_number = build_operator("pssa", 6, 12, num_heads=4)
    by_number.load_state_dict(by_size.state_dict())
    x = torch.randn(2, 6, 9, 9)
    torch.testing.assert_close(by_size(x), by_number(x))
    assert count_parameters(build_operator("xvolution", 6, 12, head_channels=12)) < count_parameters(
        build_operator("xvolution", 6, 12, head_channels=1)
    )
