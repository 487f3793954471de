"""A classification leaves what its last weights predict for each image, once, and in the same bytes every time."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from core_tools import outcome, result_of, tiny

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import ImageData, TensorSplit, build_data
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.ledger.checkpoints import list_checkpoints
from lightning_xvol.ledger.record import PREDICTIONS
from lightning_xvol.training import predictions
from lightning_xvol.training.run import RunContext, build_network, train
from lightning_xvol.training.tracking import Tracking

QUIET = RunContext(tracking=Tracking("disabled"))
RUNS = {
    "with a test split": tiny(train__steps=6),
    "without one": tiny(recipe="digits_small", train__steps=6),
}


def read(folder: Path) -> dict[str, Any]:
    with numpy.load(folder / PREDICTIONS) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("run") / "cell"
    train(RUNS[request.param], folder, QUIET)
    return RUNS[request.param], folder


def test_they_are_what_the_last_weights_predict_for_the_split_of_the_record(run: tuple[Any, Path]) -> None:
    config, folder = run
    found = read(folder)
    data = ImageDataModule(config)
    network = build_network(config, data.num_classes, data.image_shape[0])
    [path] = list_checkpoints(folder / "checkpoints")
    state = torch.load(path, weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): state[name] for name in state if "network." in name})
    split = data.data.test() or data.data.validation()
    images, labels = split.batch(range(len(split)))
    with torch.no_grad():
        probability = network.eval()(images).softmax(1)
    assert found["index"].tolist() == list(range(len(split)))
    assert found["label"].tolist() == labels.tolist()
    assert found["predicted"].tolist() == probability.argmax(1).tolist()
    assert numpy.allclose(found["score"], probability.max(1).values, atol=1e-5)
    assert [found[name].dtype.str for name in ("index", "label", "predicted", "score")] == ["<i4"] * 3 + ["<f4"]


def test_their_accuracy_is_that_of_the_record_to_the_digit(run: tuple[Any, Path]) -> None:
    _, folder = run
    found = read(folder)
    accuracy = 100 * int((found["label"] == found["predicted"]).sum()) / len(found["label"])
    assert round(accuracy, 4) == result_of(folder)["metrics"]["top1"]["last"]


def test_a_run_that_ended_before_its_record_leaves_the_same_bytes(run: tuple[Any, Path]) -> None:
    """Without a test split, it has no evaluation left to do when it goes on. With one, it starts again."""
    config, folder = run
    before = outcome(folder)
    for name in ("result.json", PREDICTIONS):
        (folder / name).unlink()
    train(config, folder, QUIET)
    assert outcome(folder) == before


def test_a_finished_run_stays_finished_without_them(run: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    config, folder = run
    kept = (folder / PREDICTIONS).read_bytes()
    (folder / PREDICTIONS).unlink()
    monkeypatch.setattr("lightning_xvol.training.run._Run", None)  # nothing is trained
    assert train(config, folder, QUIET) == result_of(folder)
    assert not (folder / PREDICTIONS).exists()
    (folder / PREDICTIONS).write_bytes(kept)


def test_a_diverged_run_leaves_none(tmp_path: Path) -> None:
    assert train(tiny(train__steps=12, optim__lr=1e30), tmp_path, QUIET)["status"] == "diverged"
    assert not (tmp_path / PREDICTIONS).exists()


@pytest.mark.parametrize("seed", range(20))
def test_each_index_is_left_once_however_processes_share_and_repeat_them(seed: int) -> None:
    rng = random.Random(seed)
    size, batch, processes = rng.randrange(1, 50), rng.randrange(1, 9), rng.randrange(1, 5)
    label, logits = torch.randint(7, (size,)), torch.randn(size, 7)
    parts = []
    for process in range(processes):
        # As torch's DistributedSampler: every process has equally many, and the first indices fill up the rest.
        padded = [index % size for index in range(process, -(-size // processes) * processes, processes)]
        for start in range(0, len(padded), batch):
            of = torch.tensor(padded[start : start + batch])
            parts.append(predictions.predictions(logits[of], label[of], of))
    rng.shuffle(parts)
    found = predictions.merge(parts)
    assert found["index"].tolist() == list(range(size))
    assert found["label"].tolist() == label.tolist()
    assert found["predicted"].tolist() == logits.argmax(1).tolist()


def test_equal_arrays_are_equal_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"index": numpy.arange(5, dtype="<i4"), "classes": numpy.array(["a", "ü\udc80"])}
    first = predictions.archive(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert predictions.archive(arrays) == first
    path = tmp_path / "a.npz"
    path.write_bytes(first)
    with numpy.load(path) as file:
        assert {name: file[name].tolist() for name in file.files} == {key: arrays[key].tolist() for key in arrays}
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


class Named(ImageData):
    """Two classes with names of the user's own."""

    num_classes, image_shape, classes = 2, (1, 24, 24), ("no", "yes")

    def train(self) -> TensorSplit:
        return TensorSplit(torch.zeros(4, 1, 24, 24), torch.tensor([0, 1, 0, 1]))

    validation = train


def test_the_names_of_classes_are_those_of_the_data_set(tmp_path: Path) -> None:
    assert build_data(DataConfig("match")).classes == ("left", "right", "above", "below")
    config = tiny(data__name=f"{__name__}:Named", data__batch_size=2)
    assert ImageDataModule(config).classes == ("no", "yes"), "a limit keeps them"
    assert predictions.label_names(("no", "yes"), 2) == ["no", "yes"]
    assert predictions.label_names((), 3) == ["0", "1", "2"]
    assert predictions.label_names(("a",), 2) == ["0", "1"], "names for some classes alone cannot be trusted"


def test_the_option_for_detections_is_outside_the_identity() -> None:
    from lightning_xvol.config.recipes import get_recipe
    from lightning_xvol.config.resolved import resolve
    from lightning_xvol.config.schema import set_value

    config = get_recipe("shapes_faster_rcnn").config("convolution")
    asked = set_value(config, "detector.keep_detections", "true")
    assert resolve(asked).cell_id == resolve(config).cell_id
    assert json.dumps(asked.detector.keep_detections) == "true"
