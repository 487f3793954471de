"""The digest of data: equal for equal data, different for any other, and what each kind of set puts into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest
import torch

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import ImageData, TensorSplit, build_data
from lightning_xvol.data.contents import contents_of
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents

GENERATED = [name for name, entry in registry.DATASETS.items() if entry.generator is not None]


def picture(path: Path, shade: int, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(numpy.full((side, side, 3), shade, dtype=numpy.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("val", 2)):
        for label in ("cat", "dog"):
            for number in range(count):
                picture(tmp_path / "a" / split / label / f"{number}.png", 10 * number)
    return tmp_path / "a"


def contents_here(root: Path, name: str = "imagenet", limit: int | None = None, **options: Any) -> dict[str, Any]:
    data = build_data(DataConfig(name, limit=limit, options=options), root)
    return contents_of(data, {"train": data.train(), "validation": data.validation(), "test": data.test()})


def test_the_contents_of_a_folder(folder: Path) -> None:
    found = contents_here(folder)
    assert found.pop("digest") == contents_here(folder)["digest"]
    assert found == {
        "by": "files", "classes": 2, "train": 8, "validation": 4, "test": None, "folder": os.fspath(folder),
    }  # fmt: skip


def test_a_copy_elsewhere_is_the_same_data(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy" / "imagenet", copy_function=shutil.copyfile)
    os.utime(folder / "train" / "cat" / "0.png", (1, 1))
    assert contents_here(folder.parent / "copy")["digest"] == contents_here(folder)["digest"]


def _larger(folder: Path) -> None:
    """A file that is written anew in place does not change the time of its folder."""
    before = (folder / "train" / "cat").stat().st_mtime_ns
    picture(folder / "train" / "cat" / "0.png", 99, side=40)
    assert (folder / "train" / "cat").stat().st_mtime_ns == before


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a class more": lambda folder: [picture(folder / split / "eel" / "0.png", 9) for split in ("train", "val")],
    "a class of another name": lambda folder: [
        (folder / split / "dog").rename(folder / split / "fox") for split in ("train", "val")
    ],
    "a picture more": lambda folder: picture(folder / "val" / "dog" / "9.png", 9),
    "a picture fewer": lambda folder: (folder / "train" / "cat" / "3.png").unlink(),
    "a picture of another name": lambda folder: (folder / "val" / "cat" / "1.png").rename(folder / "val/cat/5.png"),
    "a picture in another class": lambda folder: (folder / "val" / "cat" / "1.png").rename(folder / "val/dog/5.png"),
    "a picture of another size": _larger,
    "the splits exchanged": lambda folder: [
        (folder / "train").rename(folder / "x"), (folder / "val").rename(folder / "train"),
        (folder / "x").rename(folder / "val"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_a_folder_is_seen(change: str, folder: Path) -> None:
    before = contents_here(folder)
    CHANGES[change](folder)
    after = contents_here(folder)
    assert after["digest"] != before["digest"]
    with pytest.raises(UserError, match=rf"{before['digest']}.*{after['digest']}.*--data-dir"):
        contents.check(before, after, DataConfig("imagenet"), "the run")


def test_the_limit_of_the_digest_is_as_documented(folder: Path) -> None:
    """A picture that is changed at equal size is not seen, and a file that is no picture plays no part."""
    before = contents_here(folder)["digest"]
    path = folder / "train" / "cat" / "0.png"
    path.write_bytes(bytes(len(path.read_bytes())))
    (folder / "train" / "cat" / "readme.txt").write_text("x")
    assert contents_here(folder)["digest"] == before


def test_sets_in_memory_are_what_their_pixels_and_labels_are() -> None:
    images, labels = torch.arange(48, dtype=torch.uint8).view(4, 1, 3, 4), torch.tensor([0, 1, 1, 0])

    def of(images: torch.Tensor, labels: torch.Tensor) -> str:
        data = ImageData()
        data.num_classes = 2
        split = TensorSplit(images, labels, (0.5,), (0.5,))
        return str(contents_of(data, {"train": split, "validation": split, "test": None})["digest"])

    assert of(images, labels) == of(images.clone(), labels.int())
    assert of(images, 1 - labels) != of(images, labels)
    changed = images.clone()
    changed[3, 0, 2, 3] += 1
    assert of(changed, labels) != of(images, labels)
    assert of(images.view(4, 1, 4, 3), labels) != of(images, labels)


def test_digits_are_the_same_at_every_size(tmp_path: Path) -> None:
    digests = {contents_here(tmp_path, "digits", image_size=size)["digest"] for size in (8, 32)}
    assert len(digests) == 1
    assert contents_here(tmp_path, "digits", limit=9)["digest"] not in digests


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_set_is_its_version_and_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(**options: Any) -> str:
        found = contents.generated(DataConfig(name, options=options))
        assert found is not None
        return str(found["digest"])

    before = digest()
    assert digest() == before
    assert digest(draw=1) != before
    entry = registry.DATASETS[name]
    monkeypatch.setitem(registry.DATASETS, name, registry.Registered(**{**vars(entry), "generator": 99}))
    assert digest() != before


def test_every_set_that_needs_no_files_has_a_version() -> None:
    assert GENERATED == ["match", "attention_maps", "shapes_coco"]
    assert contents.generated(DataConfig("imagenet")) is None


# ---- names


def test_a_set_is_called_by_its_name_only_if_it_is_that_set() -> None:
    real = {"classes": 1000, "train": 1_281_167, "validation": 50_000, "test": None, "digest": "0"}
    config = {"name": "imagenet", "limit": None, "options": {}}
    assert contents.label(config, real) == contents.label(config, None) == "ImageNet-1k"
    for key, value in {"classes": 3, "train": 60, "validation": 15}.items():
        assert "images in the layout of ImageNet-1k" in contents.label(config, {**real, key: value})
    cut = {**real, "train": 256, "validation": 256}
    assert contents.label({**config, "limit": 256}, cut) == "ImageNet-1k"


def test_coco_is_known_by_its_image_ids() -> None:
    config = {"name": "coco", "limit": None, "options": {}}
    ids = {"train": [118_287, 9, 581_929], "validation": [5_000, 139, 581_781]}
    assert not contents.differs(config, {"classes": 80, "image_ids": ids})
    assert contents.differs(config, {"classes": 80, "image_ids": {**ids, "validation": [5_000, 1, 5_000]}})
    assert contents.differs(config, {"classes": 6, "image_ids": ids})


# ---- a folder of the user's own


def test_a_folder_with_train_and_val_is_read_as_it_stands(folder: Path) -> None:
    data = build_data(DataConfig("folder", options={"image_size": 16, "label": "pets"}), folder)
    assert (data.num_classes, data.image_shape) == (2, (3, 16, 16))
    assert (len(data.train()), len(data.validation()), data.test()) == (8, 4, None)  # type: ignore[arg-type]
    image, label = data.train()[0]
    assert image.shape == (3, 16, 16)
    assert label == 0


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for label, count in (("ant", 10), ("bee", 5)):
        for number in range(count):
            picture(tmp_path / "flat" / label / f"{number}.png", 20 * number)
    return tmp_path / "flat"


def _names(root: Path, **options: Any) -> tuple[set[bytes], set[bytes]]:
    data = build_data(DataConfig("folder", options={"image_size": 8, **options}), root)
    train, validation = data.train(), data.validation()
    return set(train.paths.tolist()), set(validation.paths.tolist())  # type: ignore[attr-defined]


def test_one_folder_is_split_class_by_class(flat: Path) -> None:
    train, validation = _names(flat)
    assert not train & validation
    assert len(train | validation) == 15
    assert sorted(path.split(b"/")[0] for path in validation) == [b"ant", b"ant", b"bee"]
    assert _names(flat) == (train, validation)
    assert _names(flat, draw=1) != (train, validation)
    assert len(_names(flat, validation_part=0.5)[1]) == 7


def test_a_new_picture_moves_few_of_the_others(flat: Path) -> None:
    before = _names(flat)[1]
    picture(flat / "ant" / "new.png", 1)
    assert len(before - _names(flat)[1]) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_part": 0}, "above 0 and below 1"),
        ({"validation_part": 1.0}, "above 0 and below 1"),
        ({"draw": -1}, "data.options.draw=-1 must be a whole number"),
        ({"validation_part": 0.95}, "class 'ant' in .* has 10 pictures, too few"),
    ],
)
def test_mistakes_in_the_options_of_a_folder(options: dict[str, Any], message: str, flat: Path) -> None:
    with pytest.raises(UserError, match=message):
        _names(flat, **options)


def test_a_folder_with_train_alone_lacks_val(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    with pytest.raises(UserError, match=r"no class folders in .*val'"):
        _names(folder)


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no class folders in .*<class>/\*\.jpg, or train/<class>"):
        _names(tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "folder"])
def test_the_label_is_the_users_word(name: str) -> None:
    config = {"name": name, "options": {"label": "flowers"}}
    assert contents.label(config, None) == {"imagenet": "ImageNet-1k", "folder": "flowers"}[name]
    assert contents.label({"name": "folder", "options": {"label": ""}}, None) == "a folder of pictures"


def test_contents_are_json(folder: Path) -> None:
    assert json.loads(json.dumps(contents_here(folder))) == contents_here(folder)
