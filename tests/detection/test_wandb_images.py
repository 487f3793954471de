"""The pictures, boxes and masks that W&B gets."""

from types import SimpleNamespace

import numpy
import pytest
import torch

from lightning_xvol.data import coco_masks
from lightning_xvol.detection.wandb_images import picture_of


@pytest.mark.parametrize("categories", [255, 300])
def test_masks_are_left_out_if_there_are_more_labels_than_a_byte_holds(categories):
    mask = numpy.zeros((1, 6, 8), dtype=bool)
    mask[:, 2:5, 1:4] = True
    [rle] = coco_masks.encode(mask)
    found = {"label": categories, "score": 0.9, "box": [1.0, 2.0, 4.0, 5.0], "rle": rle}
    annotations = SimpleNamespace(
        categories={10 * number: f"name {number}" for number in range(1, categories + 1)},
        image=lambda index: SimpleNamespace(height=6, width=8),
        instances=lambda index: [],
    )
    picture = picture_of(torch.zeros(3, 12, 16, dtype=torch.uint8), 0, [found], annotations, masks=True)
    assert picture.pixels.shape == (6, 8, 3)
    [box] = picture.boxes["predictions"]["box_data"]
    assert (box["class_id"], box["box_caption"]) == (categories, f"name {categories} 90 %")
    if categories > 255:
        assert picture.masks is None
    else:
        assert numpy.array_equal(picture.masks["predictions"]["mask_data"], 255 * mask[0])
