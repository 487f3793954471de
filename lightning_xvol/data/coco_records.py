"""The records of COCO's annotation files, checked one by one.

A mistake in a file gives one sentence with the path and the id. The reader accepts what real files contain and the
format allows: whole numbers written as floats, boxes that reach over the border, crowds, objects without a
segmentation, images without an object, names in any script.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightning_xvol.data import coco_masks
from lightning_xvol.data.pictures import MOST_PIXELS
from lightning_xvol.errors import UserError

LARGEST = 2**63 - 1
"""Ids are kept in 64 bits with a sign. In a float they would lose digits, and images would be taken for one another."""
EXACT = 2**53
"""A whole number that a file writes as a float, such as 7.0, is exact below this."""
FAR = 100
"""Coordinates may lie outside an image, up to this many times its longer side: COCO's code walks along polygons."""
LONGEST_NAME = 4096  # bytes; the names of all images take the room of the longest

_short = reprlib.Repr()
_short.maxlong = _short.maxstring = _short.maxother = 60


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


@dataclass
class Reader:
    """Checks the records of the file `path`; without `masks`, segmentations are ignored."""

    path: Path
    masks: bool

    def categories(self, records: list[dict[str, Any]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for record in records:
            number = self._whole("category", record, "id", found)
            found[number] = _printable(str(record.get("name", number)))
        return dict(sorted(found.items()))

    def images(self, records: list[dict[str, Any]]) -> dict[int, Image]:
        found: dict[int, Image] = {}
        for record in records:
            number = self._whole("image", record, "id", found)
            name = record.get("file_name")
            if not isinstance(name, str) or not name or not _encodes(name):
                raise self._error("image", record, f"has file_name={_short.repr(name)}; expected the name of its file")
            height, width = (self._whole("image", record, key) for key in ("height", "width"))
            if min(height, width) < 1:
                raise self._error("image", record, f"is {width} x {height} pixels; expected at least 1 x 1")
            if height * width > MOST_PIXELS:
                raise self._error("image", record, f"is {width} x {height} pixels; expected at most {MOST_PIXELS:,}")
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
                known = ", ".join(map(str, list(categories)[:20])) + ", ..." * (len(categories) > 20)
                raise self._error("annotation", record, f"is of category {category}, outside the list ({known})")
            box = self._box(record, images[image_id])
            area = record.get("area")
            if not _finite([area]):
                raise self._error("annotation", record, f"has area={_short.repr(area)}; expected a number of pixels")
            segmentation = self._segmentation(record, images[image_id]) if self.masks else None
            crowd = record.get("iscrowd", 0)
            if crowd not in (0, 1):
                raise self._error("annotation", record, f"has iscrowd={_short.repr(crowd)}; expected 0 or 1")
            instance = Instance(labels[category], box, float(area), bool(crowd), segmentation)  # type: ignore[arg-type]
            found[image_id].append(instance)
        return found

    def _box(self, record: dict[str, Any], image: Image) -> tuple[float, float, float, float]:
        box = record.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not _finite(box):
            raise self._error(
                "annotation", record, f"has bbox={_short.repr(box)}; expected four numbers x, y, width, height"
            )
        self._near(record, "bbox", box, image)
        x, y, width, height = map(float, box)
        return x, y, width, height

    def _near(self, record: dict[str, Any], key: str, coordinates: list[float], image: Image) -> None:
        farthest = max(map(abs, coordinates), default=0)
        if farthest > FAR * max(image.height, image.width):
            raise self._error(
                "annotation",
                record,
                f"has a {key} with the coordinate {_short.repr(farthest)}, far outside its image of {image.width} x "
                f"{image.height} pixels; expected pixels",
            )

    def _segmentation(self, record: dict[str, Any], image: Image) -> coco_masks.Segmentation | None:
        segmentation = record.get("segmentation")
        if not segmentation:
            return None
        if isinstance(segmentation, list):
            if not all(isinstance(polygon, list) and _finite(polygon) for polygon in segmentation):
                raise self._error("annotation", record, "has a polygon that is no list of numbers")
            for polygon in segmentation:
                self._near(record, "polygon", polygon, image)
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
        except Exception:  # the compiled code raises many kinds
            whole = False
        if not whole:
            raise self._error("annotation", record, f"has run lengths that do not fill its image's size {size}")
        return segmentation

    def _whole(self, kind: str, record: dict[str, Any], key: str, taken: Any = ()) -> int:
        """The whole number `record[key]`, which some files write as 7.0; it must not be in `taken`."""
        value = record.get(key)
        if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._error(kind, record, f"has {key}={_short.repr(value)}; expected a whole number")
        if not -LARGEST <= value <= LARGEST:
            what = f"has {key}={_short.repr(value)}, outside 64 bits; expected -2^63 + 1 to 2^63 - 1: number them anew"
            raise self._error(kind, record, what)
        if value in taken:
            raise self._error(kind, record, f"comes twice; expected each {key} once")
        return value

    def _error(self, kind: str, record: dict[str, Any], what: str) -> UserError:
        number = record.get("id")
        shown = number if isinstance(number, str) else _short.repr(number)
        return UserError(f"{kind} {_printable(' '.join(shown.split())[:60])} in {str(self.path)!r} {what}")


def _finite(values: list[Any]) -> bool:
    try:
        return all(math.isfinite(value) and not isinstance(value, bool) for value in values)
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
    """Whether a file can have this name: a string in JSON may contain half a character, or a zero."""
    try:
        return 0 < len(name.encode()) <= LONGEST_NAME and "\0" not in name
    except UnicodeEncodeError:
        return False


def _printable(text: str) -> str:
    """`text` where half a character becomes its escape, because no file or terminal takes it."""
    return text.encode(errors="backslashreplace").decode()
