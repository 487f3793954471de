"""The real digits of scikit-learn."""

import pytest
import torch
from sklearn.datasets import load_digits

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import build_data
from lightning_xvol.data.digits import Digits
from lightning_xvol.errors import UserError


def test_every_class_has_a_third_of_its_images_in_validation():
    data = Digits()
    train, validation = data.train(), data.validation()
    assert (len(train), len(validation), data.test()) == (1198, 599, None)
    share = validation.labels.bincount() / (train.labels.bincount() + validation.labels.bincount())
    assert (share - 1 / 3).abs().max() < 0.005


def test_the_two_splits_are_the_whole_set_each_image_once():
    data = Digits(image_size=8)  # not enlarged, so the raw values can be read back
    pixels = torch.cat([data.train().images, data.validation().images]).flatten(1)
    labels = torch.cat([data.train().labels, data.validation().labels])
    low, high = pixels.min(), pixels.max()
    values = ((pixels - low) / (high - low) * 16).round().int()
    raw, raw_labels = load_digits(return_X_y=True)
    ours = sorted((label, *row) for label, row in zip(labels.tolist(), values.tolist(), strict=True))
    theirs = sorted((int(label), *map(int, row)) for label, row in zip(raw_labels, raw, strict=True))
    assert ours == theirs


def test_the_split_is_fixed():
    assert Digits().train().labels[:12].tolist() == [6, 1, 5, 6, 2, 5, 5, 7, 8, 9, 4, 0]
    assert torch.equal(Digits(image_size=16).validation().labels, Digits().validation().labels)


@pytest.mark.parametrize("size", [8, 20, 32])
def test_images_have_the_size_asked_for_and_are_normalised(size):
    data = Digits(image_size=size)
    image, label = data.train()[0]
    assert image.shape == data.image_shape == (1, size, size)
    assert image.dtype == torch.float32 and isinstance(label, int)
    assert abs(data.train().images.mean()) < 0.05


def test_the_first_images_cover_all_classes():
    split = build_data(DataConfig(name="digits", limit=100)).train()
    assert split.labels.unique().tolist() == [*range(10)]


def test_an_image_size_below_that_of_the_digits_is_refused():
    with pytest.raises(UserError, match="image_size=7"):
        Digits(image_size=7)
