"""The learning rate equals that of torch's schedulers and the closed form."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.schema import OptimConfig
from lightning_xvol.modules.base import learning_rate_factor, make_optimizer


def factors(optim: OptimConfig, total: int) -> list[float]:
    return [learning_rate_factor(optim, step, total) for step in range(total)]


def of_torch(make_scheduler, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_multistep_is_torchs_at_epochs_30_60_and_90_of_100():
    optim = RECIPES["imagenet_resnet50"].config().optim
    for steps_per_epoch in (1, 3, 7, 5004):
        total = 100 * steps_per_epoch
        # For every length of an epoch, the rate falls exactly at the first step of the epoch.
        expected = {0: 1.0, 30: 0.1, 60: 0.01, 90: 0.001}
        for epoch, factor in expected.items():
            first = epoch * steps_per_epoch
            assert learning_rate_factor(optim, first, total) == pytest.approx(factor, rel=1e-12)
            if epoch:
                assert learning_rate_factor(optim, first - 1, total) == pytest.approx(10 * factor, rel=1e-12)
        assert learning_rate_factor(optim, total - 1, total) == pytest.approx(1e-3, rel=1e-12)
    torchs = of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [90, 180, 270], 0.1), 300)
    assert factors(optim, 300) == pytest.approx(torchs, rel=1e-9)


def test_cosine_is_torchs_annealing_to_zero():
    torchs = of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 137), 137)
    assert factors(OptimConfig(schedule="cosine", warmup=0.0), 137) == pytest.approx(torchs, abs=1e-12)


@pytest.mark.parametrize("total", [10, 40, 144, 279, 1000])
def test_cosine_after_a_warm_up_spans_the_rest_and_ends_at_zero(total):
    optim = OptimConfig(schedule="cosine", warmup=0.1)
    found = factors(optim, total)
    first = math.ceil(total / 10)
    for step in range(first, total):
        t = (step / total - 0.1) / 0.9
        assert found[step] == pytest.approx((1 + math.cos(math.pi * t)) / 2, abs=1e-12)
    assert learning_rate_factor(optim, total, total) == pytest.approx(0, abs=1e-12)
    assert found[first:] == sorted(found[first:], reverse=True) and found[-1] > 0
    # The area under half a cosine is half its base, so no part of the budget is lost.
    if total == 1000:
        assert sum(found[first:]) / (total - first) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("warmup", "total"), [(0.1, 279), (0.1, 40), (0.07, 100), (0.14, 50), (0.28, 25), (0.55, 100)])
def test_warm_up_rises_in_equal_steps_and_reaches_the_full_rate_exactly(warmup, total):
    optim = OptimConfig(schedule="multistep", warmup=warmup)
    found = factors(optim, total)
    length = sum(step / total < warmup for step in range(total))
    assert found[:length] == pytest.approx([(step + 1) / length for step in range(length)], rel=1e-12)
    assert found[length - 1 : length + 1] == [1.0, 1.0]


def test_warm_up_is_torchs_linear_warm_up():
    torchs = of_torch(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 10, 1.0, total_iters=9), 20)
    assert factors(OptimConfig(schedule="multistep", warmup=0.5), 20)[:10] == pytest.approx(torchs[:10], rel=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "multistep"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_budgets_train_at_a_rate_above_zero(schedule, total):
    for warmup in (0.0, 0.1, 0.9):
        found = factors(OptimConfig(schedule=schedule, warmup=warmup, milestones=(0.5,)), total)
        assert all(0 < factor <= 1 for factor in found), (warmup, found)


def test_sgd_follows_the_formula_with_the_learning_rate_of_each_step():
    """Momentum and weight decay work as in torch's SGD, on every parameter, also on biases and norms."""
    optim = OptimConfig(lr=0.2, momentum=0.9, weight_decay=0.01, warmup=0.25)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).double()
    module[0].bias.requires_grad_(False)
    made = make_optimizer(module, optim, 8)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in made["optimizer"].param_groups) == len(parameters) == 3
    assert made["lr_scheduler"]["interval"] == "step"
    values = [parameter.detach().clone() for parameter in parameters]
    velocity = [torch.zeros_like(value) for value in values]
    for step in range(8):
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1))
            velocity[index] = 0.9 * velocity[index] + parameter.grad + 0.01 * values[index]
            values[index] -= 0.2 * learning_rate_factor(optim, step, 8) * velocity[index]
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    for parameter, value in zip(parameters, values, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_norms_may_go_without_weight_decay():
    """As in Detectron2, biases of other layers keep their weight decay."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.GroupNorm(1, 2))
    groups = make_optimizer(module, OptimConfig(weight_decay=0.01, decay_norms=False), 8)["optimizer"].param_groups
    decays = {parameter: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [decays[parameter] for parameter in module.parameters()] == [0.01, 0.01, 0, 0, 0, 0]
    assert type(make_optimizer(module, OptimConfig(optimizer="adamw"), 8)["optimizer"]) is torch.optim.AdamW
