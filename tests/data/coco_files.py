"""Writes a small folder in COCO's format with everything that real files contain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import PIL.Image

HEIGHT, WIDTH = 40, 60


def runs(mask: numpy.ndarray) -> list[int]:
    """Uncompressed run lengths, column by column, counted one by one."""
    counts, inside, length = [], 0, 0
    for value in mask.T.ravel().tolist():
        if value != inside:
            counts.append(length)
            inside, length = value, 0
        length += 1
    return [*counts, length]


def heap() -> numpy.ndarray:
    mask = numpy.zeros((HEIGHT, WIDTH), dtype=int)
    mask[3:20, 5:30] = 1
    mask[10:33, 28:50] = 1
    return mask


POLYGON = [[10.5, 4.25, 30.0, 6.5, 25.0, 30.75, 12.0, 28.0]]
PARTS = [[2.0, 2.0, 12.0, 2.0, 7.0, 12.0], [40.0, 20.0, 55.5, 20.0, 55.5, 35.0, 40.0, 35.0]]


def annotation(number: int, image: int, category: float, box: list[float], segmentation: Any, **more: Any) -> dict:
    area = box[2] * box[3] * 0.7
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0,
        "segmentation": segmentation, **more,
    }  # fmt: skip


def content() -> dict[str, Any]:
    """Images 7 (objects), 3 (only a crowd), 5 (nothing) and 9 (portrait, with difficult objects); ids are unordered."""
    crowd = {"size": [HEIGHT, WIDTH], "counts": runs(heap())}
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"id": 7, "file_name": "000000000007.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 3, "file_name": "000000000003.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 5.0, "file_name": "bücher 図 ☕.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "000000000009.png", "height": WIDTH, "width": HEIGHT},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [
            annotation(101, 7, 18, [10.5, 4.25, 19.5, 26.5], POLYGON),
            annotation(102, 7.0, 90.0, [2.0, 2.0, 53.5, 33.0], PARTS),
            annotation(900100000103, 7, 1, [5, 3, 45, 30], crowd, iscrowd=1),
            annotation(104, 3, 1, [5, 3, 45, 30], crowd, iscrowd=1),
            annotation(105, 9, 1, [-2.0, 10.0, 30.01, 70.0], []),
            annotation(106, 9, 18, [4.0, 4.0, 0.0, 10.0], [[4.0, 4.0, 4.0, 14.0]]),
            annotation(107, 9, 18, [5.0, 5.0, 20.0, 30.0], [[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 25.0, 5.0, 15.0, 35.0]]),
        ],
    }  # fmt: skip


def write(root: Path, train: dict[str, Any] | None = None, validation: dict[str, Any] | None = None) -> Path:
    """Write both splits, each with `content()` by default, and return the folder."""
    (root / "annotations").mkdir(parents=True)
    for name, found in (("train2017", train), ("val2017", validation)):
        found = content() if found is None else found
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(found))
        (root / name).mkdir()
        for number, image in enumerate(content()["images"]):
            pixels = numpy.random.RandomState(number).randint(0, 256, (image["height"], image["width"], 3))
            PIL.Image.fromarray(pixels.astype(numpy.uint8)).save(root / name / image["file_name"])
    return root
