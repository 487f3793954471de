"""Whole runs of the embedded recipes: their records, resume after an interruption, and prediction."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.loggers.logger import DummyLogger
from torch import nn

from lightning_xvol.backbones import build_backbone
from lightning_xvol.commandline import Parser
from lightning_xvol.commands import predict
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value, to_dict
from lightning_xvol.data.detection import DetectionDataModule
from lightning_xvol.detection.predict import detect, read_detector
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.origins import backbone_from
from lightning_xvol.ledger.record import RESULT_KEYS, cell_id, group_id
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking

SMALL: dict[str, Any] = {
    "backbone.stem_width": 8,
    "backbone.widths": (8, 8, 16, 16),
    "backbone.blocks": (1, 1, 1, 1),
    "data.image_size": 96,
    "data.aspect_ratios": (1.0, 1.5),
    "data.train_size": 20,
    "data.validation_size": 5,
    "data.batch_size": 4,
    "train.accumulate": 2,
    "train.steps": 5,
    "train.checkpoint_every": 2,
}
BOXES = {"box_ap", "box_ap50", "box_ap75", "box_ap_s", "box_ap_m"}  # 96 pixels are too few for a large object


def small(recipe: str, operator: str = "convolution", **fields: Any) -> RunConfig:
    config = get_recipe(recipe).config(operator)
    for path, value in {**SMALL, **{key.replace("__", "."): value for key, value in fields.items()}}.items():
        config = set_value(config, path, value)
    return resolve(config)


class Interrupt(Callback):
    """Raises before training step `step`, after the checkpoint at that step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError("here")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def quiet(data_dir: Path) -> RunContext:
    return RunContext(data_dir, tracking=Tracking("disabled"))


@pytest.fixture(scope="module")
def mask_run(tmp_path_factory: pytest.TempPathFactory, quiet: RunContext) -> Path:
    folder = tmp_path_factory.mktemp("mask") / "cell"
    train(small("shapes_mask_rcnn", "xvolution"), folder, quiet)
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """The results that must not depend on interruptions."""
    result = json.loads((folder / "result.json").read_text())
    return {
        **{key: result[key] for key in ("weights_sha256", "metrics", "cell_id", "status")},
        "rows": (folder / "metrics.csv").read_text(),
    }


def test_the_record_has_the_average_precision_of_every_validation(mask_run: Path) -> None:
    metrics = outcome(mask_run)["metrics"]
    masks = {name.replace("box", "mask") for name in BOXES}
    # Pictures are evaluated one by one, so the queries cannot come from another image.
    assert set(metrics) == BOXES | masks | {"mask_ap_mean_ablated"}
    rows = [line.split(",") for line in outcome(mask_run)["rows"].splitlines()]
    steps = [int(step) for step, _, name, _ in rows if name == "mask_ap"]
    assert steps[-1] == 5 and len(steps) > 1


def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    mask_run: Path, quiet: RunContext, tmp_path: Path
) -> None:
    config, folder = small("shapes_mask_rcnn", "xvolution"), tmp_path / "cell"
    with pytest.raises(InterruptedError):
        train(config, folder, dataclasses.replace(quiet, callbacks=[Interrupt(3)]))
    assert not (folder / "result.json").exists()
    train(config, folder, quiet)
    assert outcome(folder) == outcome(mask_run)
    segments = json.loads((folder / "result.json").read_text())["segments"]
    assert [segment["start_step"] for segment in segments] == [0, 2]


def test_faster_rcnn_is_trained_and_tracked_with_pictures(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "wandb-home"))
    config = small("shapes_faster_rcnn", train__steps=2)
    result = train(config, tmp_path / "cell", RunContext(data_dir))
    assert result["status"] == "finished" and set(result["metrics"]) == BOXES
    assert list((tmp_path / "cell").glob("wandb/offline-run-*/files/media/images/detections_*.png"))


def predicted(*arguments: object) -> int:
    parser = Parser()
    predict.add_arguments(parser)
    return predict.run(parser.parse_args([*map(str, arguments)]))


def test_predict_draws_what_it_finds(mask_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [checkpoint] = (mask_run / "checkpoints").glob("*.ckpt")
    picture = PIL.Image.fromarray(numpy.random.RandomState(0).randint(0, 256, (70, 110, 3), dtype=numpy.uint8))
    picture.save(tmp_path / "own.jpg")
    assert predicted("--checkpoint", checkpoint, "--image", tmp_path / "own.jpg", "--score", "0") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    drawn = PIL.Image.open(tmp_path / "own.detections.png")
    assert drawn.size == picture.size and last.startswith(f"{len(lines)} objects")
    assert lines and all(line.split()[0] in ("disc", "square", "triangle", "star", "bars", "ring") for line in lines)
    assert numpy.asarray(drawn).tobytes() != numpy.asarray(PIL.Image.open(tmp_path / "own.jpg")).tobytes()


def test_predict_shows_scores_below_the_limit_of_evaluation(mask_run: Path) -> None:
    [checkpoint] = (mask_run / "checkpoints").glob("*.ckpt")
    trained = read_detector(checkpoint)
    nn.init.constant_(
        trained.detector.roi_heads.box_predictor.cls_score.bias[:1], 4.5
    )  # almost everything is background
    picture = PIL.Image.new("RGB", (96, 96), "gray")
    assert detect(trained, picture, 0.05) == []
    assert detect(trained, picture, 0.0)


def test_predict_turns_a_photograph_as_its_camera_says(
    mask_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [checkpoint] = (mask_run / "checkpoints").glob("*.ckpt")
    upright = PIL.Image.fromarray(numpy.random.RandomState(0).randint(0, 256, (110, 70, 3), dtype=numpy.uint8))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise by a quarter
    upright.save(tmp_path / "upright.png")
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    printed = []
    for name in ("upright", "lying"):
        assert predicted("--checkpoint", checkpoint, "--image", tmp_path / f"{name}.png", "--score", "0") == 0
        printed.append(capsys.readouterr().out.splitlines()[:-1])
    drawn = [numpy.asarray(PIL.Image.open(tmp_path / f"{name}.detections.png")) for name in ("upright", "lying")]
    assert printed[0] == printed[1] and numpy.array_equal(*drawn)


def test_predict_takes_a_line_of_pixels_and_says_if_a_format_cannot_hold_it(mask_run: Path, tmp_path: Path) -> None:
    [checkpoint] = (mask_run / "checkpoints").glob("*.ckpt")
    PIL.Image.new("L", (65_536, 1)).save(tmp_path / "line.png")
    given = ("--checkpoint", checkpoint, "--image", tmp_path / "line.png")
    assert predicted(*given) == 0
    with pytest.raises(UserError, match=r"cannot write --out .*drawn\.jpg': (?!None)"):
        predicted(*given, "--out", tmp_path / "drawn.jpg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "missing.png"], "no picture at 'missing.png'"),
        (["--image", "torn.png"], "cannot read the picture"),
        (["--image", "own.png", "--out", "own.png"], "--out and --image are the same file"),
        (["--image", "own.png", "--out", "drawn.pdf"], r"must end in \.png"),
        (["--image", "own.png", "--checkpoint", "none.ckpt"], "no checkpoint at"),
        (["--image", "own.png", "--checkpoint", "classifier.ckpt"], "is no checkpoint of a cell"),
    ],
)
def test_wrong_arguments_of_predict_give_one_sentence(
    arguments: list[str], message: str, mask_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [checkpoint] = (mask_run / "checkpoints").glob("*.ckpt")
    PIL.Image.new("RGB", (64, 64)).save("own.png")
    Path("torn.png").write_bytes(Path("own.png").read_bytes()[:60])
    torch.save({"run": {"config": to_dict(get_recipe("match_small").config())}}, "classifier.ckpt")
    given = arguments if "--checkpoint" in arguments else ["--checkpoint", str(checkpoint), *arguments]
    with pytest.raises(UserError, match=message):
        predicted(*given)


def test_batches_are_grouped_in_training_and_single_in_evaluation(data_dir: Path) -> None:
    config = small("shapes_faster_rcnn")
    data = DetectionDataModule(config, data_dir)
    assert data.classes == ("disc", "square", "triangle", "star", "bars", "ring") and not data.has_test
    for batch in data.loader_of_epoch(0):
        assert len({image.shape for image in batch.images}) == 1 and len(batch.images) == 2
    indices = [int(index) for batch in data.val_dataloader() for index in batch.indices]
    assert indices == list(range(5))


def write_classifier(ledger: Path, config: RunConfig) -> None:
    """Write a finished classification run with the backbone of `config` and random weights."""
    classifier = resolve(
        dataclasses.replace(get_recipe("cifar10_resnet18").config(), operator=config.operator, backbone=config.backbone)
    )
    classifier = set_value(classifier, "seed", config.seed)
    folder = ledger / "cells" / cell_id(classifier)
    (folder / "checkpoints").mkdir(parents=True)
    network = build_backbone(config.backbone, config.operator, num_classes=10)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights}, folder / "checkpoints" / "step=00000001.ckpt")
    about = {"cell_id": cell_id(classifier), "group_id": group_id(classifier), "config": to_dict(classifier)}
    result = {**dict.fromkeys(RESULT_KEYS), **about, "status": "finished"}
    (folder / "result.json").write_text(json.dumps(result))


def test_a_detector_starts_from_the_classifier_of_its_operator(tmp_path: Path, quiet: RunContext) -> None:
    config = small("shapes_faster_rcnn", "pssa", train__steps=1, optim__lr=0.0)
    write_classifier(tmp_path / "ledger", config)
    started = backbone_from(config, tmp_path / "ledger")
    result = train(started, tmp_path / "cell", quiet)
    assert result["status"] == "finished" and result["cell_id"] != cell_id(config)
    state = torch.load(tmp_path / "cell" / "checkpoints" / "step=00000001.ckpt", weights_only=True)["state_dict"]
    given = torch.load(started.detector.weights, weights_only=True)["state_dict"]
    # With a learning rate of 0 the weights do not change.
    key = "layer4.0.conv2.value.weight"
    torch.testing.assert_close(state[f"network.backbone.body.{key}"], given[f"network.{key}"], rtol=0, atol=0)


def test_an_interrupted_run_goes_on_without_the_weights_that_it_started_from(tmp_path: Path, quiet: RunContext) -> None:
    config = small("shapes_faster_rcnn", train__steps=2, train__checkpoint_every=1)
    write_classifier(tmp_path / "ledger", config)
    started = backbone_from(config, tmp_path / "ledger")
    train(started, tmp_path / "whole", quiet)
    with pytest.raises(InterruptedError):
        train(started, tmp_path / "cell", dataclasses.replace(quiet, callbacks=[Interrupt(1)]))
    shutil.rmtree(tmp_path / "ledger")
    [checkpoint] = (tmp_path / "cell" / "checkpoints").glob("*.ckpt")
    shutil.copytree(tmp_path / "cell", tmp_path / "torn")
    train(started, tmp_path / "cell", quiet)
    assert outcome(tmp_path / "cell") == outcome(tmp_path / "whole")
    # Without a whole checkpoint it starts again, and needs the weights.
    (tmp_path / "torn" / "checkpoints" / checkpoint.name).write_bytes(checkpoint.name.encode())
    with pytest.raises(UserError, match=r"no checkpoint at .*ledger"):
        train(started, tmp_path / "torn", quiet)


def test_a_run_goes_on_if_its_pictures_for_the_tracker_fail(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("of no colour\nat all")

    monkeypatch.setattr("lightning_xvol.modules.detection.picture_of", broken)
    monkeypatch.setattr("lightning_xvol.training.run.open_logger", lambda *_: DummyLogger())
    result = train(small("shapes_faster_rcnn", train__steps=1), tmp_path / "cell", RunContext(data_dir))
    assert result["status"] == "finished"
    assert [record.message for record in caplog.records if "tracker" in record.message] == [
        "cannot give pictures to the tracker (of no colour)"
    ]


@pytest.mark.parametrize(
    ("pretraining", "weights", "message"),
    [
        ("own", None, r"detector\.pretraining=own needs weights: --backbone-from LEDGER"),
        ("own", "none.ckpt", r"cannot read detector\.weights='none\.ckpt': No such file"),
        ("random", __file__, r"detector\.weights=.* goes with detector\.pretraining=torchvision or own, not random"),
    ],
)
def test_a_detector_without_its_weights_is_refused_before_anything_is_written(
    pretraining: str, weights: str | None, message: str, tmp_path: Path, quiet: RunContext
) -> None:
    config = small("shapes_faster_rcnn", detector__pretraining=pretraining, detector__weights=weights)
    with pytest.raises(UserError, match=message):
        train(config, tmp_path / "cell", quiet)
    assert not (tmp_path / "cell").exists()


def test_a_run_on_images_without_objects_ends_without_a_metric(tmp_path: Path) -> None:
    config = small("shapes_faster_rcnn", "xvolution", train__steps=1, data__draw=1)
    path = DetectionDataModule(config, tmp_path).annotations.path
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    result = train(config, tmp_path / "cell", RunContext(tmp_path, tracking=Tracking("disabled")))
    assert result["status"] == "finished" and result["metrics"] == {}
