"""Validation pictures with predicted and true boxes and masks, as plain values in W&B's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import PIL.Image
from torch import Tensor

from lightning_xvol.data import coco_masks
from lightning_xvol.data.coco_annotations import CocoAnnotations
from lightning_xvol.detection.evaluator import Detection

COUNT = 4  # pictures of each validation
SCORE = 0.5  # detections below it are not drawn
MOST_LABELS = 255  # W&B stores a mask's labels as bytes


class Picture(NamedTuple):
    """A picture with its annotations.

    Attributes:
        pixels: uint8 [H, W, 3].
        boxes: in W&B's format.
        masks: in W&B's format; None without masks, or with more labels than W&B can draw.
    """

    pixels: numpy.ndarray
    boxes: dict[str, Any]
    masks: dict[str, Any] | None


def picture_of(
    image: Tensor, index: int, detections: Sequence[Detection], annotations: CocoAnnotations, masks: bool
) -> Picture:
    """Image `index` of `annotations` in its original size; `image` is uint8 [3, H', W'] as the network saw it."""
    about = annotations.image(index)
    size = (about.height, about.width)
    pixels = PIL.Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).resize(size[::-1])
    labels = dict(enumerate(annotations.categories.values(), start=1))
    both = {
        "predictions": [found for found in detections if found["score"] >= SCORE],
        "ground_truth": _true(annotations, index, size),
    }
    boxes = {
        name: {"box_data": [_box(one, labels) for one in found], "class_labels": labels} for name, found in both.items()
    }
    drawn = None
    if masks and len(labels) <= MOST_LABELS:
        drawn = {name: {"mask_data": _mask(found, size), "class_labels": labels} for name, found in both.items()}
    return Picture(numpy.asarray(pixels), boxes, drawn)


def _true(annotations: CocoAnnotations, index: int, size: tuple[int, int]) -> list[Detection]:
    found = []
    for instance in annotations.instances(index):
        x, y, width, height = instance.box
        one: Detection = {"label": instance.label, "box": [x, y, x + width, y + height]}
        if instance.segmentation is not None:
            one["rle"] = coco_masks.to_rle(instance.segmentation, *size)
        found.append(one)
    return found


def _box(detection: Detection, labels: Mapping[int, str]) -> dict[str, Any]:
    position = dict(zip(("minX", "minY", "maxX", "maxY"), detection["box"], strict=True))
    box = {"position": position, "domain": "pixel", "class_id": detection["label"]}
    if "score" in detection:
        caption = f"{labels[detection['label']]} {100 * detection['score']:.0f} %"
        box |= {"box_caption": caption, "scores": {"score": detection["score"]}}
    return box


def _mask(detections: Sequence[Detection], size: tuple[int, int]) -> numpy.ndarray:
    """The label of each pixel [H, W], 0 without an object; the detection with the highest score wins."""
    labels = numpy.zeros(size, dtype=numpy.uint8)
    for detection in reversed(detections):
        if "rle" in detection:
            labels[coco_masks.decode(detection["rle"]).astype(bool)] = detection["label"]
    return labels
