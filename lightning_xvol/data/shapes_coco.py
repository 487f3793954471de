"""Shapes in COCO's format, made on first use: the embedded data set for detection and segmentation.

`lightning_xvol.data.shapes` draws textured shapes of six categories on a cluttered ground. This module writes them to
COCO's folders and files, and COCO's loader reads them. The files contain what real ones contain: sparse category ids,
polygons, also of several parts, run lengths, crowds, and images without an object. There are small, medium and large
objects by COCO's absolute limits of 32 x 32 and 96 x 96 pixels, so pictures have 192 pixels.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.data.base import require_whole
from lightning_xvol.data.coco import SPLITS, Coco
from lightning_xvol.data.shapes import CATEGORIES, SIDE, Shapes, draw_image
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files
from lightning_xvol.ledger.locking import alone_in

VERSION = registry.DATASETS["shapes_coco"].generator
"""Part of the folder's name. It goes up with every change to the pictures or their annotations."""

FIRST_IMAGE = {"train": 1, "validation": 1_000_001}


class ShapesCoco(Coco):
    """Shapes of 6 categories. The first process that asks for them writes them to `root`/shapes_coco/.

    Args:
        root: the folder that contains data sets.
        download: not used.
        image_size: shorter side of a picture; below 192 there are fewer large objects, or none.
        aspect_ratios: width over height; the pictures take them in turn.
        train_size: images for training. A larger split begins with the images of a smaller one.
        validation_size: images for validation.
        draw: another number gives other random images. Each split of each number has its own random stream.
        masks, short_sides, test_short_side, long_side, flip: as in `Coco`; None does not resize.

    Raises:
        UserError: for a value out of range, or a folder that cannot be written to.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        image_size: int = SIDE,
        aspect_ratios: Sequence[float] = (1.0,),
        train_size: int = 400,
        validation_size: int = 120,
        draw: int = 0,
        masks: bool = False,
        short_sides: Sequence[int] | None = None,
        test_short_side: int | None = None,
        long_side: int = 4 * SIDE,
        flip: float = 0.5,
    ) -> None:
        sizes = {"train": train_size, "validation": validation_size}
        for name, size in sizes.items():
            require_whole(f"{name}_size", size, 1)
        if isinstance(aspect_ratios, (int, float)) or not all(0.25 <= ratio <= 4 for ratio in aspect_ratios or (0,)):
            raise UserError(f"data.options.aspect_ratios={aspect_ratios} must be a list of ratios from 0.25 to 4")
        self.shapes = Shapes(
            require_whole("image_size", image_size, 64),
            tuple(map(float, aspect_ratios)),
            require_whole("draw", draw, 0),
        )
        self.sizes = sizes
        tested = image_size if test_short_side is None else test_short_side
        super().__init__(
            root,
            masks=masks,
            short_sides=(image_size,) if short_sides is None else short_sides,
            test_short_side=tested,
            long_side=long_side,
            flip=flip,
        )
        self.image_shape = _largest(tested, self.shapes.aspect_ratios)

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]]:
        return len(CATEGORIES), _largest(options["test_short_side"] or options["image_size"], options["aspect_ratios"])

    def _locate(self) -> Path:
        return write_shapes(self.root, self.shapes, self.sizes)


def _largest(side: int, aspect_ratios: Sequence[float]) -> tuple[int, int, int]:
    """[C, H, W] of the network's largest input; pictures of 192 pixels never reach `long_side`."""
    return 3, side, math.ceil(side * max(max(ratio, 1 / ratio) for ratio in aspect_ratios))


def write_shapes(root: Path, shapes: Shapes, sizes: dict[str, int]) -> Path:
    """The folder below `root` with the data set, which is written if it does not exist.

    The folder gets its name by a rename once it is complete. A second process waits for the first one.

    Raises:
        UserError: if the folder cannot be written.
    """
    ratios = "x".join(f"{ratio:g}" for ratio in shapes.aspect_ratios)
    name = f"v{VERSION}-{shapes.image_size}px-{ratios}-{sizes['train']}-{sizes['validation']}-draw{shapes.draw}"
    folder = root / "shapes_coco" / name
    if folder.is_dir():
        return folder
    try:
        with alone_in(folder.parent):
            if not folder.is_dir():
                temporary = folder.with_name(f".{name}.tmp")
                # An old temporary folder belongs to a process that died.
                shutil.rmtree(temporary, ignore_errors=True)
                for split, size in sizes.items():
                    _write_split(temporary, split, size, shapes)
                os.replace(temporary, folder)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write shapes to {str(folder)!r}: {reason}; choose another folder with --data-dir"
        ) from error
    return folder


def _write_split(folder: Path, split: str, size: int, shapes: Shapes) -> None:
    pictures = folder / SPLITS[split]
    pictures.mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(size):
        number = FIRST_IMAGE[split] + index
        picture, found = draw_image(shapes, split, index)
        name = f"{number:012d}.jpg"
        picture.save(pictures / name, quality=90)
        images.append({"id": number, "file_name": name, "height": picture.height, "width": picture.width})
        for annotation in found:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    content = {
        "info": {"description": f"lightning_xvol shapes, version {VERSION}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "shape"} for number, name in CATEGORIES.items()],
    }
    path = folder / "annotations" / f"instances_{SPLITS[split]}.json"
    files.write_text(path, json.dumps(content, separators=(",", ":")))
