"""Every value of the presets and recipes equals what Detectron2 publishes or torchvision builds; so does the model.

The sources are all in https://github.com/facebookresearch/detectron2: `detectron2/config/defaults.py` (D),
`configs/Base-RCNN-FPN.yaml` (B), which overrides it, and the code files that are named.
"""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _validate_trainable_layers
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import FrozenBatchNorm2d

from lightning_xvol.config.detectors import PRESETS, DetectorPreset, get_preset
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, from_dict, set_value, to_dict
from lightning_xvol.data.coco import Geometry
from lightning_xvol.detection.model import build_detector
from lightning_xvol.errors import UserError
from lightning_xvol.modules.base import learning_rate_factor

TABLE = [
    ("freeze_at", 2, "D: MODEL.BACKBONE.FREEZE_AT"),
    ("frozen_norms", True, "D: MODEL.RESNETS.NORM = FrozenBN"),
    ("fpn_channels", 256, "D: MODEL.FPN.OUT_CHANNELS"),
    ("anchor_sizes", (32, 64, 128, 256, 512), "B: MODEL.ANCHOR_GENERATOR.SIZES, one a level"),
    ("anchor_ratios", (0.5, 1.0, 2.0), "B: MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"),
    ("exact_anchors", True, "modeling/anchor_generator.py: no rounding, strides of the levels; D: OFFSET = 0"),
    ("rpn_iou", (0.3, 0.7), "D: MODEL.RPN.IOU_THRESHOLDS"),
    ("rpn_batch", 256, "D: MODEL.RPN.BATCH_SIZE_PER_IMAGE"),
    ("rpn_positive", 0.5, "D: MODEL.RPN.POSITIVE_FRACTION"),
    ("rpn_before_nms", (2000, 1000), "B: MODEL.RPN.PRE_NMS_TOPK_TRAIN, _TEST, per level"),
    ("rpn_after_nms", (1000, 1000), "B: MODEL.RPN.POST_NMS_TOPK_TRAIN, _TEST, per image"),
    ("rpn_nms", 0.7, "D: MODEL.RPN.NMS_THRESH"),
    ("roi_iou", 0.5, "D: MODEL.ROI_HEADS.IOU_THRESHOLDS"),
    ("roi_batch", 512, "D: MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"),
    ("roi_positive", 0.25, "D: MODEL.ROI_HEADS.POSITIVE_FRACTION"),
    ("box_weights", (10.0, 10.0, 5.0, 5.0), "D: MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"),
    ("box_pool", 7, "B: MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"),
    ("mask_pool", 14, "B: MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION"),
    ("roi_samples", 0, "D: POOLER_SAMPLING_RATIO of boxes and masks"),
    ("roi_aligned", True, "D: POOLER_TYPE = ROIAlignV2"),
    ("box_channels", 1024, "D: MODEL.ROI_BOX_HEAD.FC_DIM; B: NUM_FC = 2"),
    ("score", 0.05, "D: MODEL.ROI_HEADS.SCORE_THRESH_TEST"),
    ("nms", 0.5, "D: MODEL.ROI_HEADS.NMS_THRESH_TEST"),
    ("detections", 100, "D: TEST.DETECTIONS_PER_IMAGE"),
    ("mask_layers", 4, "B: MODEL.ROI_MASK_HEAD.NUM_CONV"),
    ("mask_channels", 256, "D: MODEL.ROI_MASK_HEAD.CONV_DIM"),
    ("box_loss_beta", 0.0, "D: SMOOTH_L1_BETA of RPN and ROI_BOX_HEAD: L1"),
    ("head_init", "detectron2", "roi_heads/fast_rcnn.py, box_head.py, mask_head.py"),
]
SOLVER = [
    ("optim.optimizer", "sgd", "solver/build.py; D: SOLVER.NESTEROV = False"),
    ("optim.lr", 0.02, "B: SOLVER.BASE_LR"),
    ("optim.momentum", 0.9, "D: SOLVER.MOMENTUM"),
    ("optim.weight_decay", 1e-4, "D: SOLVER.WEIGHT_DECAY; WEIGHT_DECAY_BIAS = None, BIAS_LR_FACTOR = 1"),
    ("optim.decay_norms", False, "D: SOLVER.WEIGHT_DECAY_NORM = 0"),
    ("optim.clip", None, "D: SOLVER.CLIP_GRADIENTS.ENABLED = False"),
    ("optim.schedule", "multistep", "D: SOLVER.LR_SCHEDULER_NAME = WarmupMultiStepLR"),
    ("optim.gamma", 0.1, "D: SOLVER.GAMMA"),
    ("data.batch_size", 16, "B: SOLVER.IMS_PER_BATCH"),
    ("train.steps", 90_000, "B: SOLVER.MAX_ITER"),
    ("train.precision", "32-true", "D: SOLVER.AMP.ENABLED = False"),
    ("backbone.name", "resnet50", "D: MODEL.RESNETS.DEPTH = 50"),
    ("backbone.stride_in_1x1", True, "D: MODEL.RESNETS.STRIDE_IN_1X1"),
]
GEOMETRY = [
    ("short_sides", (640, 672, 704, 736, 768, 800), "B: INPUT.MIN_SIZE_TRAIN"),
    ("test_short_side", 800, "D: INPUT.MIN_SIZE_TEST"),
    ("long_side", 1333, "D: INPUT.MAX_SIZE_TRAIN, _TEST"),
    ("flip", 0.5, "D: INPUT.RANDOM_FLIP = horizontal"),
]


@pytest.mark.parametrize(("name", "value", "source"), TABLE, ids=[row[0] for row in TABLE])
def test_the_preset_detectron2_has_the_values_of_detectron2(name, value, source):
    assert getattr(PRESETS["detectron2"], name) == value, source


@pytest.mark.parametrize(("name", "value", "source"), GEOMETRY, ids=[row[0] for row in GEOMETRY])
def test_pictures_are_resized_as_in_detectron2(name, value, source):
    assert getattr(Geometry(), name) == value, source


@pytest.mark.parametrize(("path", "value", "source"), SOLVER, ids=[row[0] for row in SOLVER])
@pytest.mark.parametrize("recipe", ["coco_faster_rcnn", "coco_mask_rcnn"])
def test_recipes_train_as_detectron2_does(recipe, path, value, source):
    section, name = path.split(".")
    assert getattr(getattr(get_recipe(recipe).config(), section), name) == value, source


@pytest.mark.parametrize("recipe", ["coco_faster_rcnn", "coco_mask_rcnn"])
def test_the_learning_rate_is_that_of_detectron2_at_every_step(recipe):
    """B: SOLVER.STEPS = 60000, 80000; D: WARMUP_ITERS = 1000, WARMUP_FACTOR = 0.001, WARMUP_METHOD = linear.

    Detectron2's warm-up goes from 0.001 at step 0 to 1 at step 1000. Ours reaches 1 at step 999, at most 0.001 above.
    """
    config = get_recipe(recipe).config()
    for step in (*range(1001), 59_999, 60_000, 79_999, 80_000, 89_999):
        done = min(step / 1000, 1)
        expected = (0.001 * (1 - done) + done) * 0.1 ** ((step >= 60_000) + (step >= 80_000))
        assert learning_rate_factor(config.optim, step, config.train.steps) == pytest.approx(expected, abs=0.001)


def test_the_preset_torchvision_has_the_values_of_the_model_that_torchvision_builds():
    """Freezing and norms depend on pretrained weights, which the test does not load."""
    with torch.device("meta"):  # Mask R-CNN is Faster R-CNN with masks
        built = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    rpn, heads, anchors = built.rpn, built.roi_heads, built.rpn.anchor_generator
    step = 0.01
    _, box_loss = fastrcnn_loss(
        torch.zeros(1, 2), torch.zeros(1, 8), [torch.tensor([1])], [torch.tensor([[step, 0, 0, 0]])]
    )
    expected = {
        "fpn_channels": built.backbone.out_channels,
        "anchor_sizes": tuple(size for level in anchors.sizes for size in level),
        "anchor_ratios": anchors.aspect_ratios[0],
        "exact_anchors": False,  # AnchorGenerator.generate_anchors rounds
        "rpn_iou": (rpn.proposal_matcher.low_threshold, rpn.proposal_matcher.high_threshold),
        "rpn_batch": rpn.fg_bg_sampler.batch_size_per_image,
        "rpn_positive": rpn.fg_bg_sampler.positive_fraction,
        "rpn_before_nms": tuple(rpn._pre_nms_top_n[mode] for mode in ("training", "testing")),
        "rpn_after_nms": tuple(rpn._post_nms_top_n[mode] for mode in ("training", "testing")),
        "rpn_nms": rpn.nms_thresh,
        "roi_iou": heads.proposal_matcher.low_threshold,
        "roi_batch": heads.fg_bg_sampler.batch_size_per_image,
        "roi_positive": heads.fg_bg_sampler.positive_fraction,
        "box_weights": heads.box_coder.weights,
        "box_pool": heads.box_roi_pool.output_size[0],
        "mask_pool": heads.mask_roi_pool.output_size[0],
        "roi_samples": heads.box_roi_pool.sampling_ratio,
        "roi_aligned": False,  # MultiScaleRoIAlign has no such option
        "box_channels": heads.box_head.fc7.out_features,
        "score": heads.score_thresh,
        "nms": heads.nms_thresh,
        "detections": heads.detections_per_img,
        "mask_layers": len(heads.mask_head),
        "mask_channels": heads.mask_predictor.conv5_mask.out_channels,
        "box_loss_beta": pytest.approx(step**2 / 2 / box_loss.item()),
        "head_init": "torchvision",
        # The pretrained model has trainable_backbone_layers = 3 of 5, and FrozenBatchNorm2d.
        "freeze_at": 5 - _validate_trainable_layers(True, None, 5, 3),
        "frozen_norms": True,
    }
    assert vars(PRESETS["torchvision"]) == expected
    assert (heads.mask_roi_pool.sampling_ratio, heads.proposal_matcher.high_threshold) == (2, 0.5)
    assert {type(layer) for layer in anchors.modules()} == {AnchorGenerator}


def test_the_tables_have_every_value():
    assert {row[0] for row in TABLE} == {item.name for item in dataclasses.fields(DetectorPreset)}
    assert {row[0] for row in GEOMETRY} == {item.name for item in dataclasses.fields(Geometry)}


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"'detectron' \(did you mean 'detectron2'\?\)"):
        get_preset("detectron")


def test_records_and_ids_keep_the_first_name_of_the_preset():
    recipe = get_recipe("shapes_faster_rcnn").config()
    new, old = (resolve(set_value(recipe, f"detector.{name}", "torchvision")) for name in ("preset", "settings"))
    assert new == old and new.detector.preset == "torchvision"
    assert to_dict(new)["detector"]["settings"] == "torchvision" and "preset" not in to_dict(new)["detector"]
    assert from_dict(to_dict(new)) == from_dict({**to_dict(new), "detector": {"preset": "torchvision"}}) == new


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    backbone = BackboneConfig("resnet50", (5,), stride_in_1x1=True)
    operator = OperatorConfig("xvolution")
    return build_detector(backbone, operator, PRESETS["detectron2"], 80, masks=True, pretraining="torchvision")


def test_the_parts_have_the_values_of_the_preset(detector):
    rpn, heads = detector.rpn, detector.roi_heads
    assert rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert rpn._post_nms_top_n == {"training": 1000, "testing": 1000}
    assert (rpn.nms_thresh, rpn.score_thresh, rpn.beta, heads.beta) == (0.7, 0.0, 0.0, 0.0)
    assert (rpn.proposal_matcher.low_threshold, rpn.proposal_matcher.high_threshold) == (0.3, 0.7)
    assert rpn.proposal_matcher.allow_low_quality_matches and not heads.proposal_matcher.allow_low_quality_matches
    assert (heads.proposal_matcher.low_threshold, heads.proposal_matcher.high_threshold) == (0.5, 0.5)
    for sampler, expected in ((rpn.fg_bg_sampler, (256, 0.5)), (heads.fg_bg_sampler, (512, 0.25))):
        assert (sampler.batch_size_per_image, sampler.positive_fraction) == expected
    assert heads.box_coder.weights == (10.0, 10.0, 5.0, 5.0) and rpn.box_coder.weights == (1.0, 1.0, 1.0, 1.0)
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.05, 0.5, 100)
    for pool, size in ((heads.box_roi_pool, 7), (heads.mask_roi_pool, 14)):
        assert (pool.size, pool.samples, pool.aligned, pool.strides) == (size, 0, True, (4, 8, 16, 32))
    assert heads.box_head.fc7.in_features == 1024 and len(heads.mask_head) == 4
    assert heads.box_predictor.cls_score.out_features == 81  # ROI_HEADS.NUM_CLASSES = 80, and the background


def test_anchors_are_those_of_detectron2(detector):
    """DefaultAnchorGenerator: w = size / sqrt(ratio), h = size sqrt(ratio), around (0, 0), (stride, 0), ..."""
    maps = [torch.zeros(1, 256, *size) for size in ((200, 200), (100, 100), (50, 50), (25, 25), (13, 13))]
    [anchors] = detector.rpn.anchor_generator(ImageList(torch.zeros(1, 3, 800, 800), [(800, 800)]), maps)
    expected = []
    for size, stride, side in zip((32, 64, 128, 256, 512), (4, 8, 16, 32, 64), (200, 100, 50, 25, 13), strict=True):
        for y in range(0, side * stride, stride):
            for x in range(0, side * stride, stride):
                for ratio in (0.5, 1.0, 2.0):
                    w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                    expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    torch.testing.assert_close(anchors, torch.tensor(expected))


def test_heads_are_initialised_as_in_detectron2(detector):
    """fast_rcnn.py: normal of 0.01 and 0.001; box_head.py: c2_xavier_fill; mask_head.py: c2_msra_fill and 0.001."""
    heads = detector.roi_heads
    for layer, deviation in (
        (heads.box_predictor.cls_score, 0.01),
        (heads.box_predictor.bbox_pred, 0.001),
        (heads.mask_predictor.mask_fcn_logits, 0.001),
        (detector.rpn.head.cls_logits, 0.01),
        (heads.mask_head[0][0], math.sqrt(2 / (256 * 9))),
        (heads.mask_predictor.conv5_mask, math.sqrt(2 / (256 * 4))),
        (heads.box_head.fc6, math.sqrt(1 / (256 * 49))),
        (heads.box_head.fc7, math.sqrt(1 / 1024)),
    ):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.1)
        assert not layer.bias.any()


def test_stem_and_first_stage_are_frozen_and_only_replaced_blocks_have_live_norms(detector):
    body = detector.backbone.body
    frozen = {name.split(".")[0] for name, parameter in body.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert all(
        parameter.requires_grad for name, parameter in body.named_parameters() if name[:6] in ("layer2", "layer4")
    )
    norms = {name: type(module) for name, module in body.named_modules() if "BatchNorm" in type(module).__name__}
    live = {name for name, kind in norms.items() if kind is nn.BatchNorm2d}
    assert live and all(name.startswith("layer4.") for name in live)
    assert all(kind is FrozenBatchNorm2d for name, kind in norms.items() if not name.startswith("layer4."))


def test_the_operator_replaces_the_three_3x3_of_conv5_and_the_1x1_strides(detector):
    assert detector.replaced == detector.new == tuple(f"layer4.{block}.conv2" for block in range(3))
    layer4 = detector.backbone.body.layer4
    assert layer4[0].conv1.stride == (2, 2) and all(block.conv2.stride == 1 for block in layer4)
