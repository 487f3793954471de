"""Boxes and masks are mapped from the network's picture to the annotated image."""

import math

import pytest
import torch
from pycocotools import mask as api

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


def test_no_detection_is_an_empty_list():
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    assert to_image({**nothing, "masks": torch.zeros(0, 1, 28, 28)}, (5, 5), (5, 5)) == []


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


def test_masks_are_sampled_bilinearly_at_the_centres_of_the_pixels():
    torch.manual_seed(0)
    cells = torch.rand(4, 4)
    left, top, right, bottom = box = (-1.3, 2.6, 11.9, 9.2)

    def cell(row, column):
        return float(cells[row, column]) if 0 <= row < 4 and 0 <= column < 4 else 0.0

    def value(x, y):
        u, v = (x + 0.5 - left) / (right - left) * 4 - 0.5, (y + 0.5 - top) / (bottom - top) * 4 - 0.5
        column, row = math.floor(u), math.floor(v)
        a, b = u - column, v - row
        upper = (1 - a) * cell(row, column) + a * cell(row, column + 1)
        return (1 - b) * upper + b * ((1 - a) * cell(row + 1, column) + a * cell(row + 1, column + 1))

    mask = paste(cells, torch.tensor(box), (12, 14))
    assert mask.tolist() == [[value(x, y) >= 0.5 for x in range(14)] for y in range(12)] and 10 < mask.sum() < 60


def test_masks_become_run_lengths_in_the_size_of_the_image():
    [found] = to_image(output([[10.0, 10.0, 20.0, 30.0]], masks=torch.ones(1, 1, 28, 28)), (50, 60), (100, 120))
    assert found["rle"]["size"] == [100, 120]
    assert api.area(found["rle"]) == 20 * 40 and api.toBbox(found["rle"]).tolist() == [20, 20, 20, 40]
