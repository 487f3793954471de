"""`fuse` on whole networks: which operators it finds, what it refuses, and what it leaves alone."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from fusion_tools import error, shake, train, trained
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import FrozenBatchNorm2d

from lightning_xvol import AtomicXVolution, fuse, replace_operators
from lightning_xvol.backbones import build_backbone, count_macs
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import PSSA
from tests.resnets import timm_or_skip


def small(name: str = "xvolution", **options: Any) -> nn.Module:
    """The embedded network with trained operators in stages 3 to 5, in eval mode."""
    torch.manual_seed(0)
    model = build_backbone(BackboneConfig(), OperatorConfig(name, options), num_classes=4)
    return train(model.double(), (8, 3, 32, 32))


def images(model: nn.Module, count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, dtype=next(model.parameters()).dtype)


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None, num_classes=10)
    replace_operators(model, "multi_convolution", (2,))
    replace_operators(model, "pssa", (3,), form="hadamard")
    replace_operators(model, "xvolution", (4,), position_encoding=True, stride_in_1x1=True)
    replace_operators(model, "xvolution", (5,), stride_in_1x1=True)
    return train(model, (4, 3, 48, 48))


@pytest.mark.parametrize(
    ("dtype", "tolerance", "block_norms"), [(torch.float64, 1e-10, True), (torch.float32, 1e-4, False)], ids=str
)
def test_a_fused_resnet50_has_equal_outputs(
    resnet50: nn.Module, dtype: torch.dtype, tolerance: float, block_norms: bool
) -> None:
    model = copy.deepcopy(resnet50).to(dtype)
    fused = fuse(model, block_norms=block_norms)
    assert sum(isinstance(module, AtomicXVolution) for module in fused.modules()) == 16
    assert all(isinstance(block.bn2, nn.Identity) == block_norms for block in [*fused.layer1, *fused.layer4])
    x = torch.randn(2, 3, 50, 46, dtype=dtype)
    with torch.no_grad():
        assert error(fused(x), model(x)) < tolerance


def test_blocks_of_timm_and_basic_blocks_fuse() -> None:
    timm = timm_or_skip()
    for model in [timm.create_model("resnet26", num_classes=2), torchvision.models.resnet18(num_classes=2)]:
        paths = replace_operators(model, "convolution")
        shake(model.double().eval())
        fused = fuse(model, block_norms=True)
        assert all(isinstance(fused.get_submodule(path), AtomicXVolution) for path in paths)
        x = torch.randn(1, 3, 33, 40, dtype=torch.double)
        with torch.no_grad():
            assert error(fused(x), model(x)) < 1e-10


@pytest.mark.parametrize("block_norms", [False, True])
def test_no_batch_norm_is_left_in_operators(block_norms: bool) -> None:
    model = small()
    fused = fuse(model, block_norms=block_norms)
    norms = [path for path, module in fused.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(".conv2" in path for path in norms)
    replaced = ["layer2.0.bn2", "layer3.0.bn2", "layer4.0.bn2"]
    assert [path for path in replaced if path in norms] == ([] if block_norms else replaced)
    assert "layer1.0.bn2" in norms, "no operator precedes it"
    assert len(norms) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) - 6 - 3 * block_norms


def test_a_network_inside_another_fuses() -> None:
    model = nn.ModuleDict({"body": nn.Sequential(small(), nn.ReLU()), "head": nn.Linear(4, 2)}).eval()
    fused = fuse(model)
    assert isinstance(fused["body"][0].layer4[0].conv2, AtomicXVolution)
    assert isinstance(fuse(nn.ModuleList([trained("pssa")]).eval())[0], AtomicXVolution)


def test_training_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"SmallResNet is in training mode.*call model\.eval\(\) first"):
        fuse(small().train())
    model = small()
    model.layer4[0].conv2.attention.train()
    with pytest.raises(UserError, match=r"its layer4\.0\.conv2\.attention is in training mode"):
        fuse(model)
    with pytest.raises(UserError, match=r"PSSA is in training mode"):
        fuse(build_operator("pssa", 4, 4))


def test_nothing_to_fuse_is_refused() -> None:
    with pytest.raises(UserError, match=r"ResNet holds no operator to fuse; known are .*XVolution"):
        fuse(torchvision.models.resnet18().eval())
    with pytest.raises(UserError, match=r"nothing to fuse in SmallResNet: .*block_norms=True"):
        fuse(small("convolution"))
    with pytest.raises(UserError, match=r"nothing to fuse in Convolution"):
        fuse(build_operator("convolution", 4, 4).eval(), block_norms=True)


@pytest.mark.parametrize("block_norms", [False, True])
def test_fusing_twice_changes_nothing(block_norms: bool) -> None:
    once = fuse(small(), block_norms=block_norms)
    twice = fuse(once, block_norms=block_norms)
    assert [(path, type(m)) for path, m in once.named_modules()] == [
        (path, type(m)) for path, m in twice.named_modules()
    ]
    before, after = once.state_dict(), twice.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_block_norms_of_a_fused_model_fold_later() -> None:
    model = small()
    late, direct = fuse(fuse(model), block_norms=True), fuse(model, block_norms=True)
    late.load_state_dict(direct.state_dict())
    for static in (fuse(fuse(small(form="static")), block_norms=True), fuse(fuse(small(form="static_dense")))):
        x = images(static)
        assert static(x).isfinite().all()
    x = images(model)
    assert error(fuse(fuse(model), block_norms=True)(x), model(x)) < 1e-12


def test_requires_grad_is_kept() -> None:
    operator = trained("xvolution")
    assert all(parameter.requires_grad for parameter in fuse(operator).parameters())
    for parameter in operator.attention.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        kept = {name: p.requires_grad for name, p in fuse(operator).named_parameters()}
    assert kept == {"bias": True, "static_1": True, "static_2": True, "projection": False, "tap_weight": False}
    with torch.inference_mode():
        assert not any(p.requires_grad for p in fuse(operator.requires_grad_(False)).parameters())
    atomic = fuse(trained("xvolution"))
    atomic(torch.randn(1, 6, 9, 8, dtype=torch.double)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in atomic.parameters())


def test_training_a_fused_operator_warns() -> None:
    fused = fuse(small())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fused.train()
    assert len(caught) == 1 and "no batch norm left" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused.eval()


@pytest.mark.parametrize("norm", ["sync", "no affine", "frozen", "other eps"])
def test_every_kind_of_batch_norm_folds(norm: str) -> None:
    operator = trained("xvolution")
    for branch in (operator.convolution, operator.attention):
        if norm == "sync":
            branch.norm = nn.SyncBatchNorm(12)
        elif norm == "no affine":
            branch.norm = nn.BatchNorm2d(12, affine=False)
        elif norm == "frozen":
            branch.norm = FrozenBatchNorm2d(12)
            branch.norm.running_var.uniform_(0.3, 2.0)
        else:
            branch.norm = nn.BatchNorm2d(12, eps=0.1)
    shake(operator.double().eval())
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    assert error(fuse(operator)(x), operator(x)) < 1e-12


class Louder(PSSA):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def macs(self, height: int, width: int) -> int:
        return 0


def spoil(case: str) -> nn.Module:
    operator: Any = trained("xvolution", channels=(4, 4))
    if case == "subclass":
        operator.attention = Louder(4, 4)
    elif case == "group norm":
        operator.attention.norm = nn.GroupNorm(2, 4)
    elif case == "batch statistics":
        operator.attention.norm = nn.BatchNorm2d(4, track_running_stats=False)
    elif case == "instance norm":
        operator.convolution.norm = nn.InstanceNorm2d(4)
    elif case == "added":
        operator.attention.gate = nn.BatchNorm2d(4)
    elif case == "bias":
        operator.attention.value = nn.Conv2d(4, 4, 1)
    elif case == "circular":
        operator.convolution.conv.padding_mode = "circular"
    elif case == "parametrised":
        parametrizations.weight_norm(operator.convolution.conv)
    elif case == "hook":
        operator.attention.register_forward_hook(lambda module, inputs, output: 2 * output)
    elif case == "forward":
        operator.convolution.forward = lambda x: x
    elif case == "foreign":
        operator = Foreign()
    elif case == "root subclass":
        operator = Louder(4, 4)
    return nn.Sequential(nn.Conv2d(3, 4, 1), operator).eval()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("subclass", r"cannot fuse 1: .*attention.*Louder"),
        ("group norm", r"1\.attention: .*norm.*GroupNorm"),
        ("instance norm", r"1\.convolution: .*InstanceNorm"),
        ("batch statistics", r"1: cannot fold a BatchNorm2d with track_running_stats=False"),
        ("added", r"1\.attention: it holds gate, which a PSSA does not have"),
        ("bias", r"1\.attention: its value has a bias"),
        ("circular", r"1: Conv2d\(.*circular.*is not the 3x3 of stride 1"),
        ("parametrised", r"1\.convolution: .*Parametrized"),
        ("hook", r"1\.attention: it has forward hooks"),
        ("forward", r"1\.convolution: .*a replaced forward"),
        ("foreign", r"1: .*Foreign is an operator with a batch norm inside"),
        ("root subclass", r"1: .*Louder is a subclass of PSSA"),
    ],
)
def test_unknown_structure_is_refused(case: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fuse(spoil(case))


def test_block_norms_of_unknown_blocks_are_refused() -> None:
    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn2, self.conv2 = nn.BatchNorm2d(4), build_operator("pssa", 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv2(self.bn2(x))

    model = PreActivation().eval()
    with pytest.raises(UserError, match=r"cannot tell which batch norm follows conv2 in a .*PreActivation"):
        fuse(model, block_norms=True)


def test_an_operator_that_is_used_twice_stays_one() -> None:
    operator = trained("pssa", channels=(4, 4))
    fused = fuse(nn.Sequential(operator, nn.ReLU(), operator).eval())
    assert isinstance(fused[0], AtomicXVolution) and fused[0] is fused[2]
    model = small()
    model.layer3[0].conv2 = model.layer2[0].conv2
    with pytest.raises(UserError, match=r"layer2\.0\.conv2 and layer3\.0\.conv2 are the same operator before two"):
        fuse(model, block_norms=True)


def test_state_dicts_of_the_other_kind_give_one_sentence() -> None:
    model = small().float()
    fused, blocks = fuse(model), fuse(model, block_norms=True)
    # Weights, the model that loads them, and the message.
    mixes = [
        (fused, model, r"of a fused operator.*not fused \(at layer2\.0\.conv2\).*into fuse\(model\.eval\(\)\)"),
        (blocks, model, r"fused with block_norms=True.*not fused.*into fuse\(model\.eval\(\), block_norms=True\)"),
        (model, fused, r"not fused and the model has a fused operator \(at layer2\.0\.conv2\): load them before fuse"),
        (model, blocks, r"load them before fuse, not after"),
        (fused, blocks, r"of a fused operator and the model has an operator fused with block_norms=True"),
        (blocks, fused, r"block_norms=True and the model has a fused operator \(at"),
    ]
    for weights, target, message in mixes:
        for strict in (True, False):
            with pytest.raises(UserError, match=message) as caught:
                copy.deepcopy(target).load_state_dict(weights.state_dict(), strict=strict)
            assert "\n" not in str(caught.value)
    operator = trained("pssa")
    with pytest.raises(UserError, match=r"the model has an operator that is not fused: load"):
        operator.load_state_dict(fuse(operator).state_dict())
    twin = fuse(small("xvolution").float())
    twin.load_state_dict(fused.state_dict())
    x = images(model)
    assert torch.equal(twin(x), fused(x))


def test_fused_models_copy_and_average() -> None:
    fused = fuse(small())
    x = images(fused)
    assert torch.equal(copy.deepcopy(fused)(x), fused(x))
    average = torch.optim.swa_utils.AveragedModel(fused, use_buffers=True)
    average.update_parameters(fused)
    fused.load_state_dict(average.module.state_dict())


def test_a_fused_copy_made_in_inference_mode_can_be_trained_and_loaded() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(build_operator("xvolution", 4, 8), nn.BatchNorm2d(8)).eval()
    with torch.inference_mode():
        fused = fuse(model)
    assert not any(tensor.is_inference() for tensor in (*fused.parameters(), *fused.buffers()))
    fused(torch.randn(2, 4, 9, 9)).sum().backward()
    with torch.no_grad():
        fused[0].bias.add_(1)


@pytest.mark.filterwarnings("ignore")  # weight_norm is deprecated
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_old_style_weight_norm_is_refused_in_words(place: str) -> None:
    model = nn.Sequential(build_operator("xvolution", 4, 8), nn.Conv2d(8, 8, 1)).eval()
    nn.utils.weight_norm(model[0].convolution.conv if place == "inside" else model[1])
    with pytest.raises(UserError, match=r"forward pre hooks" if place == "inside" else r"1\.weight is computed from"):
        fuse(model)


@pytest.mark.parametrize("copies", [fuse, lambda model: count_macs(model, (4, 9, 9))], ids=["fuse", "count_macs"])
def test_what_cannot_be_copied_is_named(copies: Callable[[nn.Module], object]) -> None:
    model = nn.Sequential(build_operator("xvolution", 4, 8), nn.Conv2d(8, 8, 1)).eval()
    prune.random_unstructured(model[1], "weight", 0.5)
    with pytest.raises(UserError, match=r"cannot copy the model: 1\.weight is computed .* prune\.remove first"):
        copies(model)
    prune.remove(model[1], "weight")
    for value in ([model(torch.randn(1, 4, 5, 5))], threading.Lock()):
        model[0].norms = value
        with pytest.raises(UserError, match=r"model: 0\.norms cannot be copied \(.*\); remove it first$"):
            copies(model)
