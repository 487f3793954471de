"""`describe` gives the paper's Table 5, the costs of the built network, and shapes of data without files."""

from __future__ import annotations

import json

import pytest
import torch

from lightning_xvol.backbones import count_macs, count_parameters
from lightning_xvol.commandline import Parser
from lightning_xvol.commands import describe as command_describe
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import DataConfig, set_value
from lightning_xvol.data import ImageData, TensorSplit, build_data, declared_shape
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.record import group_id
from lightning_xvol.training.tasks import task_of
from lightning_xvol.visualize.architecture import describe, to_text

# The column "Ours" of Table 5, with the sizes and the numbers of blocks.
TABLE_5 = [
    ("conv1", [112, 112], 1, "7x7, 64, stride 2"),
    ("conv2_x", [56, 56], 3, "3x3 max pool, stride 2; [1x1, 64; 3x3, 64; 1x1, 256]"),
    ("conv3_x", [28, 28], 4, "[1x1, 128; 3x3, 128; 1x1, 512]"),
    ("conv4_x", [14, 14], 6, "[1x1, 256; 3x3, 256; 1x1, 1024]"),
    ("conv5_x", [7, 7], 3, "[1x1, 512; X-volution, 512; 1x1, 2048]"),
    ("head", [1, 1], 1, "average pool, 1000-d fc, softmax"),
]


def rows(description):
    return [(stage["name"], stage["output"], stage["blocks"], stage["summary"]) for stage in description["stages"]]


def test_resnet50_with_xvolution_is_table_5():
    recipe = RECIPES["imagenet_resnet50"]
    assert rows(describe(recipe.config("xvolution"))) == TABLE_5
    plain = [(*row[:3], row[3].replace("X-volution", "3x3")) for row in TABLE_5]
    assert rows(describe(recipe.config("convolution"))) == plain


def test_layers_hold_the_facts_of_the_table():
    [*_, conv5, head] = describe(RECIPES["imagenet_resnet50"].config("xvolution"))["stages"]
    first, operator, last = conv5["layers"][:3]
    assert [layer["path"] for layer in (first, operator, last)] == [f"layer4.0.conv{place}" for place in (1, 2, 3)]
    assert (first["kernel_size"], first["stride"], first["output"]) == ([1, 1], 2, [512, 7, 7])
    assert (operator["kind"], operator["stride"], operator["output"]) == ("operator", 1, [512, 7, 7])
    # A 3x3, a 5x5, three 1x1 of 512 channels, tap weights of 8 heads, two batch norms.
    assert operator["params"] == 512 * 512 * (9 + 25 + 3) + 8 * 24 + 4 * 512
    assert last["params"] == 512 * 2048 and last["macs"] == 49 * 512 * 2048
    assert [layer["kind"] for layer in head["layers"]] == ["average_pool", "linear"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_costs_are_those_of_the_built_model(recipe):
    config = RECIPES[recipe].config("pssa")
    description = describe(config)
    classes, shape = description["data"]["num_classes"], description["data"]["image_shape"]
    task = task_of(config)
    with torch.device("meta"):
        model = task.body(task.network(resolve(config), classes, shape[0]))
    assert (description["params"], description["macs"]) == (count_parameters(model), count_macs(model, shape))
    for key in ("params", "macs"):
        assert sum(stage[key] for stage in description["stages"]) == description[key]
    assert description["group_id"] == group_id(config)
    assert json.loads(json.dumps(description)) == description
    text = to_text(description)
    assert f"{description['params']:,}" in text and max(map(len, text.splitlines())) < 200


def test_blocks_without_a_pool_and_basic_blocks():
    small = describe(RECIPES["match_small"].config("pssa"))
    assert rows(small)[0] == ("conv1", [16, 16], 1, "3x3, 16, stride 2")
    assert rows(small)[1] == ("conv2_x", [16, 16], 2, "[1x1, 16; 3x3, 16; 1x1, 32]")
    assert rows(small)[4] == ("conv5_x", [4, 4], 1, "[1x1, 32; PSSA, 32; 1x1, 64]")
    basic = describe(RECIPES["imagenet_resnet34"].config("convolution", kernel_size=5))
    assert rows(basic)[4] == ("conv5_x", [7, 7], 3, "[3x3, 512; 5x5, 512]")


class Known(ImageData):
    num_classes = 7
    image_shape = (1, 12, 16)

    def __init__(self, root=None, *, download=False):
        raise AssertionError("it was built although it declares its shape")


class Built:
    """A foreign data set that declares no shape."""

    def __init__(self, root=None, *, download=False):
        self.num_classes, self.image_shape = 3, (1, 8, 8)

    def train(self):
        return TensorSplit(torch.zeros(2, 1, 8, 8), torch.zeros(2))

    validation = test = train


def test_the_shape_of_a_data_set_needs_no_files():
    assert declared_shape(DataConfig("imagenet", options={"image_size": 160})) == (1000, (3, 160, 160))
    assert declared_shape(DataConfig("cifar100")) == (100, (3, 32, 32))
    for name in ("match", "digits"):
        data = build_data(DataConfig(name))
        assert declared_shape(DataConfig(name)) == (data.num_classes, data.image_shape)


def test_the_registry_knows_the_channels_of_images():
    channels = {name: entry.channels for name, entry in registry.DATASETS.items()}
    assert channels.pop("attention_maps") is None  # their channels are an option
    assert channels.pop("folder") == 3  # its classes are in its files
    assert channels == {name: declared_shape(DataConfig(name))[1][0] for name in channels}


def test_the_shape_of_a_foreign_data_set(monkeypatch):
    monkeypatch.setattr(registry, "load", lambda kind, name: {"x:Known": Known, "x:Built": Built}[name])
    assert declared_shape(DataConfig("x:Known")) == (7, (1, 12, 16))
    assert declared_shape(DataConfig("x:Built")) == (3, (1, 8, 8))


class HatesMeta(torch.nn.Conv2d):
    """An operator that reads values, which the meta device does not have."""

    def __init__(self, in_channels, out_channels, *, stride=1, explode=False):
        if explode:
            raise KeyError("no such thing")
        super().__init__(in_channels, out_channels, 3, stride, padding=1, bias=False)

    def forward(self, x):
        return super().forward(x) if x.sum().item() < 1e9 else x


def foreign(monkeypatch, **options):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: HatesMeta if name == "x:HatesMeta" else load(kind, name))
    config = set_value(RECIPES["match_small"].config("convolution"), "operator.name", "x:HatesMeta")
    for option, value in options.items():
        config = set_value(config, f"operator.{option}", value)
    return config


def test_a_foreign_operator_that_does_not_run_on_the_meta_device(monkeypatch):
    description = describe(foreign(monkeypatch))
    assert rows(description)[4][3] == "[1x1, 32; HatesMeta, 32; 1x1, 64]"
    assert description["macs"] == describe(RECIPES["match_small"].config("convolution"))["macs"]


def test_an_operator_that_cannot_be_built_is_one_sentence(monkeypatch):
    with pytest.raises(UserError, match=r"cannot build 'x:HatesMeta' in 'small_resnet' .*KeyError: 'no such thing'"):
        describe(foreign(monkeypatch, explode=True))


def test_the_command_prints_either_format(capsys):
    parser = Parser()
    command_describe.add_arguments(parser)
    arguments = ["--operator", "xvolution", "--set", "operator.kernel_size=5"]
    assert command_describe.run(parser.parse_args([*arguments, "--format", "json"])) == 0
    description = json.loads(capsys.readouterr().out)
    assert description["recipe"] == "match_small" and description["operator"]["options"]["kernel_size"] == 5
    assert command_describe.run(parser.parse_args(arguments)) == 0
    assert "conv5_x" in capsys.readouterr().out


def test_a_network_without_downsampling_and_softmax():
    config = set_value(RECIPES["attention_maps"].config("pssa"), "backbone.depth", 3)
    description = describe(config)
    assert rows(description) == [
        ("conv1", [16, 16], 1, "1x1, 16"),
        ("conv5_x", [16, 16], 3, "[1x1, 8; PSSA, 8; 1x1, 16]"),
        ("head", [16, 16], 1, "1x1"),
    ]
    assert "8 x 16 x 16, 8 output channels" in to_text(description)
