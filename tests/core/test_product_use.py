"""The two probes of product use compute what they say, and leave the rest of a run as it is."""

from __future__ import annotations

import csv
import signal
from operator import not_
from pathlib import Path
from typing import Any

import pytest
import torch
from core_tools import Death, Set, outcome, result_of, tiny
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.kernels.spec import FORMS
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.training import product_use
from lightning_xvol.training.hashing import weights_sha256

PRODUCTS = [name for name, form in FORMS.items() if form.product]
CASES: list[tuple[str, int, dict[str, Any]]] = [
    *[(form, 1, {}) for form in PRODUCTS],
    *[(form, 2, {"normalize": True, "num_heads": 3, "centre": True}) for form in PRODUCTS],
    *[(form, 1, {"normalize": False, "propagate": True}) for form in PRODUCTS],
    ("dot", 1, {"position_encoding": True, "num_heads": 4, "shift_distances": (2, 7)}),
    ("hadamard", 2, {"position_encoding": True, "normalize": False}),
]
BATCHES = [torch.randn(5, 6, 7, 9, dtype=torch.double, generator=torch.Generator().manual_seed(k)) for k in range(3)]


def make(form: str, stride: int = 1, **options: Any) -> nn.Sequential:
    """A network of one float64 PSSA, without parameters at zero, and with statistics that fit no data."""
    torch.manual_seed(0)
    operator = build_operator("pssa", 6, 12, stride, form=form, **options).double()
    for parameter in operator.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    nn.init.normal_(operator.norm.running_mean)
    return nn.Sequential(operator).eval()


def show(network: nn.Module) -> None:
    with torch.inference_mode():
        for batch in BATCHES:
            network(batch)


def around(x: Tensor, operator: PSSA) -> Tensor:
    """The values under each tap, NaN outside the map: `[B, C, H, W]` to `[T, B, C, H', W']`."""
    height, width = x.shape[2:]
    padded = x.new_full((*x.shape[:2], height + 20, width + 20), torch.nan)
    padded[:, :, 10 : 10 + height, 10 : 10 + width] = x
    windows = [padded[:, :, 10 + i : 10 + i + height, 10 + j : 10 + j + width] for i, j in operator.spec.offsets]
    return torch.stack(windows)[..., :: operator.spec.stride, :: operator.spec.stride]


def mean_coefficients(operator: PSSA) -> Tensor:
    """The mean per tap and channel, `[T, C]`, over the positions of all batches whose tap is in the map."""
    x, spec = torch.cat(BATCHES), operator.spec
    q, k = operator.query(x), operator.key(x)
    d = 12 // spec.num_heads

    def unit(z: Tensor) -> Tensor:
        heads = z.unflatten(1, (-1, d))
        return (d**0.5 * heads / heads.norm(dim=2, keepdim=True).clamp_min(1e-3)).flatten(1, 2)

    def by_head(z: Tensor) -> Tensor:
        """The sum over each head's channels, at each of them."""
        return z.unflatten(2, (-1, d)).sum(3).repeat_interleave(d, 2)

    if spec.normalize:
        q, k = unit(q), unit(k)
    k = around(k, operator)
    if not operator.form.value:
        coefficient = q + 0 * k
    elif spec.form == "softmax":
        logits = by_head((q * k).nan_to_num()) / d**0.5 + spread(operator.tap_weight)
        coefficient = logits.softmax(0) + 0 * k
    elif spec.form == "hadamard":
        coefficient = q * k
    else:
        coefficient = by_head(q * k) / (d**0.5 if spec.normalize else 1)
    if operator.tap_bias is not None:
        coefficient = coefficient + spread(operator.tap_bias)
    return coefficient.nanmean((1, 3, 4))


def spread(table: Tensor) -> Tensor:
    """`[h, T]` or `[C, T]` as `[T, 1, C, 1, 1]`."""
    return table.repeat_interleave(12 // len(table), 0).t()[:, None, :, None, None]


def static_sum(operator: PSSA, mean: Tensor, x: Tensor) -> Tensor:
    """`sum_j w_j m_j S_j v` before propagation and batch norm. In forms without a value, v is the normalised keys."""
    moved = operator.value(x) if operator.form.value else operator.key(x)
    if operator.spec.normalize and not operator.form.value:
        heads = moved.unflatten(1, (operator.spec.num_heads, -1))
        moved = (heads.shape[2] ** 0.5 * heads / heads.norm(dim=2, keepdim=True).clamp_min(1e-3)).flatten(1, 2)
    terms = mean[:, None, :, None, None] * around(moved, operator).nan_to_num()  # [T, B, C, H', W']
    if operator.form.weight == "dense":
        return torch.einsum("otc,tbchw->bohw", operator.tap_weight, terms)
    return (terms if operator.form.softmax else spread(operator.tap_weight) * terms).sum(0)


@torch.no_grad()
@pytest.mark.parametrize(("form", "stride", "options"), CASES, ids=str)
def test_mean_ablated_is_the_static_convolution_of_the_mean_coefficients(
    form: str, stride: int, options: dict[str, Any]
) -> None:
    network = make(form, stride, **options)
    operator = network[0]
    mean = mean_coefficients(operator).nan_to_num()  # a tap that is never in the map needs no mean

    def expected(x: Tensor) -> Tensor:
        y = static_sum(operator, mean, x)
        return y if operator.propagation is None else kernels.propagate(y, operator.propagation, stride)

    product_use.mean_ablated(network, show)
    assert not product_use.with_product(network)
    norm = operator.norm
    scale, offset = norm.weight, norm.bias

    def normed(y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        factor = scale / (variance + norm.eps).sqrt()
        return (y - mean[:, None, None]) * factor[:, None, None] + offset[:, None, None]

    outputs = [expected(x) for x in BATCHES]
    torch.testing.assert_close(network(BATCHES[0]), normed(outputs[0], norm.running_mean, norm.running_var))
    product_use.recalibrate(network, show)
    centre = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    variance = torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0)
    for x, y in zip(BATCHES, outputs, strict=True):
        torch.testing.assert_close(network(x), normed(y, centre, variance))


@torch.no_grad()
@pytest.mark.parametrize("form", PRODUCTS)
def test_q_shuffled_takes_the_queries_of_another_image(form: str) -> None:
    network, x = make(form), BATCHES[0]
    operator = network[0]
    key, value = operator.key(x), operator.value(x) if operator.form.value else None
    others = operator.query(x[[3, 4, 0, 1, 2]])  # rolled by two, half of five images
    expected = operator.norm(kernels.pssa(operator.spec, others, key, value, operator.tap_weight, None))
    plain = network(x)
    product_use.q_shuffled(network, show)
    torch.testing.assert_close(network(x), expected)
    assert (network(x) - plain).abs().max() > 0.1


class Constant(nn.Module):
    """Queries that are the same for every image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linspace(-1, 1, 12).to(x)[:, None, None].expand(len(x), 12, *x.shape[2:])


@torch.no_grad()
@pytest.mark.parametrize("form", PRODUCTS)
def test_queries_that_are_all_the_same_can_be_shuffled(form: str) -> None:
    network = make(form)
    network[0].query = Constant()
    plain = network(BATCHES[0])
    product_use.q_shuffled(network, show)
    assert torch.equal(network(BATCHES[0]), plain)
    if not FORMS[form].value:  # the query is the coefficient, so it is its own mean
        product_use.mean_ablated(network, show)
        torch.testing.assert_close(network(BATCHES[0]), plain)


def test_a_static_form_and_a_convolution_have_no_product() -> None:
    for name, options in [("convolution", {}), ("xvolution", {"form": "static"}), ("xvolution_pointwise", {})]:
        assert not product_use.with_product(build_operator(name, 6, 12, **options))
    assert list(product_use.with_product(build_operator("xvolution", 6, 12))) == ["attention"]


@pytest.fixture(scope="module")
def folder(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("product") / "cell"
    run(tiny("xvolution"), folder)
    return folder


def test_the_record_holds_both_probes_once_for_the_last_weights(folder: Path) -> None:
    metrics = result_of(folder)["metrics"]
    with (folder / "metrics.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name in ("top1_mean_ablated", "top1_q_shuffled"):
        value = round(float(rows[name]["value"]), 4)
        assert (rows[name]["step"], rows[name]["epoch"]) == ("23", "5")
        assert metrics[name] == {"last": value, "best": value, "best_epoch": 5}
        assert round(value * 40 / 100, 4).is_integer(), "of the 40 test images"


def test_a_run_without_a_product_has_no_probes(run: Any, tmp_path: Path) -> None:
    run(tiny("xvolution", operator__form="static", train__steps=5), tmp_path / "cell")
    assert set(result_of(tmp_path / "cell")["metrics"]) == {"loss", "top1", "val_loss", "val_top1"}


@pytest.mark.parametrize("precision", ["bf16-true", "16-mixed"])
def test_the_probes_work_in_low_precision(precision: str, run: Any, tmp_path: Path) -> None:
    run(tiny("pssa", train__steps=3, train__precision=precision), tmp_path / "cell")
    metrics = result_of(tmp_path / "cell")["metrics"]
    assert {"top1_mean_ablated", "top1_q_shuffled"} <= set(metrics)


def test_the_probes_change_nothing_else_in_the_run(run: Any, folder: Path, tmp_path: Path) -> None:
    run(tiny("xvolution"), tmp_path / "cell", faults=[Set("lightning_xvol.training.evaluation:with_product", not_)])
    without, with_both = result_of(tmp_path / "cell"), result_of(folder)
    assert without["weights_sha256"] == with_both["weights_sha256"]
    ablated = {f"top1_{name}" for name in product_use.PROBES}
    assert set(with_both["metrics"]) - set(without["metrics"]) == ablated
    assert without["metrics"] == {name: value for name, value in with_both["metrics"].items() if name not in ablated}


def test_a_run_killed_in_a_probe_resumes(run: Any, folder: Path, tmp_path: Path) -> None:
    cell, death = tmp_path / "cell", Death("lightning_xvol.training.product_use:recalibrate", 2, kill=True)
    run(tiny("xvolution"), cell, death=death, expect=-signal.SIGKILL)
    assert not (cell / "result.json").exists()
    run(tiny("xvolution"), cell)
    assert outcome(cell) == outcome(folder)
    assert result_of(cell)["segments"][1]["start_step"] == 23


def test_the_probes_change_a_copy_of_the_network(folder: Path) -> None:
    """The kept checkpoint, with the probes applied by hand, gives the recorded accuracies."""
    from lightning_xvol.config.resolved import resolve
    from lightning_xvol.data.module import ImageDataModule
    from lightning_xvol.training.run import build_network

    config = resolve(tiny("xvolution"))
    data = ImageDataModule(config)
    [checkpoint] = (folder / "checkpoints").iterdir()
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    state = {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}
    for name, ablate in product_use.PROBES.items():
        network = build_network(config, data.num_classes, 1)
        network.load_state_dict(state)
        assert weights_sha256(network) == result_of(folder)["weights_sha256"]

        def training_images(network: nn.Module) -> None:
            batches = [images for images, _, _ in data.loader_of_epoch(0)][: product_use.BATCHES]
            with torch.no_grad():
                for images in batches:
                    network(images.contiguous(memory_format=torch.channels_last))

        ablate(network, training_images)
        product_use.recalibrate(network, training_images)
        with torch.no_grad():
            hits = sum(
                int((network(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum())
                for images, labels, _ in data.test_dataloader()
            )
        assert result_of(folder)["metrics"][f"top1_{name}"]["last"] == pytest.approx(100 * hits / 40, abs=1e-3)
