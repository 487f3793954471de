"""`replace_operators` is all or nothing: what it meets in people's networks, and 200 random edits of ResNets."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune, weight_norm
from torchvision.models import resnet

from lightning_xvol.backbones import place_strides, replace_every, replace_operators
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from tests.resnets import small_resnet, timm_or_skip
from tests.threads import one_thread as one_thread

NETWORKS = [(source, block) for source in ("torchvision", "timm") for block in ("basic", "bottleneck")]


def state(model: nn.Module) -> list[tuple[Any, ...]]:
    """Everything that a replacement could touch, as objects: modules, tensors and the settings of convolutions."""
    found: list[tuple[Any, ...]] = []
    for path, module in model.named_modules(remove_duplicate=False):
        found.append((path, id(module), type(module), sorted(vars(module))))
        found += [(path, name, id(value)) for name, value in (*module._parameters.items(), *module._buffers.items())]
        if isinstance(module, nn.Conv2d):
            found.append((module.stride, module.padding, module.padding_mode, module.groups, module.dilation))
    return [*found, tuple(model.state_dict())]


def check_untouched(model: nn.Module, message: str, **arguments: Any) -> None:
    before = state(model)
    with pytest.raises(UserError, match=message) as refused:
        replace_operators(model, "convolution", **arguments)
    assert "\n" not in str(refused.value)
    assert state(model) == before


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_an_uneven_stride_of_a_convolution_that_stays_is_no_reason_to_refuse(source: str) -> None:
    library = resnet if source == "torchvision" else timm_or_skip().models.resnet
    model = library.resnet18(num_classes=2).eval()
    model.layer4[0].conv1.stride = model.layer4[0].downsample[0].stride = (2, 1)
    paths = replace_operators(model, "pssa")
    assert paths == ["layer4.0.conv2", "layer4.1.conv2"]
    assert {type(model.get_submodule(path)).__name__ for path in paths} == {"PSSA"}
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2)


def test_a_bottleneck_whose_stride_stays_keeps_it_uneven_too() -> None:
    for first, second, stride in [((2, 1), (1, 1), 1), ((2, 2), (2, 2), 2)]:
        model = small_resnet("torchvision", "bottleneck")
        block = model.layer4[0]
        block.conv1.stride, block.conv2.stride = first, second
        check_untouched(copy.deepcopy(model), r"layer4\.0 has stride", stride_in_1x1=True)
        replace_operators(model, "convolution")
        assert block.conv1.stride == first and block.conv2.stride == stride
        assert not [key for key in model.state_dict() if "stride_mark" in key]


def _hook(kind: str) -> Callable[[nn.Module], object]:
    def add(conv: nn.Module) -> object:
        return getattr(conv, f"register_{kind}")(lambda *_: None)

    return add


ADDED: dict[str, tuple[Callable[[Any], object], str]] = {
    "padding_mode": (lambda conv: setattr(conv, "padding_mode", "circular"), "padding_mode='circular'"),
    "bias": (lambda conv: setattr(conv, "bias", nn.Parameter(torch.ones(conv.out_channels))), "a bias"),
    "forward": (_hook("forward_hook"), "forward hooks"),
    "before": (_hook("forward_pre_hook"), "forward pre hooks"),
    "backward": (_hook("full_backward_hook"), "backward hooks"),
    "backward before": (_hook("full_backward_pre_hook"), "backward pre hooks"),
    "state dict": (_hook("state_dict_post_hook"), "state dict hooks"),
    "weight": (lambda conv: conv.weight.register_hook(lambda grad: grad), r"weight has gradient hooks"),
    "own forward": (lambda conv: setattr(conv, "forward", lambda x: x), "a replaced forward"),
    "weight norm": (parametrizations.weight_norm, "parametrizations of its weight"),
    "spectral norm": (parametrizations.spectral_norm, "parametrizations of its weight"),
    "old weight norm": (lambda conv: weight_norm(conv), "forward pre hooks"),
    "pruning": (lambda conv: prune.random_unstructured(conv, "weight", 0.5), "forward pre hooks"),
    "child": (lambda conv: conv.add_module("extra", nn.ReLU()), "holds extra"),
    "buffer": (lambda conv: conv.register_buffer("scale", torch.ones(1)), "holds scale"),
    "stride": (lambda conv: setattr(conv, "stride", (1, 2)), "stride"),
    "stride 3": (lambda conv: setattr(conv, "stride", (3, 3)), "stride"),
    "groups": (lambda conv: setattr(conv, "groups", 2), "groups=2"),
    "dilation": (lambda conv: setattr(conv, "dilation", (2, 2)), r"dilation=\(2, 2\)"),
    "padding": (lambda conv: setattr(conv, "padding", (0, 0)), "padding="),
    "dtype": (lambda conv: conv.to(torch.complex64), "torch.complex64"),
    "no weight": (lambda conv: setattr(conv, "weight", None), "a weight of type NoneType"),
    "fewer weights": (lambda conv: setattr(conv, "weight", nn.Parameter(conv.weight[:, 1:])), "a weight of shape"),
}


@pytest.mark.filterwarnings("ignore")  # weight_norm is deprecated
@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("names", [("torchvision", "basic"), ("timm", "bottleneck")], ids=str)
def test_what_an_operator_cannot_take_over_is_refused(names: tuple[str, str], added: str) -> None:
    model = small_resnet(*names)
    edit, message = ADDED[added]
    edit(model.layer4[1].conv2)  # the last place, so that a half-done job would show
    check_untouched(model, r"layer4\.1.*" + message)
    before = state(model)
    with pytest.raises(UserError, match=message):
        replace_every(model, "convolution")
    assert state(model) == before


def test_a_class_that_computes_something_else_is_refused() -> None:
    timm, model = timm_or_skip(), small_resnet("timm", "basic")
    model.layer4[1].conv2 = timm.layers.StdConv2d(16, 16, 3, padding=1)
    check_untouched(model, r"layer4\.1\.conv2 (has a bias|is a timm\.layers\.std_conv\.StdConv2d)")
    model.layer4[1].conv2 = timm.layers.StdConv2d(16, 16, 3, padding=1, bias=False)
    check_untouched(model, r"layer4\.1\.conv2 is a timm\.layers\.std_conv\.StdConv2d, which computes something else")
    model.layer4[1].conv2 = nn.LazyConv2d(16, 3, padding=1, bias=False)
    check_untouched(model, r"layer4\.1\.conv2 is lazy")


def test_wrapped_models_are_refused_with_the_order_to_use() -> None:
    class DistributedDataParallel(nn.Module):  # the real one needs a process group
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    assert DistributedDataParallel.__name__ == nn.parallel.DistributedDataParallel.__name__
    assert torch.distributed.fsdp.FullyShardedDataParallel.__name__ == "FullyShardedDataParallel"
    assert torch.distributed.fsdp.FSDPModule.__name__ == "FSDPModule"
    for wrapped in (
        DistributedDataParallel(small_resnet("torchvision", "basic")),
        small_resnet("torchvision", "basic"),
    ):
        if not isinstance(wrapped, DistributedDataParallel):
            wrapped.layer4 = DistributedDataParallel(wrapped.layer4)
        check_untouched(wrapped, "DistributedDataParallel, .* first replace the operators, then wrap the model")
        with pytest.raises(UserError, match="then wrap"):
            replace_every(wrapped, "convolution")


@pytest.mark.parametrize("names", NETWORKS, ids=str)
def test_blocks_and_stages_inside_wrappers_are_found(names: tuple[str, str]) -> None:
    x = torch.randn(2, 3, 64, 64)
    plain, model = small_resnet(*names), small_resnet(*names)
    model.layer4[0] = checkpoint_wrapper(model.layer4[0])
    model.layer4[1] = nn.Sequential(model.layer4[1])
    model.layer4 = nn.Sequential(model.layer4)
    paths = replace_operators(model, "pssa", stride_in_1x1=True)
    assert paths == ["layer4.0.0._checkpoint_wrapped_module.conv2", "layer4.0.1.0.conv2"]
    assert [type(model.get_submodule(path)).__name__ for path in paths] == ["PSSA", "PSSA"]
    assert plain(x).shape == model(x).shape
    inner = model.get_submodule(paths[0].removesuffix(".conv2"))
    assert "conv2" not in model.layer4[0][0]._modules and (names[1] == "basic" or inner.conv1.stride == (2, 2))


def test_a_shared_convolution_stays_shared_or_is_refused() -> None:
    model = small_resnet("torchvision", "basic")
    model.layer4[1].conv2 = model.layer4[0].conv2
    twin = copy.deepcopy(model)
    replace_operators(model, "pssa")
    assert model.layer4[1].conv2 is model.layer4[0].conv2
    twin.layer4[1].conv1 = twin.layer4[0].conv2
    check_untouched(twin, r"layer4\.\d\.conv2 is shared with layer4\.1\.conv1, which stays")
    tied = small_resnet("torchvision", "basic")
    tied.layer4[1].conv1.weight = tied.layer4[1].conv2.weight
    check_untouched(tied, r"layer4\.1\.conv2\.weight is shared with layer4\.1\.conv1\.weight")
    every = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1, bias=False)] * 3)
    assert replace_every(every, "pssa") == ["0", "1", "2"] and every[0] is every[2]
    with pytest.raises(UserError, match=r"the model is an nn\.Conv2d itself"):
        replace_every(nn.Conv2d(4, 4, 3, padding=1, bias=False), "pssa")


def test_what_an_operator_can_take_over_is_kept() -> None:
    model = small_resnet("torchvision", "basic").to(memory_format=torch.channels_last)
    model.layer4[1].conv2.padding = "same"
    with torch.inference_mode():
        replace_operators(model, "convolution")
    for parameter in model.layer4[1].conv2.parameters():
        assert parameter.is_contiguous(memory_format=torch.channels_last) and not parameter.is_inference()
    model(torch.randn(1, 3, 32, 32)).sum().backward()


def test_settings_may_be_single_numbers() -> None:
    plain, model = (small_resnet("torchvision", "bottleneck") for _ in range(2))
    for convolution in (model.layer4[0].conv1, model.layer4[0].conv2, model.layer4[1].conv2):
        for setting in ("stride", "padding", "dilation"):
            setattr(convolution, setting, getattr(convolution, setting)[0])
    assert replace_operators(model, "pssa", stride_in_1x1=True) == replace_operators(plain, "pssa", stride_in_1x1=True)
    x = torch.randn(1, 3, 64, 64)
    assert model.layer4[0].conv1.stride == (2, 2) and model(x).shape == plain(x).shape


def test_a_value_that_is_no_bool_changes_nothing() -> None:
    check_untouched(small_resnet("torchvision", "bottleneck"), "must be true or false, got 'no'", stride_in_1x1="no")
    model = small_resnet("torchvision", "bottleneck")
    before = state(model)
    with pytest.raises(UserError, match="in_1x1 must be true or false, got 'no'"):
        place_strides(model, "no")  # type: ignore[arg-type]
    assert state(model) == before


def test_a_script_is_refused() -> None:
    with pytest.raises(UserError, match=r"the model is a script, .* first replace, then script"):
        replace_operators(torch.jit.script(small_resnet("torchvision", "basic")), "pssa")


def test_strides_are_placed_everywhere_or_nowhere() -> None:
    model = small_resnet("torchvision", "bottleneck")
    model.layer4[0].conv1.stride = (2, 2)
    before = state(model)
    with pytest.raises(UserError, match=r"layer4\.0 has stride"):
        place_strides(model, True)
    assert state(model) == before
    padded = small_resnet("torchvision", "bottleneck")
    padded.layer4[0].conv1.padding = (1, 1)
    check_untouched(padded, r"layer4\.0\.conv1 has padding=\(1, 1\)", stride_in_1x1=True)


# The others do not go together: nothing can be added to a weight that is gone.
EDITS = [kind for kind in ADDED if kind not in ("no weight", "fewer weights")]


def edits(rng: random.Random, block: nn.Module) -> Iterator[str]:
    """One to three random edits of a block of the last stage, by name."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        conv = getattr(block, rng.choice(["conv1", "conv2", "conv2"]))
        if not isinstance(conv, nn.Conv2d):
            continue
        kind = rng.choice([*EDITS, "other stride", "norm", "wrap convolution", "identity", "attribute"])
        yield kind
        if kind in ADDED:
            if not (kind == "dtype" or (kind == "bias" and not hasattr(conv, "bias"))):
                ADDED[kind][0](conv)
        elif kind == "other stride":
            conv.stride = rng.choice([(2, 2), (2, 1), (1, 2), (1, 1)])
        elif kind == "norm":
            block.bn2 = nn.BatchNorm2d(block.bn2.num_features, affine=False).eval()
        elif kind == "wrap convolution":
            block.conv2 = nn.Sequential(block.conv2)
        elif kind == "identity":
            block.relu = nn.Identity()
        else:
            block.note = "a note"


def runs(model: nn.Module, x: Tensor) -> torch.Size | None:
    try:
        return torch.Size(model(x).shape)
    except (RuntimeError, TypeError, ValueError):
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_200_random_edits_are_replaced_whole_or_refused_without_a_trace(source: str) -> None:
    rng, x = random.Random(0), torch.randn(1, 3, 64, 64)
    outcomes, sentences = {"replaced": 0, "refused": 0}, []
    for number in range(200):
        model = small_resnet(source, "basic" if number % 2 else "bottleneck")
        stride_in_1x1 = rng.choice([None, None, True, False])
        made = list(edits(rng, model.layer4[rng.randrange(2)])) if rng.random() < 0.9 else []
        if rng.random() < 0.2:
            index = rng.randrange(2)
            model.layer4[index] = rng.choice([checkpoint_wrapper, nn.Sequential])(model.layer4[index])
        shape, before = runs(model, x), state(model)
        what = f"edits {made}, number {number}, stride_in_1x1={stride_in_1x1}"
        kept = {path: id(module) for path, module in model.named_modules()}
        try:
            paths = replace_operators(model, "convolution", stride_in_1x1=stride_in_1x1)
        except UserError as error:
            assert state(model) == before, what
            sentences.append(str(error))
            outcomes["refused"] += 1
            continue
        outcomes["replaced"] += 1
        assert len(paths) == 2, what
        kind = type(build_operator("convolution", 8, 8))
        assert all(type(model.get_submodule(path)) is kind for path in paths), what
        for path, module in model.named_modules():
            if not path.startswith(tuple(paths)) and not path.endswith("stride_mark"):
                assert kept[path] == id(module), f"{path}, {what}"
        if shape is not None:
            assert runs(model, x) == shape, what
    assert min(outcomes.values()) >= 40, outcomes
    assert all("\n" not in sentence and "layer4" in sentence for sentence in sentences)
