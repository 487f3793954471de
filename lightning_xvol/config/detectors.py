"""The presets of detectors: named sets of values for Faster R-CNN and Mask R-CNN. Nothing here imports torch.

* `detectron2` is Detectron2's R50-FPN (`defaults.py` and `Base-RCNN-FPN.yaml`), which the paper builds on.
* `torchvision` is the first version of torchvision's own detector.
* `tiny` is for pictures of 192 pixels and a CPU.

The data set holds the sizes of pictures (`Geometry` in `lightning_xvol.data.coco`). The recipes hold learning rates.

`detectron2` differs from Detectron2 in two points, by choice:

* Pixels are RGB, normalised by a mean and a standard deviation, because torchvision's weights and ours expect that.
  Detectron2's weights come from MSRA and expect BGR with a mean alone.
* Mask targets come from pixel masks of the size of the network's input. Detectron2 crops polygons by each box.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_xvol.errors import choose


@dataclass(frozen=True)
class DetectorPreset:
    """Faster R-CNN and Mask R-CNN with FPN; the defaults are Detectron2's. Sides and sizes are in pixels.

    Attributes:
        freeze_at: how many pretrained stages are not trained: 1 is the stem, 2 is the stem and conv2_x.
        frozen_norms: whether pretrained batch norms keep their statistics and are not trained.
        fpn_channels: channels of every level of the pyramid.
        anchor_sizes: side of the anchors of each level, P2 to P6.
        anchor_ratios: height over width of the anchors.
        exact_anchors: whether anchors keep their fractions and lie at the strides of their levels. torchvision rounds
            them and computes the stride from the size of the map: 61 instead of 64 for P6 of 800 pixels.
        rpn_iou: two overlaps of an anchor with an object: background below the first, a match from the second on.
        rpn_batch: anchors per image in the loss.
        rpn_positive: largest part of `rpn_batch` that matches an object.
        rpn_before_nms: proposals of each level before non-maximum suppression, in training and in testing.
        rpn_after_nms: proposals of an image after non-maximum suppression, in training and in testing.
        rpn_nms: overlap from which the weaker proposal is suppressed.
        roi_iou: overlap from which a proposal matches an object.
        roi_batch: proposals per image in the loss.
        roi_positive: largest part of `roi_batch` that matches an object.
        box_weights: weights of the regression targets dx, dy, dw, dh.
        box_pool: side of the map that RoIAlign gives the box head.
        mask_pool: side of the map that RoIAlign gives the mask head.
        roi_samples: RoIAlign's samples per bin and axis; 0 takes one per pixel of the bin.
        roi_aligned: whether RoIAlign corrects its offset of half a pixel, for features and for mask targets.
        box_channels: channels of the two layers of the box head.
        score: least score of a detection.
        nms: overlap from which the weaker detection of a category is suppressed.
        detections: largest number of detections per image.
        mask_layers: number of 3x3 convolutions in the mask head.
        mask_channels: channels of each of them.
        box_loss_beta: error at which the loss of boxes turns from quadratic to linear; 0 is L1.
        head_init: initialisation of the heads, `detectron2` or `torchvision`.
    """

    freeze_at: int = 2
    frozen_norms: bool = True
    fpn_channels: int = 256
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    exact_anchors: bool = True
    rpn_iou: tuple[float, float] = (0.3, 0.7)
    rpn_batch: int = 256
    rpn_positive: float = 0.5
    rpn_before_nms: tuple[int, int] = (2000, 1000)
    rpn_after_nms: tuple[int, int] = (1000, 1000)
    rpn_nms: float = 0.7
    roi_iou: float = 0.5
    roi_batch: int = 512
    roi_positive: float = 0.25
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    box_pool: int = 7
    mask_pool: int = 14
    roi_samples: int = 0
    roi_aligned: bool = True
    box_channels: int = 1024
    score: float = 0.05
    nms: float = 0.5
    detections: int = 100
    mask_layers: int = 4
    mask_channels: int = 256
    box_loss_beta: float = 0.0
    head_init: str = "detectron2"


PRESETS: dict[str, DetectorPreset] = {
    "detectron2": DetectorPreset(),
    "torchvision": DetectorPreset(
        exact_anchors=False,
        rpn_after_nms=(2000, 1000),
        roi_samples=2,
        roi_aligned=False,
        box_loss_beta=1 / 9,
        head_init="torchvision",
    ),
    "tiny": DetectorPreset(
        freeze_at=0,
        frozen_norms=False,
        fpn_channels=64,
        anchor_sizes=(12, 24, 48, 96, 150),
        rpn_batch=128,
        rpn_before_nms=(300, 300),
        rpn_after_nms=(300, 300),
        roi_batch=64,
        roi_samples=1,
        box_channels=256,
        mask_layers=2,
        mask_channels=64,
    ),
}


def get_preset(name: str) -> DetectorPreset:
    """The preset called `name`; an unknown name raises a `UserError`."""
    return choose(PRESETS, name, "detector preset")
