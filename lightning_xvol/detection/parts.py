"""Parts of a detector that differ from torchvision's, mostly as small subclasses of its parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import roi_heads, rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from lightning_xvol.data.coco import Target

SIZE_DIVISOR = 32
"""Batches are padded to a multiple of it, so that every level of the pyramid is half as large as the one before."""


class Prepare(nn.Module):
    """Turns pictures [3, H, W] of different sizes, uint8 or 0..1, into one normalised batch, padded with zeros.

    It does not resize: the data set, or `predict`, has done that already.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> tuple[ImageList, list[Target] | None]:
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (-(-max(side) // SIZE_DIVISOR) * SIZE_DIVISOR for side in zip(*sizes, strict=True))
        batch = self.mean.new_zeros(len(images), 3, height, width)
        for padded, image in zip(batch, images, strict=True):
            scaled = image.float() / 255 if image.dtype == torch.uint8 else image
            padded[:, : image.shape[-2], : image.shape[-1]] = (scaled - self.mean) / self.std
        return ImageList(batch, sizes), targets

    def postprocess(self, detections: list[Target], *_: object) -> list[Target]:
        """Return `detections` unchanged: `lightning_xvol.detection.detections` maps them to the annotated image."""
        return detections


class Anchors(AnchorGenerator):
    """torchvision's anchors, at least in float32: at 1000 pixels, bfloat16 numbers are 4 pixels apart."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        super().set_cell_anchors(torch.promote_types(dtype, torch.float32), device)


class ExactAnchors(Anchors):
    """Anchors that keep their fractions and lie at the strides of their levels, as in Detectron2."""

    def __init__(self, sizes: Sequence[int], ratios: Sequence[float], strides: Sequence[int]) -> None:
        super().__init__(tuple((size,) for size in sizes), (tuple(ratios),) * len(sizes))
        self.strides = strides

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """`(-w/2, -h/2, w/2, h/2)` with w h = scale^2 and h / w = ratio [ratios x scales, 4]."""
        corners = [
            (scale / math.sqrt(ratio) / 2, scale * math.sqrt(ratio) / 2) for ratio in aspect_ratios for scale in scales
        ]
        return torch.tensor([(-x, -y, x, y) for x, y in corners], dtype=dtype, device=device)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        strides = [[torch.tensor(stride, device=first.device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([[*maps.shape[-2:]] for maps in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


class RPNHead(rpn.RPNHead):
    """torchvision's head with scores and offsets in float32, like the anchors."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, offsets = super().forward(x)
        return [item.float() for item in logits], [item.float() for item in offsets]


class RegionProposalNetwork(rpn.RegionProposalNetwork):
    """torchvision's network, whose smooth L1 loss takes `beta`; 0 is L1."""

    beta = 1 / 9

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        positive, negative = (torch.cat(chosen).bool() for chosen in self.fg_bg_sampler(labels))
        sampled = positive | negative
        scores = F.binary_cross_entropy_with_logits(objectness.flatten()[sampled], torch.cat(labels)[sampled])
        offsets, wanted = pred_bbox_deltas[positive], torch.cat(regression_targets)[positive]
        return scores, F.smooth_l1_loss(offsets, wanted, beta=self.beta, reduction="sum") / sampled.sum()


class LevelRoIAlign(nn.Module):
    """RoIAlign from the level of the pyramid that fits a box (Eq. 1 of arXiv 1612.03144: 224 pixels from P4).

    torchvision's class computes the strides of the levels from its first batch. Here they are arguments, so a resumed
    run cannot differ.

    Args:
        strides: of the levels.
        size: side of the pooled map.
        samples: per bin and axis; 0 is one per pixel.
        aligned: whether the offset of half a pixel is corrected.
    """

    def __init__(self, strides: Sequence[int], size: int, samples: int, aligned: bool) -> None:
        super().__init__()
        self.strides, self.size, self.samples, self.aligned = strides, size, samples, aligned
        self.lowest = round(math.log2(strides[0]))

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: object) -> Tensor:
        """Pool `boxes`, in pixels of the network's input, to [boxes of all images, C, size, size]."""
        maps = list(features.values())[: len(self.strides)]
        numbers = [box.new_full((len(box), 1), number) for number, box in enumerate(boxes)]
        rois = torch.cat([torch.cat(numbers), torch.cat(boxes)], dim=1)  # [R, 5]
        sides = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).clamp(min=0).sqrt()
        levels = torch.floor(4 + torch.log2(sides / 224 + 1e-8)).long() - self.lowest
        levels = levels.clamp(0, len(maps) - 1)
        pooled = maps[0].new_zeros(len(rois), maps[0].shape[1], self.size, self.size)
        for level, (level_map, stride) in enumerate(zip(maps, self.strides, strict=True)):
            chosen = torch.nonzero(levels == level).flatten()
            taken = roi_align(level_map, rois[chosen], self.size, 1 / stride, self.samples, self.aligned)
            pooled[chosen] = taken.to(pooled.dtype)
        return pooled


def mask_targets(masks: Tensor, boxes: Tensor, matches: Tensor, size: int, aligned: bool) -> Tensor:
    """The part of an object's mask inside each box [N, M, M], for M = `size`.

    With `aligned` the targets are binary, as in Detectron2 (`BitMasks.crop_and_resize`). Without it they are
    torchvision's: half a pixel off and soft at the edges.

    Args:
        masks: of the objects of one picture, 0 or 1 [objects, H, W].
        boxes: in pixels of the picture [N, 4].
        matches: the index of the object that each box is matched with [N].
        size: side of a target.
        aligned: as in `LevelRoIAlign`.
    """
    rois = torch.cat([matches[:, None].to(boxes), boxes], dim=1)  # [N, 5]
    parts = roi_align(masks[:, None].to(boxes), rois, size, aligned=aligned)[:, 0]
    return (parts >= 0.5).to(parts) if aligned else parts


def mask_loss(logits: Tensor, categories: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of `logits` [N, categories, M, M] at the category of each box [N]; 0 without boxes."""
    if not len(categories):
        return logits.sum() * 0
    own = logits[torch.arange(len(categories), device=logits.device), categories]  # [N, M, M]
    return F.binary_cross_entropy_with_logits(own, targets)


class RoIHeads(roi_heads.RoIHeads):
    """torchvision's heads with three changes.

    The box loss takes `beta`; scores and offsets are float32; and masks stay within their boxes, [N, 1, M, M].
    """

    beta = 1 / 9

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        if self.training:
            proposals, matches, labels, wanted = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, offsets = (item.float() for item in self.box_predictor(pooled))
        if not self.training:
            found = self.postprocess_detections(logits, offsets, proposals, image_shapes)
            names = ("boxes", "scores", "labels")
            results = [dict(zip(names, values, strict=True)) for values in zip(*found, strict=True)]
            return self._add_masks(features, results, image_shapes), {}
        losses = self._box_losses(logits, offsets, torch.cat(labels), torch.cat(wanted))
        if self.has_mask():
            objects = [label > 0 for label in labels]
            boxes = [box[chosen] for box, chosen in zip(proposals, objects, strict=True)]
            matched = [match[chosen] for match, chosen in zip(matches, objects, strict=True)]
            mask_logits = self._mask_logits(features, boxes, image_shapes)
            wanted_masks = [
                mask_targets(target["masks"], box, match, mask_logits.shape[-1], self.mask_roi_pool.aligned)
                for target, box, match in zip(targets or (), boxes, matched, strict=True)
            ]
            categories = torch.cat([label[chosen] for label, chosen in zip(labels, objects, strict=True)])
            losses["loss_mask"] = mask_loss(mask_logits, categories, torch.cat(wanted_masks))
        return [], losses

    def _box_losses(self, logits: Tensor, offsets: Tensor, labels: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Cross entropy over all proposals; the box loss is a sum over objects, divided by the number of proposals."""
        objects = torch.nonzero(labels > 0).flatten()
        own = offsets.view(len(labels), -1, 4)[objects, labels[objects]]  # [objects, 4], of the true category
        box_loss = F.smooth_l1_loss(own, wanted[objects], beta=self.beta, reduction="sum") / len(labels)
        return {"loss_classifier": F.cross_entropy(logits, labels), "loss_box_reg": box_loss}

    def _add_masks(
        self, features: dict[str, Tensor], results: list[Target], image_shapes: list[tuple[int, int]]
    ) -> list[Target]:
        if self.has_mask():
            logits = self._mask_logits(features, [result["boxes"] for result in results], image_shapes)
            masks = roi_heads.maskrcnn_inference(logits, [result["labels"] for result in results])
            for result, mask in zip(results, masks, strict=True):
                result["masks"] = mask
        return results

    def _mask_logits(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Logits [boxes of all images, categories, M, M]."""
        logits: Tensor = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        return logits.float()
