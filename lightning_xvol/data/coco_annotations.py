"""COCO's annotation files (`instances_*.json`), read and packed into few Python objects."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from lightning_xvol.data.coco_records import Image, Instance, Reader
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.files import read_bytes


@dataclass(frozen=True)
class CocoAnnotations:
    """The images of a file in the order of their ids, and the objects of each.

    The fields are arrays, and the objects are pickled into one of them. Every loader worker would otherwise copy
    millions of small Python objects, because counting references writes to their memory.

    Attributes:
        path: the file.
        categories: name by id, in the order of the ids. Ids may have gaps; COCO's 80 go up to 90.
        images: `(id, height, width)` [I, 3].
        names: file name of each image.
        masks: whether segmentations were read.
        singles: how many objects that are not crowds each image has [I].
        packed: the pickled objects of all images, one image after the other.
        ends: where the objects of each image end in `packed` [I + 1]; the first value is 0.
        chosen: indices of the images that this split has, into the arrays above.
    """

    path: Path
    categories: dict[int, str]
    images: numpy.ndarray
    names: numpy.ndarray
    masks: bool
    singles: numpy.ndarray
    packed: numpy.ndarray
    ends: numpy.ndarray
    chosen: numpy.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, indices: Sequence[int] | numpy.ndarray) -> CocoAnnotations:
        """The annotations of the images at `indices`."""
        return replace(self, chosen=self.chosen[numpy.asarray(indices, dtype=int)])

    def image(self, index: int) -> Image:
        row = self.chosen[index]
        number, height, width = self.images[row].tolist()
        return Image(number, self.names[row].decode(), height, width)

    def instances(self, index: int) -> list[Instance]:
        """The objects of an image, in the order of the file."""
        row = self.chosen[index]
        packed = self.packed[self.ends[row] : self.ends[row + 1]]
        return [Instance(*values) for values in pickle.loads(packed.tobytes())]

    @property
    def trainable(self) -> numpy.ndarray:
        """Indices of the images with an object that is not a crowd. Training uses only these, as in Detectron2."""
        return numpy.flatnonzero(self.singles[self.chosen])

    @property
    def landscape(self) -> numpy.ndarray:
        """Whether each image is wider than high [len(self)]."""
        sizes = self.images[self.chosen, 1:]
        return sizes[:, 1] > sizes[:, 0]

    def ground_truth(self, masks: bool = False) -> dict[str, Any]:
        """The input of COCO's evaluation: `images`, `annotations` and `categories` as in a file.

        Objects get new ids from 1 on, because COCO's code takes an object with id 0 for "no match". With `masks`,
        objects without a segmentation are left out, because there is nothing to compare.

        Raises:
            ValueError: with `masks`, if the annotations were read without masks.
        """
        if masks and not self.masks:
            raise ValueError(f"{str(self.path)!r} was read without masks")
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        category_ids = list(self.categories)
        for index in range(len(self)):
            image = self.image(index)
            images.append({"id": image.id, "height": image.height, "width": image.width})
            for instance in self.instances(index):
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": category_ids[instance.label - 1],
                    "bbox": list(instance.box),
                    "area": instance.area,
                    "iscrowd": int(instance.crowd),
                }
                if masks and instance.segmentation is None:
                    continue
                if masks:
                    annotation["segmentation"] = instance.segmentation
                annotations.append(annotation)
        categories = [{"id": number, "name": name} for number, name in self.categories.items()]
        return {"images": images, "annotations": annotations, "categories": categories}


def read_annotations(path: Path, *, masks: bool) -> CocoAnnotations:
    """The annotations in the file at `path`; without `masks`, segmentations are ignored.

    Raises:
        UserError: for a file that is missing, torn, empty or of another format, or that contradicts itself: an object
            of an image or a category that the file does not list, an id that comes twice or has more than 64 bits, a
            box that is not four numbers.
    """
    content = _read(path)
    reader = Reader(path, masks)
    categories = reader.categories(content["categories"])
    images = reader.images(content["images"])
    objects = reader.objects(content["annotations"], categories, images)
    packed = [pickle.dumps([tuple(item) for item in objects[number]]) for number in images]
    return CocoAnnotations(
        path=path,
        categories=categories,
        images=numpy.array(
            [(image.id, image.height, image.width) for image in images.values()], dtype=numpy.int64
        ).reshape(-1, 3),
        names=numpy.array([image.file_name.encode() for image in images.values()]),
        masks=masks,
        singles=numpy.array([sum(not item.crowd for item in found) for found in objects.values()]),
        packed=numpy.frombuffer(b"".join(packed), dtype=numpy.uint8),
        ends=numpy.cumsum([0, *map(len, packed)]),
        chosen=numpy.arange(len(images)),
    )


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    expected = "expected an instances file of COCO such as instances_val2017.json"
    try:
        content = json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise UserError(f"no annotations at {str(path)!r}; {expected}") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read the annotations {str(path)!r} ({reason}); fetch the file again") from error
    for key in ("images", "annotations", "categories"):
        part = content.get(key) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(item, dict) for item in part):
            raise UserError(f"the annotations {str(path)!r} hold no list {key!r}; {expected}")
    for key in ("images", "categories"):
        if not content[key]:
            raise UserError(f"the annotations {str(path)!r} list no {key}; {expected}")
    result: dict[str, list[dict[str, Any]]] = content
    return result
