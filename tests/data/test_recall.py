"""The data set `recall`, read by a decoder that is written from its description alone."""

import dataclasses
import itertools

import numpy
import pytest
import torch

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import from_dict, set_value, to_dict
from lightning_xvol.data import fashion_mnist, recall
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.data.recall import Recall, shrink
from lightning_xvol.errors import UserError

SMALL = {"train_size": 300, "validation_size": 60, "test_size": 50}
OFFICIAL = {True: 240, False: 60}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Random images in the place of Fashion-MNIST's files."""
    generator = numpy.random.default_rng(0)
    content = {
        train: generator.integers(0, 200, (count, 28, 28), dtype=numpy.uint8) for train, count in OFFICIAL.items()
    }
    content[False][:5] = content[True][:5]  # some images are in both

    def read(self, train):
        return type("Read", (), {"data": torch.tensor(content[train]), "targets": torch.zeros(len(content[train]))})

    monkeypatch.setattr(fashion_mnist.FashionMNIST, "_is_here", lambda self: True)
    monkeypatch.setattr(fashion_mnist.FashionMNIST, "_read_files", read)
    return content


def make(seed=0, **options):
    data = Recall(**{**SMALL, **options})
    data.run_seed = seed
    return data


def decode(image):
    """The five patches of 8 x 8 (the middle first), and the corner in which each neighbour has its mark."""
    places = [(14, 14), (14, 2), (14, 26), (2, 14), (26, 14)]  # middle, left, right, up, down
    patches = [image[top : top + 8, left : left + 8] for top, left in places]
    marks = []
    for top, left in places[1:]:
        cell = image[top - 2 : top + 10, left - 2 : left + 10]
        corners = [cell[:2, :2], cell[:2, -2:], cell[-2:, :2], cell[-2:, -2:]]
        bright = [number for number, corner in enumerate(corners) if (corner == 255).all()]
        assert len(bright) == 1 and sum(int(corner.sum() > 0) for corner in corners) == 1
        marks += bright
        frame = cell.clone()
        frame[2:10, 2:10] = 0
        assert frame.sum() == 4 * 255, "a neighbour has its image and its mark alone"
    return patches, marks


def splits(data):
    return {"train": data.train(), "validation": data.validation(), "test": data.test()}


def test_the_class_is_the_corner_of_the_only_neighbour_that_shows_the_cue():
    for split in splits(make()).values():
        for image, label in zip(split.images[:, 0], split.labels.tolist(), strict=True):
            patches, marks = decode(image)
            equal = [torch.equal(patch, patches[0]) for patch in patches[1:]]
            assert sum(equal) == 1 and sorted(marks) == [0, 1, 2, 3]
            assert marks[equal.index(True)] == label
            assert len({patch.numpy().tobytes() for patch in patches}) == 4
            outside = image.clone()
            outside[12:24] = 0
            outside[:, 12:24] = 0
            assert outside.sum() == 0, "nothing but the cross of five cells"


def test_places_and_marks_are_uniform_and_tell_nothing_of_the_class():
    data = make(train_size=6000)
    decoded = [decode(image) for image in data.train().images[:, 0]]
    labels = data.train().labels
    matching = torch.tensor([[torch.equal(p, patches[0]) for p in patches[1:]].index(True) for patches, _ in decoded])
    marks = torch.tensor([marks for _, marks in decoded])
    for one in (labels, matching, *marks.T):
        assert (one.bincount(minlength=4) / len(one) - 0.25).abs().max() < 0.03
    # The best guess from one neighbour's mark, or from where the match is, stays at chance.
    for one in (matching, *marks.T):
        table = torch.zeros(4, 4).index_put_((one, labels), torch.ones(len(labels)), accumulate=True)
        assert table.max(1).values.sum() / len(labels) < 0.3


def test_source_images_of_the_splits_are_disjoint_and_drawn_by_the_seed(files):
    first, second = make(0), make(1)
    known = {train: {image.tobytes() for image in shrink(images)} for train, images in files.items()}
    shown = {}
    for name, split in splits(first).items():
        images = split.images[:, 0]
        shown[name] = {patch.numpy().tobytes() for image in images for patch in decode(image)[0]}
        assert shown[name] <= known[name != "test"]
    for one, other in itertools.combinations(shown.values(), 2):
        assert not one & other
    assert not shown["test"] & known[True], "images that the official parts share are not in the test"
    for name, same in {"train": False, "validation": False, "test": True}.items():
        assert torch.equal(splits(first)[name].images, splits(second)[name].images) == same
        assert torch.equal(splits(first)[name].images, splits(make(0))[name].images)


def test_larger_splits_begin_with_smaller_ones():
    small, large = make(train_size=20), make(train_size=50)
    assert torch.equal(large.train().images[:20], small.train().images)


def test_shrinking_averages_squares_of_four_pixels():
    images = numpy.zeros((1, 28, 28), numpy.uint8)
    images[0, 2:6, 2:6] = 100  # the second square down and right, as the border has 2 pixels
    images[0, 0:2, 0:2] = 255  # a quarter of the first square
    small = shrink(images)
    assert small.shape == (1, 8, 8) and small[0, 1, 1] == 100 and small[0, 0, 0] == 64 and small.sum() == 164


def test_it_runs_by_its_import_path_and_its_digest_does_not_depend_on_the_seed(monkeypatch):
    config = get_recipe("fashion_small").config("pssa")
    config = set_value(config, "data.name", "lightning_xvol.data.recall:Recall")
    for name, size in SMALL.items():
        config = set_value(config, f"data.options.{name}", size)
    config = resolve(config)
    modules = [ImageDataModule(dataclasses.replace(config, seed=seed)) for seed in (0, 1)]
    assert modules[0].image_shape == (1, 36, 36) and modules[0].has_test and modules[0].num_classes == 4
    assert modules[0].contents == modules[1].contents and modules[0].contents["train"] == 300
    assert from_dict(to_dict(config), trust=True) == config
    monkeypatch.setattr(recall, "VERSION", 2)
    assert ImageDataModule(config).contents["digest"] != modules[0].contents["digest"]


def test_too_few_images_are_one_sentence(monkeypatch, files):
    files[False] = files[False][:9]
    with pytest.raises(UserError, match="recall needs more than 4 images for test, and there are 4"):
        make().test()
