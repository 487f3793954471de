"""COCO's annotation files (`instances_*.json`): read, checked, and packed into few Python objects.

A mistake in a file gives one sentence with the path and the id. The reader accepts what real files contain and the
format allows: whole numbers written as floats, boxes that reach over the border, crowds, objects without a
segmentation, images without an object, names in any script.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from lightning_xvol.data import coco_masks
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.files import read_bytes


class Instance(NamedTuple):
    """One object, in pixels of the annotated image.

    Attributes:
        label: 1 and up, in the order of the category ids; 0 is the background.
        box: x, y, width, height.
        area: of the mask, not of the box; COCO sorts objects into small, medium and large by it.
        crowd: whether this is a region full of such objects.
        segmentation: polygons or run lengths; None if the file has no valid one, or if masks were not asked for.
    """

    label: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    segmentation: coco_masks.Segmentation | None


class Image(NamedTuple):
    """The facts of one image."""

    id: int
    file_name: str
    height: int
    width: int


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
        UserError: for a file that is missing, torn or of another format, or that contradicts itself: an object of an
            image or a category that the file does not list, an id that comes twice, a box that is not four numbers.
    """
    content = _read(path)
    reader = _Reader(path, masks)
    categories = reader.categories(content["categories"])
    images = reader.images(content["images"])
    objects = reader.objects(content["annotations"], categories, images)
    packed = [pickle.dumps([tuple(item) for item in objects[number]]) for number in images]
    return CocoAnnotations(
        path=path,
        categories=categories,
        images=numpy.array([(image.id, image.height, image.width) for image in images.values()]).reshape(-1, 3),
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
    result: dict[str, list[dict[str, Any]]] = content
    return result


@dataclass
class _Reader:
    path: Path
    masks: bool

    def categories(self, records: list[dict[str, Any]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for record in records:
            number = self._whole("category", record, "id", found)
            found[number] = str(record.get("name", number))
        return dict(sorted(found.items()))

    def images(self, records: list[dict[str, Any]]) -> dict[int, Image]:
        found: dict[int, Image] = {}
        for record in records:
            number = self._whole("image", record, "id", found)
            name = record.get("file_name")
            if not isinstance(name, str) or not name or not _encodes(name):
                raise self._error("image", record, f"has file_name={name!r}; expected the name of its file")
            height, width = (self._whole("image", record, key) for key in ("height", "width"))
            if min(height, width) < 1:
                raise self._error("image", record, f"is {width} x {height} pixels; expected at least 1 x 1")
            found[number] = Image(number, name, height, width)
        return dict(sorted(found.items()))

    def objects(
        self, records: list[dict[str, Any]], categories: dict[int, str], images: dict[int, Image]
    ) -> dict[int, list[Instance]]:
        labels = {number: label for label, number in enumerate(categories, start=1)}
        found: dict[int, list[Instance]] = {number: [] for number in images}
        seen: set[int] = set()
        for record in records:
            seen.add(self._whole("annotation", record, "id", seen))
            image_id = self._whole("annotation", record, "image_id")
            if image_id not in images:
                raise self._error("annotation", record, f"is of image {image_id}, which the file does not list")
            category = self._whole("annotation", record, "category_id")
            if category not in labels:
                known = ", ".join(map(str, categories))
                raise self._error("annotation", record, f"is of category {category}, outside the list ({known})")
            box, area = record.get("bbox"), record.get("area")
            if not isinstance(box, list) or len(box) != 4 or not _finite(box):
                raise self._error("annotation", record, f"has bbox={box}; expected four numbers x, y, width, height")
            if not _finite([area]):
                raise self._error("annotation", record, f"has area={area}; expected a number of pixels")
            segmentation = self._segmentation(record, images[image_id]) if self.masks else None
            crowd = record.get("iscrowd", 0)
            if crowd not in (0, 1):
                raise self._error("annotation", record, f"has iscrowd={crowd!r}; expected 0 or 1")
            instance = Instance(labels[category], tuple(box), area, bool(crowd), segmentation)  # type: ignore[arg-type]
            found[image_id].append(instance)
        return found

    def _segmentation(self, record: dict[str, Any], image: Image) -> coco_masks.Segmentation | None:
        segmentation = record.get("segmentation")
        if not segmentation:
            return None
        if isinstance(segmentation, list):
            if not all(isinstance(polygon, list) and _finite(polygon) for polygon in segmentation):
                raise self._error("annotation", record, "has a polygon that is no list of numbers")
            return coco_masks.valid_polygons(segmentation) or None
        size = [image.height, image.width]
        if not isinstance(segmentation, dict) or segmentation.get("size") != size:
            raise self._error("annotation", record, f"has a segmentation that is not of its image's size {size}")
        counts = segmentation.get("counts")
        try:
            whole = sum(counts) == math.prod(size) if isinstance(counts, list) else True
            if isinstance(counts, list):
                segmentation = {"size": size, "counts": list(map(_whole_number, counts))}
            coco_masks.decode(coco_masks.to_rle(segmentation, *size))
        except (TypeError, ValueError, OverflowError, KeyError, RuntimeError):
            whole = False
        if not whole:
            raise self._error("annotation", record, f"has run lengths that do not fill its image's size {size}")
        return segmentation

    def _whole(self, kind: str, record: dict[str, Any], key: str, taken: Any = ()) -> int:
        """The whole number `record[key]`, which some files write as 7.0; it must not be in `taken`."""
        value = record.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._error(kind, record, f"has {key}={value!r}; expected a whole number")
        if value in taken:
            raise self._error(kind, record, f"comes twice; expected each {key} once")
        return value

    def _error(self, kind: str, record: dict[str, Any], what: str) -> UserError:
        return UserError(f"{kind} {record.get('id')} in {str(self.path)!r} {what}")


def _finite(values: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):  # an int can be too large for a float
        return False


def _whole_number(value: Any) -> int:
    """`value` as an int; some files write 7 as 7.0.

    Raises:
        ValueError: if it is not a whole number.
    """
    if int(value) != value:
        raise ValueError(f"{value} is no whole number")
    return int(value)


def _encodes(name: str) -> bool:
    """Whether a file can have this name: a string in JSON may contain half a character."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
