"""Exact resume: a run that is killed anywhere ends with the same bits as one that is not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import core_tools
import pytest
from core_tools import Death, outcome, result_of, tiny, wait_for_checkpoint

CALLBACKS = "lightning_xvol.training.callbacks"
STEP = f"{CALLBACKS}:Watch.on_train_batch_end"  # the first callback, so it runs before a checkpoint of that step
EPOCH_SAVED = f"{CALLBACKS}:Checkpointer.on_train_epoch_end"
SAVE = "lightning_xvol.ledger.checkpoints:AtomicCheckpointIO.save_checkpoint"
WRITE = "lightning_xvol.ledger.checkpoints:torch.save"
VALIDATE = "lightning_xvol.modules.classification:ClassificationModule.validation_step"
TEST = "lightning_xvol.modules.classification:ClassificationModule.test_step"
EVALUATE = "lightning_xvol.training.evaluation:FinalEvaluation.evaluate"
RECORD = "lightning_xvol.training.run:write_result"

AUGMENTED = {"data__name": "core_plugins:Augmented", "data__limit": None}
DROPOUT = {"operator__name": "core_plugins:DropoutConvolution"}


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    """The folder of an uninterrupted run of a config, made once."""
    folders: dict = {}

    def get(config):
        key = json.dumps(core_tools.plain(config), sort_keys=True)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("uninterrupted") / "cell"
            run(config, folders[key])
        return folders[key]

    return get


def die_and_resume(run, config, folder, *deaths):
    for death in deaths:
        run(config, folder, death=death, expect=-signal.SIGKILL if death.kill else 77)
        assert not (folder / "result.json").exists()
    run(config, folder)


def test_a_run_records_every_step_and_evaluation_once(uninterrupted):
    folder = uninterrupted(tiny())
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "name", "value"]
    places = {}
    for step, epoch, name, _ in rows[1:]:
        places.setdefault(name, []).append((int(step), int(epoch)))
    # The budget of 23 steps ends in the middle of the fifth epoch, which is validated too.
    epochs = [(5, 1), (10, 2), (15, 3), (20, 4), (23, 5)]
    training = [(10, 2), (20, 4)]
    assert places == {
        "train_loss": training, "lr": training, "val_loss": epochs, "val_top1": epochs,
        "loss": [(23, 5)], "top1": [(23, 5)],
    }  # fmt: skip
    assert result_of(folder)["segments"][0]["end_step"] == 23
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "metrics.csv", "predictions.npz", "result.json"
    ]  # fmt: skip
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step=00000023.ckpt"]


@pytest.mark.parametrize(
    ("death", "start"),
    [
        pytest.param(Death(STEP, 7, kill=True), 6, id="mid-epoch"),
        pytest.param(Death(STEP, 9), 6, id="step-of-a-checkpoint-before-it"),
        pytest.param(Death(WRITE, 4, after=True), 6, id="while-a-checkpoint-is-written"),
        pytest.param(Death(SAVE, 3, after=True, kill=True), 9, id="just-after-a-checkpoint"),
        pytest.param(Death(STEP, 10), 9, id="last-step-of-an-epoch"),
        pytest.param(Death(VALIDATE, 5), 12, id="in-validation"),
        pytest.param(Death(EPOCH_SAVED, 3, after=True), 15, id="end-of-an-epoch-with-a-checkpoint"),
        pytest.param(Death(STEP, 23, kill=True), 21, id="last-step"),
        pytest.param(Death(EVALUATE), 23, id="trained-but-not-evaluated"),
        pytest.param(Death(TEST, 2, kill=True), 23, id="in-the-last-evaluation"),
        pytest.param(Death(RECORD), 23, id="evaluated-but-not-recorded"),
    ],
)
def test_a_killed_run_ends_as_the_uninterrupted_one(death, start, run, uninterrupted, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    die_and_resume(run, config, folder, death)
    assert outcome(folder) == outcome(uninterrupted(config))
    first, second = result_of(folder)["segments"]
    assert first["start_step"] == 0 and first["checkpoint"] is None
    assert (second["start_step"], second["end_step"]) == (start, 23)
    assert second["checkpoint"] == f"step={start:08d}.ckpt"
    assert not list(folder.rglob("*.tmp"))


def test_the_best_weights_survive_a_kill_between_their_epochs_checkpoint_and_the_next(run, uninterrupted, tmp_path):
    folder = tmp_path / "cell"
    for seed in range(8):
        expected = outcome(uninterrupted(tiny(seed=seed)))
        best = expected["metrics"]["val_top1"]["best_epoch"]
        if 1 < best < 5:  # the weights of the first epoch would be found anyway, and the last ones are not thrown away
            break
    assert 1 < best < 5, "none of the seeds has such an epoch; try others"
    die_and_resume(run, tiny(seed=seed, train__checkpoint_every=5), folder, Death(EPOCH_SAVED, best, after=True))
    assert result_of(folder)["segments"][1]["start_step"] == 5 * best
    assert outcome(folder) == expected


@pytest.mark.parametrize(
    ("changes", "deaths"),
    [
        pytest.param({"data__workers": 2}, [Death(STEP, 8), Death(STEP, 9, kill=True)], id="two-workers"),
        pytest.param(
            # A death at an odd batch is in the middle of an accumulation.
            {"train__accumulate": 2}, [Death(STEP, 13, kill=True), Death(STEP, 10)], id="accumulate"
        ),
        pytest.param(
            {**DROPOUT, "recipe": "digits_small"},
            [Death(STEP, 8, kill=True), Death(STEP, 4)], id="dropout",
        ),
        pytest.param(AUGMENTED, [Death(STEP, 8), Death(STEP, 9)], id="augmentation"),
        pytest.param(
            {"operator__name": "multi_convolution"}, [Death(STEP, 8), Death(STEP, 9, kill=True)], id="live-taps"
        ),
        pytest.param(
            {**AUGMENTED, "data__workers": 2}, [Death(STEP, 11), Death(EPOCH_SAVED, 2, after=True, kill=True)],
            id="augmentation-two-workers",
        ),
        pytest.param(
            {**AUGMENTED, **DROPOUT, "train__accumulate": 2, "data__workers": 2},
            [Death(STEP, 15, kill=True), Death(STEP, 4)], id="all-together",
        ),
    ],
)  # fmt: skip
def test_resume_is_exact_with(changes, deaths, run, uninterrupted, tmp_path):
    config, folder = tiny(**changes), tmp_path / "cell"
    die_and_resume(run, config, folder, *deaths)
    # The reference has no workers, because their number changes nothing.
    assert outcome(folder) == outcome(uninterrupted(tiny(**{**changes, "data__workers": 0})))
    starts = [segment["start_step"] for segment in result_of(folder)["segments"]]
    assert len(starts) == len(deaths) + 1 and starts == sorted(starts) and starts[-1] > 0


def test_the_plugins_use_the_random_numbers_that_a_resume_must_repeat(uninterrupted):
    """Otherwise the tests above would pass without restored generators."""
    dropout = {**DROPOUT, "recipe": "digits_small"}
    pairs = [
        (tiny(**AUGMENTED), tiny(**AUGMENTED, data__strength=0.2)),
        (tiny(**dropout), tiny(**dropout, operator__rate=0.2)),
    ]
    for one, other in pairs:
        assert outcome(uninterrupted(one))["weights_sha256"] != outcome(uninterrupted(other))["weights_sha256"]


def test_a_torn_newest_checkpoint_costs_one_more_interval(run, uninterrupted, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    run(config, folder, death=Death(STEP, 14), expect=77)
    newest = folder / "checkpoints" / "step=00000012.ckpt"
    newest.write_bytes(newest.read_bytes()[:-500])
    run(config, folder)
    assert result_of(folder)["segments"][1]["start_step"] == 9
    assert "falling back" in folder.with_name("cell.log").read_text()
    assert outcome(folder) == outcome(uninterrupted(config))


def test_a_run_killed_from_outside_at_any_moment_resumes(fork, uninterrupted, tmp_path):
    config, folder, log = tiny(), tmp_path / "cell", tmp_path / "log"
    process = fork(core_tools.train_in_process, core_tools.plain(config), folder, log)
    wait_for_checkpoint(folder, lambda: process.exitcode is not None)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process = fork(core_tools.train_in_process, core_tools.plain(config), folder, log)
    process.join()
    assert outcome(folder) == outcome(uninterrupted(config))
    assert result_of(folder)["segments"][-1]["start_step"] > 0


def test_a_finished_folder_is_returned_and_not_touched(run, uninterrupted):
    from lightning_xvol.training.run import train

    config = tiny()
    folder = uninterrupted(config)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [folder, *folder.rglob("*")]}
    assert train(config, folder) == result_of(folder)
    run(config, folder)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [folder, *folder.rglob("*")]} == before


def test_a_finished_folder_is_returned_while_another_process_holds_it(uninterrupted):
    from lightning_xvol.ledger.locking import locked
    from lightning_xvol.training.run import train

    folder = uninterrupted(tiny())
    with locked(folder):
        assert train(tiny(), folder) == result_of(folder)


def test_a_run_that_another_process_has_just_finished_is_not_repeated(uninterrupted, monkeypatch):
    """At its first look there is no result. Then the other process finishes and leaves the folder."""
    from lightning_xvol.training import finished
    from lightning_xvol.training import run as training

    folder = uninterrupted(tiny())
    before = (folder / "metrics.csv").stat().st_mtime_ns
    answers = iter([None, result_of(folder)])
    monkeypatch.setattr(finished, "read_result", lambda path: next(answers))
    assert training.train(tiny(), folder) == result_of(folder)
    assert (folder / "metrics.csv").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_command_line_resumes_after_it_was_killed_from_outside(uninterrupted, tmp_path):
    """The same from outside: SIGKILL to `python -m lightning_xvol fit` and its loader workers."""
    arguments = ["fit", "--out", str(tmp_path), "--wandb", "disabled", "--set", "data.workers=2"]
    for path, value in {**core_tools.TINY, **{f"data.{split}_size": 40 for split in core_tools.SPLITS}}.items():
        arguments += ["--set", f"{path}={value}"]
    command = [sys.executable, "-m", "lightning_xvol", *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, start_new_session=True, env=environment)
    wait_for_checkpoint(tmp_path, lambda: process.poll() is not None, seconds=120)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command, env=environment, check=True, capture_output=True)
    [folder] = (tmp_path / "cells").iterdir()
    assert outcome(folder) == outcome(uninterrupted(tiny()))
    assert result_of(folder)["segments"][-1]["start_step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_kills_at_random_batches(seed, run, uninterrupted, tmp_path):
    generator = random.Random(seed)
    changes = {
        **AUGMENTED, **DROPOUT, "train__checkpoint_every": generator.randint(1, 7),
        "data__workers": generator.choice([0, 2]),
    }  # fmt: skip
    config, folder = tiny(**changes, seed=seed), tmp_path / "cell"
    for _ in range(6):
        code = run(config, folder, death=Death(STEP, generator.randint(1, 12)), expect=None)
        if code == 0:
            break
    run(config, folder)
    assert outcome(folder) == outcome(uninterrupted(tiny(**changes, seed=seed)))


def test_runs_on_images_normalised_on_the_device_resume_too(run, tmp_path):
    from benchmarks.pictures import make_pictures

    make_pictures(tmp_path / "pictures", 40, seed=0)
    changes = {"data__name": "imagenet", "data__image_size": 32, "data__workers": 1, "train__steps": 12}
    config = tiny(**changes)
    run(config, tmp_path / "whole", data_dir=tmp_path / "pictures")
    death = Death(STEP, 8)
    run(config, tmp_path / "broken", death=death, expect=77, data_dir=tmp_path / "pictures")
    run(config, tmp_path / "broken", data_dir=tmp_path / "pictures")
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert len(result_of(tmp_path / "broken")["segments"]) == 2
