"""Mutated pictures and annotations: the right result or one sentence, in little time and memory."""

from __future__ import annotations

import json
import random
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest
from pycocotools.coco import COCO

from lightning_xvol.data.base import DataError
from lightning_xvol.data.coco import CocoSplit, Geometry
from lightning_xvol.data.coco_annotations import read_annotations
from lightning_xvol.data.imagenet import FolderSplit, ImageNet
from lightning_xvol.data.pictures import read_picture
from lightning_xvol.errors import UserError
from tests.data import coco_files, picture_files

SECONDS = 20  # for one file on a busy machine
GIB = 2**20  # in KiB
COUNTS = [50, pytest.param(500, marks=pytest.mark.slow)]


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def assert_sentence(error: UserError, part: str) -> None:
    message = str(error)
    assert part in message and "\n" not in message and message.encode()


def mutate_bytes(content: bytes, choose: random.Random) -> bytes:
    """Bytes changed, cut off, left out, repeated, or set to a large number."""
    found = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(max(1, len(found)))
        kind = choose.randrange(5)
        if kind == 0:
            found[place : place + 1] = bytes([choose.randrange(256)])
        elif kind == 1:
            found[place : place + 4] = choose.choice([b"\xff\xff\xff\xff", b"\x00\x00\xff\x7f", b"\x00\x00\x00\x00"])
        elif kind == 2:
            del found[place:]
        elif kind == 3:
            del found[place : place + choose.randint(1, 16)]
        else:
            found[place:place] = found[place : place + choose.randint(1, 64)]
    return bytes(found)


@pytest.mark.parametrize("count", COUNTS)
def test_a_mutated_picture_is_what_pillow_decodes_or_one_sentence(tmp_path: Path, count: int) -> None:
    contents = [(path.name, path.read_bytes()) for path in picture_files.write_all(tmp_path)]
    (tmp_path / "class").mkdir()
    start, refused = peak(), 0
    for seed in range(count):
        choose = random.Random(seed)
        name, content = contents[seed % len(contents)]
        path = tmp_path / "class" / f"{seed}.{'jpg' if name.endswith('gif') else name.rpartition('.')[2]}"
        path.write_bytes(mutate_bytes(content, choose))
        began = time.monotonic()
        try:
            picture = read_picture(path, upright=bool(seed % 2))
        except DataError as error:
            refused += 1
            assert_sentence(error, str(path))
        else:
            assert picture.mode == "RGB"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with PIL.Image.open(path) as theirs:
                    theirs.load()
                    expected = theirs.convert("RGB") if not theirs.mode.startswith("I") else None
            if expected is not None and not seed % 2:
                assert numpy.array_equal(numpy.asarray(picture), numpy.asarray(expected)), seed
            split = FolderSplit(tmp_path, ["class"], ImageNet._central(_sized(8)))
            assert split.raw([Path(item.decode()).name for item in split.paths].index(path.name))[0].shape == (3, 8, 8)
        assert time.monotonic() - began < SECONDS, seed
        path.unlink()
    assert count // 5 < refused < count and peak() - start < GIB


def _sized(side: int) -> Any:
    data = ImageNet.__new__(ImageNet)
    data.image_size = side
    return data


VALUES = [
    None, True, False, -1, 0, 1.5, 1e3, 1e300, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, "", "7",
    "a\0b", "\ud800", "x\ny", [], {}, [[]], [None], [1, 2, 3, 4], float("nan"), float("inf"), "0" * 50, [1e9] * 6,
]  # fmt: skip


def mutate_json(found: Any, choose: random.Random) -> None:
    """A value somewhere in `found` replaced, left out, or repeated."""
    while True:
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        key = choose.choice(keys)
        inner = found[key]
        if isinstance(inner, (dict, list)) and inner and choose.random() < 0.8:
            found = inner
            continue
        kind = choose.randrange(6)
        if kind == 0:
            del found[key]
        elif kind == 1 and isinstance(found, list):
            found.append(inner)
        else:
            found[key] = choose.choice(VALUES)
        return


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_annotations_are_what_pycocotools_reads_or_one_sentence(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_files.write(tmp_path / "coco")
    start, refused = peak(), 0
    for seed in range(count):
        choose = random.Random(seed)
        found = coco_files.content()
        path = tmp_path / "instances.json"
        if seed % 5:
            for _ in range(choose.randint(1, 2)):
                mutate_json(found, choose)
            path.write_text(json.dumps(found))
        else:
            path.write_bytes(mutate_bytes(json.dumps(found).encode(), choose))
        began = time.monotonic()
        try:
            annotations = read_annotations(path, masks=True)
        except UserError as error:
            refused += 1
            assert_sentence(error, str(path))
        else:
            agree(annotations, COCO(str(path)), seed)
            read(
                CocoSplit(annotations, tmp_path / "coco" / "train2017", Geometry((40,), 40, 60), train=True, masks=True)
            )
        assert time.monotonic() - began < SECONDS, seed
    assert count // 5 < refused < count and peak() - start < GIB


def agree(annotations: Any, theirs: COCO, seed: int) -> None:
    images = [annotations.image(index) for index in range(len(annotations))]
    assert [image.id for image in images] == sorted(theirs.imgs), seed
    assert list(annotations.categories) == sorted(theirs.cats), seed
    for index, image in enumerate(images):
        expected = theirs.imgToAnns.get(image.id, [])
        instances = annotations.instances(index)
        assert [list(item.box) for item in instances] == [item["bbox"] for item in expected], seed
        assert [item.area for item in instances] == [item["area"] for item in expected], seed
        labels = [sorted(theirs.cats).index(item["category_id"]) + 1 for item in expected]
        assert [item.label for item in instances] == labels, seed


def read(split: CocoSplit) -> None:
    """Read every item; a picture that is not there or has another size is one sentence."""
    for index in range(len(split)):
        try:
            picture, target = split[index]
        except DataError as error:
            assert_sentence(error, str(split.annotations.image(index).id))
        else:
            assert picture.shape[0] == 3 and len(target["boxes"]) == len(target["masks"]) == len(target["labels"])
