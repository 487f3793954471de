"""`RegressionModule` agrees with numpy's least squares, and its runs resume exactly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest
import torch
from core_tools import Death, outcome, result_of
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import set_value
from lightning_xvol.modules.regression import RegressionModule, fit_static

SILENT = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu",
}  # fmt: skip


def quick(**changes):
    """23 steps of 8 maps, 5 steps an epoch."""
    values = {
        "data.size": 5, "data.channels": 3, "data.train_size": 40, "data.validation_size": 20, "data.batch_size": 8,
        "train.steps": 23, "train.checkpoint_every": 3,
    }  # fmt: skip
    config = get_recipe("attention_maps").config("pssa")
    for path, value in {**values, **changes}.items():
        config = set_value(config, path, value)
    return config


def example(channels=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, channels, 4, 6, generator=generator) + 1
    y = torch.einsum("oc,bchw->bohw", torch.randn(2, channels, generator=generator), x) + 3
    return x, y + torch.randn(y.shape, generator=generator)


def numpy_fit(x, y):
    """Fitted values, residuals and targets of a regression on the channels and a constant, by position."""
    columns = x.movedim(1, -1).reshape(-1, x.shape[1]).double().numpy()
    columns = numpy.concatenate([columns, numpy.ones((len(columns), 1))], 1)
    targets = y.movedim(1, -1).reshape(-1, y.shape[1]).double().numpy()
    fitted = columns @ numpy.linalg.lstsq(columns, targets, rcond=None)[0]
    return fitted, targets - fitted, targets


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_the_static_fit_is_numpys_least_squares(parts):
    x, y = example()
    fit = fit_static(zip(x.chunk(parts), y.chunk(parts), strict=True))
    assert fit.weight.shape == (2, 4, 1, 1)
    fitted, residuals, targets = numpy_fit(x, y)
    ours = nn.functional.conv2d(torch.cat([x, torch.ones(10, 1, 4, 6)], 1).double(), fit.weight)
    numpy.testing.assert_allclose(ours.movedim(1, -1).reshape(-1, 2), fitted, atol=1e-10)
    assert fit.scale.item() == pytest.approx(numpy.sqrt((residuals**2).mean()))
    numpy.testing.assert_allclose(fit.mean.flatten(), targets.mean(0))


def test_a_channel_that_is_always_zero_does_not_matter():
    x, y = example()
    with_dead = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
    assert fit_static([(with_dead, y)]).scale.item() == pytest.approx(fit_static([(x, y)]).scale.item())


class Answer(nn.Module):
    """A network that knows `part` of the residual of the static convolution."""

    def __init__(self, module, x, y, part):
        super().__init__()
        self.left = part * (y - module.fixed(x)) / module.static_scale
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.left + self.weight * x.sum()


def validate(x, y, part):
    module = RegressionModule(nn.Identity(), quick(), static=fit_static([(x, y)]), total_steps=1, has_test=False)
    module.network = Answer(module, x, y, part)
    loader = DataLoader(TensorDataset(x, y, torch.arange(len(x))), len(x))
    [found] = Trainer(**SILENT).validate(module, loader, verbose=False)
    return found


def test_shares_of_variance_equal_a_count_by_hand():
    x, y = example()
    _, residuals, targets = numpy_fit(x, y)
    static = 1 - (residuals**2).sum() / ((targets - targets.mean(0)) ** 2).sum()
    nothing, half, everything = (validate(x, y, part) for part in (0.0, 0.5, 1.0))
    assert nothing["explained_beyond_static"] == pytest.approx(0, abs=1e-4)
    assert nothing["explained_variance"] == pytest.approx(100 * static, abs=1e-3)
    assert half["explained_beyond_static"] == pytest.approx(75, abs=1e-3)  # half the residual, squared
    assert half["explained_variance"] == pytest.approx(100 * (1 - (1 - static) / 4), abs=1e-3)
    assert everything["explained_variance"] == pytest.approx(100, abs=1e-3)
    assert (nothing["loss"], half["loss"]) == pytest.approx((1, 0.25), rel=1e-4)


@pytest.mark.parametrize(("size", "reach"), [(1, 0), (3, 1), (7, 3)])
def test_reach_is_the_radius_of_a_box_filter(size, reach):
    x, y = torch.randn(4, 3, 9, 9), torch.randn(4, 2, 9, 9)
    network = nn.Conv2d(3, 2, size, padding=size // 2)
    nn.init.ones_(network.weight)
    module = RegressionModule(network, quick(), static=fit_static([(x, y)]), total_steps=1, has_test=False)
    loader = DataLoader(TensorDataset(x, y, torch.arange(4)), 2)
    [found] = Trainer(**SILENT).validate(module, loader, verbose=False)
    assert found["reach"] == reach


def test_a_network_that_has_exploded_has_no_reach():
    x, y = torch.randn(4, 3, 9, 9), torch.randn(4, 2, 9, 9)
    network = nn.Conv2d(3, 2, 3, padding=1)
    nn.init.constant_(network.weight, 3e38)
    module = RegressionModule(network, quick(), static=fit_static([(x, y)]), total_steps=1, has_test=False)
    assert math.isnan(module._reach(x))


def test_a_killed_run_ends_as_the_uninterrupted_one(run, tmp_path: Path):
    step = "lightning_xvol.modules.base:SupervisedModule.training_step"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(quick(), whole)
    assert run(quick(), killed, expect=None, death=Death(step, 9, kill=True)) != 0
    run(quick(), killed)
    expected, found = result_of(whole), result_of(killed)
    assert set(expected["metrics"]) == {
        "explained_beyond_static", "explained_beyond_static_mean_ablated", "explained_beyond_static_q_shuffled",
        "explained_variance", "loss", "reach",
    }  # fmt: skip
    assert len(expected["segments"]) == 1 and found["segments"][1]["start_step"] == 6
    assert outcome(killed) == outcome(whole)
    assert (found["params"], found["macs"]) == (expected["params"], expected["macs"])


def test_an_untrained_network_explains_as_much_as_the_static_fit(run, tmp_path: Path):
    """Its head starts at 0. The row `static_1x1` of `ablations.approximation` needs that."""
    run(quick(**{"optim.lr": 0.0}), tmp_path / "cell")
    metrics = result_of(tmp_path / "cell")["metrics"]
    assert metrics["explained_beyond_static"]["last"] == pytest.approx(0, abs=1e-3)
    assert 0 < metrics["explained_variance"]["last"] < 100
    assert metrics["reach"]["last"] == 0
