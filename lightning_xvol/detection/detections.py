"""Turns a detector's output into detections in the annotated image: plain values, and masks as run lengths."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from lightning_xvol.data import coco_masks
from lightning_xvol.detection.evaluator import Detection


def to_image(output: dict[str, Tensor], network_size: tuple[int, int], size: tuple[int, int]) -> list[Detection]:
    """The detections of one picture in pixels of the annotated image, the highest score first.

    Everything is computed in float32. Boxes are clipped at the border, and empty ones are left out. A mask becomes
    binary at a threshold of one half, and run lengths at once: 100 float masks of 480 x 640 take 117 MiB.

    Args:
        output: `boxes` [N, 4] in the picture as the network saw it, `scores` [N], `labels` [N], and for a Mask R-CNN
            `masks` [N, 1, M, M], probabilities within the box.
        network_size: H, W of that picture, without padding.
        size: H, W of the annotated image.
    """
    height, width = size
    scale = torch.tensor([width / network_size[1], height / network_size[0]]).repeat(2)
    boxes = output["boxes"].detach().float().cpu() * scale
    boxes = boxes.clamp(min=torch.zeros(4), max=torch.tensor([width, height, width, height]))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1).nonzero().flatten().tolist()
    scores, labels = output["scores"].float().tolist(), output["labels"].tolist()
    detections = [{"label": labels[i], "score": scores[i], "box": boxes[i].tolist()} for i in kept]
    if "masks" in output:
        # A mask fills its whole box, so its position comes from the box before clipping.
        whole = output["boxes"].detach().float() * scale.to(output["boxes"].device)
        for detection, index in zip(detections, kept, strict=True):
            mask = paste(output["masks"][index, 0].detach().float(), whole[index], size)
            [detection["rle"]] = coco_masks.encode(mask[None])
    return detections


def paste(probabilities: Tensor, box: Tensor, size: tuple[int, int]) -> numpy.ndarray:
    """Whether the mask [M, M] that fills `box` (x1, y1, x2, y2) is at least 0.5 at each pixel's centre: bool [H, W].

    The mask is sampled bilinearly at sub-pixel positions and is zero outside, as in Detectron2. torchvision rounds the
    box first.
    """
    height, width = size
    left, top, right, bottom = box.tolist()
    x_first, x_end = max(0, int(left)), min(width, int(right) + 1)
    y_first, y_end = max(0, int(top)), min(height, int(bottom) + 1)
    # grid_sample's coordinates: -1 and 1 are the outer edges of the mask.
    x = (torch.arange(x_first, x_end, device=box.device) + 0.5 - left) / (right - left) * 2 - 1
    y = (torch.arange(y_first, y_end, device=box.device) + 0.5 - top) / (bottom - top) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # [H', W', 2]
    region = functional.grid_sample(probabilities[None, None], grid[None], align_corners=False)[0, 0]
    mask = numpy.zeros(size, dtype=bool)
    mask[y_first:y_end, x_first:x_end] = (region >= 0.5).cpu().numpy()
    return mask
