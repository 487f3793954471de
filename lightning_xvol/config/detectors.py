"""What distinguishes the detectors of the recipes, as plain values. Nothing here imports torch.

`detectron2` is Detectron2's R50-FPN (`defaults.py` and `Base-RCNN-FPN.yaml`), which the paper builds on; `torchvision`
is torchvision's own first version; `tiny` is made for pictures of 192 pixels and a CPU. Sizes of pictures belong to the
data (`Geometry` in `lightning_xvol.data.coco`), learning rates to the recipes of runs.

`detectron2` departs from its model in two things, by choice. Pixels are RGB with mean and standard deviation, as the
weights of torchvision and our own want them, not BGR with a mean alone, as those of MSRA. Mask targets come from pixel
masks of the size of the network's input, not from polygons cut by each box.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_xvol.errors import UserError, nearest


@dataclass(frozen=True)
class DetectorSettings:
    """Faster R-CNN and Mask R-CNN with FPN; the defaults are Detectron2's. Sides and sizes are in pixels.

    Attributes:
        freeze_at: pretrained stages that are not trained: 1 is the stem, 2 the stem and conv2_x.
        frozen_norms: whether pretrained batch norms keep their statistics and are not trained.
        fpn_channels: of every level of the pyramid.
        anchor_sizes: side of the anchors of each level, P2 to P6.
        anchor_ratios: height over width.
        exact_anchors: whether anchors keep their fractions and stand at the strides of their levels; torchvision rounds
            them and takes the stride from the size of the map, 61 in place of 64 for P6 of 800 pixels.
        rpn_iou: overlaps of an anchor with an object, below which it is background and from which it is the object.
        rpn_batch: anchors per image in the loss; `rpn_positive` is the largest part of them that are objects.
        rpn_before_nms: proposals of each level before suppression, in training and testing.
        rpn_after_nms: proposals of an image after it, likewise.
        rpn_nms: overlap from which the weaker proposal is suppressed.
        roi_iou: overlap from which a proposal is the object.
        roi_batch: proposals per image in the loss; `roi_positive` is the largest part of them that are objects.
        box_weights: of the regression targets dx, dy, dw, dh.
        box_pool: side of what RoIAlign takes from a proposal; `mask_pool` that of masks.
        roi_samples: RoIAlign's samples per bin and axis; 0 takes as many as the bin has pixels.
        roi_aligned: whether RoIAlign, of features and of mask targets, is right by half a pixel.
        box_channels: of the two layers of the box head.
        score: least score of a detection.
        nms: overlap from which the weaker detection of a category is suppressed.
        detections: the most per image.
        mask_layers: 3x3 convolutions of the mask head, of `mask_channels` each.
        box_loss_beta: where the loss of boxes turns from square to absolute; 0 is L1.
        head_init: `detectron2` or `torchvision`.
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


SETTINGS: dict[str, DetectorSettings] = {
    "detectron2": DetectorSettings(),
    "torchvision": DetectorSettings(
        exact_anchors=False,
        rpn_after_nms=(2000, 1000),
        roi_samples=2,
        roi_aligned=False,
        box_loss_beta=1 / 9,
        head_init="torchvision",
    ),
    "tiny": DetectorSettings(
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


def get_settings(name: str) -> DetectorSettings:
    """The settings called `name`.

    Raises:
        UserError: for an unknown name, with the known ones and the nearest match.
    """
    if name not in SETTINGS:
        raise UserError(f"unknown detector settings {name!r}{nearest(name, SETTINGS)}; known: {', '.join(SETTINGS)}")
    return SETTINGS[name]
