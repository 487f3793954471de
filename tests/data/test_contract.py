"""Data sets of the user's own: every breach of the contract is one sentence before training, or at its batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy
import PIL.Image
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.data import DataError, ImageData, MapSplit, RawSplit, TensorSplit
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import UserError
from lightning_xvol.training.run import train

IMAGE = torch.zeros(1, 8, 8)
GOOD = [(IMAGE, 0), (IMAGE, 1)] * 8


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(GOOD)


class WithoutLength(Dataset):
    def __getitem__(self, index: int) -> Any:
        return GOOD[index]


class Raw(RawSplit):
    """Items as given; `mean` and `std` of one channel unless told otherwise."""

    def __init__(self, item: Any, mean: Any = (0.5,), std: Any = (0.5,)) -> None:
        self.item, self.mean, self.std = item, mean, std

    def __len__(self) -> int:
        return 16

    def raw(self, index: int) -> Any:
        return self.item


class Batched(list):
    """Items with a `batch` that returns `answer`."""

    def __init__(self, images: Any, labels: Any) -> None:
        super().__init__(GOOD)
        self.answer = images, labels

    def batch(self, indices: Any) -> Any:
        return self.answer


class Own(ImageData):
    """A data set whose splits and attributes a test sets beforehand."""

    splits: ClassVar[dict[str, Any]] = {}
    num_classes: Any = 2
    image_shape: Any = (1, 8, 8)

    def __init__(self, root: Path | None = None, *, download: bool = False) -> None:
        super().__init__(root, download=download)

    def train(self) -> Any:
        return self.splits["train"]

    def validation(self) -> Any:
        return self.splits["validation"]

    def test(self) -> Any:
        return self.splits["test"]


def config(**changes: Any) -> RunConfig:
    made = RunConfig()
    values = {
        "data.name": f"{__name__}:Own", "data.batch_size": 4, "train.epochs": 1, "data.workers": 0,
    }  # fmt: skip
    for path, value in {**values, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        made = set_value(made, path, value)
    return made


def module(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], **configured: Any) -> ImageDataModule:
    splits = {"train": GOOD, "validation": GOOD, "test": None}
    monkeypatch.setattr(Own, "splits", {**splits, **{key: value for key, value in changes.items() if key in splits}})
    for key in ("num_classes", "image_shape"):
        if key in changes:
            monkeypatch.setattr(Own, key, changes[key])
    return ImageDataModule(resolve(config(**configured)))


SPLITS = {
    "None": (None, "None.*map-style"),
    "an iterable set": (Stream(), "Stream.*map-style"),
    "a generator": (iter(GOOD), "iterator.*map-style"),
    "no length": (WithoutLength(), "WithoutLength.*without a length|__len__"),
    "no images": ([], "no images"),
    "None as item": ([None] * 16, "item 0 .* is None; expected a pair"),
    "an image alone": ([IMAGE] * 16, "item 0 .* is a Tensor; expected a pair"),
    "three values": ([(IMAGE, 0, 0)] * 16, "tuple of 3; expected a pair"),
    "a dictionary": ([{"image": IMAGE}] * 16, "dict; expected a pair"),
    "uint8": ([(IMAGE.byte(), 0)] * 16, r"uint8 \[1, 8, 8\].*float32 \[1, 8, 8\].*RawSplit"),
    "float64": ([(IMAGE.double(), 0)] * 16, r"float64 \[1, 8, 8\].*float32"),
    "float16": ([(IMAGE.half(), 0)] * 16, "float16"),
    "a float64 array": ([(numpy.zeros((1, 8, 8)), 0)] * 16, "float64"),
    "a picture": ([(PIL.Image.new("L", (8, 8)), 0)] * 16, "Image.*expected a tensor"),
    "None as image": ([(None, 0)] * 16, "None as its image"),
    "channels last": ([(torch.zeros(8, 8, 1), 0)] * 16, r"\[8, 8, 1\].*\[1, 8, 8\]"),
    "no channel": ([(torch.zeros(8, 8), 0)] * 16, r"\[8, 8\]"),
    "three channels": ([(torch.zeros(3, 8, 8), 0)] * 16, r"\[3, 8, 8\].*\[1, 8, 8\]"),
    "another size": ([(torch.zeros(1, 9, 8), 0)] * 16, r"\[1, 9, 8\]"),
    "a one-hot label": ([(IMAGE, torch.tensor([0.0, 1.0]))] * 16, "one-hot"),
    "a one-hot list": ([(IMAGE, [0, 1])] * 16, "one-hot"),
    "a one-hot array": ([(IMAGE, numpy.array([0, 1]))] * 16, "one-hot"),
    "a float label": ([(IMAGE, 1.0)] * 16, r"1\.0 \(float\).*whole number from 0 to 1"),
    "a float tensor": ([(IMAGE, torch.tensor(1.0))] * 16, "whole number"),
    "a bool": ([(IMAGE, True)] * 16, r"True \(bool\)"),
    "a bool tensor": ([(IMAGE, torch.tensor(True))] * 16, "whole number"),
    "a numpy bool": ([(IMAGE, numpy.True_)] * 16, "whole number"),
    "a name": ([(IMAGE, "cat")] * 16, "'cat'"),
    "None as label": ([(IMAGE, None)] * 16, "label None"),
    "a label from 1 on": ([(IMAGE, 2)] * 16, "label 2; expected 0 to 1, because num_classes is 2"),
    "a negative label": ([(IMAGE, -1)] * 16, "label -1"),
    "a map": (MapSplit(torch.zeros(16, 1, 8, 8), torch.zeros(16, 1, 8, 8)), "label float32"),
    "a raw float": (Raw((IMAGE, 0)), "float32.*expected a tensor uint8"),
    "a raw picture of another size": (Raw((torch.zeros(1, 9, 9, dtype=torch.uint8), 0)), r"\[1, 9, 9\]"),
    "a raw split of three means": (Raw((IMAGE.byte(), 0), (0.5,) * 3, (0.5,) * 3), "3 values in mean"),
    "a tensor split of other labels": (TensorSplit(torch.zeros(16, 1, 8, 8), torch.full((16,), 7)), "label 7"),
}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("case", SPLITS)
def test_a_breach_is_one_sentence_before_training(case: str, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, message = SPLITS[case]
    if given is None and split == "test":
        return  # a data set may have no test split
    with pytest.raises(UserError, match=message) as caught:
        module(monkeypatch, {split: given})
    text = str(caught.value)
    assert f"the {split} split of data '{__name__}:Own'" in text and "\n" not in text


@pytest.mark.parametrize("limit", [None, 8])
def test_an_iterable_set_is_refused_with_a_limit_too(limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"the train split.* is a Stream; expected a map-style Dataset"):
        module(monkeypatch, {"train": Stream()}, data__limit=limit)


@pytest.mark.parametrize("number", [None, 0, -1, 2.0, "2", True, torch.tensor(2)])
def test_the_number_of_classes_is_a_whole_number(number: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="num_classes="):
        module(monkeypatch, {"num_classes": number})


@pytest.mark.parametrize("shape", [None, 8, (8, 8), (1, 8, 8, 1), (1, 0, 8), (1, 8.0, 8), "188"])
def test_the_shape_of_an_image_is_three_numbers(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="image_shape="):
        module(monkeypatch, {"image_shape": shape})


GOOD_LABELS = [1, numpy.int64(1), numpy.array(1), torch.tensor(1), torch.tensor(1, dtype=torch.int32)]


@pytest.mark.parametrize("label", GOOD_LABELS, ids=lambda label: type(label).__name__)
def test_any_whole_number_is_a_label(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(monkeypatch, {"train": [(IMAGE, label)] * 16})
    batch = next(iter(data.calibration_loader(1)))
    assert batch.labels.tolist() == [1] * 4 and batch.labels.dtype == torch.int64


LATER = {
    "a ragged size": ((torch.zeros(1, 8, 9), 0), r"item 9 .*\[1, 8, 9\]"),
    "a label too large": ((IMAGE, 2), "item 9 .*label 2"),
    "None": (None, "item 9 .*None"),
    "a one-hot label": ((IMAGE, torch.tensor([1.0, 0.0])), "item 9 .*one-hot"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("case", LATER)
def test_later_items_are_checked_in_their_batch(case: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    item, message = LATER[case]
    data = module(monkeypatch, {"validation": [*GOOD[:9], item, *GOOD[10:]]}, data__workers=workers)
    failure = None
    try:
        list(data.val_dataloader())
    except DataError as error:
        failure = str(error)
    assert failure is not None and "\n" not in failure
    with pytest.raises(DataError, match=message):
        raise DataError(failure)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), "label 2"),
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, -1, 0]), "label -1"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), "labels float32"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 2), "labels float32"),
        (torch.zeros(3, 1, 8, 8), torch.zeros(4).long(), r"\[3, 1, 8, 8\]"),
        (torch.zeros(4, 1, 8, 8).double(), torch.zeros(4).long(), "float64"),
    ],
)
def test_what_batch_returns_is_checked(images: Any, labels: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(monkeypatch, {"train": Batched(images, labels)})
    with pytest.raises(DataError, match=rf"batch\(.*{message}"):
        next(iter(data.calibration_loader(1)))


def test_a_wrong_label_in_the_middle_ends_a_run_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(monkeypatch, {"train": [*GOOD[:9], (IMAGE, 5), *GOOD[10:]]})
    with pytest.raises(UserError, match=r"item 9 of the train split .*label 5; expected 0 to 1"):
        train(config(), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
