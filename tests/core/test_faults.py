"""Runs that go wrong: an exploding loss, an exception, an interruption."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import core_tools
import pytest
from core_tools import Fail, tiny

from lightning_xvol.ledger.record import cell_id

FAILING = {"operator__name": "core_plugins:FailsWhenTold", "backbone__stages": (5,)}


def strict_json(path: Path) -> dict:
    def refuse(constant):
        pytest.fail(f"{constant} in {path.name}, which is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def snapshot(folder: Path) -> dict:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="in the middle of an epoch"),
        # One step an epoch: the loss of the update is finite, and the validation is the first to see its weights.
        pytest.param({"data__limit": 8, "train__steps": 3}, id="seen by a validation"),
        pytest.param({"data__limit": 8, "train__steps": 1}, id="seen by the last validation"),
        pytest.param({"recipe": "digits_small", "data__limit": 8, "train__steps": 1}, id="without a test split"),
    ],
)
def test_an_exploding_run_is_recorded_as_diverged_and_not_tried_again(changes, run, tmp_path):
    config, folder = tiny(**changes, optim__lr=1e25), tmp_path / "cell"
    run(config, folder)
    result = strict_json(folder / "result.json")
    assert (result["status"], result["cell_id"]) == ("diverged", cell_id(config))
    assert not (folder / "failure.json").exists()
    assert "not finite at step" in folder.with_name("cell.log").read_text()
    before = snapshot(folder)
    run(config, folder)
    assert snapshot(folder) == before


def test_weights_that_one_update_breaks_are_in_no_checkpoint(run, tmp_path):
    """The loss of that step is still finite, and the checkpoint comes before the next loss."""
    folder = tmp_path / "cell"
    run(tiny(train__checkpoint_every=1, optim__lr=1e38, optim__weight_decay=1e3), folder)
    assert strict_json(folder / "result.json")["status"] == "diverged"
    assert not list((folder / "checkpoints").glob("step=*"))


def test_metrics_from_before_the_explosion_stay_in_the_record(run, tmp_path):
    """The learning rate grows by 30 orders of magnitude after the second of four epochs."""
    folder = tmp_path / "cell"
    run(tiny(train__steps=20, optim__schedule="multistep", optim__milestones=(0.5,), optim__gamma=1e30), folder)
    result = strict_json(folder / "result.json")
    assert result["status"] == "diverged" and set(result["metrics"]) == {"val_loss", "val_top1"}
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    losses = [(int(epoch), float(value)) for _, epoch, name, value in rows[1:] if name == "val_loss"]
    assert [epoch for epoch, _ in losses] == [1, 2]
    assert result["metrics"]["val_loss"]["last"] == pytest.approx(losses[-1][1], abs=1e-4)


def test_a_failure_is_recorded_counted_resumed_and_cleared(run, tmp_path):
    config, folder = tiny(**FAILING), tmp_path / "cell"
    run(config, folder, environment={"CORE_FAIL_AT": "8"}, expect=1)
    failure = strict_json(folder / "failure.json")
    # The first line of the error; the eighth step fails, so seven are done.
    assert failure == {"error": "RuntimeError: told to fail", "step": 7, "attempt": 1}
    assert not (folder / "result.json").exists()
    run(config, folder, environment={"CORE_FAIL_AT": "5"}, expect=1)
    assert strict_json(folder / "failure.json") == {"error": "RuntimeError: told to fail", "step": 10, "attempt": 2}
    run(config, folder)
    assert not (folder / "failure.json").exists()
    result = strict_json(folder / "result.json")
    assert [segment["start_step"] for segment in result["segments"]] == [0, 6, 9]
    run(config, tmp_path / "undisturbed")
    undisturbed = strict_json(tmp_path / "undisturbed" / "result.json")
    assert [undisturbed[key] for key in ("weights_sha256", "metrics")] == [
        result[key] for key in ("weights_sha256", "metrics")
    ]
    assert result["environment"]["source core_plugins:FailsWhenTold"]


def test_an_operator_that_fails_at_its_first_use_is_a_failure_like_any_other(run, tmp_path):
    folder = tmp_path / "cell"
    run(tiny(operator__name="core_plugins:NeverWorks"), folder, expect=1)
    assert strict_json(folder / "failure.json") == {"error": "KeyError: 'no such thing'", "step": 0, "attempt": 1}


def test_a_torn_failure_json_starts_counting_anew(run, tmp_path):
    config, folder = tiny(**FAILING), tmp_path / "cell"
    folder.mkdir()
    for torn in ("{", "[]"):
        (folder / "failure.json").write_text(torn)
        run(config, folder, environment={"CORE_FAIL_AT": "1"}, expect=1)
        assert strict_json(folder / "failure.json")["attempt"] == 1


def test_a_full_disk_is_reported_and_the_checkpoints_stay(run, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    run(config, folder, faults=[Fail("lightning_xvol.ledger.files:os.fsync", 22)], expect=1)
    kept = sorted(path.name for path in (folder / "checkpoints").glob("step=*"))
    assert len(kept) == 2
    assert not list(folder.rglob("*.tmp"))
    printed = folder.with_name("cell.log").read_text()
    assert "RuntimeError: fsync fails here" in printed
    run(config, folder)
    assert strict_json(folder / "result.json")["segments"][1]["checkpoint"] == kept[-1]


def test_an_interruption_is_no_failure(fork, tmp_path):
    """Schedulers end a job by SIGTERM. The run resumes later, and nothing says that it failed."""
    config, folder, log = tiny(train__steps=5000, train__checkpoint_every=5), tmp_path / "cell", tmp_path / "log"
    process = fork(core_tools.train_in_process, core_tools.plain(config), folder, log)
    core_tools.wait_for_checkpoint(folder, lambda: process.exitcode is not None)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM, "0 would mean that the run is finished"
    assert not (folder / "result.json").exists() and not (folder / "failure.json").exists()


def test_a_folder_in_which_another_process_works_is_left_alone(run, tmp_path):
    from lightning_xvol.ledger.locking import locked

    config, folder = tiny(), tmp_path / "cell"
    folder.mkdir()
    with locked(folder):
        before = snapshot(folder)
        run(config, folder, expect=1)
        assert "locking.Held" in folder.with_name("cell.log").read_text()
        del before[folder]  # its folder of checkpoints has been made
        assert {path: state for path, state in snapshot(folder).items() if path in before} == before
        assert not (folder / "config.yaml").exists()
