"""`attention_maps`: the attention equals a sum that is written out, and the maps have the promised statistics."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import MapSplit, build_data
from lightning_xvol.data.attention_maps import AttentionMaps, global_attention
from lightning_xvol.errors import UserError

SMALL = {"train_size": 60, "validation_size": 20}


def value_projection(channels):
    """W^v, from maps of one pixel, which can only attend to itself."""
    eye = torch.eye(channels, dtype=torch.double)[:, :, None, None]
    return global_attention(eye, softmax=True)[:, :, 0, 0].T


@pytest.mark.parametrize("softmax", [True, False])
def test_attention_is_the_sum_over_all_positions(softmax):
    channels, height, width = 4, 3, 5
    x = torch.randn(2, channels, height, width, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    value = value_projection(channels)
    assert torch.allclose(value @ value.T, torch.eye(channels, dtype=torch.double))
    found = global_attention(x, softmax)
    for image, answer in zip(x.flatten(2), found.flatten(2), strict=True):
        for position in range(height * width):
            # The shared projection is orthogonal, so it does not change the products.
            products = [float(image[:, position] @ image[:, other]) / math.sqrt(channels) for other in range(15)]
            weights = [math.exp(product) for product in products] if softmax else products
            total = sum(weights) if softmax else height * width
            expected = sum(weight / total * (value @ image[:, other]) for other, weight in enumerate(weights))
            assert torch.allclose(answer[:, position], expected)


def test_without_softmax_it_is_one_matrix_per_image():
    split = AttentionMaps(softmax=False, **SMALL).train()
    for x, y in zip(split.inputs[:5].flatten(2).double(), split.targets[:5].flatten(2).double(), strict=True):
        matrix = torch.linalg.lstsq(x.mT, y.mT).solution
        assert torch.allclose(x.mT @ matrix, y.mT, atol=1e-4 * float(y.abs().max()))


@pytest.mark.parametrize("source", ["spectrum", "photographs"])
def test_maps_look_like_features_after_a_relu(source):
    data = AttentionMaps(source=source, **SMALL)
    train, validation = data.train(), data.validation()
    assert (len(train), len(validation)) == (60, 20) and data.test() is None
    for split in (train, validation):
        assert split.inputs.shape[1:] == split.targets.shape[1:] == data.image_shape == (8, 16, 16)
        assert split.inputs.dtype == split.targets.dtype == torch.float32
        assert split.inputs.min() == 0 and split.inputs.isfinite().all() and split.targets.isfinite().all()
    assert train.inputs.square().mean().sqrt().item() == pytest.approx(1, rel=1e-5)
    # Neighbours are similar and distant positions less so, unlike white noise.
    near = torch.corrcoef(torch.stack([train.inputs[..., 1:].flatten(), train.inputs[..., :-1].flatten()]))[0, 1]
    far = torch.corrcoef(torch.stack([train.inputs[..., 8:].flatten(), train.inputs[..., :-8].flatten()]))[0, 1]
    assert near > 0.4 and near > far + 0.1


def test_splits_repeat_and_differ_from_each_other_and_by_the_option_draw():
    for source in ("spectrum", "photographs"):
        one, again, other = (AttentionMaps(source=source, draw=draw, **SMALL) for draw in (0, 0, 1))
        assert torch.equal(one.train().inputs, again.train().inputs)
        assert torch.equal(one.train().targets, again.train().targets)
        assert not torch.equal(one.train().inputs, other.train().inputs)
        assert not torch.equal(one.train().inputs[:20], one.validation().inputs)


@pytest.mark.parametrize("source", ["spectrum", "photographs"])
def test_a_larger_split_begins_with_the_smaller_one(source):
    """Up to the scale, which depends on the whole training split."""
    small, large = (AttentionMaps(source=source, train_size=size).train().inputs for size in (10, 30))
    assert torch.allclose(small / small[0].max(), large[:10] / large[0].max(), atol=1e-5)


def test_a_limit_keeps_the_first_maps():
    options = {"train_size": 30, "validation_size": 30}
    cut = build_data(DataConfig("attention_maps", limit=7, options=options)).train()
    assert isinstance(cut, MapSplit) and len(cut) == 7
    whole = AttentionMaps(**options).train()
    assert torch.equal(cut.inputs, whole.inputs[:7]) and torch.equal(cut.batch([6])[1], whole.targets[6:7])
    assert torch.equal(cut[3][1], whole.targets[3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "photos"}, "source=photos must be one of spectrum, photographs"),
        ({"softmax": 1}, "softmax=1"),
        ({"channels": 0}, "channels=0"),
        ({"size": 1}, "size=1"),
        ({"draw": -1}, "draw=-1"),
    ],
)
def test_options_out_of_range_are_refused_with_the_value(options, message):
    with pytest.raises(UserError, match=message):
        AttentionMaps(**options)


def test_maps_larger_than_the_photographs_are_refused():
    with pytest.raises(UserError, match="size=300 is larger than the photographs'"):
        AttentionMaps(source="photographs", size=300, channels=1, **SMALL).train()
