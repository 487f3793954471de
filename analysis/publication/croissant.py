"""Descriptions of the data sets that code generates, in Croissant 1.0, a format for data sets of machine learning.

No file of images is distributed. Each description names the code that makes the images instead.

Source: Croissant Format Specification 1.0 (http://mlcommons.org/croissant/1.0), with its recommended context.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_xvol.config import registry
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    from analysis.publication.crate import Citation

SPECIFICATION = "http://mlcommons.org/croissant/1.0"
ROOT = Path(registry.__file__).resolve().parents[2]
_OWN = (
    "citeAs column extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path recordSet references regex repeated replace separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _OWN.split()},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "sc": "https://schema.org/",
}
_SPLIT_TYPES = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}


@dataclass(frozen=True)
class Generated:
    """A data set that code generates.

    Attributes:
        description: What its images show.
        code: The files of its code, below the root of the repository. The first one has the class that `call` imports.
        call: The Python code that makes it.
        classes: The names of its classes by their numbers.
        splits: The option with the number of images, for each split.
        fields: Its fields beside split and label: name, data types and description.
        label: The description of the label.
        repeated: The fields that have several values for each image.
    """

    description: str
    code: tuple[str, ...]
    call: str
    classes: Mapping[int, str]
    splits: Mapping[str, str]
    fields: Sequence[tuple[str, Sequence[str], str]]
    label: str
    repeated: tuple[str, ...]


SETS = {
    "match": Generated(
        description=(
            "Match-to-sample: a random binary pattern is in the middle of an image of 32 x 32 pixels, and one of four "
            "candidates around it, 12 pixels away, equals it. The class says which one. Chance is 25 %."
        ),
        code=("lightning_xvol/data/match.py",),
        call="from lightning_xvol.data.match import Match; split = Match().train()",
        classes={0: "left", 1: "right", 2: "above", 3: "below"},
        splits={"train": "train_size", "validation": "validation_size", "test": "test_size"},
        fields=[("image", ["sc:Float"], "The pixels [1, 32, 32], of mean 0 and standard deviation 1 without noise.")],
        label="The number of the candidate that equals the pattern in the middle.",
        repeated=("image",),
    ),
    "shapes_coco": Generated(
        description=(
            "Textured shapes of six categories on a cluttered ground, 192 x 192 pixels, for detection and "
            "segmentation. The files that the generator writes have the format of COCO."
        ),
        code=("lightning_xvol/data/shapes_coco.py", "lightning_xvol/data/shapes.py"),
        call=(
            "from pathlib import Path; from lightning_xvol.data.shapes_coco import ShapesCoco; "
            "split = ShapesCoco(Path('data')).train()"
        ),
        classes={1: "disc", 2: "square", 4: "triangle", 7: "star", 8: "bars", 11: "ring"},
        splits={"train": "train_size", "validation": "validation_size"},
        fields=[
            ("image", ["sc:ImageObject"], "The picture, 3 channels of 8 bits."),
            ("bbox", ["cr:BoundingBox"], "The box of each object: left, top, width and height in pixels."),
            ("mask", ["cr:SegmentationMask", "sc:ImageObject"], "The visible pixels of each object."),
        ],
        label="The category id of each object.",
        repeated=("bbox", "mask", "label"),
    ),
}  # fmt: skip
"""The generated data sets, at their default options."""


def description(name: str, folder: Path, citation: Citation, date: str) -> dict[str, Any]:
    """The description of the data set `name`, for a file in `folder`."""
    generated, registered = SETS[name], registry.DATASETS[name]
    options = ", ".join(f"{key}={value}" for key, value in registered.options.items())
    distribution = [_code(path, folder) for path in generated.code]
    distribution[0]["description"] = f"No file of images is distributed. This code makes them: {generated.call}"
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATION,
        "name": name,
        "description": f"{generated.description} Options: {options}.",
        "version": f"{registered.generator}.0.0",
        "license": citation.license_address,
        "url": distribution[0]["contentUrl"],
        "creator": [{"@type": f"sc:{each['@type']}", "name": each["name"]} for each in citation.author_entities],
        "datePublished": date,
        "citeAs": _bibtex(citation),
        "isLiveDataset": False,
        "distribution": distribution,
        "recordSet": [_splits(generated, registered.options), _labels(generated), _images(generated)],
    }


def _code(file: str, folder: Path) -> dict[str, Any]:
    """A file of code. Its address is relative to `folder` within the repository, and else below its root."""
    path = ROOT / file
    content = files.read_bytes(path)
    inside = folder.resolve().is_relative_to(ROOT)
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": Path(os.path.relpath(path, folder.resolve())).as_posix() if inside else file,
        "contentSize": f"{len(content)} B",
        "encodingFormat": "text/x-python",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _splits(generated: Generated, options: Mapping[str, Any]) -> dict[str, Any]:
    names = [("name", "sc:Text"), ("url", "sc:URL"), ("images", "sc:Integer")]
    rows = [(split, _SPLIT_TYPES[split], options[option]) for split, option in generated.splits.items()]
    return _enumeration("splits", "cr:Split", "The splits, with their numbers of images.", names, rows)


def _labels(generated: Generated) -> dict[str, Any]:
    names = [("label", "sc:Integer"), ("name", "sc:Text")]
    return _enumeration("labels", "sc:Enumeration", "The classes.", names, list(generated.classes.items()))


def _enumeration(
    name: str, kind: str, about: str, fields: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    ids = [f"{name}/{field}" for field, _ in fields]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": about,
        "dataType": kind,
        "key": {"@id": ids[0]},
        "field": [_field(name, field, [of], "") for field, of in fields],
        "data": [dict(zip(ids, row, strict=True)) for row in rows],
    }


def _images(generated: Generated) -> dict[str, Any]:
    made = {"source": {"fileObject": {"@id": Path(generated.code[0]).name}, "extract": {"fileProperty": "content"}}}
    split = _field("images", "split", ["sc:Text"], "The split of the image.")
    label = _field("images", "label", ["sc:Integer", "cr:Label"], generated.label)
    fields = [
        *(_field("images", *field) for field in generated.fields),
        split | {"references": {"field": {"@id": "splits/name"}}},
        label | {"references": {"field": {"@id": "labels/label"}}},
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "A record for each image that the code makes.",
        "field": [field | made | {"repeated": field["name"] in generated.repeated} for field in fields],
    }


def _field(of: str, name: str, kinds: Sequence[str], about: str) -> dict[str, Any]:
    kind = kinds[0] if len(kinds) == 1 else list(kinds)
    field = {"@type": "cr:Field", "@id": f"{of}/{name}", "name": name, "dataType": kind}
    return field | ({"description": about} if about else {})


def _bibtex(citation: Citation) -> str:
    authors = " and ".join(f"{{{name}}}" for name, _ in citation.authors)
    about = {"title": f"{{{citation.title}}}", "author": f"{{{authors}}}", "version": f"{{{citation.version}}}"}
    return f"@software{{lightning_xvol, {', '.join(f'{key}={value}' for key, value in about.items())}}}"
