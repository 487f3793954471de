"""The fine-tuning without the product is an ordinary training that goes on, and leaves the rest of a run as it is."""

from __future__ import annotations

import copy
import csv
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from core_tools import Death, Set, outcome, result_of, tiny
from torch import nn
from torch.nn import functional as F

from lightning_xvol.config import registry
from lightning_xvol.config.fine_tuning import is_fine_tuned
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import set_value
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import UserError
from lightning_xvol.kernels.spec import FORMS
from lightning_xvol.seeding import derive_seed
from lightning_xvol.training import product_use
from lightning_xvol.training.fine_tuning import fine_tuned
from lightning_xvol.training.run import build_network
from lightning_xvol.training.tasks import without_effect

SHARE = 0.4
COMPUTE = {"devices": 1, "accelerator": "cpu", "precision": "32-true", "use_distributed_sampler": False}
OPERATORS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in registry.OPERATORS],
    *[(name, {"form": form, "num_heads": None}) for name in ("pssa", "xvolution") for form in FORMS],
    ("xvolution", {"frozen_query_key": True}),
]


@pytest.mark.parametrize(("operator", "options"), OPERATORS, ids=str)
def test_the_field_is_in_an_id_where_there_is_a_product_to_remove(operator: str, options: dict[str, Any]) -> None:
    without = tiny(operator, **{f"operator__{name}": value for name, value in options.items()})
    config = resolve(set_value(without, "train.finetune_ablated", SHARE))
    with torch.device("meta"):
        network = build_network(config, 2, 1)
    has_product = bool(product_use.with_product(network))
    assert is_fine_tuned(config) == has_product
    assert (config.cell_id == resolve(without).cell_id) != has_product
    told = [f"train.finetune_ablated=0.4 has no effect on {operator!r}, which has no product of PSSA"]
    assert without_effect(config, network) == ([] if has_product else told)
    assert without_effect(without, network) == []


@pytest.mark.parametrize("share", [-0.1, 1.01])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(UserError, match=r"train\.finetune_ablated=.* must be a share"):
        resolve(tiny("pssa", train__finetune_ablated=share))


def by_hand(network: nn.Module, config: Any, data: ImageDataModule, first: int, steps: int) -> nn.Module:
    """`steps` steps of SGD from step `first` of the run on, as the formulas say."""
    network = copy.deepcopy(network).train()
    split = data.data.train()
    images, labels = (torch.stack([torch.as_tensor(split[k][part]) for k in range(40)]) for part in (0, 1))
    optimizer = torch.optim.SGD(
        network.parameters(), config.optim.lr, momentum=config.optim.momentum, weight_decay=config.optim.weight_decay
    )
    for step in range(steps):
        epoch, within = divmod(first + step, 5)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(derive_seed(config.seed, "order", epoch)))
        batch = order[8 * within : 8 * within + 8]
        optimizer.param_groups[0]["lr"] = 0.1 * config.optim.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        parts = batch.view(config.train.accumulate, -1)
        for part in parts:
            loss = F.cross_entropy(network(images[part].contiguous(memory_format=torch.channels_last)), labels[part])
            (loss / len(parts)).backward()
        optimizer.step()
    return network


@pytest.mark.filterwarnings("ignore:.*srun")
@pytest.mark.parametrize(
    ("form", "steps", "accumulate"), [("dot", 23, 1), ("hadamard", 20, 1), ("dense", 22, 2), ("softmax", 9, 1)]
)
def test_it_is_sgd_on_the_next_batches_from_a_tenth_of_the_rate(form: str, steps: int, accumulate: int) -> None:
    config = resolve(
        tiny(
            "xvolution", operator__form=form, operator__num_heads=None, train__steps=steps,
            train__accumulate=accumulate, train__finetune_ablated=SHARE,
        )
    )  # fmt: skip
    data = ImageDataModule(config)
    network = build_network(config, data.num_classes, 1)

    def show(network: nn.Module) -> None:
        for batch in data.calibration_loader(product_use.BATCHES):
            network(data.normalise(batch).images)

    with torch.inference_mode():
        product_use.mean_ablated(network, show)
        product_use.recalibrate(network, show)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    module = fine_tuned(network, config, data, COMPUTE)
    assert module is not None
    expected = by_hand(network, config, data, steps, round(SHARE * steps))
    found = dict(module.network.named_parameters())
    taps = [name for name in found if name.endswith("tap_weight")]
    assert taps and not [name for name in found if "query" in name]
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(found[name], parameter, rtol=1e-4, atol=1e-6, msg=name)
        assert not torch.equal(parameter, before[name]) or "propagation" in name, f"{name} is trained"
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), f"the ablated network itself keeps {name}"
    assert data.plan.total_steps == steps and data.first_step == 0


@pytest.fixture(scope="module")
def folder(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("tuned") / "cell"
    run(tiny("xvolution", train__finetune_ablated=SHARE), folder)
    return folder


def test_the_record_has_one_more_metric_and_is_else_as_without(run: Any, folder: Path, tmp_path: Path) -> None:
    run(tiny("xvolution"), tmp_path / "cell")
    without, tuned = result_of(tmp_path / "cell"), result_of(folder)
    assert tuned["weights_sha256"] == without["weights_sha256"] and tuned["cell_id"] != without["cell_id"]
    value = tuned["metrics"].pop("top1_mean_finetuned")
    assert tuned["metrics"] == without["metrics"]
    with (folder / "metrics.csv").open(newline="") as file:
        [row] = [row for row in csv.DictReader(file) if row["name"] == "top1_mean_finetuned"]
    last = round(float(row["value"]), 4)
    assert value == {"last": last, "best": last, "best_epoch": 5} and (row["step"], row["epoch"]) == ("23", "5")


def test_a_run_killed_in_the_fine_tuning_resumes(run: Any, folder: Path, tmp_path: Path) -> None:
    config, cell = tiny("xvolution", train__finetune_ablated=SHARE), tmp_path / "cell"
    death = Death("lightning_xvol.training.fine_tuning:_GoOn.on_train_batch_end", 5, kill=True)
    run(config, cell, death=death, expect=-signal.SIGKILL)
    assert not (cell / "result.json").exists()
    run(config, cell)
    assert outcome(cell) == outcome(folder)
    assert result_of(cell)["segments"][1]["start_step"] == 23


def test_a_fine_tuning_that_diverges_gives_no_result_and_the_run_is_finished(run: Any, tmp_path: Path) -> None:
    faults = [Set("lightning_xvol.config.fine_tuning:LEARNING_RATE", 1e30)]
    run(tiny("pssa", train__finetune_ablated=SHARE, train__steps=9), tmp_path / "cell", faults=faults)
    result = result_of(tmp_path / "cell")
    assert result["status"] == "finished"
    assert "top1_mean_ablated" in result["metrics"] and "top1_mean_finetuned" not in result["metrics"]
