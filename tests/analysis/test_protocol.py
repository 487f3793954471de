"""The paper's protocol is what a run optimises: the machine does not matter, and every other difference is named."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.paper import protocol, verdicts
from analysis.sources.collection import Collection
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record
from lightning_xvol.ledger.origins import papers_pretraining, with_papers_origin
from tests.analysis.paper_runs import rows_of, write_paper, write_sweep

OTHERWISE: dict[str, Any] = {
    "train__devices": 8, "train__accumulate": 2, "train__threads": 6, "train__memory_format": "channels_last",
    "train__compile": True,
}  # fmt: skip
RECIPES = {1: "imagenet_resnet34", 2: "coco_faster_rcnn", 3: "coco_mask_rcnn"}


def classifier(config: RunConfig, *changes: tuple[str, Any]) -> Resolved:
    """The paper's pre-training for a detector, but for `changes`."""
    pretraining = papers_pretraining(config)
    for path, value in changes:
        pretraining = set_value(pretraining, path, value)
    return resolve(pretraining)


def pretrained_with(*changes: tuple[str, Any]) -> dict[str, Any]:
    """What `write_sweep` has to set in detectors that start from such a classifier."""

    def of_origin(name: str) -> Callable[[RunConfig], str | None]:
        return lambda config: (
            getattr(classifier(config, *changes), name) if config.detector.pretraining == "own" else None
        )

    return {
        "detector__origin": of_origin("group_id"), "detector__origin_optimisation": of_origin("optimisation_id")
    }  # fmt: skip


def make_old(out: Path) -> None:
    """Take from the records in `out` what those of earlier versions lack."""
    for path in out.glob("**/cells/*/result.json"):
        result = json.loads(path.read_text())
        del result["optimisation_id"], result["config"]["detector"]["origin_optimisation"]
        path.write_text(json.dumps(result))


EIGHT = pretrained_with(("train.devices", 8), ("train.threads", 2))


def write_table(out: Path, number: int, **changes: Any) -> None:
    backbone = "ResNet-34" if number == 1 else "ResNet-50"
    rows = rows_of(number, backbone)
    placed = [(label, {}, values) for label, setting, values in rows if setting not in ("stage3", "stage4")]
    write_sweep(out, "operator", RECIPES[number], placed, **changes)


@pytest.mark.parametrize(
    ("changes", "old"),
    [({"train__devices": 8}, False), ({"train__devices": 8}, True), (OTHERWISE, False), (OTHERWISE | EIGHT, False)],
)
def test_runs_computed_in_another_way_are_on_the_protocol(tmp_path: Path, changes: dict[str, Any], old: bool) -> None:
    sources = write_paper(tmp_path / "runs", **changes)
    if old:
        make_old(tmp_path / "runs")
    assert main(["tables", "--paper", "1", "2", "3", "4", "6", *sources, "--out", str(tmp_path)]) == 0
    for number in (1, 2, 3, 4, 6):
        rows = list(csv.DictReader((tmp_path / "paper" / f"table-{number}.csv").open()))
        assert rows and all(float(row["published"]) == pytest.approx(float(row["mean"])) for row in rows)
    assert len(list((tmp_path / "paper").glob("*.md"))) == 5  # none on other data
    found = verdicts.verdicts(Collection(sources[1::2]))
    assert {item.data for item in found if item.kind != "not run"} <= {"paper", verdicts.PRINTED}
    # The tables of the sweeps have them too.
    for recipe, names in (("imagenet_resnet50", ["operator", "stage"]), ("coco_faster_rcnn", ["schedule"])):
        folder = tmp_path / "runs" / recipe
        assert main(["tables", "--source", str(folder)]) == 0
        for name in names:
            rows = list(csv.DictReader((folder / name / "table.csv").open()))
            assert rows and all(float(row["published"]) == pytest.approx(float(row["mean"])) for row in rows)


@pytest.mark.parametrize(
    ("number", "changes", "told"),
    [
        (1, {"train__precision": "bf16-mixed"}, "train.precision=bf16-mixed"),
        (1, {"optim__lr": 0.2, "train__devices": 8}, "optim.lr=0.2"),
        (
            1,
            {"data__batch_size": 512, "optim__milestones": (0.5, 0.75)},
            "data.batch_size=512, optim.milestones=0.5,0.75",
        ),
        (2, {"train__precision": "bf16-mixed", "train__devices": 8}, "train.precision=bf16-mixed"),
        (3, {"detector__settings": "torchvision"}, "detector.settings=torchvision"),
        (2, {"detector__origin": "0" * 12}, "detector.origin (not known as the paper's pre-training)"),
        (
            3,
            pretrained_with(("train.precision", "bf16-mixed"), ("train.devices", 8)),
            "detector.origin (not known as the paper's pre-training)",
        ),
    ],
)
def test_a_different_configuration_is_named(tmp_path: Path, number: int, changes: dict[str, Any], told: str) -> None:
    write_table(tmp_path, number, **changes)
    assert main(["tables", "--paper", str(number), "--source", str(tmp_path)]) == 0
    [path] = (tmp_path / "paper").glob("*.md")
    markdown = path.read_text().replace("\\", "")
    assert f"not the recipe's own configuration, so without printed numbers: {told}." in markdown
    assert "cannot reproduce" not in markdown
    assert main(["tables", "--source", str(tmp_path)]) == 0
    assert {row["published"] for row in csv.DictReader((tmp_path / "operator" / "table.csv").open())} == {""}
    assert not any(item.data == "paper" for item in verdicts.verdicts(Collection([tmp_path])))


def test_runs_computed_in_different_ways_are_not_pooled(tmp_path: Path) -> None:
    write_table(tmp_path / "one", 1)
    write_table(tmp_path / "eight", 1, train__devices=8)
    staged = [("convolution", {"stages": (3,)}, {"top1": 73.8}), ("xvolution", {"stages": (3,)}, {"top1": 75.0})]
    write_sweep(tmp_path / "staged", "stage", "imagenet_resnet34", staged, train__devices=8)
    one, eight, stage = (str(tmp_path / folder) for folder in ("one", "eight", "staged"))
    told = r"convolution has two configurations \(\w+ with train.devices=1 and \w+ with train.devices=8\); give"
    for others, match in (
        (stage, told),
        (eight, r"differ in the configuration of row .convolution. .*; render them one by one"),
    ):
        with pytest.raises(UserError, match=match):
            main(["tables", "--paper", "1", "--source", one, "--source", others])
    with pytest.raises(UserError, match=told):
        verdicts.verdicts(Collection([one, stage]))
    both = Collection([one, eight])  # the sweep of one name is left out
    assert [item for item in verdicts.verdicts(both) if item.kind in ("reproduced", "contradicted")] == []
    assert re.search("differ in the configuration of row", str(both.left_out()[0]))
    # The two sweeps of one set-up are one table.
    assert main(["tables", "--paper", "1", "--source", eight, "--source", stage, "--out", str(tmp_path)]) == 0
    rows = list(csv.DictReader((tmp_path / "paper" / "table-1.csv").open()))
    printed = {(row["operator"], row["setting"]) for row in rows if row["n"] == "3" and row["metric"] == "top1"}
    assert printed == {
        ("convolution", ""), ("self_attention", ""), ("pssa", ""), ("xvolution", "stage3"), ("xvolution", "stage5")
    }  # fmt: skip


def test_the_identity_is_that_of_what_is_optimised() -> None:
    config = with_papers_origin(get_recipe("coco_faster_rcnn").config("xvolution"))
    same = config
    for name, value in OTHERWISE.items():
        same = set_value(same, name.replace("__", "."), value)
    assert protocol.identity(same) == protocol.identity(config) != record.group_id(config)
    for path, value in [
        ("optim.lr", 0.01), ("train.steps", 10), ("train.precision", "16-mixed"), ("data.batch_size", 8),
        ("operator.num_heads", 2), ("backbone.stages", (4,)), ("detector.settings", "torchvision"),
        ("detector.origin", "0" * 12), ("data.masks", True),
    ]:  # fmt: skip
        assert protocol.identity(set_value(config, path, value)) != protocol.identity(config), path
        told = list(protocol.differences(set_value(config, path, value), config))
        # The origin stays that of the operator and the backbone before.
        assert told == ([path, "detector.origin"] if path.startswith(("operator.", "backbone.")) else [path])


def started_from(config: RunConfig, *changes: tuple[str, Any]) -> RunConfig:
    """`config` as `--backbone-from` makes it from such a classifier."""
    for name, of_origin in pretrained_with(*changes).items():
        config = set_value(config, name.replace("__", "."), of_origin(config))
    return config


@pytest.mark.parametrize("label", ["convolution", "self_attention", "pssa", "xvolution"])
def test_the_papers_pre_training_is_known_however_it_was_computed(label: str) -> None:
    config = with_papers_origin(get_recipe("coco_faster_rcnn").config(label))
    for changes in (
        [("train.devices", 8)], [("train.devices", 256), ("train.threads", 640)], [("train.compile", True)],
        [("train.accumulate", 2), ("train.devices", 16), ("train.memory_format", "channels_last")],
    ):  # fmt: skip
        started = started_from(config, *changes)
        assert protocol.identity(started) == protocol.identity(config), changes
        assert protocol.differences(started, config) == {}
    for change in (("train.epochs", 90), ("optim.lr", 0.2), ("backbone.stages", (4, 5))):
        started = started_from(config, change)
        assert protocol.identity(started) != protocol.identity(config), change
        assert list(protocol.differences(started, config)) == ["detector.origin"]


def test_an_older_record_of_a_detector_needs_its_classifier_among_the_sources(tmp_path: Path) -> None:
    """It names the group that it starts from and no more; the classifiers here were computed otherwise than ours."""
    devices = ("train.devices", 8)
    rows = [(label, {}, values) for label, _, values in rows_of(2)]
    write_sweep(tmp_path / "detectors", "operator", RECIPES[2], rows, **pretrained_with(devices))
    classified = [(label, {}, {"top1": 75.0}) for label, _, _ in rows]
    write_sweep(tmp_path / "classifiers", "operator", "imagenet_resnet50", classified, train__devices=8)
    make_old(tmp_path)
    detectors, classifiers = (["--source", str(tmp_path / name)] for name in ("detectors", "classifiers"))
    for sources, printed in ((detectors, False), ([*detectors, *classifiers], True)):
        assert main(["tables", "--paper", "2", *sources, "--out", str(tmp_path)]) == 0
        [table] = (tmp_path / "paper").glob("*.csv")
        assert all(bool(row["published"]) == printed for row in csv.DictReader(table.open()) if row["n"] == "3")
        for path in (tmp_path / "paper").iterdir():
            path.unlink()
