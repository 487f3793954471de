"""Faster R-CNN (arXiv 1506.01497) and Mask R-CNN (arXiv 1703.06870) with FPN and an operator in the ResNet.

The paper replaces the three 3x3 of conv5_x of ResNet-50 (4.2 and 4.3). The model is torchvision's. The default preset
gives it Detectron2's values (see `lightning_xvol.config.detectors`).
"""

from __future__ import annotations

from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from lightning_xvol.config.detectors import DetectorPreset
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

    In training, `detector(images, targets)` returns a dict of losses. In eval mode, `detector(images)` returns a dict
    for each picture: `boxes` [N, 4] in its pixels, `scores` [N], `labels` [N] (1 and up) and for a Mask R-CNN `masks`
    [N, 1, M, M] within the boxes. `lightning_xvol.detection.detections` maps them to the annotated image.

    Pictures are [3, H, W], uint8 or 0..1, already resized, of any sizes. Targets are those of
    `lightning_xvol.data.coco.CocoSplit`.

    Attributes:
        pretraining: which weights the detector was built for.
        replaced: paths of the operators in `backbone.body`.
        new: the part of `replaced` whose weights no file holds.
    """

    pretraining: Pretraining
    replaced: tuple[str, ...]
    new: tuple[str, ...]


def build_detector(
    backbone: BackboneConfig,
    operator: OperatorConfig,
    preset: DetectorPreset,
    num_classes: int,
    *,
    masks: bool,
    pretraining: Pretraining = "random",
) -> Detector:
    """A detector with random weights.

    Args:
        backbone: a ResNet; its `stages` get the operator, (5,) in the paper.
        operator: replaces the 3x3 of these stages.
        preset: all other values.
        num_classes: categories, without the background.
        masks: builds Mask R-CNN instead of Faster R-CNN.
        pretraining: whose weights will be loaded; it decides what is frozen (`build_body`).

    Raises:
        UserError: as in `build_body`.
    """
    body = build_body(backbone, operator, preset, pretraining)
    detector = Detector(
        body.network,
        _proposals(preset, body.strides),
        _heads(preset, body.strides, num_classes, masks),
        Prepare(MEAN, STD),
    )
    detector.pretraining, detector.replaced, detector.new = pretraining, body.replaced, body.new
    if preset.head_init == "detectron2":
        _initialise_heads(detector.roi_heads)
    return detector


def _proposals(preset: DetectorPreset, strides: tuple[int, ...]) -> RegionProposalNetwork:
    ratios = preset.anchor_ratios
    if preset.exact_anchors:
        anchors: Anchors = ExactAnchors(preset.anchor_sizes, ratios, (*strides, 2 * strides[-1]))
    else:
        anchors = Anchors(tuple((size,) for size in preset.anchor_sizes), (ratios,) * 5)
    before, after = (
        dict(zip(("training", "testing"), numbers, strict=True))
        for numbers in (preset.rpn_before_nms, preset.rpn_after_nms)
    )
    background, foreground = preset.rpn_iou
    network = RegionProposalNetwork(
        anchors,
        RPNHead(preset.fpn_channels, len(ratios)),
        fg_iou_thresh=foreground,
        bg_iou_thresh=background,
        batch_size_per_image=preset.rpn_batch,
        positive_fraction=preset.rpn_positive,
        pre_nms_top_n=before,
        post_nms_top_n=after,
        nms_thresh=preset.rpn_nms,
    )
    network.beta = preset.box_loss_beta
    return network


def _heads(preset: DetectorPreset, strides: tuple[int, ...], num_classes: int, masks: bool) -> RoIHeads:
    def pool(size: int) -> LevelRoIAlign:
        return LevelRoIAlign(strides, size, preset.roi_samples, preset.roi_aligned)

    outputs = num_classes + 1
    channels, mask_channels = preset.fpn_channels, preset.mask_channels
    heads = RoIHeads(
        pool(preset.box_pool),
        TwoMLPHead(channels * preset.box_pool**2, preset.box_channels),
        FastRCNNPredictor(preset.box_channels, outputs),
        fg_iou_thresh=preset.roi_iou,
        bg_iou_thresh=preset.roi_iou,
        batch_size_per_image=preset.roi_batch,
        positive_fraction=preset.roi_positive,
        bbox_reg_weights=preset.box_weights,
        score_thresh=preset.score,
        nms_thresh=preset.nms,
        detections_per_img=preset.detections,
        mask_roi_pool=pool(preset.mask_pool) if masks else None,
        mask_head=MaskRCNNHeads(channels, (mask_channels,) * preset.mask_layers, 1) if masks else None,
        mask_predictor=MaskRCNNPredictor(mask_channels, mask_channels, outputs) if masks else None,
    )
    heads.beta = preset.box_loss_beta
    return heads


def _initialise_heads(heads: RoIHeads) -> None:
    """Detectron2's: Xavier for the two layers of the box head, He for masks, normal for predictors, biases zero."""
    for layer in (heads.box_head.fc6, heads.box_head.fc7):
        nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.zeros_(layer.bias)
    predictors = {heads.box_predictor.cls_score: 0.01, heads.box_predictor.bbox_pred: 0.001}
    if heads.has_mask():
        # torchvision initialises the mask convolutions as Detectron2 does.
        nn.init.zeros_(heads.mask_predictor.conv5_mask.bias)
        predictors[heads.mask_predictor.mask_fcn_logits] = 0.001
    for layer, deviation in predictors.items():
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)
