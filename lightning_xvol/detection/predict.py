"""What a trained detector finds in a picture of any size, and the picture with it drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
import PIL.Image
import PIL.ImageDraw
import torch

from lightning_xvol.config import registry
from lightning_xvol.config.detectors import get_settings
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import from_dict
from lightning_xvol.data import coco_masks
from lightning_xvol.data.coco import Geometry
from lightning_xvol.detection.detections import to_image
from lightning_xvol.detection.evaluator import Detection
from lightning_xvol.detection.model import Detector, build_detector
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.checkpoints import read_checkpoint

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")  # Okabe and Ito's
OPACITY = 0.4  # of a mask

_PREFIX = "network."  # of TrainedModule


class Trained(NamedTuple):
    """A detector in eval mode, the names of its labels from 1 on, and the size that it takes pictures in."""

    detector: Detector
    classes: Sequence[str]
    geometry: Geometry


def read_detector(checkpoint: Path) -> Trained:
    """The detector in the checkpoint of a cell.

    Raises:
        UserError: for a file that is no such checkpoint.
    """
    content = read_checkpoint(checkpoint)
    run = content.get("run") if isinstance(content, dict) else None
    config = resolve(from_dict(run["config"])) if isinstance(run, dict) and "config" in run else None
    if run is None or config is None or registry.lookup("data", config.data.name).task != "detection":
        raise UserError(
            f"{str(checkpoint)!r} holds no detector; expected a checkpoint of a run on coco or shapes_coco, "
            "runs/cells/<id>/checkpoints/step=N.ckpt"
        )
    options = config.data.options
    detector = build_detector(
        config.backbone,
        config.operator,
        get_settings(config.detector.settings),
        run["num_classes"],
        masks=bool(options["masks"]),
        pretraining=config.detector.pretraining,
    )
    weights = {name.removeprefix(_PREFIX): value for name, value in content["state_dict"].items()}
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {str(checkpoint)!r} do not fit their configuration: {first}") from error
    geometry = Geometry(test_short_side=run["image_shape"][1], long_side=options["long_side"])
    return Trained(detector.float().eval(), run["classes"], geometry)


@torch.no_grad()
def detect(trained: Trained, picture: PIL.Image.Image, score: float) -> list[Detection]:
    """What `trained` finds in an RGB picture with at least this `score`, the surest first, in the picture's pixels."""
    size = (picture.height, picture.width)
    network_size = trained.geometry.size(*size, trained.geometry.test_short_side)
    pixels = numpy.array(picture.resize(network_size[::-1], PIL.Image.Resampling.BILINEAR))  # [H, W, 3]
    heads = trained.detector.roi_heads
    heads.score_thresh = min(heads.score_thresh, score)  # the settings' own, for evaluation, is 0.05
    [output] = trained.detector([torch.from_numpy(pixels).permute(2, 0, 1)])
    return [found for found in to_image(output, network_size, size) if found["score"] >= score]


def draw(picture: PIL.Image.Image, detections: Sequence[Detection], classes: Sequence[str]) -> PIL.Image.Image:
    """A copy of `picture` with a box, a name and a score for each detection, and with its mask where there is one."""
    drawn = picture.copy()
    for detection in reversed(detections):  # the surest on top
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
    """`disc 97 %`."""
    return f"{classes[detection['label'] - 1]} {100 * detection['score']:.0f} %"
