"""Detectors learn, and a step at COCO's sizes fits into memory."""

import resource

import pytest
import torch

from lightning_xvol.config.detectors import PRESETS
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.data.coco import collate_detections
from lightning_xvol.data.shapes_coco import ShapesCoco
from lightning_xvol.detection.detections import to_image
from lightning_xvol.detection.evaluator import evaluate
from lightning_xvol.detection.model import build_detector

EMBEDDED = get_recipe("shapes_faster_rcnn").config().backbone


@pytest.mark.slow
@pytest.mark.parametrize("operator", list(OPERATORS))
def test_every_operator_learns_eight_images_by_heart(tmp_path, operator):
    split = ShapesCoco(tmp_path, train_size=8, validation_size=1, flip=0.0).train()
    torch.manual_seed(0)
    detector = build_detector(EMBEDDED, OperatorConfig(operator), PRESETS["tiny"], 6, masks=False)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    losses = []
    for step in range(60):
        batch = collate_detections([(*split[index], index) for index in range(step % 2 * 4, step % 2 * 4 + 4)])
        loss = sum(detector(batch.images, batch.targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    detector.eval()
    results = {}
    with torch.no_grad():
        for picture, target in (split[index] for index in range(len(split))):
            results[int(target["image_id"])] = to_image(detector([picture])[0], (192, 192), (192, 192))
    numbers = evaluate(split.annotations.ground_truth(), results, "box")
    assert sum(losses[-6:]) < sum(losses[:6]) / 2
    assert numbers["ap50"] >= (60 if operator == "convolution" else 40), numbers


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True], ids=["faster", "mask"])
@pytest.mark.parametrize("operator", list(OPERATORS))
def test_a_step_at_the_sizes_of_coco_fits_into_memory(operator, masks):
    """Faster and Mask R-CNN of ResNet-50 on two pictures, of 800 x 1333 and of an odd size."""
    torch.manual_seed(0)
    backbone = BackboneConfig("resnet50", (5,), stride_in_1x1=operator != "convolution")
    preset = PRESETS["detectron2"]
    detector = build_detector(backbone, OperatorConfig(operator), preset, 80, masks=masks, pretraining="torchvision")
    images, targets = [], []
    for height, width in ((800, 1333), (641, 857)):
        shapes = torch.zeros(3, height, width, dtype=torch.uint8)
        boxes = torch.tensor([[10.0, 20.0, 90.0, 70.0], [100.0, 50.0, 400.0, 300.0], [300.0, 100.0, 800.0, 600.0]])
        for shape, (left, top, right, bottom) in zip(shapes, boxes.int().tolist(), strict=True):
            shape[top:bottom, left:right] = 1
        images.append(torch.randint(0, 256, (3, height, width), dtype=torch.uint8))
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 40, 80]), "masks": shapes})
    losses = detector(images, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    trained = {name: parameter for name, parameter in detector.named_parameters() if parameter.requires_grad}
    assert not [name for name, parameter in trained.items() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in trained.values())
    # The peak of the whole process in KiB, which is at least that of this step.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 12 * 2**20
