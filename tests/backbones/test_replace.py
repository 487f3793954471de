"""`replace_operators` on torchvision's and timm's ResNets (paper, 4.1, Fig. 2, Table 5)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from lightning_xvol.backbones import replace_operators
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from tests.resnets import timm_or_skip

CONV5 = ["layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"]


def tv(name: str, **arguments: object) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=5, **arguments)


def tm(name: str, **arguments: object) -> nn.Module:
    return timm_or_skip().create_model(name, pretrained=False, num_classes=5, **arguments)


@pytest.mark.parametrize("stride_in_1x1", [None, True])
@pytest.mark.parametrize("make", [tv, tm], ids=["torchvision", "timm"])
def test_conv5_of_resnet50_forward_and_backward(make: Callable[..., nn.Module], stride_in_1x1: bool | None) -> None:
    torch.manual_seed(0)
    model = make("resnet50")
    before = copy.deepcopy(model.state_dict())
    assert replace_operators(model, "xvolution", (5,), stride_in_1x1=stride_in_1x1) == CONV5
    assert [path for path, module in model.named_modules() if type(module).__name__ == "XVolution"] == CONV5

    after = model.state_dict()
    kept = {key: value for key, value in before.items() if not key.startswith(tuple(CONV5))}
    assert len(kept) == len(before) - 3
    assert all(torch.equal(after[key], value) for key, value in kept.items())
    new = [key for key in after if key not in kept and not key.startswith(tuple(CONV5))]
    assert new == ["layer4.0.stride_mark.in_1x1"]

    # 224 at one image and 193 x 257 at two, odd and not square; timm's last batch norm of a block starts at 0.
    nn.init.ones_(model.layer4[0].bn3.weight)
    for shape in [(1, 3, 224, 224), (2, 3, 193, 257)]:
        model.zero_grad()
        logits = model(torch.randn(shape))
        assert logits.shape == (shape[0], 5)
        logits.square().sum().backward()
        gradients = [parameter.grad for parameter in model.get_submodule(CONV5[0]).parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("make", [tv, tm], ids=["torchvision", "timm"])
def test_last_3x3_of_the_basic_blocks_of_resnet34(make: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        model = make("resnet34")
    paths = replace_operators(model, "pssa", (3, 5), stride_in_1x1=True)
    assert paths == [f"layer2.{index}.conv2" for index in range(4)] + CONV5
    assert model.layer2[0].conv1.stride == (2, 2)
    assert all(model.get_submodule(path).stride == 1 for path in paths)
    # The last 3x3 of a BasicBlock always has stride 1, so nothing moves and nothing is marked.
    assert not [key for key in model.state_dict() if "stride_mark" in key]


def test_paths_are_in_the_order_of_the_model() -> None:
    with torch.device("meta"):
        model = tv("resnet50")
    paths = replace_operators(model, "convolution", [5, 2, 3, 4, 5], kernel_size=1)
    blocks = [(layer, index) for layer, count in enumerate((3, 4, 6, 3), start=1) for index in range(count)]
    assert paths == [f"layer{layer}.{index}.conv2" for layer, index in blocks]


def test_the_operator_takes_device_dtype_and_mode() -> None:
    model = tv("resnet18").to(torch.float64).eval()
    replace_operators(model, "xvolution")
    operator = model.layer4[0].conv2
    assert {parameter.dtype for parameter in operator.parameters()} == {torch.float64}
    assert not any(module.training for module in operator.modules())
    with torch.device("meta"):
        on_meta = tv("resnet50")
    replace_operators(on_meta, "xvolution")
    assert all(value.is_meta for value in on_meta.state_dict().values())


@pytest.mark.parametrize("make", [tv, tm], ids=["torchvision", "timm"])
@pytest.mark.parametrize(
    ("stride_in_1x1", "first", "operator"), [(True, (2, 2), 1), (False, (1, 1), 2), (None, (1, 1), 2)]
)
def test_stride_in_1x1_decides_which_convolution_strides(
    make: Callable[..., nn.Module], stride_in_1x1: bool | None, first: tuple[int, int], operator: int
) -> None:
    model = make("resnet50")
    replace_operators(model, "pssa", (5,), stride_in_1x1=stride_in_1x1)
    block = model.layer4[0]
    assert block.conv1.stride == first
    assert block.conv2.stride == operator
    assert block.stride_mark.value is bool(stride_in_1x1)
    assert [item.conv2.stride for item in model.layer4[1:]] == [1, 1]
    # Blocks that are not replaced keep their stride, and so their pretrained weights their meaning.
    assert (model.layer3[0].conv1.stride, model.layer3[0].conv2.stride) == ((1, 1), (2, 2))
    for size in [(8, 8), (9, 11), (1, 2)]:
        y = block(torch.randn(2, 1024, *size))
        assert y.shape == (2, 2048, -(-size[0] // 2), -(-size[1] // 2))


def test_a_moved_stride_keeps_what_the_1x1_computes() -> None:
    torch.manual_seed(0)
    model = tv("resnet50").eval()
    x = torch.randn(1, 1024, 7, 10)
    before = model.layer4[0].conv1(x)
    replace_operators(model, "xvolution", stride_in_1x1=True)
    torch.testing.assert_close(model.layer4[0].conv1(x), before[:, :, ::2, ::2])


def test_a_stride_that_lies_in_the_1x1_stays_or_moves_back() -> None:
    for stride_in_1x1, strides in [(None, ((2, 2), 1)), (False, ((1, 1), 2))]:
        with torch.device("meta"):
            model = tv("resnet50")
        # Detectron2's Caffe weights stride there.
        model.layer4[0].conv1.stride, model.layer4[0].conv2.stride = (2, 2), (1, 1)
        replace_operators(model, "xvolution", stride_in_1x1=stride_in_1x1)
        assert (model.layer4[0].conv1.stride, model.layer4[0].conv2.stride) == strides


def test_a_resnet_inside_another_module() -> None:
    with torch.device("meta"):
        detector = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert replace_operators(detector, "pssa") == [f"backbone.body.{path}" for path in CONV5]


def test_a_resnet_that_gives_features_alone() -> None:
    with torch.device("meta"):
        features = timm_or_skip().create_model("resnet50", pretrained=False, features_only=True)
    assert replace_operators(features, "pssa") == CONV5


def untouched(model: nn.Module, before: dict[str, torch.Tensor], convolutions: int) -> bool:
    same = list(model.state_dict()) == list(before)
    return same and sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (tv, {"name": "resnext50_32x4d"}, r"layer4\.0\.conv2 has groups=32 "),
        (tm, {"model_name": "resnext50_32x4d"}, r"layer4\.0\.conv2 has groups=32 "),
        (
            tv,
            {"name": "resnet50", "replace_stride_with_dilation": [False, False, True]},
            r"layer4\.1\.conv2 .*dilation=",
        ),
        (tm, {"model_name": "resnet50", "output_stride": 16}, r"layer4\.1\.conv2 has groups=1 and dilation=\(2, 2\)"),
        (tm, {"model_name": "resnetaa50"}, r"layer4\.0 subsamples in its anti-aliasing layer AvgPool2d"),
        (tm, {"model_name": "res2net50_26w_4s"}, r"Res.*stages \(5,\): looked in modules called layer4 .*Bottle2neck"),
        (tv, {"name": "vgg11"}, r"VGG has nothing to replace in stages \(5,\): looked in modules called layer4 for"),
    ],
)
def test_refused_networks_stay_unchanged(
    make: Callable[..., nn.Module], arguments: dict[str, object], message: str
) -> None:
    arguments = dict(arguments)
    name = arguments.pop("name", None) or arguments.pop("model_name")
    with torch.device("meta"):
        model = make(name, **arguments)
    before = model.state_dict()
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    with pytest.raises(UserError, match=message):
        replace_operators(model, "xvolution", stride_in_1x1=True)
    assert untouched(model, before, convolutions)


@pytest.mark.parametrize("name", ["resnet50d", "resnetaa50", "seresnet50", "ecaresnet50t"])
def test_variants_of_timm_take_the_operator(name: str) -> None:
    """Variants with a deep stem, a pooled shortcut, attention after the block, or a blur after the 3x3."""
    model = tm(name).eval()
    assert replace_operators(model, "pssa", (5,)) == CONV5
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, 5)
    if name != "resnetaa50":
        moved = tm(name).eval()
        replace_operators(moved, "pssa", (5,), stride_in_1x1=True)
        with torch.no_grad():
            assert moved(torch.randn(1, 3, 65, 97)).shape == (1, 5)
        assert moved.layer4[0].conv2.stride == 1


def test_drop_block_stays_after_the_operator() -> None:
    with torch.device("meta"):
        model = tm("resnet50", drop_block_rate=0.1)
        replace_operators(model, "pssa", (5,))
    assert type(model.layer4[0].drop_block).__name__ == "DropBlock2d"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((1,), r"stages=\(1,\) must be chosen from 2, 3, 4, 5"),
        ((5, 6), r"stages=\(5, 6\) must be chosen"),
        ((), r"stages=\(\) must be chosen"),
        (5, r"stages=5 must be a tuple such as \(5,\)"),
        ("5", r"stages='5' must be a tuple"),
    ],
)
def test_unknown_stages_are_refused(stages: object, message: str) -> None:
    with torch.device("meta"):
        model = tv("resnet18")
    with pytest.raises(UserError, match=message):
        replace_operators(model, "pssa", stages)  # type: ignore[arg-type]


def test_replacing_twice_raises_and_names_the_operator_that_was_found() -> None:
    with torch.device("meta"):
        model = tv("resnet50")
    replace_operators(model, "xvolution")
    with pytest.raises(UserError, match=r"stages \(5,\).*found layer4\.0\.conv2 \(XVolution\)"):
        replace_operators(model, "convolution", (4, 5))
    assert isinstance(model.layer3[0].conv2, nn.Conv2d)
    model.layer3[2].conv2 = nn.Identity()
    with pytest.raises(UserError, match=r"layer3 can be replaced only in part: layer3\.2\.conv2"):
        replace_operators(model, "convolution", (4,))


def test_a_refused_option_leaves_the_model_unchanged() -> None:
    with torch.device("meta"):
        model = tv("resnet50")
    before = model.state_dict()
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    for options in [{"kernel_size": 2}, {"kernel_sizes": 3}]:
        with pytest.raises(UserError):
            replace_operators(model, "convolution", stride_in_1x1=True, **options)
    with pytest.raises(UserError, match="unknown operator"):
        replace_operators(model, "convolutoin", stride_in_1x1=True)
    assert untouched(model, before, convolutions)
    assert model.layer4[0].conv1.stride == (1, 1)


def test_an_operator_by_import_path() -> None:
    with torch.device("meta"):
        model = tv("resnet18")
    replace_operators(model, "lightning_xvol.operators.convolution:Convolution", kernel_size=5)
    assert type(model.layer4[1].conv2) is type(build_operator("convolution", 8, 8))


def test_a_convolution_with_the_same_weights_changes_nothing() -> None:
    """An operator with the same function leaves the network's output unchanged only if its position is right."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 65, 48)
    for make, name in [(tv, "resnet18"), (tm, "resnet26")]:
        plain = make(name).eval()
        model = copy.deepcopy(plain)
        for path in replace_operators(model, "convolution", (2, 3, 4, 5)):
            model.get_submodule(path).load_state_dict({"conv.weight": plain.get_submodule(path).weight})
        with torch.no_grad():
            torch.testing.assert_close(model(x), plain(x), rtol=1e-5, atol=1e-5)
