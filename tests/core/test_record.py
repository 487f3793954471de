"""The ids of runs never change, so that results made under an id are always found under it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_xvol.config import registry
from lightning_xvol.config import schema as configuration
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import COMPUTE, SCHEMA, canonical, fingerprint, resolve
from lightning_xvol.config.schema import OptimConfig, RunConfig, from_dict, set_value, to_dict
from lightning_xvol.ledger import record
from lightning_xvol.ledger.record import cell_id, group_id, optimisation_id, optimisation_of

_spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)
STORED = json.loads(golden.PATH.read_text())


@pytest.mark.parametrize(
    ("recipe", "operator", "config"), [pytest.param(*c, id="-".join(c[:2])) for c in golden.configs()]
)
def test_ids_are_those_of_the_past(recipe, operator, config):
    assert STORED["schema"] == SCHEMA, "a new schema is a new file: see golden.py"
    if operator not in STORED["ids"].get(recipe, {}):
        pytest.skip("not stored yet; run `.venv/bin/python tests/core/golden.py`")
    assert golden.ids(config) == STORED["ids"][recipe][operator], "nobody would find finished runs: see golden.py"


def test_no_stored_recipe_or_operator_is_gone_and_no_two_share_an_id():
    asked = {(recipe, operator) for recipe, operator, _ in golden.configs()}
    stored = [(recipe, operator) for recipe, operators in STORED["ids"].items() for operator in operators]
    assert set(stored) <= asked
    values = [value for recipe, operator in stored for value in STORED["ids"][recipe][operator].values()]
    assert len(set(values)) == len(values) >= 3 * 25


def test_the_order_of_fields_plays_no_part():
    config = RECIPES["match_small"].config("xvolution", form="hadamard", kernel_size=5)
    values = canonical(config)

    def backwards(item):
        return {key: backwards(item[key]) for key in reversed(list(item))} if isinstance(item, dict) else item

    assert list(backwards(values)) != list(values)
    assert fingerprint(backwards(values)) == fingerprint(values)
    other = RECIPES["match_small"].config("xvolution", kernel_size=5, form="hadamard")
    assert cell_id(other) == cell_id(config)


def test_only_fields_outside_the_identity_change_no_id():
    config = set_value(RECIPES["match_small"].config("xvolution"), "backbone.stages", (2, 3, 4, 5))
    other = {
        "data.workers": 4, "train.checkpoint_every": 7, "data.batch_size": 32, "data.limit": 9, "train.epochs": 5,
        "train.steps": 9, "train.precision": "64-true", "train.memory_format": "contiguous", "train.compile": True,
        "train.devices": 2, "train.accumulate": 2, "train.threads": 2, "optim.lr": 0.2, "optim.momentum": 0.8,
        "optim.weight_decay": 0.2, "optim.schedule": "multistep", "optim.warmup": 0.2, "optim.milestones": (0.5,),
        "optim.gamma": 0.2, "backbone.stages": (5,), "backbone.stride_in_1x1": False, "backbone.name": "resnet18",
        "backbone.places": "every", "optim.optimizer": "adamw", "optim.decay_norms": False, "optim.clip": 1.0,
        "detector.preset": "tiny", "detector.pretraining": "torchvision", "detector.origin": "0123456789ab",
        "detector.weights": "resnet50.pth", "detector.origin_optimisation": "0123456789ab",
        "backbone.pretrained": "resnet50.pth", "backbone.pretrained_sha256": 64 * "0",
        "backbone.pretrained_kind": "own", "backbone.pretrained_new": ("fc",), "detector.keep_detections": True,
        "data.name": "digits", "operator.name": "pssa", "train.weight_gradient": "plain",
        "train.pssa_products": "float32", "train.finetune_ablated": 0.1,
    }  # fmt: skip
    paths = {
        f"{section.name}.{item.name}"
        for section in dataclasses.fields(RunConfig)
        if section.name != "seed"
        for item in dataclasses.fields(getattr(config, section.name))
        if item.name != "options"
    }
    assert set(other) == paths, "a new field: does it belong to the identity of a run?"
    detector = RECIPES["coco_faster_rcnn"].config("xvolution")
    base = {path: detector if path.startswith("detector.") else config for path in other}
    started = set_value(config, "backbone.pretrained", "other.pth")
    base["train.pssa_products"] = set_value(config, "train.precision", "bf16-mixed")
    base |= {path: started for path in other if path.startswith("backbone.pretrained")}
    changed = {path: cell_id(set_value(base[path], path, value)) for path, value in other.items()}
    assert {path for path, cell in changed.items() if cell == cell_id(base[path])} == {
        "data.workers",
        "train.checkpoint_every",
        "detector.weights",
        "detector.origin_optimisation",
        "detector.keep_detections",
        "backbone.pretrained",
    }
    # All others differ from each other, too.
    assert len(set(changed.values())) == len(changed) - 4
    optimised = {path: optimisation_id(set_value(base[path], path, value)) for path, value in other.items()}
    same = {path for path, optimisation in optimised.items() if optimisation == optimisation_id(base[path])}
    compute = {f"train.{name}" for name in COMPUTE}
    beside = {"data.workers", "train.checkpoint_every", "detector.weights", "detector.keep_detections"}
    assert same == compute | beside | {"backbone.pretrained"}
    for option in ("kernel_size", "form", "centre"):
        value = {"kernel_size": 7, "form": "hadamard", "centre": True}[option]
        assert cell_id(set_value(config, f"operator.{option}", value)) != cell_id(config)


def test_a_record_without_its_optimisation_has_it_in_its_configuration():
    config = resolve(RECIPES["match_small"].config("xvolution"))
    result = {"config": to_dict(config), "optimisation_id": "0123456789ab"}
    assert optimisation_of(result) == "0123456789ab"
    del result["optimisation_id"]
    assert optimisation_of(result) == config.optimisation_id


def test_the_seed_is_part_of_the_cell_but_not_of_the_group():
    one, other = (dataclasses.replace(RECIPES["digits_small"].config("pssa"), seed=seed) for seed in (3, 4))
    assert cell_id(one) != cell_id(other) and group_id(one) == group_id(other)
    assert optimisation_id(one) == optimisation_id(other) != group_id(one)
    assert cell_id(one) != group_id(one)
    assert group_id(one) != group_id(set_value(one, "optim.lr", 0.3))


def test_an_explicit_default_gives_the_same_cell():
    config = RECIPES["match_small"].config("pssa")
    assert cell_id(config) == cell_id(resolve(config)) == cell_id(set_value(config, "operator.form", "dot"))


def extend(monkeypatch, options, legacy_values=None, operator="pssa"):
    entry = registry.OPERATORS[operator]
    new = dataclasses.replace(
        entry, options={**entry.options, **options}, legacy_values={**entry.legacy_values, **(legacy_values or {})}
    )
    monkeypatch.setitem(registry.OPERATORS, operator, new)


def test_a_new_option_leaves_old_ids_at_its_legacy_value_alone(monkeypatch):
    config = RECIPES["match_small"].config("pssa")
    old = cell_id(config), group_id(config)
    extend(monkeypatch, {"temperature": 1.0}, {"temperature": 1.0})
    assert (cell_id(config), group_id(config)) == old
    assert resolve(config).operator.options["temperature"] == 1.0
    changed = set_value(config, "operator.temperature", 2.0)
    assert cell_id(changed) != old[0] and group_id(changed) != old[1]
    assert cell_id(set_value(changed, "operator.temperature", 1)) == old[0]


def test_a_new_option_without_a_legacy_value_changes_ids(monkeypatch):
    """The legacy value alone makes the test above pass."""
    config = RECIPES["match_small"].config("pssa")
    old = cell_id(config)
    extend(monkeypatch, {"temperature": 1.0})
    assert cell_id(config) != old


def test_a_new_option_may_have_another_default_than_its_legacy_value(monkeypatch):
    config = RECIPES["match_small"].config("pssa")
    old = cell_id(config)
    extend(monkeypatch, {"temperature": 0.5}, {"temperature": 1.0})
    assert cell_id(config) != old  # without a value the option means the new experiment
    assert cell_id(set_value(config, "operator.temperature", 1.0)) == old
    assert cell_id(set_value(config, "operator.temperature", 0.5)) == cell_id(config)


def test_a_changed_default_does_not_orphan_old_cells(monkeypatch):
    config = RECIPES["match_small"].config("pssa")
    old, written = cell_id(config), to_dict(resolve(config))
    extend(monkeypatch, {"form": "hadamard"})
    assert cell_id(config) != old
    assert cell_id(from_dict(written)) == old
    assert cell_id(set_value(config, "operator.form", "dot")) == old


@pytest.mark.parametrize("default", [0.0, 0.5])
def test_a_new_field_leaves_old_ids_at_its_legacy_value_alone(monkeypatch, default):
    old_config = RECIPES["match_small"].config("convolution")
    old = cell_id(old_config), group_id(old_config)
    wider = dataclasses.make_dataclass(
        "OptimConfig",
        [("damping", "float", dataclasses.field(default=default, metadata={"legacy_value": 0.0}))],
        bases=(OptimConfig,), frozen=True, namespace={"__module__": configuration.__name__},
    )  # fmt: skip

    def config(**values):
        return dataclasses.replace(old_config, optim=wider(**dataclasses.asdict(old_config.optim), **values))

    assert (cell_id(config(damping=0.0)), group_id(config(damping=0.0))) == old
    assert cell_id(config(damping=1.0)) != old[0] and group_id(config(damping=1.0)) != old[1]
    assert (cell_id(config()) == old[0]) == (default == 0.0)


def test_ids_do_not_depend_on_the_process():
    code = (
        "from lightning_xvol.config.recipes import RECIPES\n"
        "from lightning_xvol.ledger.record import cell_id, group_id\n"
        "c = RECIPES['match_small'].config('xvolution', shift_distances=(1, 2)); print(cell_id(c), group_id(c))"
    )
    config = RECIPES["match_small"].config("xvolution", shift_distances=(1, 2))
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [cell_id(config), group_id(config)]


def test_summary_of_rows():
    rows = [
        ("val_loss", 1, 2.0), ("val_top1", 1, 40.0), ("val_loss", 2, 0.123456), ("val_top1", 2, 74.9000015),
        ("val_loss", 3, 1.0), ("val_top1", 3, 74.9),
        ("val_loss", 4, float("nan")), ("val_top1", 4, float("-inf")), ("other_loss", 4, float("inf")),
    ]  # fmt: skip
    assert record.summarise(rows) == {
        "val_loss": {"last": 1.0, "best": 0.1235, "best_epoch": 2},
        "val_top1": {"last": 74.9, "best": 74.9, "best_epoch": 2},
    }


def test_a_result_is_whole_or_no_result(tmp_path):
    result = {**dict.fromkeys(record.RESULT_KEYS), "cell_id": "0a1b", "status": "finished"}
    record.write_result(tmp_path, result)
    assert record.read_result(tmp_path) == result
    for key in record.RESULT_KEYS:
        rest = {name: value for name, value in result.items() if name != key}
        with pytest.raises(ValueError, match=f"without {key}"):
            record.write_result(tmp_path, rest)
        (tmp_path / "result.json").write_text(json.dumps(rest))
        assert record.read_result(tmp_path) is None
    for text in ("[1]", "{", ""):
        (tmp_path / "result.json").write_text(text)
        assert record.read_result(tmp_path) is None
    assert record.read_result(tmp_path / "absent") is None
