"""COCO 2017 from its folder: annotations/instances_{train,val}2017.json, train2017/ and val2017/.

Images and objects are chosen as in Detectron2. Training leaves out crowds, and images without any other object.
Evaluation keeps everything.

A training picture is resized so that its shorter side is one of `short_sides`, chosen at random in each epoch, and
mirrored with a probability of one half. In evaluation the shorter side is `test_short_side`. The longer side never
exceeds `long_side`. Pillow resizes, bilinear with antialiasing, as in Detectron2.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xvol.data import coco_masks
from lightning_xvol.data.base import DataError, require_whole
from lightning_xvol.data.coco_annotations import CocoAnnotations, Image, Instance, read_annotations
from lightning_xvol.data.pictures import read_picture
from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.variables import data_folder

Target = dict[str, Tensor]
DetectionItem = tuple[Tensor, Target]

SPLITS = {"train": "train2017", "validation": "val2017"}


@dataclass(frozen=True)
class Geometry:
    """How pictures are resized and mirrored. Sides are in pixels; the fields are described in `Coco`."""

    short_sides: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    test_short_side: int = 800
    long_side: int = 1333
    flip: float = 0.5

    def size(self, height: int, width: int, short_side: int) -> tuple[int, int]:
        """Height and width of a picture resized to `short_side`, or to less if its longer side would be too long.

        Both are at least 1.
        """
        scale = min(short_side / min(height, width), self.long_side / max(height, width))
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


class Coco:
    """COCO 2017: 118,287 images for training and 5,000 for validation, 80 categories.

    Args:
        root: the folder that holds `coco`, or `annotations`, `train2017` and `val2017` themselves.
        download: not possible for COCO; the error for missing files says so.
        masks: whether targets have masks.
        short_sides: the shorter side of a training picture is one of them, chosen at random.
        test_short_side: the shorter side of an evaluated picture.
        long_side: upper limit of the longer side of any picture.
        flip: probability that a training picture is mirrored.

    Attributes:
        num_classes: categories, without the background.
        classes: names of the categories; label 1 is the first one.
        image_shape: [C, H, W] of the largest input of the network.

    Raises:
        UserError: for a missing file or folder, or a value out of range.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        masks: bool = False,
        short_sides: Sequence[int] = Geometry.short_sides,
        test_short_side: int = Geometry.test_short_side,
        long_side: int = Geometry.long_side,
        flip: float = Geometry.flip,
    ) -> None:
        self.root = data_folder(root)
        if not isinstance(masks, bool):
            raise UserError(f"data.options.masks={masks} must be true or false")
        if not isinstance(flip, (int, float)) or not 0 <= flip <= 1:
            raise UserError(f"data.options.flip={flip} must be a probability from 0 to 1")
        if isinstance(short_sides, int) or not short_sides:
            raise UserError(f"data.options.short_sides={short_sides} must be a list of sides such as (640, 800)")
        for side in short_sides:
            require_whole("short_sides", side, 1)
        require_whole("test_short_side", test_short_side, 1)
        require_whole("long_side", long_side, max(*short_sides, test_short_side))
        self.masks = masks
        self.geometry = Geometry(tuple(short_sides), test_short_side, long_side, float(flip))
        self.image_shape = (3, test_short_side, long_side)
        self.root = self._locate()
        self._read: dict[str, CocoAnnotations] = {}
        self.classes = tuple(self._annotations("validation").categories.values())
        self.num_classes = len(self.classes)

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]]:
        """The values of COCO 2017, without reading a file."""
        return 80, (3, options["test_short_side"], options["long_side"])

    def train(self) -> CocoSplit:
        annotations = self._annotations("train")
        if annotations.categories != self._annotations("validation").categories:
            raise UserError(f"train2017 and val2017 in {str(self.root)!r} must list the same categories")
        return self._split("train", annotations.take(annotations.trainable))

    def validation(self) -> CocoSplit:
        return self._split("validation", self._annotations("validation"))

    def test(self) -> None:
        """COCO publishes no annotations for its test split. Tables report the validation split, as the paper does."""

    def _locate(self) -> Path:
        root = self.root / "coco" if (self.root / "coco").is_dir() else self.root
        for name in SPLITS.values():
            for path in (root / "annotations" / f"instances_{name}.json", root / name):
                if not path.exists():
                    raise UserError(
                        f"no {str(path)!r}; expected annotations/instances_train2017.json, instances_val2017.json, "
                        f"train2017/ and val2017/ in {str(root)!r}: --data-dir must name the folder that holds "
                        "coco, or the folder that holds these three (COCO cannot be fetched with --download; see "
                        "cocodataset.org)"
                    )
        return root

    def _annotations(self, split: str) -> CocoAnnotations:
        if split not in self._read:
            path = self.root / "annotations" / f"instances_{SPLITS[split]}.json"
            self._read[split] = read_annotations(path, masks=self.masks)
        return self._read[split]

    def _split(self, split: str, annotations: CocoAnnotations) -> CocoSplit:
        return CocoSplit(
            annotations, self.root / SPLITS[split], self.geometry, train=split == "train", masks=self.masks
        )


class CocoSplit(Dataset[DetectionItem]):
    """Items are (picture uint8 [3, H, W] as the network gets it, target).

    A target holds `image_id` [] and `size` [2], the height and width of the annotated image. Detections are evaluated
    in pixels of that image. The target of a training picture also holds `boxes` [N, 4] (x1, y1, x2, y2 in the resized
    picture), `labels` [N] (1 and up) and, if asked for, `masks` uint8 [N, H, W]. N may be 0.

    Random numbers come from torch's global generator.
    """

    def __init__(
        self, annotations: CocoAnnotations, folder: Path, geometry: Geometry, *, train: bool, masks: bool
    ) -> None:
        self.annotations, self.folder, self.geometry = annotations, folder, geometry
        self.training, self.masks = train, masks

    def __len__(self) -> int:
        return len(self.annotations)

    def take(self, indices: Sequence[int]) -> CocoSplit:
        """A split of the images at `indices`."""
        part = copy.copy(self)
        part.annotations = self.annotations.take(indices)
        return part

    def __getitem__(self, index: int) -> DetectionItem:
        image = self.annotations.image(index)
        # Annotations are for the upright picture, as in Detectron2.
        picture = read_picture(self.folder / image.file_name, f"image {image.id}", upright=True)
        if picture.size != (image.width, image.height):
            raise DataError(
                f"image {image.id}, {str(self.folder / image.file_name)!r}, is {picture.width} x {picture.height} "
                f"pixels, upright as its EXIF orientation says, but its annotations are for {image.width} x "
                f"{image.height}; fetch it again, or take the orientation out"
            )
        short_side, mirrored = self._random_geometry()
        size = self.geometry.size(image.height, image.width, short_side)
        pixels = numpy.asarray(picture.resize(size[::-1], PIL.Image.Resampling.BILINEAR))  # [H, W, 3]
        target = {"image_id": torch.tensor(image.id), "size": torch.tensor([image.height, image.width])}
        if self.training:
            target |= self._objects(self.annotations.instances(index), image, size, mirrored)
        return torch.from_numpy(_mirror(pixels, mirrored, axis=1)).permute(2, 0, 1).contiguous(), target

    def _random_geometry(self) -> tuple[int, bool]:
        """The shorter side of a picture and whether it is mirrored; fixed in evaluation."""
        if not self.training:
            return self.geometry.test_short_side, False
        sides = self.geometry.short_sides
        return sides[int(torch.randint(len(sides), ()))], bool(torch.rand(()) < self.geometry.flip)

    def _objects(self, instances: list[Instance], image: Image, size: tuple[int, int], mirrored: bool) -> Target:
        """The objects to train on: no crowds, no boxes that are empty in the resized picture, and no empty masks."""
        height, width = size
        kept = [item for item in instances if not item.crowd and not (self.masks and item.segmentation is None)]
        boxes = numpy.array([item.box for item in kept], dtype=numpy.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= numpy.tile([width / image.width, height / image.height], 2)
        boxes = boxes.clip(0, numpy.tile([width, height], 2))
        if mirrored:
            boxes = numpy.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        target = {
            "boxes": torch.from_numpy(boxes).float(),
            "labels": torch.tensor([item.label for item in kept], dtype=torch.int64),
        }
        valid = (target["boxes"][:, 2:] > target["boxes"][:, :2]).all(1)
        if self.masks:
            masks = numpy.zeros((len(kept), height, width), dtype=numpy.uint8)
            annotated = (image.height, image.width)
            for mask, item in zip(masks, kept, strict=True):
                mask[:] = coco_masks.to_mask(item.segmentation, annotated, size)  # type: ignore[arg-type]
            target["masks"] = torch.from_numpy(_mirror(masks, mirrored, axis=2))
            valid &= torch.from_numpy(masks.any(axis=(1, 2)))
        return {name: values[valid] for name, values in target.items()}


def _mirror(pixels: numpy.ndarray, mirrored: bool, axis: int) -> numpy.ndarray:
    """A copy of `pixels` in C order, which torch needs, mirrored along `axis` if asked for."""
    return numpy.ascontiguousarray(numpy.flip(pixels, axis)) if mirrored else numpy.array(pixels)


class DetectionBatch(NamedTuple):
    """A batch of pictures, which may differ in size.

    Attributes:
        images: [3, H, W] each.
        targets: one for each image.
        indices: [B], the index of each image in its split.
    """

    images: list[Tensor]
    targets: list[Target]
    indices: Tensor


def collate_detections(items: Sequence[tuple[Tensor, Target, int]]) -> DetectionBatch:
    """The `collate_fn` of a loader over `KeyedDataset(split)`."""
    images, targets, indices = zip(*items, strict=True)
    return DetectionBatch(list(images), list(targets), torch.tensor(indices))
