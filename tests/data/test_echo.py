"""The embedded data set `echo`, read back by counting how often far cells agree."""

from __future__ import annotations

import pytest
import torch

from lightning_xvol.data.echo import Echo, _split
from lightning_xvol.errors import UserError

SMALL = {"train_size": 400, "validation_size": 100, "test_size": 100}
AXES = {0: (0, 1), 1: (1, 0), 2: (1, 1), 3: (1, -1)}  # of a label: down, right


def cells_of(split):
    """The cells [N, 16, 16] of noise-free images, as booleans."""
    return split.images[:, 0, ::2, ::2] > 0


def agreement(cells, down, right):
    """The share of cells that equal the one `down` and `right` before them, over images [N, H, W]."""
    height, width = cells.shape[1:]
    later = cells[:, down:, max(right, 0) : width + min(right, 0)]
    earlier = cells[:, : height - down, max(-right, 0) : width + min(-right, 0)]
    return (later == earlier).float().mean().item()


@pytest.mark.parametrize(("distance", "flip"), [(12, 0.0), (12, 0.2), (4, 0.1), (10, 0.3), (16, 0.32)])
def test_cells_agree_along_the_labels_axis_alone(distance, flip):
    split = Echo(noise=0.0, distance=distance, flip=flip, **SMALL).train()
    cells = cells_of(split)
    for label in AXES:
        for axis, (down, right) in AXES.items():
            found = agreement(cells[split.labels == label], down * distance // 2, right * distance // 2)
            assert found == pytest.approx(1 - flip if axis == label else 0.5, abs=0.03), (label, axis)


def test_nothing_else_tells_the_label():
    """Cells are fair coins, and so is whether two agree that are not a multiple of the distance apart."""
    split = Echo(noise=0.0, train_size=2000).train()
    cells = cells_of(split)
    for label in AXES:
        chosen = cells[split.labels == label]
        assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.01)
        for down in range(4):
            for right in range(-5, 6):
                if (down, right) > (0, 0):
                    assert agreement(chosen, down, right) == pytest.approx(0.5, abs=0.02)


def test_pixels_are_cells_of_two_by_two_normalised():
    split = Echo(noise=0.0, **SMALL).train()
    assert split.images.shape == (400, 1, 32, 32) and split.images.dtype == torch.float32
    assert split.images.unique().tolist() == [-1, 1]
    blocks = split.images.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (blocks == blocks[..., :1]).all()
    noisy = Echo(noise=0.1, **SMALL).train()
    assert torch.equal(noisy.labels, split.labels)
    assert ((noisy.images - split.images).std() / 2).item() == pytest.approx(0.1, rel=0.02)
    assert (noisy.labels.bincount(minlength=4) / 400 - 0.25).abs().max() < 0.07


def test_splits_and_draws_share_no_image_and_repeat():
    images = []
    for draw in (0, 1):
        data = Echo(noise=0.0, draw=draw, **SMALL)
        images += [*data.train().images, *data.validation().images, *data.test().images]
    assert torch.stack(images).flatten(1).unique(dim=0).shape[0] == 1200
    first = Echo(**SMALL).train()
    _split.cache_clear()
    again = Echo(**SMALL).train()
    assert again is not first and torch.equal(first.images, again.images)


def test_a_larger_split_begins_with_the_smaller_one():
    small, large = Echo(train_size=10).train(), Echo(train_size=50).train()
    assert torch.equal(small.images, large.images[:10]) and torch.equal(small.labels, large.labels[:10])


def test_numbers_are_those_of_earlier_versions():
    """A change here changes every result on `echo`, whatever the fingerprint says: numpy's streams included."""
    split = Echo(train_size=6).train()
    assert split.labels.tolist() == [3, 2, 0, 2, 1, 3]
    torch.testing.assert_close(
        split.images[0, 0, 0, :4], torch.tensor([0.973609, 1.1406, -1.088986, -0.85809]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": 5}, "distance=5 must be one of 4, 6, 8, 10, 12, 14, 16"),
        ({"distance": True}, "distance=True"),
        ({"flip": 0.5}, "flip=0.5"),
        ({"flip": float("nan")}, "flip=nan"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"train_size": 0}, "train_size=0"),
        ({"draw": -1}, "draw=-1"),
    ],
)
def test_options_out_of_range_are_refused_with_the_value(options, message):
    with pytest.raises(UserError, match=message):
        Echo(**options)
