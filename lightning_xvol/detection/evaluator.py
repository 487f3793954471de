"""COCO's average precision of boxes and masks, from detections by image id.

faster-coco-eval computes the numbers; they equal those of pycocotools. An object is small, medium or large by its area
in pixels of the annotated image, whatever the size of the network's input. An image counts once, even if several
processes evaluate it because a sampler filled up its last batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from faster_coco_eval import COCO, COCOeval_faster

from lightning_xvol.data.coco_annotations import CocoAnnotations

STATISTICS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar1", "ar10", "ar100", "ar_s", "ar_m", "ar_l")
"""COCO's twelve numbers, in its order."""

REPORTED = STATISTICS[:6]
"""The numbers in the paper's Tables 2 to 7."""

KINDS = {"box": "bbox", "mask": "segm"}

Detection = dict[str, Any]
Results = dict[int, list[Detection]]
"""Detections by image id: `label`, `score`, `box` [x1, y1, x2, y2] and, with a mask, `rle`; plain values."""


def merge_results(parts: Iterable[Results]) -> Results:
    """The results of all processes, each image once, in the order of the ids."""
    merged: Results = {}
    for part in parts:
        for image_id, detections in part.items():
            merged.setdefault(image_id, detections)
    return dict(sorted(merged.items()))


def evaluate(ground_truth: dict[str, Any], results: Results, kind: str) -> dict[str, float]:
    """COCO's twelve numbers in percent; NaN where there is nothing to measure.

    Args:
        ground_truth: `images`, `annotations` and `categories` as in COCO's files; not changed.
        results: detections for every one of these images.
        kind: `box` or `mask`.

    Raises:
        ValueError: if `ground_truth` and `results` do not have the same images.
    """
    _check_images({image["id"] for image in ground_truth["images"]}, set(results))
    images = _numbered(ground_truth["images"])
    categories = _numbered(ground_truth["categories"])  # their numbers are the labels
    found = [
        {**item, "image_id": images[item["image_id"]], "category_id": categories[item["category_id"]]}
        for item in as_coco(ground_truth["categories"], results, kind)
    ]
    truth = COCO(
        {
            "images": [{**image, "id": images[image["id"]]} for image in ground_truth["images"]],
            "categories": [{**one, "id": categories[one["id"]]} for one in ground_truth["categories"]],
            "annotations": [
                {**item, "image_id": images[item["image_id"]], "category_id": categories[item["category_id"]]}
                for item in ground_truth["annotations"]
            ],
        }
    )
    evaluation = COCOeval_faster(
        truth,
        truth.loadRes(found),
        KINDS[kind],
        print_function=_silent,
        rle_iou_max_workers=max(1, torch.get_num_threads()),
    )
    evaluation.run()
    return dict(zip(STATISTICS, map(_percent, evaluation.stats), strict=True))


def as_coco(categories: Iterable[Mapping[str, Any]], results: Results, kind: str) -> list[dict[str, Any]]:
    """`results` as COCO's files of results list them: boxes or masks. `categories` are those of its annotations."""
    category_ids = sorted(category["id"] for category in categories)
    return [
        _as_coco(kind, image_id, category_ids[detection["label"] - 1], detection)
        for image_id, detections in results.items()
        for detection in detections
    ]


def _numbered(records: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Numbers 1, 2, ... of the ids of `records`, in their order. faster-coco-eval would keep the ids as floats."""
    return {id_: number for number, id_ in enumerate(sorted(record["id"] for record in records), start=1)}


def _as_coco(kind: str, image_id: int, category_id: int, detection: Detection) -> dict[str, Any]:
    """A detection as COCO writes it. A mask comes without a box: COCO would take the detection's area from the box."""
    record = {"image_id": image_id, "category_id": category_id, "score": detection["score"]}
    if kind == "mask":
        return {**record, "segmentation": detection["rle"]}
    x1, y1, x2, y2 = detection["box"]
    return {**record, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _check_images(expected: set[int], given: set[int]) -> None:
    for number, what in ((expected - given, "have no results"), (given - expected, "are not of this data set")):
        if number:
            raise ValueError(f"{len(number)} images {what}, such as {min(number)}; {len(expected)} are to be evaluated")


def _percent(value: float) -> float:
    """`value` in percent; COCO writes -1 if no object has that size."""
    return math.nan if value < 0 else 100 * float(value)


def _silent(*_: object) -> None:
    pass


class CocoEvaluator:
    """Collects the detections of one process, and measures those of all processes.

        evaluator.add(detections)                       # after every batch
        parts = gather(evaluator.results)               # from all processes
        metrics = evaluator.measure(merge_results(parts))

    Args:
        annotations: of the images to evaluate.
        masks: whether masks are measured too.
    """

    def __init__(self, annotations: CocoAnnotations, *, masks: bool) -> None:
        self.annotations = annotations
        self.kinds = ("box", "mask") if masks else ("box",)
        self.results: Results = {}

    def add(self, detections: Mapping[int, Sequence[Detection]]) -> None:
        """Keep detections by image id. The first detections of an image stay if it comes again."""
        for image_id, found in detections.items():
            self.results.setdefault(image_id, list(found))

    def measure(self, results: Results) -> dict[str, float]:
        """`box_ap`, `box_ap50`, `box_ap75`, `box_ap_s`, `box_ap_m`, `box_ap_l`, with masks `mask_ap` ..., in percent.

        A number is NaN if no image has an object of that size. The record leaves NaN out.
        """
        metrics: dict[str, float] = {}
        for kind in self.kinds:
            numbers = evaluate(self.annotations.ground_truth(masks=kind == "mask"), results, kind)
            metrics |= {f"{kind}_{name}": numbers[name] for name in REPORTED}
        return metrics

    def reset(self) -> None:
        self.results = {}
