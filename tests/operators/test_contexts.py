"""Operators where people put them: the meta device, symbolic traces, autocast of float64, a batch without images."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.nn.utils import skip_init
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_xvol import fuse
from lightning_xvol.backbones import place_strides, replace_operators
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from tests.resnets import small_resnet, timm_or_skip

MARKS = ("stride_mark.in_1x1", "fused")


def replaced(operator: str = "pssa") -> nn.Module:
    model = small_resnet("torchvision", "bottleneck")
    replace_operators(model, operator, stride_in_1x1=True)
    return model


def disturb(model: nn.Module) -> None:
    """What `to_empty` may find in memory."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if name in MARKS or name == "in_1x1":
                buffer.fill_(93842)


@pytest.mark.parametrize("fused", [False, True])
def test_marks_restore_themselves_after_the_meta_device(fused: bool, tmp_path: Path) -> None:
    made = replaced()
    made = fuse(made) if fused else made
    weights = copy.deepcopy(made.state_dict())
    marks = {name: value for name, value in weights.items() if name.endswith(MARKS)}
    assert marks
    empty = copy.deepcopy(made).to("meta").to_empty(device="cpu")
    assert {name: int(value) for name, value in empty.state_dict().items() if name in marks} == {
        name: int(value) for name, value in marks.items()
    }
    disturb(empty)  # for example by FSDP, which fills each module apart and then resets it
    saved = empty.state_dict()
    safetensors.torch.save_file({name: saved[name] for name in marks}, tmp_path / "marks.safetensors")
    for name, value in safetensors.torch.load_file(tmp_path / "marks.safetensors").items():
        assert torch.equal(value, marks[name])
    disturb(empty)
    for module in empty.modules():
        if any(name in dict(module.named_buffers(recurse=False)) for name in ("in_1x1", "fused")):
            module.reset_parameters()
    assert all(int(buffer) != 93842 for name, buffer in empty.named_buffers() if name.endswith(MARKS))
    empty.load_state_dict(weights)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(empty.eval()(x), made.eval()(x))


@pytest.mark.parametrize("fused", [False, True])
def test_an_unknown_mark_is_told_in_words(fused: bool) -> None:
    model = replaced()
    model = fuse(model) if fused else model
    weights = model.state_dict()
    name = next(name for name in weights if name.endswith("fused" if fused else "in_1x1"))
    for value in (torch.tensor(93842), torch.tensor(-1), torch.tensor([1, 1])):
        with pytest.raises(UserError, match=rf"^{name}=.* is no mark that this package writes .* set it to \d in the"):
            model.load_state_dict({**weights, name: value})


def test_marks_keep_their_memory() -> None:
    model = replaced().share_memory()
    assert all(buffer.is_shared() for buffer in model.buffers())
    torch.save(model.state_dict(), io.BytesIO())
    with torch.inference_mode():
        inside = replaced().double().state_dict()
    replaced().double().load_state_dict(inside)


@pytest.mark.parametrize("converted", [False, True], ids=["made there", "moved there"])
def test_skipped_initialisation_keeps_the_marks(converted: bool) -> None:
    class Network(nn.Module):
        def __init__(self, device: Any = None) -> None:
            super().__init__()
            with torch.device("cpu" if converted else device):
                self.body = torchvision.models.resnet50()
            self.body.to(device)
            replace_operators(self.body, "pssa", stride_in_1x1=True)

    assert int(skip_init(Network).body.layer4[0].stride_mark.in_1x1) == 1


def test_the_default_device_does_not_empty_an_operator() -> None:
    model = small_resnet("torchvision", "bottleneck")
    with torch.device("meta"):
        replace_operators(model, "pssa", stride_in_1x1=True)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("operator", ["xvolution", "xvolution_sa", "involution", "se_convolution"])
def test_operators_are_leaves_of_a_symbolic_trace(operator: str, fused: bool) -> None:
    model = replaced(operator)
    if fused and operator != "se_convolution":
        model = fuse(model)
    calls: list[str] = []
    model.layer4[1].conv2.register_forward_hook(lambda *_: calls.append("hook"))
    x = torch.randn(2, 3, 64, 64)
    graph = torch.fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module" and "layer4" in node.target].count(
        "layer4.1.conv2"
    ) == 1
    assert not calls, "a hook of a leaf runs when the graph runs, not while it is traced"
    assert torch.equal(graph(x), model(x)) and calls == ["hook", "hook"]

    nodes = ["layer4", "layer4.0.conv2", "layer2"]
    found = create_feature_extractor(model, nodes)(x)
    assert set(found) == set(nodes)
    assert torch.equal(model.fc(model.avgpool(found["layer4"]).flatten(1)), model(x))
    assert found["layer4.0.conv2"].shape[1] == model.layer4[0].conv2.out_channels


def test_timms_feature_graph() -> None:
    timm = timm_or_skip()
    model = timm.create_model("resnet18", num_classes=2).eval()
    replace_operators(model, "xvolution", (5,))
    graph = timm.models._features_fx.FeatureGraphNet(model, out_indices=(0, 1, 2, 3, 4))
    assert [map_.shape[1] for map_ in graph(torch.randn(1, 3, 64, 64))] == [64, 64, 128, 256, 512]


def test_float64_stays_float64_under_autocast(case: Any) -> None:
    operator, x = case.build().double(), torch.randn(2, 6, 9, 8, dtype=torch.double)
    expected = operator(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = operator(x)
        assert nn.Conv2d(6, 12, 3, padding=1, dtype=torch.double)(x).dtype == y.dtype == torch.double
    assert torch.equal(y, expected)


@pytest.mark.slow
def test_an_exported_operator_takes_a_batch_without_images(case: Any) -> None:
    operator = case.build().eval()
    sizes = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(operator, (torch.randn(2, 6, 24, 20),), dynamic_shapes=(sizes,)).module()
    assert program(torch.randn(0, 6, 9, 8)).shape == (0, 12, 9, 8)


def test_an_operator_at_a_head_without_proposals() -> None:
    for name in ("involution", "pssa", "self_attention"):
        head = nn.Sequential(build_operator(name, 16, 16), nn.ReLU()).train()
        y = head(torch.zeros(0, 16, 8, 8, requires_grad=True))
        y.sum().backward()
        assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


def test_one_image_without_a_batch(case: Any) -> None:
    for stride in (1, 2):
        operator, x = case.build(stride=stride).eval(), torch.randn(6, 9, 8, requires_grad=True)
        y = operator(x)
        torch.testing.assert_close(y, operator(x[None])[0])
        y.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape


def test_models_replaced_in_inference_mode_can_be_loaded() -> None:
    with torch.inference_mode():
        model = torchvision.models.resnet50()
    trained = torchvision.models.resnet50()
    with torch.inference_mode():
        place_strides(trained, True)
        replace_operators(model, "convolution", stride_in_1x1=True)
    assert not any(mark.is_inference() for name, mark in trained.named_buffers() if name.endswith(MARKS))
    trained.load_state_dict(trained.state_dict())


def test_paired_hidden_units_cannot_all_be_dead(caplog: pytest.LogCaptureFixture) -> None:
    dead = {"random": 0, "pairs": 0}
    for start in dead:
        for seed in range(100):
            torch.manual_seed(seed)
            operator = build_operator("se_convolution", 48, 12, squeeze_start=start)
            operator(torch.randn(2, 48, 6, 6)).square().sum().backward()
            dead[start] += not operator.squeeze.weight.grad.any()
    assert dead["pairs"] == 0 < dead["random"], "the random start dies at times, or this test shows nothing"
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 100 and all("1 hidden units" in text and "'pairs'" in text for text in warned)
    rows = build_operator("se_convolution", 8, 20, reduction=4, squeeze_start="pairs").squeeze.weight
    assert torch.equal(rows[2:4], -rows[:2]) and len(rows) == 5
