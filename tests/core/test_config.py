"""The configuration: setting fields, messages, ranges, and equal values from flags, files and Python."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random

import pytest
import yaml

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import (
    DataConfig,
    OperatorConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    from_dict,
    set_value,
    to_dict,
)
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.record import cell_id

BASE = RunConfig()


def get(config, path):
    for part in path.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


@pytest.mark.parametrize("operator", registry.OPERATORS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_and_operator_survives_files(recipe, operator):
    for config in (RECIPES[recipe].config(operator), resolve(RECIPES[recipe].config(operator))):
        written = yaml.safe_dump(to_dict(config), sort_keys=False)
        assert from_dict(yaml.safe_load(written)) == config
    assert resolve(config) == config
    # Set over the configuration of another recipe, it replaces everything.
    other = RECIPES["imagenet_resnet50"].config("pssa", form="hadamard")
    assert from_dict(yaml.safe_load(written), other) == config


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "7", 7),
        ("optim.lr", "1e-2", 0.01),
        ("optim.lr", "1", 1.0),
        ("optim.schedule", "multistep", "multistep"),
        ("optim.milestones", "0.3,0.6", (0.3, 0.6)),
        ("optim.milestones", "[0.3, 0.6]", (0.3, 0.6)),
        ("optim.milestones", "0.5", (0.5,)),
        ("optim.milestones", "()", ()),
        ("backbone.stages", "5", (5,)),
        ("backbone.stages", "(3, 4)", (3, 4)),
        ("backbone.stride_in_1x1", "false", False),
        ("backbone.stride_in_1x1", "True", True),
        ("backbone.name", "resnet18", "resnet18"),
        ("data.limit", "256", 256),
        ("data.limit", "none", None),
        ("data.limit", "null", None),
        ("train.steps", "40", 40),
        ("train.precision", "bf16-mixed", "bf16-mixed"),
        ("train.compile", "true", True),
        ("operator.options.kernel_size", "7", 7),
        ("operator.kernel_size", "7", 7),
        ("data.noise", "1", 1.0),
        ("backbone.blocks", "1,1,2,1", (1, 1, 2, 1)),
    ],
)
def test_a_text_becomes_a_value_of_the_type_of_the_field(path, text, value):
    config = resolve(set_value(BASE, path, text))
    section, _, name = path.partition(".")
    is_field = not name or name.startswith("options.") or hasattr(getattr(config, section), name)
    found = get(config, path if is_field else f"{section}.options.{name}")
    assert found == value and type(found) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in found] == [type(item) for item in value]
    assert resolve(set_value(BASE, path, value)) == config, "the value itself has the same effect as its text"


def test_every_field_can_be_set_to_another_value_and_back():
    config = resolve(RECIPES["match_small"].config("xvolution"))
    for section, values in to_dict(config).items():
        if not isinstance(values, dict):
            continue
        options = values.pop("options", {})
        for name, value in {**values, **options}.items():
            if isinstance(value, str) or value is None:  # names and fields with fixed choices
                continue
            other = (
                not value if isinstance(value, bool) else value[:-1] or [0.5] if isinstance(value, list) else value + 1
            )
            changed = set_value(config, f"{section}.{name}", str(other))
            assert changed != config, f"{section}.{name}"
            assert set_value(changed, f"{section}.{name}", str(value)) == config, f"{section}.{name}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optm.lr", "1", r"no field 'optm.lr' \(did you mean 'optim'\?\); fields: .*optim"),
        ("optim.lrr", "1", r"no field 'optim.lrr' \(did you mean 'lr'\?\); optim has: lr, momentum"),
        ("optim", "1", r"no field 'optim'; optim has: lr"),
        ("optim.lr.x", "1", r"no field 'optim.lr.x'"),
        ("", "1", r"no field ''; fields:"),
        ("seed.x", "1", "no field 'seed.x': 'seed' has no parts"),
        ("operator.kernel_sise", "3", r"'convolution' has no field .* \(did you mean 'kernel_size'\?\); it has: ker"),
        ("operator.num_heads", "3", r"'convolution' has no field 'operator.num_heads'"),
        ("operator.name", "xvolutoin", r"unknown operator 'xvolutoin' \(did you mean 'xvolution'\?\); known: conv"),
        ("backbone.name", "resnet19", r"unknown backbone 'resnet19' \(did you mean 'resnet18'\?\)"),
        ("data.name", "cifar", r"unknown data 'cifar' \(did you mean 'cifar10"),
        ("data.batch_size", "2.5", "data.batch_size=2.5 must be a whole number"),
        ("data.batch_size", "1e3", "data.batch_size=1e3 must be a whole number"),
        ("data.batch_size", "true", "data.batch_size=true must be a whole number"),
        ("seed", "abc", "seed=abc must be a whole number"),
        ("seed", True, "seed=True must be a whole number"),
        ("optim.lr", "fast", "optim.lr=fast must be a finite number"),
        ("optim.lr", "1e400", "optim.lr=1e400 must be a finite number"),
        ("optim.lr", math.nan, "optim.lr=nan must be a finite number"),
        ("optim.lr", "{[]: 1}", "must be a finite number"),
        ("data.noise", "1e999", "data.noise=1e999 must be a finite number"),
        ("optim.milestones", "0.3,soon", "optim.milestones=.* must be a finite number"),
        ("backbone.stride_in_1x1", "1", "backbone.stride_in_1x1=1 must be true or false"),
        ("backbone.stages", "", "backbone.stages= must be a whole number"),
        ("train.precision", "bf16", "train.precision=bf16 must be one of 32-true, 64-true, bf16-true, bf16-mixed,"),
        ("optim.schedule", "None", "optim.schedule=None must be one of cosine, multistep"),
        ("operator.kernel_size", "3.0", "operator.kernel_size=3.0 must be a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_path_or_value_is_one_sentence(path, value, message):
    with pytest.raises(UserError, match=message) as error:
        set_value(BASE, path, value)
    assert "\n" not in str(error.value)


def test_values_that_no_fingerprint_can_hold_are_refused():
    pssa = RECIPES["match_small"].config("pssa")
    for value in ("{1, 2}", "b'x'", "1j", "1e400", object()):
        for config in (pssa, set_value(BASE, "operator.name", "package.module:Class")):
            with pytest.raises(UserError, match="must be a finite number, a text"):
                set_value(config, "operator.num_heads", value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.batch_size": 0}, "data.batch_size=0 must be at least 1"),
        ({"data.limit": 0}, "data.limit=0 must be at least 1"),
        ({"train.epochs": 0}, "train.epochs=0"),
        ({"train.steps": -1}, "train.steps=-1"),
        ({"train.devices": 0}, "train.devices=0"),
        ({"train.accumulate": 0}, "train.accumulate=0"),
        ({"train.threads": 0}, "train.threads=0"),
        ({"train.checkpoint_every": 0}, "train.checkpoint_every=0"),
        ({"data.workers": -1}, "data.workers=-1 must not be negative"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"optim.lr": -0.1}, "optim.lr=-0.1 must not be negative"),
        ({"optim.momentum": -0.1}, "optim.momentum=-0.1 must not be negative"),
        ({"optim.weight_decay": -1}, "optim.weight_decay=-1.0 must not be negative"),
        ({"optim.gamma": -1}, "optim.gamma=-1.0 must not be negative"),
        ({"optim.warmup": 1}, r"optim.warmup=\(1.0,\) must be fractions"),
        ({"optim.milestones": (0.3, 60)}, r"optim.milestones=\(0.3, 60.0\) must be fractions"),
        ({"backbone.stages": ()}, r"backbone.stages=\(\) must be chosen from 2, 3, 4, 5"),
        ({"backbone.stages": (5, 6)}, r"backbone.stages=\(5, 6\)"),
        (
            {"data.batch_size": 64, "train.devices": 3, "train.accumulate": 2},
            "data.batch_size=64 must be a multiple of train.devices x train.accumulate = 6",
        ),
        ({"data.name": "shapes_coco", "train.precision": "bf16-true"}, "precision=bf16-true is not for detectors"),
        ({"data.name": "shapes_coco", "train.precision": "64-true"}, "=64-true .* they take bf16-mixed or 32-true"),
    ],
)
def test_resolve_refuses_values_out_of_range(changes, message):
    config = BASE
    for path, value in changes.items():
        config = set_value(config, path, value)
    with pytest.raises(UserError, match=message):
        resolve(config)


def test_a_resolved_config_is_made_once_and_is_always_valid():
    plain = RECIPES["match_small"].config("xvolution")
    config = resolve(plain)
    assert type(config) is Resolved and resolve(config) is config and config != plain
    assert config.cell_id is cell_id(config) and config.cell_id == cell_id(plain), "computed once, and the same"
    changed = dataclasses.replace(config, seed=3)
    assert type(changed) is Resolved and changed.cell_id == cell_id(set_value(plain, "seed", 3)) != config.cell_id
    with pytest.raises(UserError, match="seed=-1 must not be negative"):
        dataclasses.replace(config, seed=-1)
    assert type(set_value(config, "train.devices", 3)) is RunConfig, "64 images are no multiple of 3 yet"
    again = pickle.loads(pickle.dumps(config))
    assert type(again) is Resolved and again == config and again.group_id == config.group_id


def test_the_borders_of_the_ranges_are_allowed():
    resolve(RunConfig(optim=OptimConfig(lr=0.0, momentum=0.0, weight_decay=0.0, warmup=0.0, milestones=(0.0, 0.999))))
    resolve(RunConfig(data=DataConfig(batch_size=6), train=TrainConfig(devices=3, accumulate=2)))


def test_a_config_from_python_equals_that_from_its_file():
    """1 and 1.0 are one learning rate, and [3, 4] and (3, 4) the same stages, so they give one cell."""
    made = RunConfig(
        data=DataConfig(options={"noise": 0}),
        optim=OptimConfig(lr=1, milestones=[0]),
        backbone=dataclasses.replace(BASE.backbone, stages=[3, 4], options={"blocks": [1, 1, 1, 1]}),
    )
    assert cell_id(made) == cell_id(from_dict(yaml.safe_load(yaml.safe_dump(to_dict(made)))))
    assert resolve(made).optim.lr == 1.0 and type(resolve(made).optim.lr) is float
    with pytest.raises(UserError, match=r"kernel_size=3\.5 must be a whole number"):
        resolve(RunConfig(operator=OperatorConfig(options={"kernel_size": 3.5})))
    with pytest.raises(UserError, match=r"has no option 'kernel' \(did you mean 'kernel_size'\?\)"):
        resolve(RunConfig(operator=OperatorConfig(options={"kernel": 3})))


def test_a_change_of_name_keeps_the_options_that_both_know():
    config = RECIPES["match_small"].config("xvolution", kernel_size=7, form="hadamard")
    assert set_value(config, "operator.name", "convolution").operator.options == {"kernel_size": 7}
    assert set_value(config, "operator.name", "xvolution") == config


def test_the_order_of_keys_in_a_file_plays_no_part():
    values = {"operator": {"num_heads": 2, "options": {"form": "hadamard"}, "name": "pssa"}, "data": {"noise": 0.2}}
    generator = random.Random(0)

    def shuffled(mapping):
        items = [(key, shuffled(item) if isinstance(item, dict) else item) for key, item in mapping.items()]
        return dict(generator.sample(items, len(items)))

    configs = {cell_id(from_dict(shuffled(values))) for _ in range(20)}
    assert configs == {cell_id(from_dict(values))}
    assert from_dict(values).operator == OperatorConfig("pssa", {"num_heads": 2, "form": "hadamard"})


@pytest.mark.parametrize(
    "values", [{"optim": None}, {"optim": 3}, {"operator": "pssa"}, {"operator": {"options": [1]}}, {1: {2: 3}}]
)
def test_a_file_of_another_shape_is_one_sentence(values):
    with pytest.raises(UserError, match="no field"):
        from_dict(values)


def test_an_import_path_takes_any_plain_options_and_keeps_them():
    config = set_value(BASE, "operator.name", "package.module:Class")
    for path, value in {"a": "1", "b": "text", "c": "[1, 2]", "d": "none", "e": "{'x': 1}"}.items():
        config = set_value(config, f"operator.{path}", value)
    assert resolve(config).operator.options == {"a": 1, "b": "text", "c": (1, 2), "d": None, "e": {"x": 1}}
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.optim.lr = 1.0  # type: ignore[misc]
    before = to_dict(BASE)
    set_value(BASE, "operator.kernel_size", 9)
    assert to_dict(BASE) == before


def test_fields_of_detectors_are_refused_for_other_tasks():
    with pytest.raises(UserError, match=r"detector\.\* is for detection, and data 'match' is for classification"):
        resolve(set_value(RECIPES["match_small"].config(), "detector.pretraining", "own"))
    with pytest.raises(UserError, match=r"unknown detector preset 'tinny' \(did you mean 'tiny'\?\)"):
        resolve(set_value(RECIPES["shapes_faster_rcnn"].config(), "detector.preset", "tinny"))
    with pytest.raises(UserError, match=r"optim\.clip=0\.0 must be above 0"):
        resolve(set_value(RECIPES["shapes_faster_rcnn"].config(), "optim.clip", 0))
