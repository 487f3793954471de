"""From the network's picture into the annotated image."""

import pytest
import torch
from pycocotools import mask as api
from torchvision.models.detection.roi_heads import paste_masks_in_image

from lightning_xvol.detection.detections import paste, to_image


def output(boxes, **more):
    boxes = torch.tensor(boxes)
    numbers = torch.arange(len(boxes))
    return {"boxes": boxes, "scores": 1 - numbers / 10, "labels": numbers + 1, **more}


def test_boxes_are_scaled_and_cut_at_the_border():
    found = to_image(output([[10.0, 20.0, 30.0, 40.0], [-5.0, 0.0, 90.0, 60.0]]), (50, 80), (100, 240))
    assert [item["box"] for item in found] == [[30.0, 40.0, 90.0, 80.0], [0.0, 0.0, 240.0, 100.0]]
    assert [item["label"] for item in found] == [1, 2] and "rle" not in found[0]
    assert found[1]["score"] == pytest.approx(0.9)


def test_empty_boxes_are_left_out():
    found = to_image(output([[80.0, 0.0, 90.0, 9.0], [1.0, 1.0, 2.0, 2.0]]), (50, 80), (50, 80))
    assert [item["label"] for item in found] == [2]
    assert to_image(output([[0.0] * 4])[:0] if False else {k: v[:0] for k, v in output([[0.0] * 4]).items()}, (5, 5), (5, 5)) == []


def test_half_precision_does_not_move_a_box():
    exact = output([[1001.0, 3.0, 1203.0, 9.0]])
    assert to_image(exact, (800, 1333), (800, 1333))[0]["box"] == [1001.0, 3.0, 1203.0, 9.0]


def test_a_full_mask_fills_its_box():
    assert paste(torch.ones(28, 28), torch.tensor([10.0, 20.0, 30.0, 50.0]), (100, 80)).sum() == 20 * 30
    mask = paste(torch.ones(28, 28), torch.tensor([10.4, 20.6, 30.4, 50.6]), (100, 80))
    assert mask.nonzero()[1].min() == 10 and mask.nonzero()[1].max() == 29  # centres 10.5 to 29.5
    assert mask.nonzero()[0].min() == 21 and mask.nonzero()[0].max() == 50


def test_a_mask_beyond_the_border_keeps_its_scale():
    half = torch.zeros(28, 28)
    half[:, 14:] = 1
    mask = paste(half, torch.tensor([-20.0, -10.0, 20.0, 30.0]), (40, 40))
    assert mask[:30, :20].all() and mask.sum() == 600


def test_masks_are_nearly_those_of_torchvision():
    torch.manual_seed(0)
    probabilities = torch.nn.functional.interpolate(torch.rand(5, 1, 4, 4), 28, mode="bicubic").clamp(0, 1)
    corner = torch.rand(5, 2) * 60
    boxes = torch.cat([corner, corner + 20 + torch.rand(5, 2) * 60], 1)
    theirs = paste_masks_in_image(probabilities, boxes, (120, 130))[:, 0] >= 0.5
    found = to_image(output(boxes.tolist(), masks=probabilities), (120, 130), (120, 130))
    for item, mask in zip(found, theirs, strict=True):
        own = torch.from_numpy(api.decode(item["rle"])).bool()
        assert (own & mask).sum() / (own | mask).sum() > 0.9


def test_masks_become_run_lengths_in_the_size_of_the_image():
    [found] = to_image(output([[10.0, 10.0, 20.0, 30.0]], masks=torch.ones(1, 1, 28, 28)), (50, 60), (100, 120))
    assert found["rle"]["size"] == [100, 120]
    assert api.area(found["rle"]) == 20 * 40 and api.toBbox(found["rle"]).tolist() == [20, 20, 20, 40]
