"""`ClassificationModule` is an ordinary LightningModule, and its metrics are right."""

from __future__ import annotations

import math

import pytest
import torch
from core_tools import tiny
from pytorch_lightning import Trainer
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.modules.classification import ClassificationModule

SILENT = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu",
}  # fmt: skip


def loader(images, labels, batch_size):
    return DataLoader(TensorDataset(images, labels, torch.arange(len(labels))), batch_size)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("operator", [*OPERATORS, "core_plugins:DropoutConvolution"])
def test_every_operator_trains_in_a_plain_trainer(operator, memory_format):
    config = tiny(train__memory_format=memory_format)
    network = build_backbone(BackboneConfig(stages=(2, 3, 4, 5)), OperatorConfig(operator), 7, 2)
    module = ClassificationModule(network, config, num_classes=7, total_steps=4)
    before = {name: value.clone() for name, value in module.named_parameters()}
    data = loader(torch.randn(8, 2, 16, 16), torch.arange(8) % 7, 4)
    trainer = Trainer(fast_dev_run=2, **SILENT)
    trainer.fit(module, data, data)
    trainer.test(module, data, verbose=False)
    assert trainer.global_step == 2
    assert set(trainer.callback_metrics) >= {"top1", "top5", "loss"}
    still = [name for name, value in module.named_parameters() if torch.equal(value, before[name])]
    assert not still


class Fixed(torch.nn.Module):
    """A network whose logits are its images, [B, classes, 1, 1]."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * images.flatten(1)


def count_by_hand(logits, labels):
    """Percent of images whose label is among the k largest logits, and the mean loss, image by image."""
    hits = {1: 0, 5: 0}
    for scores, label in zip(logits.tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
        for k in hits:
            hits[k] += label in ranked[:k]
    loss = sum(
        math.log(sum(map(math.exp, scores))) - scores[label]
        for scores, label in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    return {f"top{k}": 100 * hit / len(labels) for k, hit in hits.items()} | {"loss": loss / len(labels)}


@pytest.mark.parametrize("batch_size", [4, 23, 50])
@pytest.mark.parametrize("has_test", [False, True])
def test_accuracies_and_loss_equal_a_count_by_hand(has_test, batch_size):
    """Batches do not divide the split: the small last batch counts by its number of images."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 9, generator=generator) * 3, torch.randint(9, (50,), generator=generator)
    expected = count_by_hand(logits, labels)
    assert 0 < expected["top1"] < expected["top5"] < 100
    module = ClassificationModule(Fixed(), tiny(), num_classes=9, total_steps=1, has_test=has_test)
    trainer = Trainer(**SILENT)
    data = loader(logits[..., None, None], labels, batch_size)
    prefix = "val_" if has_test else ""
    for _ in range(2):  # nothing is carried from one evaluation to the next
        [found] = trainer.validate(module, data, verbose=False)
        assert found == pytest.approx({f"{prefix}{name}": value for name, value in expected.items()}, rel=1e-5)
        [found] = trainer.test(module, data, verbose=False)
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("classes", "names"), [(2, ["loss", "top1"]), (5, ["loss", "top1"]), (6, ["loss", "top1", "top5"])]
)
def test_top5_needs_more_than_five_classes(classes, names):
    module = ClassificationModule(Fixed(), tiny(), num_classes=classes, total_steps=1)
    data = loader(torch.randn(8, classes, 1, 1), torch.arange(8) % classes, 4)
    [found] = Trainer(**SILENT).test(module, data, verbose=False)
    assert sorted(found) == names


def test_the_training_loss_is_cross_entropy_at_the_weights_before_the_step():
    config = tiny(optim__lr=0.5, optim__warmup=0.0, optim__momentum=0.0, optim__weight_decay=0.0)
    module = ClassificationModule(Fixed(), config, num_classes=9, total_steps=10)
    images, labels = torch.randn(4, 9, 1, 1), torch.arange(4)
    trainer = Trainer(max_steps=1, log_every_n_steps=1, **SILENT)
    data = loader(images, labels, 4)
    trainer.fit(module, data, data)
    loss = functional.cross_entropy(images.flatten(1), labels)
    assert trainer.callback_metrics["train_loss"].item() == pytest.approx(loss.item(), rel=1e-6)
    assert trainer.callback_metrics["lr"].item() == pytest.approx(0.5)
    scale = torch.ones((), requires_grad=True)
    [gradient] = torch.autograd.grad(functional.cross_entropy(scale * images.flatten(1), labels), scale)
    assert module.network.scale.item() == pytest.approx(1 - 0.5 * gradient.item(), rel=1e-5)


def test_each_step_and_accumulated_batch_has_its_own_random_numbers():
    """They depend on (seed, micro-step) alone, so they neither repeat nor depend on the state before."""

    class Draws(Fixed):
        drawn: list

        def forward(self, images):
            if self.training:
                self.drawn.append(torch.rand(()).item())
            return super().forward(images)

    def run(accumulate, seed=0):
        module = ClassificationModule(
            Draws(), tiny(train__accumulate=accumulate, seed=seed), num_classes=9, total_steps=6
        )
        module.network.drawn = []
        torch.seed()  # another state each time
        trainer = Trainer(max_steps=6, accumulate_grad_batches=accumulate, **SILENT)
        data = loader(torch.randn(12, 9, 1, 1), torch.arange(12) % 9, 2)
        trainer.fit(module, data, data)
        return module.network.drawn

    one, two = run(1), run(2)
    assert len(one) == 6 and len(two) == 12 and len(set(two)) == 12
    assert one == two[:6] == run(1)
    assert not set(one) & set(run(1, seed=1))
