"""A run of two processes (DDP, gloo) leaves one record, and resumes exactly with as many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest
from core_tools import wait_for_checkpoint

from lightning_xvol.config.schema import from_dict
from lightning_xvol.data.detection import DetectionDataModule
from lightning_xvol.detection.evaluator import CocoEvaluator
from lightning_xvol.detection.predict import detect, read_detector

pytestmark = pytest.mark.slow

CHANGES = ("train.devices=2", "train.steps=40", "train.checkpoint_every=5", "data.limit=1000")


def command(out: Path) -> list[str]:
    changes = [part for change in CHANGES for part in ("--set", change)]
    flags = ["--operator", "xvolution", "--out", os.fspath(out), "--wandb", "disabled"]
    return [sys.executable, "-m", "lightning_xvol", "fit", *flags, *changes]


def the_result(out: Path) -> dict[str, Any]:
    [path] = out.glob("cells/*/result.json")
    result = json.loads(path.read_text())
    if path.with_name("predictions.npz").exists():
        with numpy.load(path.with_name("predictions.npz")) as file:
            result["predictions"] = {name: file[name] for name in file.files}
    return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(out), check=True, capture_output=True, text=True)
    assert done.stdout.count("record in") == 1, "the second process prints nothing"
    return the_result(out)


def test_two_processes_leave_one_record(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["status"] == "finished"
    assert undisturbed["config"]["train"]["devices"] == 2
    predictions = undisturbed["predictions"]
    assert predictions["index"].tolist() == list(range(1000)), "each test image once"
    right = int((predictions["label"] == predictions["predicted"]).sum())
    assert undisturbed["metrics"]["top1"]["last"] == round(right / 10, 4)
    # With 1000 test images every accuracy is a multiple of 0.1 %, unless an image is repeated or lost.
    assert round(undisturbed["metrics"]["top1"]["last"] * 10, 6).is_integer()


@pytest.mark.parametrize("rank", [0, 1])
def test_killing_a_process_and_running_again_changes_nothing(
    rank: int, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for_checkpoint(tmp_path, lambda: process.poll() is not None, seconds=300)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid if rank == 0 else int(children[0]), signal.SIGKILL)
    process.wait(timeout=120)
    os.killpg(process.pid, signal.SIGKILL) if rank == 0 else None
    subprocess.run(command(tmp_path), check=True, capture_output=True)
    resumed = the_result(tmp_path)
    assert resumed["segments"][-1]["start_step"] > 0
    assert resumed["weights_sha256"] == undisturbed["weights_sha256"]
    assert resumed["metrics"] == undisturbed["metrics"]
    for name, values in undisturbed["predictions"].items():
        assert (resumed["predictions"][name] == values).all()


def test_a_detector_is_evaluated_on_the_detections_of_both_processes(tmp_path: Path) -> None:
    """The record of two processes equals the metrics of one process with the same weights on all images."""
    changes = {
        "train.devices": 2, "train.steps": 6, "data.batch_size": 4, "data.train_size": 20, "data.validation_size": 7,
        "backbone.widths": "8,8,16,16", "backbone.blocks": "1,1,1,1", "detector.keep_detections": "true",
    }  # fmt: skip
    flags = [part for path, value in changes.items() for part in ("--set", f"{path}={value}")]
    fit = [sys.executable, "-m", "lightning_xvol", "fit", "--recipe", "shapes_mask_rcnn", "--wandb", "disabled"]
    places = ["--out", os.fspath(tmp_path), "--data-dir", os.fspath(tmp_path / "data")]
    subprocess.run([*fit, *places, *flags], check=True, capture_output=True)
    result = the_result(tmp_path)
    config = from_dict(result["config"])
    data = DetectionDataModule(config, tmp_path / "data")
    [checkpoint] = tmp_path.glob("cells/*/checkpoints/*.ckpt")
    trained = read_detector(checkpoint)
    evaluator = CocoEvaluator(data.annotations, masks=True)
    for batch in data.val_dataloader():
        picture = PIL.Image.fromarray(batch.images[0].permute(1, 2, 0).numpy())
        evaluator.add({int(batch.targets[0]["image_id"]): detect(trained, picture, 0.0)})
    alone = evaluator.measure(evaluator.results)
    recorded = {name: metric["last"] for name, metric in result["metrics"].items()}
    assert recorded == pytest.approx({name: value for name, value in alone.items() if value == value}, abs=0.01)
    [kept] = tmp_path.glob("cells/*/mask_detections.json")
    ids = {one["image_id"] for one in json.loads(kept.read_text())}
    assert ids == {image for image, found in evaluator.results.items() if found}
