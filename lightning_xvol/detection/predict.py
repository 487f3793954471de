"""Runs a trained detector on a picture of any size and draws its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import PIL.Image
import PIL.ImageDraw
import torch

from lightning_xvol.config import registry
from lightning_xvol.config.detectors import get_preset
from lightning_xvol.config.imports import importable
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import from_record
from lightning_xvol.data import coco_masks
from lightning_xvol.data.coco import Geometry
from lightning_xvol.detection.detections import to_image
from lightning_xvol.detection.evaluator import Detection
from lightning_xvol.detection.model import Detector, build_detector
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks
from lightning_xvol.ledger.checkpoints import load_weights, network_weights, read_cell

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")  # Okabe and Ito
OPACITY = 0.4  # of a mask


class TrainedDetector(NamedTuple):
    """A detector in eval mode with what it needs to read a picture.

    Attributes:
        detector: the network.
        classes: names of the labels; label 1 is the first one.
        geometry: how pictures are resized.
    """

    detector: Detector
    classes: Sequence[str]
    geometry: Geometry


def read_detector(checkpoint: Path, trust: bool = False) -> TrainedDetector:
    """The detector in the checkpoint of a cell.

    Args:
        checkpoint: the file.
        trust: whether classes that the checkpoint names by import path may be imported, which runs their code.

    Raises:
        UserError: if the file is not a checkpoint of a detector, or has an import path and is not trusted.
    """
    return detector_in(*read_cell(checkpoint), checkpoint, trust)


def detector_in(
    content: Mapping[str, Any], run: Mapping[str, Any], checkpoint: Path, trust: bool = False
) -> TrainedDetector:
    """As `read_detector`, from what `read_cell` returns for the file `checkpoint`."""
    config = resolve(importable(from_record(run["config"], source=repr(str(checkpoint)), trust=trust)))
    if registry.lookup("data", config.data.name).task != "detection":
        raise UserError(
            f"{str(checkpoint)!r} holds no detector; expected a checkpoint of a run on coco or shapes_coco, "
            "runs/cells/<id>/checkpoints/step=N.ckpt"
        )
    unfit = checks.problems(
        run, checks.fields(dict.fromkeys(("num_classes", "image_shape", "classes"), checks.anything))
    )
    if unfit or len(run["classes"]) < run["num_classes"]:
        raise UserError(f"{str(checkpoint)!r} lacks the classes or the size of its images: {unfit or run['classes']}")
    options = config.data.options
    detector = build_detector(
        config.backbone,
        config.operator,
        get_preset(config.detector.preset),
        run["num_classes"],
        masks=bool(options["masks"]),
        pretraining=config.detector.pretraining,
    )
    load_weights(detector, network_weights(content), checkpoint)
    geometry = Geometry(test_short_side=run["image_shape"][1], long_side=options["long_side"])
    return TrainedDetector(detector.float().eval(), run["classes"], geometry)


@torch.no_grad()
def detect(trained: TrainedDetector, picture: PIL.Image.Image, score: float) -> list[Detection]:
    """Detections in an RGB picture with at least this `score`, the highest first, in pixels of the picture."""
    size = (picture.height, picture.width)
    network_size = trained.geometry.size(*size, trained.geometry.test_short_side)
    pixels = numpy.array(picture.resize(network_size[::-1], PIL.Image.Resampling.BILINEAR))  # [H, W, 3]
    heads = trained.detector.roi_heads
    heads.score_thresh = min(heads.score_thresh, score)  # a preset has 0.05, for evaluation
    [output] = trained.detector([torch.from_numpy(pixels).permute(2, 0, 1)])
    return [found for found in to_image(output, network_size, size) if found["score"] >= score]


def draw(picture: PIL.Image.Image, detections: Sequence[Detection], classes: Sequence[str]) -> PIL.Image.Image:
    """A copy of `picture` with the box, name, score and, if there is one, mask of each detection."""
    drawn = picture.copy()
    for detection in reversed(detections):  # the highest score is drawn last, on top
        colour = COLOURS[(detection["label"] - 1) % len(COLOURS)]
        if "rle" in detection:
            mask = PIL.Image.fromarray((255 * OPACITY * coco_masks.decode(detection["rle"])).astype(numpy.uint8))
            drawn.paste(colour, mask=mask)
        pen = PIL.ImageDraw.Draw(drawn)
        left, top, _, _ = detection["box"]
        pen.rectangle(detection["box"], outline=colour, width=max(1, min(picture.size) // 200))
        pen.text((left + 2, top + 1), name_of(detection, classes), fill="white", stroke_width=1, stroke_fill="black")
    return drawn


def name_of(detection: Detection, classes: Sequence[str]) -> str:
    """Name and score, such as `disc 97 %`."""
    return f"{classes[detection['label'] - 1]} {100 * detection['score']:.0f} %"
