"""The embedded data set `match`, read by a decoder that is written from its description alone."""

import time

import numpy
import pytest
import torch

from lightning_xvol.data.match import Match, _split
from lightning_xvol.errors import UserError

SMALL = {"train_size": 300, "validation_size": 100, "test_size": 100}


def decode(images, distance):
    """Which candidates equal the middle of each image without noise: booleans [N, 4], left, right, up, down."""
    bright = images[:, 0] > 0
    centre = images.shape[-1] // 2
    patch = {}
    for name, row, column in [
        ("middle", centre, centre),
        ("left", centre, centre - distance),
        ("right", centre, centre + distance),
        ("up", centre - distance, centre),
        ("down", centre + distance, centre),
    ]:
        patch[name] = bright[:, row - 4 : row + 4, column - 4 : column + 4]
    return torch.stack(
        [(patch[name] == patch["middle"]).flatten(1).all(1) for name in ("left", "right", "up", "down")], dim=1
    )


@pytest.mark.parametrize(
    ("distance", "canvas"), [(8, 32), (9, 32), (10, 32), (11, 32), (12, 32), (8, 24), (17, 48), (20, 48)]
)
def test_label_names_the_only_candidate_that_equals_the_middle(distance, canvas):
    data = Match(noise=0.0, distance=distance, canvas=canvas, **SMALL)
    split = data.train()
    assert data.image_shape == split.images.shape[1:] == (1, canvas, canvas)
    equal = decode(split.images, distance)
    assert equal.sum(1).tolist() == [1] * len(split)
    assert equal.int().argmax(1).tolist() == split.labels.tolist()


def test_pixels_are_two_by_two_cells_on_an_empty_canvas():
    images = Match(noise=0.0, **SMALL).train().images
    low, high = images.unique().tolist()
    cells = images.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (cells == cells[..., :1]).all()
    # Half of the cells of 5 patterns of 64 pixels are on.
    assert (images == high).float().mean().item() == pytest.approx(5 * 32 / 1024, rel=0.02)
    corner = images[:, :, :12, :12]
    assert (corner == low).all()


def test_patterns_are_random():
    images = Match(noise=0.0, **SMALL).train().images
    middle = (images[:, 0, 12:20:2, 12:20:2] > 0).float()
    assert middle.flatten(1).unique(dim=0).shape[0] > 290
    assert (middle.mean(0) - 0.5).abs().max() < 0.15


def test_item_and_batch_agree():
    split = Match(**SMALL).validation()
    images, labels = split.batch([5, 0, 7])
    image, label = split[7]
    assert image.shape == (1, 32, 32) and image.dtype == torch.float32 and isinstance(label, int)
    assert torch.equal(images[2], image) and labels[2] == label and labels.dtype == torch.int64


def test_every_split_is_roughly_normalised_and_balanced():
    data = Match()
    for split in (data.train(), data.validation(), data.test()):
        assert abs(split.images.mean()) < 0.05 and 0.9 < split.images.std() < 1.1
        share = split.labels.bincount(minlength=4) / len(split)
        assert (share - 0.25).abs().max() < 0.05
    assert [len(data.train()), len(data.validation()), len(data.test())] == [6000, 1000, 1000]


def test_noise_has_the_standard_deviation_asked_for():
    clean, noisy = Match(noise=0.0, **SMALL).train(), Match(noise=0.2, **SMALL).train()
    assert torch.equal(clean.labels, noisy.labels)
    contrast = clean.images.max() - clean.images.min()  # 1 before normalising
    assert ((noisy.images - clean.images).std() / contrast).item() == pytest.approx(0.2, rel=0.02)


def test_a_larger_split_begins_with_the_smaller_one():
    small, large = Match(train_size=10).train(), Match(train_size=501).train()
    assert torch.equal(small.images, large.images[:10]) and torch.equal(small.labels, large.labels[:10])


def test_splits_of_two_values_of_draw_share_no_image():
    images = []
    for draw in (0, 1):
        data = Match(noise=0.0, draw=draw, **SMALL)
        images += [*data.train().images, *data.validation().images, *data.test().images]
    stacked = torch.stack(images).flatten(1)
    assert stacked.unique(dim=0).shape[0] == len(stacked) == 1000


def test_generation_is_deterministic():
    first = Match(**SMALL).train()
    _split.cache_clear()
    again = Match(**SMALL).train()
    assert again is not first
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)


def test_numbers_are_those_of_earlier_versions():
    """If these numbers change, every result on `match` changes, although the fingerprint does not."""
    split = Match(train_size=6).train()
    assert split.labels.tolist() == [2, 2, 2, 2, 0, 0]
    codes = [
        int(
            "".join(
                str(int(value))
                for value in (Match(noise=0.0, train_size=3).train().images[i, 0, 12:20:2, 12:20:2] > 0).flatten()
            ),
            2,
        )
        for i in range(3)
    ]
    assert codes == [57788, 36886, 16225]
    numpy.testing.assert_allclose(split.images[0, 0, 0, :4], [-0.444096, 0.070463, -0.73303, -0.442769], rtol=1e-5)


def test_generation_is_fast_and_cached():
    _split.cache_clear()
    start = time.perf_counter()
    data = Match()
    splits = [data.train(), data.validation(), data.test()]
    assert time.perf_counter() - start < 2  # 0.3 s; the margin is for a busy machine
    assert all(a is b for a, b in zip(splits, [Match().train(), Match().validation(), Match().test()], strict=True))


@pytest.mark.parametrize("distance", [7, 13, -12, True, 12.5])
def test_a_distance_that_does_not_fit_is_refused_with_the_allowed_ones(distance):
    with pytest.raises(UserError, match=rf"distance={distance} must be one of 8, 9, 10, 11, 12"):
        Match(distance=distance)


def test_a_larger_canvas_allows_larger_distances_and_holds_the_same_patterns():
    with pytest.raises(UserError, match=r"distance=21 must be one of 8, .*, 20$"):
        Match(canvas=48, distance=21)
    small, large = (Match(noise=0.0, canvas=canvas, **SMALL).train() for canvas in (32, 48))
    assert torch.equal(large.images[:, :, 8:40, 8:40] > 0, small.images > 0)
    assert torch.equal(large.labels, small.labels)
    assert abs(Match(canvas=48).train().images.std() - 1) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvas": 20}, "canvas=20"),
        ({"canvas": 34}, "canvas=34 must be a multiple of 4"),
        ({"noise": -0.1}, "noise=-0.1"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"train_size": 0}, "train_size=0"),
        ({"test_size": 2.5}, "test_size=2.5"),
        ({"draw": -1}, "draw=-1"),
    ],
)
def test_options_out_of_range_are_refused_with_the_value(options, message):
    with pytest.raises(UserError, match=message):
        Match(**options)
