"""Faster R-CNN (arXiv 1506.01497) and Mask R-CNN (arXiv 1703.06870) with FPN, the operator in the ResNet below.

The paper replaces the three 3x3 of conv5_x of ResNet-50 (4.2 and 4.3). The model is torchvision's; `settings` make it
Detectron2's (see `lightning_xvol.config.detectors`).
"""

from __future__ import annotations

from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from lightning_xvol.config.detectors import DetectorSettings
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.data.imagenet import MEAN, STD
from lightning_xvol.detection.backbone import Pretraining, build_body
from lightning_xvol.detection.parts import (
    Anchors,
    ExactAnchors,
    LevelRoIAlign,
    Prepare,
    RegionProposalNetwork,
    RoIHeads,
    RPNHead,
)


class Detector(GeneralizedRCNN):
    """Faster or Mask R-CNN.

    In training `detector(images, targets)` returns a dict of losses; in eval mode `detector(images)` a dict for each
    picture: `boxes` [N, 4] in its pixels, `scores`, `labels` (1 and up) and of a Mask R-CNN `masks` [N, 1, M, M] within
    the boxes (`lightning_xvol.detection.detections` puts them into the annotated image). Pictures are [3, H, W], uint8
    or 0..1, already resized, of any sizes; targets are those of `lightning_xvol.data.coco.CocoSplit`.

    Attributes:
        pretraining: which weights it was made for.
        replaced: paths of the operators in `backbone.body`; `new` are those whose weights no file holds.
    """

    pretraining: Pretraining
    replaced: tuple[str, ...]
    new: tuple[str, ...]


def build_detector(
    backbone: BackboneConfig,
    operator: OperatorConfig,
    settings: DetectorSettings,
    num_classes: int,
    *,
    masks: bool,
    pretraining: Pretraining = "random",
) -> Detector:
    """A detector of `num_classes` categories (without the background) with random weights.

    Args:
        backbone: a ResNet; `stages` are those that get the operator, (5,) in the paper.
        operator: stands in their 3x3.
        settings: all else.
        num_classes: of the data.
        masks: Mask R-CNN instead of Faster R-CNN.
        pretraining: whose weights will be loaded; decides what is frozen, see `build_body`.

    Raises:
        UserError: as `build_body`.
    """
    body = build_body(backbone, operator, settings, pretraining)
    detector = Detector(
        body.network,
        _proposals(settings, body.strides),
        _heads(settings, body.strides, num_classes, masks),
        Prepare(MEAN, STD),
    )
    detector.pretraining, detector.replaced, detector.new = pretraining, body.replaced, body.new
    if settings.head_init == "detectron2":
        _initialise_heads(detector.roi_heads)
    return detector


def _proposals(settings: DetectorSettings, strides: tuple[int, ...]) -> RegionProposalNetwork:
    ratios = settings.anchor_ratios
    if settings.exact_anchors:
        anchors: Anchors = ExactAnchors(settings.anchor_sizes, ratios, (*strides, 2 * strides[-1]))
    else:
        anchors = Anchors(tuple((size,) for size in settings.anchor_sizes), (ratios,) * 5)
    before, after = (
        dict(zip(("training", "testing"), numbers, strict=True))
        for numbers in (settings.rpn_before_nms, settings.rpn_after_nms)
    )
    background, foreground = settings.rpn_iou
    network = RegionProposalNetwork(
        anchors,
        RPNHead(settings.fpn_channels, len(ratios)),
        fg_iou_thresh=foreground,
        bg_iou_thresh=background,
        batch_size_per_image=settings.rpn_batch,
        positive_fraction=settings.rpn_positive,
        pre_nms_top_n=before,
        post_nms_top_n=after,
        nms_thresh=settings.rpn_nms,
    )
    network.beta = settings.box_loss_beta
    return network


def _heads(settings: DetectorSettings, strides: tuple[int, ...], num_classes: int, masks: bool) -> RoIHeads:
    def pool(size: int) -> LevelRoIAlign:
        return LevelRoIAlign(strides, size, settings.roi_samples, settings.roi_aligned)

    outputs = num_classes + 1
    channels, mask_channels = settings.fpn_channels, settings.mask_channels
    heads = RoIHeads(
        pool(settings.box_pool),
        TwoMLPHead(channels * settings.box_pool**2, settings.box_channels),
        FastRCNNPredictor(settings.box_channels, outputs),
        fg_iou_thresh=settings.roi_iou,
        bg_iou_thresh=settings.roi_iou,
        batch_size_per_image=settings.roi_batch,
        positive_fraction=settings.roi_positive,
        bbox_reg_weights=settings.box_weights,
        score_thresh=settings.score,
        nms_thresh=settings.nms,
        detections_per_img=settings.detections,
        mask_roi_pool=pool(settings.mask_pool) if masks else None,
        mask_head=MaskRCNNHeads(channels, (mask_channels,) * settings.mask_layers, 1) if masks else None,
        mask_predictor=MaskRCNNPredictor(mask_channels, mask_channels, outputs) if masks else None,
    )
    heads.beta = settings.box_loss_beta
    return heads


def _initialise_heads(heads: RoIHeads) -> None:
    """Detectron2's: Xavier for the two layers of the box head, He for masks, normal for what predicts, biases zero."""
    for layer in (heads.box_head.fc6, heads.box_head.fc7):
        nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.zeros_(layer.bias)
    predictors = {heads.box_predictor.cls_score: 0.01, heads.box_predictor.bbox_pred: 0.001}
    if heads.has_mask():
        # torchvision begins the masks' convolutions as Detectron2 does.
        nn.init.zeros_(heads.mask_predictor.conv5_mask.bias)
        predictors[heads.mask_predictor.mask_fcn_logits] = 0.001
    for layer, deviation in predictors.items():
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)
