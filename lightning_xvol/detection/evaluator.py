"""COCO's average precision of boxes and masks, from detections kept by image id.

The numbers are those of pycocotools, computed by faster-coco-eval. Objects are small, medium or large by their area in
pixels of the annotated image, whatever the network's input. Images are the unit: one that several processes evaluated,
as a sampler does that fills up the last batch, counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from faster_coco_eval import COCO, COCOeval_faster

from lightning_xvol.data.coco_annotations import CocoAnnotations

STATISTICS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l", "ar1", "ar10", "ar100", "ar_s", "ar_m", "ar_l")
"""COCO's twelve, in its order."""

REPORTED = STATISTICS[:6]
"""Those of the paper's Tables 2 to 7."""

KINDS = {"box": "bbox", "mask": "segm"}

Detection = dict[str, Any]
Results = dict[int, list[Detection]]
"""Image id to its detections: `label`, `score`, `box` [x1, y1, x2, y2] and, of a segmentation, `rle`; plain values."""


def merge_results(parts: Iterable[Results]) -> Results:
    """The results of all processes, each image once, in the order of the ids."""
    merged: Results = {}
    for part in parts:
        for image_id, detections in part.items():
            merged.setdefault(image_id, detections)
    return dict(sorted(merged.items()))


def evaluate(ground_truth: dict[str, Any], results: Results, kind: str) -> dict[str, float]:
    """COCO's twelve numbers, in percent, of `box` or `mask`; NaN where there is nothing to measure.

    Args:
        ground_truth: `images`, `annotations` and `categories` as in COCO's files; not changed.
        results: of every one of these images.
        kind: `box` or `mask`.

    Raises:
        ValueError: where the images of both are not the same.
    """
    _check_images({image["id"] for image in ground_truth["images"]}, set(results))
    category_ids = sorted(category["id"] for category in ground_truth["categories"])
    found = [
        _as_coco(kind, image_id, category_ids[detection["label"] - 1], detection)
        for image_id, detections in results.items()
        for detection in detections
    ]
    truth = COCO({**ground_truth, "annotations": [dict(item) for item in ground_truth["annotations"]]})
    evaluation = COCOeval_faster(
        truth,
        truth.loadRes(found),
        KINDS[kind],
        print_function=_silent,
        rle_iou_max_workers=max(1, torch.get_num_threads()),
    )
    evaluation.run()
    return dict(zip(STATISTICS, map(_percent, evaluation.stats), strict=True))


def _as_coco(kind: str, image_id: int, category_id: int, detection: Detection) -> dict[str, Any]:
    """COCO's form of a detection. Of a mask it has no box: the detection's area would be taken from it."""
    entry = {"image_id": image_id, "category_id": category_id, "score": detection["score"]}
    if kind == "mask":
        return {**entry, "segmentation": detection["rle"]}
    x1, y1, x2, y2 = detection["box"]
    return {**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _check_images(expected: set[int], given: set[int]) -> None:
    for number, what in ((expected - given, "have no results"), (given - expected, "are not of this data set")):
        if number:
            raise ValueError(f"{len(number)} images {what}, such as {min(number)}; {len(expected)} are to be evaluated")


def _percent(value: float) -> float:
    """COCO writes -1 where no object is of that size."""
    return math.nan if value < 0 else 100 * float(value)


def _silent(*_: object) -> None:
    pass


class CocoEvaluator:
    """Collects the detections of one process, and measures those of all.

        evaluator.add(detections)                       # after every batch
        parts = gather(evaluator.results)               # from all processes
        metrics = evaluator.measure(merge_results(parts))

    Args:
        annotations: of the images to evaluate.
        masks: whether masks are judged beside boxes.
    """

    def __init__(self, annotations: CocoAnnotations, *, masks: bool) -> None:
        self.annotations = annotations
        self.kinds = ("box", "mask") if masks else ("box",)
        self.results: Results = {}

    def add(self, detections: Mapping[int, Sequence[Detection]]) -> None:
        """Keep the detections of some images, by image id; an image that is there already stays as it is."""
        for image_id, found in detections.items():
            self.results.setdefault(image_id, list(found))

    def measure(self, results: Results) -> dict[str, float]:
        """`box_ap`, `box_ap50`, `box_ap75`, `box_ap_s`, `box_ap_m`, `box_ap_l`, with masks `mask_ap` ..., in percent.

        What is undefined, as no image holds an object of that size, is NaN, which the record leaves out.
        """
        metrics: dict[str, float] = {}
        for kind in self.kinds:
            numbers = evaluate(self.annotations.ground_truth(masks=kind == "mask"), results, kind)
            metrics |= {f"{kind}_{name}": numbers[name] for name in REPORTED}
        return metrics

    def reset(self) -> None:
        self.results = {}
