"""Recipes: functions that return the whole configuration of a run. Nothing here imports torch.

A recipe takes an operator and its options. So a rule of the recipe, such as 4 heads for every attention operator in
the embedded recipes, holds for every operator that a sweep asks for. Each docstring says which table the recipe
reproduces, what the paper printed, the command, and the cost.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.schema import (
    BackboneConfig,
    DataConfig,
    DetectorConfig,
    OperatorConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from lightning_xvol.errors import choose

DECAYS = (60 / 90, 80 / 90)
"""When the learning rate falls in Table 7's schedules 1x and 2x, as parts of the budget."""
LATE_DECAYS = (210 / 270, 250 / 270)
"""The same for 3x and 6x."""


def lengthen(config: RunConfig, times: int) -> RunConfig:
    """`config` with `times` its budget, as Table 7 makes its schedules 2x, 3x and 6x from 1x.

    Table 7's schedule 1x gets the later decays at 3x and 6x; any other schedule is stretched. If the budget is given in
    steps, the warm-up keeps its number of steps.
    """
    train, optim = config.train, config.optim
    if optim.milestones == DECAYS and times >= 3:
        optim = dataclasses.replace(optim, milestones=LATE_DECAYS)
    if train.steps is None:
        train = dataclasses.replace(train, epochs=times * train.epochs)
    else:
        train = dataclasses.replace(train, steps=times * train.steps)
        optim = dataclasses.replace(optim, warmup=optim.warmup / times)
    return dataclasses.replace(config, train=train, optim=optim)


@dataclass(frozen=True)
class Recipe:
    """A named recipe.

    Attributes:
        name: what `--recipe` takes.
        make: the function that returns the configuration, from an operator's name and its options.
        seeds: how many seeds a sweep runs by default.
        reproduces: (table, backbone, setting) of the paper, or None.
        base_epochs: the epochs of 1x in the sweep `schedule`; None stands for the recipe's own budget.
    """

    name: str
    make: Callable[..., RunConfig]
    seeds: int = 3
    reproduces: tuple[str, str, str] | None = None
    base_epochs: int | None = None

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    @property
    def task(self) -> str:
        """The task of its data set: a key of `lightning_xvol.config.metrics.METRICS`."""
        data = self.config().data
        return registry.task(data.name, data.options)

    def config(self, operator: str = "convolution", **options: Any) -> RunConfig:
        return self.make(operator, options)


def _embedded_operator(name: str, options: Mapping[str, Any]) -> OperatorConfig:
    """The operator with 4 heads if it has heads: the default rule gives maps of 16 or 32 channels a single one."""
    entry = registry.lookup("operator", name)
    if "num_heads" in entry.options and "head_channels" not in options and _uses_heads({**entry.options, **options}):
        options = {"num_heads": 4, **options}
    return OperatorConfig(name, dict(options))


def _uses_heads(options: Mapping[str, Any]) -> bool:
    """Whether the form of PSSA has heads or norms per head. Operators refuse a number of heads that has no effect."""
    form, normalize = options.get("form", "dot"), options.get("normalize")
    if form in ("dot", "softmax", "static"):
        return True
    return form == "hadamard" if normalize is None else normalize


def _small(operator: str, options: Mapping[str, Any], data: str, epochs: int) -> RunConfig:
    return RunConfig(
        operator=_embedded_operator(operator, options),
        backbone=BackboneConfig("small_resnet", stages=(3, 4, 5), stride_in_1x1=True),
        data=DataConfig(data, batch_size=64),
        optim=OptimConfig(lr=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.1),
        train=TrainConfig(epochs=epochs, threads=1, memory_format="channels_last", checkpoint_every=25),
    )


def match_small(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """Match-to-sample on the small bottleneck ResNet: the embedded default, which takes minutes on a laptop.

    Reproduces no table: its generated data separate convolutions of different reach
    (docs/reproduction/match_small.md).
    Command: `python -m ablations.kernel_size --jobs 2`. Cost: 279 steps of 64 images, 32 x 32, about 10 to 20 s a
    run on one thread.
    """
    return _small(operator, options, "match", epochs=3)


def digits_small(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """Real handwritten digits (scikit-learn's, 8 x 8 enlarged to 32 x 32) on the small bottleneck ResNet.

    Reproduces no table: 1198 training and 599 test images are too few to separate most operators.
    Command: `python -m ablations.kernel_size --recipe digits_small --jobs 2`. Cost: 144 steps, about 5 to 10 s a
    run on one thread.
    """
    return _small(operator, options, "digits", epochs=8)


def fashion_small(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """Fashion-MNIST (28 x 28) on the small bottleneck ResNet: real images at a cost that two CPU cores can pay.

    Reproduces no table: the paper has no such result. Each seed draws 50,000 training and 1,000 validation images
    from the official 60,000; the official 10,000 are the test split. No augmentation. The strides 1, 2, 1, 1 give
    maps of 14, 7, 7 and 7 positions a side, so that every shift distance up to 5 stays inside them.
    Command: `python -m ablations.kernel_size --recipe fashion_small --jobs 2`. Cost: 1,562 steps of 64 images, 1 to
    1.6 minutes of CPU time a run on one thread.
    """
    config = _small(operator, options, "fashion_mnist", epochs=2)
    data = {"augment": False, "split": "by_seed", "train_size": 50_000, "validation_size": 1_000}
    return dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, options={"strides": (1, 2, 1, 1)}),
        data=dataclasses.replace(config.data, options=data),
        train=dataclasses.replace(config.train, checkpoint_every=200),
    )


def cifar10_resnet18(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """CIFAR-10 on ResNet-18 with a 3x3 stem and the operator in stage 5: a cheap check of Table 1's claims.

    Reproduces no table: the paper has no CIFAR result. The protocol is the usual one for this network: SGD 0.1,
    momentum 0.9, weight decay 5e-4, batch 128, 200 epochs, cosine.
    Command: `python -m ablations.kernel_size --recipe cifar10_resnet18 --data-dir DIR --download`. Cost: 78,000
    steps a run; for a GPU.
    """
    return RunConfig(
        operator=OperatorConfig(operator, dict(options)),
        backbone=BackboneConfig("resnet18", stages=(5,), options={"stem": "small"}),
        data=DataConfig("cifar10", batch_size=128, workers=4),
        optim=OptimConfig(lr=0.1, momentum=0.9, weight_decay=5e-4, schedule="cosine", warmup=0.0),
        train=TrainConfig(epochs=200, threads=1, checkpoint_every=1000),
    )


def _imagenet(backbone: str, operator: str, options: Mapping[str, Any]) -> RunConfig:
    return RunConfig(
        operator=OperatorConfig(operator, dict(options)),
        backbone=BackboneConfig(backbone, stages=(5,), stride_in_1x1=True),
        data=DataConfig("imagenet", batch_size=256, workers=8),
        optim=OptimConfig(
            lr=0.1,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="multistep",
            warmup=0.0,
            milestones=(0.3, 0.6, 0.9),
            gamma=0.1,
        ),
        train=TrainConfig(epochs=100, threads=4, checkpoint_every=2000),
    )


def imagenet_resnet34(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """ImageNet-1k on ResNet-34 with the operator in stage 5: the upper half of Table 1 (paper 4.1).

    Published top-1: convolution 73.8, self-attention 73.2, PSSA 73.6, X-volution 75.0 (stage 3), 74.3 (4), 74.2
    (5); means of five runs. SGD 0.1, momentum 0.9, weight decay 1e-4, batch 256, 100 epochs, x 0.1 every 30,
    224-pixel crops and flips.
    Command: `python -m ablations.kernel_size --recipe imagenet_resnet34 --data-dir DIR`. Cost: 500,400 steps a
    run, not run by us.
    """
    return _imagenet("resnet34", operator, options)


def imagenet_resnet50(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """ImageNet-1k on ResNet-50 with the operator in stage 5: the lower half of Table 1 (paper 4.1).

    Published top-1: convolution 75.7, self-attention 75.3, PSSA 75.5, X-volution 76.6 (stage 3), 75.1 (4), 75.9
    (5); means of five runs. The protocol is that of imagenet_resnet34. The first 1x1 of a bottleneck has the stride,
    because the operator has stride 1 (paper 6.1.2).
    Command: `python -m ablations.kernel_size --recipe imagenet_resnet50 --data-dir DIR`. Cost: 500,400 steps a
    run, not run by us.
    """
    return _imagenet("resnet50", operator, options)


def _attention(source: str, operator: str, options: Mapping[str, Any]) -> RunConfig:
    return RunConfig(
        operator=OperatorConfig(operator, dict(options)),
        backbone=BackboneConfig("stack", stages=(5,)),
        data=DataConfig("attention_maps", batch_size=16, options={"source": source}),
        optim=OptimConfig(lr=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.1),
        train=TrainConfig(epochs=5, threads=1, memory_format="channels_last", checkpoint_every=100),
    )


def attention_maps(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """A stack of operators that learns global self-attention on maps with the spectrum of images (paper 3.3).

    Reproduces no table: the paper argues that stacked PSSA approximates global attention but does not measure it.
    Command: `python -m ablations.approximation --jobs 2`.
    """
    return _attention("spectrum", operator, options)


def attention_photographs(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """The same on random filters of scikit-learn's two photographs; the validation maps come from a part held out.

    Reproduces no table. Two photographs are few: a difference between the two recipes may be chance.
    Command: `python -m ablations.approximation --recipe attention_photographs --jobs 2`.
    """
    return _attention("photographs", operator, options)


def _shapes(batch_size: int, masks: bool, operator: str, options: Mapping[str, Any]) -> RunConfig:
    return RunConfig(
        operator=_embedded_operator(operator, options),
        backbone=BackboneConfig(
            "small_resnet",
            stages=(5,),
            stride_in_1x1=True,
            options={
                "blocks": (1, 1, 1, 3),
                "widths": (16, 32, 64, 128),
                "strides": (1, 2, 2, 2),
                "expansion": 4,
                "stem_pool": True,
            },
        ),
        detector=DetectorConfig("tiny"),
        data=DataConfig("shapes_coco", batch_size=batch_size, options={"masks": masks, "train_size": 1400}),
        optim=OptimConfig(
            lr=2e-3,
            weight_decay=1e-4,
            schedule="multistep",
            warmup=0.1,
            milestones=DECAYS,
            optimizer="adamw",
            clip=10.0,
        ),
        train=TrainConfig(epochs=4, threads=1, memory_format="channels_last", checkpoint_every=50),
    )


def shapes_faster_rcnn(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """Faster R-CNN on generated shapes in COCO's format, 192 x 192, from random weights: detection on a laptop.

    Reproduces no table: it has the layout of Table 2 and shows that every operator learns to detect. With one seed, a
    difference of less than 3 or 4 AP between two operators means nothing (docs/detection.md).
    Command: `python -m ablations.operator --recipe shapes_faster_rcnn --seeds 1 --jobs 2 --out runs/faster`. Cost: 656
    steps of 8 images, 3 to 4 minutes of CPU time a run on one thread.
    """
    return _shapes(8, False, operator, options)


def shapes_mask_rcnn(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """Mask R-CNN on the same shapes for the same number of epochs, in batches of 16.

    Reproduces no table: it has the layout of Table 3.
    Command: `python -m ablations.operator --recipe shapes_mask_rcnn --seeds 1 --jobs 2 --out runs/mask`. Cost: 328
    steps of 16 images, about 5 minutes of CPU time a run on one thread.
    """
    return _shapes(16, True, operator, options)


def _coco(masks: bool, operator: str, options: Mapping[str, Any]) -> RunConfig:
    return RunConfig(
        operator=OperatorConfig(operator, dict(options)),
        backbone=BackboneConfig("resnet50", stages=(5,), stride_in_1x1=True),
        detector=DetectorConfig("detectron2", pretraining="own"),
        data=DataConfig("coco", batch_size=16, options={"masks": masks}, workers=8),
        optim=OptimConfig(
            lr=0.02,
            momentum=0.9,
            weight_decay=1e-4,
            schedule="multistep",
            warmup=1000 / 90_000,
            milestones=DECAYS,
            gamma=0.1,
            decay_norms=False,
        ),
        train=TrainConfig(steps=90_000, threads=4, checkpoint_every=1000),
    )


def coco_faster_rcnn(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """COCO 2017 by Faster R-CNN with FPN on ResNet-50, the operator in stage 5: Tables 2, 4 and 6 (paper 4.2).

    Published box AP: convolution 38.6, self-attention 38.5, PSSA 38.7, X-volution 40.1. The protocol is Table 7's
    schedule 1x with Detectron2's values: SGD 0.02 for 16 images (the paper prints 0.2, which we take for a slip),
    90,000 steps, x 0.1 at 60,000 and 80,000, 640 to 800 pixels, batch norms, stem and conv2_x frozen. The backbone
    comes from an ImageNet run with the same operator.
    Command: `python -m ablations.operator --recipe coco_faster_rcnn --backbone-from runs --data-dir DIR --out
    runs/coco_faster`. Cost: 90,000 steps a run, not run by us.
    """
    return _coco(False, operator, options)


def coco_mask_rcnn(operator: str, options: Mapping[str, Any]) -> RunConfig:
    """COCO 2017 by Mask R-CNN, otherwise as coco_faster_rcnn: Table 3 (paper 4.3).

    Published mask AP: convolution 35.7, self-attention 36.1, PSSA 36.0, X-volution 36.8.
    Command: `python -m ablations.operator --recipe coco_mask_rcnn --backbone-from runs --data-dir DIR --out
    runs/coco_mask`. Cost: 90,000 steps a run, not run by us.
    """
    return _coco(True, operator, options)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("match_small", match_small, base_epochs=1),
        Recipe("digits_small", digits_small),
        Recipe("fashion_small", fashion_small, base_epochs=1),
        Recipe("cifar10_resnet18", cifar10_resnet18),
        Recipe("attention_maps", attention_maps, seeds=2),
        Recipe("attention_photographs", attention_photographs, seeds=2),
        Recipe("imagenet_resnet34", imagenet_resnet34, seeds=5, reproduces=("1", "ResNet-34", "stage5")),
        Recipe("imagenet_resnet50", imagenet_resnet50, seeds=5, reproduces=("1", "ResNet-50", "stage5")),
        Recipe("shapes_faster_rcnn", shapes_faster_rcnn, base_epochs=1),
        Recipe("shapes_mask_rcnn", shapes_mask_rcnn, base_epochs=1),
        Recipe("coco_faster_rcnn", coco_faster_rcnn, reproduces=("2", "ResNet-50", "faster_rcnn 1x")),
        Recipe("coco_mask_rcnn", coco_mask_rcnn, reproduces=("3", "ResNet-50", "mask_rcnn 1x")),
    )
}
DEFAULT = "match_small"


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UserError: for an unknown name, with the known ones and the nearest match.
    """
    return choose(RECIPES, name, "recipe")
