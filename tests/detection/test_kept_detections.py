"""A detection leaves the detections of its last evaluation where it is asked for them, and then only."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import set_value
from lightning_xvol.data.detection import DetectionDataModule
from lightning_xvol.ledger.record import DETECTIONS
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking

SMALL: dict[str, Any] = {
    "backbone.stem_width": 8, "backbone.widths": (8, 8, 16, 16), "backbone.blocks": (1, 1, 1, 1),
    "data.image_size": 96, "data.aspect_ratios": (1.0, 1.5), "data.train_size": 20, "data.validation_size": 5,
    "data.batch_size": 4, "train.steps": 5, "train.checkpoint_every": 5,
}  # fmt: skip


def small(**more: Any) -> Resolved:
    config = get_recipe("shapes_mask_rcnn").config("convolution")
    for path, value in {**SMALL, **{key.replace("__", "."): value for key, value in more.items()}}.items():
        config = set_value(config, path, value)
    return resolve(config)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return RunContext(tmp_path_factory.mktemp("data"), tracking=Tracking("disabled"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, context: RunContext) -> Path:
    folder = tmp_path_factory.mktemp("asked") / "cell"
    train(small(detector__keep_detections=True), folder, context)
    return folder


@pytest.mark.parametrize(("kind", "type_"), [("box", "bbox"), ("mask", "segm")])
def test_pycocotools_measures_the_recorded_precision_on_the_files(
    kind: str, type_: str, asked: Path, context: RunContext, tmp_path: Path
) -> None:
    data = DetectionDataModule(small(), context.data_dir)
    (tmp_path / "truth.json").write_text(json.dumps(data.annotations.ground_truth(masks=True), default=bytes.decode))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(asked / DETECTIONS[kind])), type_)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = json.loads((asked / "result.json").read_text())["metrics"]
    names = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")
    for name, value in zip(names, evaluation.stats, strict=False):
        recorded = metrics.get(f"{kind}_{name}", {"last": -100})["last"]
        assert recorded == pytest.approx(100 * value, abs=1e-3), name


def test_the_option_changes_no_id_and_no_result(asked: Path, context: RunContext, tmp_path: Path) -> None:
    config = small()
    result = train(config, tmp_path, context)
    other = json.loads((asked / "result.json").read_text())
    for key in ("cell_id", "weights_sha256", "metrics"):
        assert result[key] == other[key]
    assert not list(tmp_path.glob("*detections.json"))


def test_a_run_that_goes_on_after_its_last_evaluation_leaves_the_same_files(asked: Path, context: RunContext) -> None:
    files = {name: (asked / name).read_bytes() for name in DETECTIONS.values()}
    for name in (*files, "result.json"):
        (asked / name).unlink()
    train(small(detector__keep_detections=True), asked, context)
    assert {name: (asked / name).read_bytes() for name in files} == files


def test_a_finished_run_without_them_says_how_to_get_them(
    context: RunContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(small(), tmp_path, context)
    with caplog.at_level(logging.INFO):
        train(small(detector__keep_detections=True), tmp_path, context)
    assert "keeps no detections; --force runs it again" in caplog.text
