"""Detectors train and detect, and their parts differ from torchvision's as intended."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import roi_heads, rpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, roi_align

from lightning_xvol.config.detectors import PRESETS
from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.data.coco import collate_detections
from lightning_xvol.detection.backbone import FrozenNorm
from lightning_xvol.detection.detections import paste, to_image
from lightning_xvol.detection.model import build_detector
from lightning_xvol.detection.parts import (
    LevelRoIAlign,
    Prepare,
    RegionProposalNetwork,
    RoIHeads,
    mask_loss,
    mask_targets,
)
from lightning_xvol.errors import UserError


def batch_of(sizes=((96, 64), (61, 101))):
    """Two pictures of different sizes, the second without an object."""
    torch.manual_seed(1)
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    masks = torch.zeros(2, *sizes[0], dtype=torch.uint8)
    masks[0, 10:50, 10:40] = masks[1, 30:70, 20:60] = 1
    boxes = torch.tensor([[10.0, 10.0, 40.0, 50.0], [20.0, 30.0, 60.0, 70.0]])
    empty = torch.zeros(0, *sizes[1], dtype=torch.uint8)
    return images, [
        {"boxes": boxes, "labels": torch.tensor([1, 6]), "masks": masks},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": empty},
    ]


@pytest.mark.parametrize("operator", list(OPERATORS))
def test_every_operator_trains_a_step_and_detects(tiny, operator):
    detector = tiny(operator)
    images, targets = batch_of()
    losses = detector(images, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert not [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    detector.eval()
    with torch.no_grad():
        outputs = detector(images)
    found = to_image(outputs[0], (96, 64), (192, 128))
    assert found and all(item["rle"]["size"] == [192, 128] and 1 <= item["label"] <= 6 for item in found)


def test_images_without_an_object_have_no_box_and_mask_loss(tiny):
    images, targets = batch_of()
    losses = tiny()([images[1]], [targets[1]])
    assert losses["loss_box_reg"] == losses["loss_mask"] == losses["loss_rpn_box_reg"] == 0
    assert losses["loss_classifier"] > 0


def test_faster_rcnn_needs_no_masks(tiny):
    images, targets = batch_of()
    detector = tiny(masks=False)
    losses = detector(images, [{key: target[key] for key in ("boxes", "labels")} for target in targets])
    assert "loss_mask" not in losses
    assert set(detector.eval()(images)[0]) == {"boxes", "scores", "labels"}


def test_other_pictures_of_a_batch_do_not_change_what_a_convolution_detects(tiny):
    detector = tiny().eval()
    images, _ = batch_of(((64, 64), (96, 96)))
    with torch.no_grad():
        scores = [detector(group)[0]["scores"] for group in ([images[0]], images)]
    torch.testing.assert_close(*(score[:3] for score in scores), rtol=0.05, atol=1e-3)


def test_the_data_set_feeds_the_detector(tiny, shapes):
    split = shapes.train()
    batch = collate_detections([(*split[index], index) for index in range(2)])
    assert torch.isfinite(sum(tiny()(batch.images, batch.targets).values()))


def test_pictures_are_normalised_and_padded_with_zeros():
    images = [torch.full((3, 40, 50), 255, dtype=torch.uint8), torch.zeros(3, 33, 70)]
    prepared, _ = Prepare((0.5, 0.0, 1.0), (0.5, 1.0, 2.0))(images)
    assert prepared.tensors.shape == (2, 3, 64, 96) and prepared.image_sizes == [(40, 50), (33, 70)]
    assert prepared.tensors[0, :, 39, 49].tolist() == [1, 1, 0]
    assert prepared.tensors[1, :, 32, 69].tolist() == [-1, 0, -0.5]
    assert not prepared.tensors[0, :, 40:].any() and not prepared.tensors[0, :, :, 50:].any()


def test_the_losses_are_those_of_torchvision_at_its_beta(tiny):
    images, targets = batch_of()
    detector = tiny(preset=dataclasses.replace(PRESETS["tiny"], box_loss_beta=1 / 9, roi_aligned=False))
    torch.manual_seed(5)
    own = detector(images, targets)
    # torchvision's code with our parts, on the same random numbers.
    detector.rpn.compute_loss = rpn.RegionProposalNetwork.compute_loss.__get__(detector.rpn)
    detector.roi_heads.forward = roi_heads.RoIHeads.forward.__get__(detector.roi_heads)
    torch.manual_seed(5)
    theirs = detector(images, targets)
    for name, loss in own.items():
        torch.testing.assert_close(loss, theirs[name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_losses_of_boxes_are_l1_at_beta_0():
    network = RegionProposalNetwork.__new__(RegionProposalNetwork)
    network.beta = 0.0
    network.fg_bg_sampler = lambda labels: ([torch.tensor([1, 0, 0, 0])], [torch.tensor([0, 1, 1, 0])])
    offsets, wanted = torch.randn(4, 4), torch.randn(4, 4)
    scores, labels = torch.randn(4, 1), torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss, box_loss = RegionProposalNetwork.compute_loss(network, scores, offsets, [labels], [wanted])
    torch.testing.assert_close(box_loss, (offsets[0] - wanted[0]).abs().sum() / 3)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(scores[:3, 0], labels[:3]))
    heads = RoIHeads.__new__(RoIHeads)
    heads.beta = 0.0
    logits, offsets = torch.randn(3, 5), torch.randn(3, 20)
    labels = torch.tensor([4, 0, 2])
    losses = RoIHeads._box_losses(heads, logits, offsets, labels, wanted[:3])
    expected = (offsets[0, 16:20] - wanted[0]).abs().sum() + (offsets[2, 8:12] - wanted[2]).abs().sum()
    torch.testing.assert_close(losses["loss_box_reg"], expected / 3)


def square(left, top, right, bottom):
    """The mask of one object that fills its box [1, 64, 64]."""
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, top:bottom, left:right] = 1
    return mask


FIRST = torch.tensor([0])  # the box is matched with the first object


def test_the_loss_of_masks_is_torchvisions_where_they_are_not_aligned():
    torch.manual_seed(3)
    masks = (torch.rand(3, 40, 50) > 0.5).to(torch.uint8)
    boxes = torch.tensor([[3.2, 5.0, 40.7, 33.0], [0.0, 0.0, 50.0, 40.0], [8.5, 9.5, 11.0, 30.0], [1.0, 2.0, 9.0, 7.0]])
    classes, matches, logits = torch.tensor([4, 1, 2]), torch.tensor([2, 0, 0, 1]), torch.randn(4, 5, 14, 14)
    own = mask_loss(logits, classes[matches], mask_targets(masks, boxes, matches, 14, aligned=False))
    assert own == roi_heads.maskrcnn_loss(logits, [boxes], [masks], [classes], [matches])
    nothing = mask_loss(logits[:0], matches[:0], mask_targets(masks, boxes[:0], matches[:0], 14, aligned=False))
    assert nothing == roi_heads.maskrcnn_loss(logits[:0], [boxes[:0]], [masks], [classes], [matches[:0]]) == 0


@pytest.mark.parametrize("box", [(10, 20, 40, 50), (0, 0, 63, 64), (3, 8, 10, 63)])
def test_the_target_of_an_object_from_its_own_box_is_full(box):
    edges = torch.tensor([box]).float()
    assert (mask_targets(square(*box), edges, FIRST, 28, aligned=True) == 1).all()
    assert not (mask_targets(square(*box), edges, FIRST, 28, aligned=False) == 1).all()


@pytest.mark.parametrize("aligned", [False, True])
def test_mask_targets_are_aligned_if_features_are(tiny, aligned, monkeypatch):
    def spy(*arguments):
        targets = mask_targets(*arguments)
        made.append(targets)
        return targets

    made = []
    monkeypatch.setattr("lightning_xvol.detection.parts.mask_targets", spy)
    tiny(preset=dataclasses.replace(PRESETS["tiny"], roi_aligned=aligned))(*batch_of())
    values = torch.cat(made)
    assert len(values) and bool(((values == 0) | (values == 1)).all()) is aligned


@pytest.mark.parametrize("box", [(0, 0, 56, 56), (8, 4, 36, 60), (10, 20, 38, 48)])
def test_a_target_pasted_back_is_the_mask(box):
    """For boxes around, across and inside the object, with bins of whole pixels."""
    mask, edges = square(10, 20, 40, 48), torch.tensor(box).float()
    [target] = mask_targets(mask, edges[None], FIRST, 28, aligned=True)
    expected = mask[0].numpy() * square(*box)[0].numpy()
    assert (paste(target, edges, (64, 64)) == expected).all() and expected.any()


def features(side=256):
    torch.manual_seed(2)
    return {str(n): torch.randn(2, 4, side // stride, side // stride) for n, stride in enumerate((4, 8, 16, 32))}


BOXES = [torch.tensor([[3.0, 5.0, 40.0, 33.0], [0.0, 0.0, 250.0, 240.0]]), torch.tensor([[10.0, 10.0, 130.0, 140.0]])]


def test_roi_align_is_torchvisions():
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)(features(), BOXES, [(256, 256)] * 2)
    torch.testing.assert_close(LevelRoIAlign((4, 8, 16, 32), 7, 2, False)(features(), BOXES, None), theirs)


def test_aligned_roi_align_is_shifted_by_half_a_pixel():
    pooled = LevelRoIAlign((4, 8, 16, 32), 7, 0, True)(features(), BOXES, None)
    rois = torch.tensor([[0, 3.0, 5.0, 40.0, 33.0]])
    torch.testing.assert_close(pooled[:1], roi_align(features()["0"], rois, 7, 0.25, aligned=True))
    assert LevelRoIAlign((4, 8, 16, 32), 7, 0, True)(features(), [torch.zeros(0, 4)] * 2, None).shape == (0, 4, 7, 7)


def test_the_first_batch_does_not_decide_the_strides_of_the_next_ones():
    """torchvision keeps the strides of its first batch, where 40 pixels padded to 64 suggest a wrong one."""
    pool = LevelRoIAlign((4, 8, 16, 32), 7, 2, False)
    pool({name: level[..., :2, :2] for name, level in features().items()}, [torch.zeros(0, 4)] * 2, [(40, 40)] * 2)
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)(features(), BOXES, [(256, 256)] * 2)
    torch.testing.assert_close(pool(features(), BOXES, None), theirs)


def test_under_autocast_boxes_are_decoded_in_float32(tiny):
    detector = tiny().eval()
    images, _ = batch_of()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        [found, _] = detector(images)
    assert found["boxes"].dtype == found["scores"].dtype == found["masks"].dtype == torch.float32


@pytest.mark.parametrize("preset", ["detectron2", "torchvision"])
def test_under_autocast_anchors_are_those_of_float32(tiny, preset):
    """bfloat16 has 8 bits of precision: at 1000 pixels its anchors would be 4 pixels apart."""
    generator = tiny(preset=PRESETS[preset]).rpn.anchor_generator
    images = ImageList(torch.zeros(1, 3, 32, 1344), [(32, 1344)])
    maps = [torch.zeros(1, 1, max(1, 32 // stride), 1344 // stride) for stride in (4, 8, 16, 32, 64)]
    [expected] = generator(images, maps)
    [found] = generator(images, [level.bfloat16() for level in maps])
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_frozen_norms_are_torchvisions_in_the_precision_of_their_input():
    torch.manual_seed(0)
    theirs, ours = FrozenBatchNorm2d(4), FrozenNorm(4)
    theirs.load_state_dict({name: value.normal_().abs() for name, value in theirs.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(ours(x), theirs(x))
    assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_random_weights_freeze_nothing(tiny):
    detector = tiny(preset=PRESETS["detectron2"])
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in detector.modules())
    assert detector.new == detector.replaced == tuple(f"layer4.{block}.conv2" for block in range(3))


def test_weights_of_the_same_operator_freeze_its_norms_too(tiny):
    detector = tiny("xvolution", preset=PRESETS["detectron2"], pretraining="own")
    assert detector.new == () and len(detector.replaced) == 3
    assert not any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    images, targets = batch_of()
    assert torch.isfinite(sum(detector(images, targets).values()))


def test_with_torchvisions_weights_the_convolution_is_not_new(tiny):
    detector = tiny(preset=PRESETS["detectron2"], pretraining="torchvision", stride_in_1x1=False)
    assert detector.new == () and not any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    larger = tiny(options={"kernel_size": 5}, preset=PRESETS["detectron2"], pretraining="torchvision")
    assert larger.new == larger.replaced


def test_moving_the_stride_of_torchvisions_convolution_is_refused(tiny):
    with pytest.raises(UserError, match=r"layer4\.0\.conv2; set backbone\.stride_in_1x1=false"):
        tiny(preset=PRESETS["detectron2"], pretraining="torchvision", stride_in_1x1=True)


def test_only_the_replaced_blocks_move_their_stride_under_torchvisions_weights():
    backbone = BackboneConfig("resnet50", (5,), stride_in_1x1=True)
    make = {"preset": PRESETS["detectron2"], "num_classes": 2, "masks": False}
    for pretraining, strides in (("torchvision", [1, 1, 2]), ("own", [2, 2, 2])):
        body = build_detector(backbone, OperatorConfig("pssa"), pretraining=pretraining, **make).backbone.body
        assert [body[layer][0].conv1.stride[0] for layer in ("layer2", "layer3", "layer4")] == strides


def test_a_frozen_stage_trains_its_operator():
    backbone = BackboneConfig("resnet18", (2,))
    detector = build_detector(
        backbone, OperatorConfig("involution"), PRESETS["detectron2"], 2, masks=False, pretraining="torchvision"
    )
    trained = {name for name, parameter in detector.backbone.body.layer1.named_parameters() if parameter.requires_grad}
    assert trained and all(".conv2." in name for name in trained)


def test_stages_that_do_not_halve_the_map_are_refused():
    with pytest.raises(UserError, match=r"strides \(2, 4, 4, 8\).*strides=\(1, 2, 2, 2\)"):
        build_detector(BackboneConfig(), OperatorConfig(), PRESETS["tiny"], 2, masks=False)
