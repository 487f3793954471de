"""Tracking by Weights & Biases: offline runs, read back by wandb's own reader, and a local server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import PIL.Image
import pytest
from core_tools import Death, Fail, Set, Without, outcome, result_of, tiny

from lightning_xvol.config.resolved import resolve
from lightning_xvol.data.module import StepPlan
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.record import cell_id, group_id
from lightning_xvol.training.tracking import Tracking, check_tracking, open_logger, start

OFFLINE = {"mode": "offline"}
STEP = "lightning_xvol.training.callbacks:Watch.on_train_batch_end"
LOG = "wandb.sdk.wandb_run:Run.log"


@dataclass
class OfflineRun:
    """The content of a .wandb file."""

    header: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    exit_code: int | None = None


def inspect(path: Path) -> OfflineRun:
    reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    run = OfflineRun()
    for line in subprocess.run(reader, capture_output=True, text=True, check=True).stdout.splitlines():
        record = json.loads(line)
        content = record.get(record["type"], {})
        if record["type"] == "run":
            run.header, run.config = content, content["config"]["update"]
        elif record["type"] == "summary":
            run.summary.update(content.get("update", {}))
        elif record["type"] == "history":
            run.rows.append(content["item"])
        elif record["type"] == "exit":
            run.exit_code = content.get("exit_code", 0)
    return run


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The runs in `folder` in the order of their start."""
    return [inspect(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


@pytest.fixture(autouse=True)
def environment(tmp_path):
    """An environment without the user's W&B account and preferences, and without a network."""
    return {
        **{f"WANDB_{kind}_DIR": str(tmp_path / "wandb-home") for kind in ("CACHE", "CONFIG", "DATA")},
        "HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_API_KEY": None, "WANDB_MODE": None,
    }  # fmt: skip


@pytest.fixture
def track(run, environment):
    def call(config, folder, tracking=OFFLINE, key=None, **kwargs):
        code = run(config, folder, tracking=tracking, environment={**environment, "WANDB_API_KEY": key}, **kwargs)
        return code, folder.with_name(f"{folder.name}.log").read_text()

    return call


def metric_rows(folder: Path) -> list[tuple[int, str, float]]:
    lines = (folder / "metrics.csv").read_text().splitlines()[1:]
    return [(int(step), name, float(value)) for step, _, name, value in (line.split(",") for line in lines)]


def tracked_rows(runs: list[OfflineRun]) -> list[tuple[int, str, float]]:
    """The rows without pictures. A later run replaces the rows of a step."""
    rows = {}
    for run in runs:
        for row in run.rows:
            names = [name for name in row if name[0] != "_" and name not in ("epoch", "step")]
            rows |= {(row["step"], name): row[name] for name in names if not name.startswith("predictions")}
    return sorted((step, name, value) for (step, name), value in rows.items())


def test_an_offline_run_is_a_copy_of_the_record(track, tmp_path):
    config, folder = tiny("xvolution"), tmp_path / "cell"
    sweep = {"sweep": "kernel_size", "recipe": "match_small", "axes": {"kernel_size": 3}, "smoke": True}
    sweep |= {"axis_labels": {"kernel_size": "kernel size K"}, "notes": "a note", "tags": ["mine"]}
    _, printed = track(config, folder, {**OFFLINE, **sweep, "project": "some-project", "entity": "team"})
    assert printed == ""
    result = result_of(folder)
    [run] = offline_runs(folder)
    names = ("run_id", "run_group", "job_type", "project", "entity", "display_name", "notes")
    assert {key: run.header[key] for key in names} == {
        "run_id": cell_id(config), "run_group": f"xvolution K=3 · match_small ({group_id(config)[:8]})",
        "job_type": "kernel_size", "project": "some-project", "entity": "team", "display_name": "xvolution K=3 s0",
        "notes": "a note",
    }  # fmt: skip
    tags = [tag for tag in run.header["tags"] if not tag.startswith("commit:")]
    assert tags == ["kernel_size", "match_small", "xvolution", "SMOKE", "mine"]
    flat = {
        "operator_name": "xvolution", "operator_form": "dot", "operator_num_heads": 4, "data_distance": 12,
        "optim_lr": 0.05, "train_steps": 23, "backbone_stages": [3, 4, 5], "seed": 0, "row": "xvolution",
        "axis_kernel_size": 3, "sweep": "kernel_size", "recipe": "match_small",
    }  # fmt: skip
    assert {key: run.config[key] for key in flat} == flat
    nested = [key for key, value in run.config.items() if isinstance(value, dict) and key != "_wandb"]
    assert not nested, "dashboards group by flat keys only"
    columns = {**run.config, **run.summary}
    machine = [key for key, value in columns.items() if key[0] != "_" and isinstance(value, str) and len(value) > 40]
    assert not machine, "what only a reader needs is where W&B's tables do not show it"
    about = json.loads(run.summary["_cell"])
    assert (about["cell_id"], about["group_id"]) == (cell_id(config), group_id(config))
    assert (about["steps_per_epoch"], about["total_steps"]) == (5, 23)
    # Curves hold the training loss and the validation of every epoch, each row with its step.
    assert tracked_rows([run]) == sorted(metric_rows(folder))
    assert {(5, "val_top1"), (10, "train_loss"), (23, "val_top1")} <= {row[:2] for row in tracked_rows([run])}
    assert json.loads(run.summary["_result"]) == result
    for name, metric in result["metrics"].items():
        assert (run.summary[name], run.summary[f"{name}_best"]) == (metric["last"], metric["best"])
    assert (run.summary["status"], run.summary["torch"]) == ("finished", result["environment"]["torch"])
    assert run.exit_code == 0


@pytest.mark.parametrize("system", [False, True])
def test_wandb_measures_the_machine_only_if_asked(system, monkeypatch):
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **arguments: arguments["settings"])
    assert start("offline", {}, system, print).x_disable_stats is not system


def test_test_images_show_prediction_and_label(track, tmp_path):
    track(tiny(), tmp_path)
    [run] = offline_runs(tmp_path)
    [row] = [row for row in run.rows if "predictions._type" in row]
    shown = {name.removeprefix("predictions."): value for name, value in row.items()}
    assert len(shown["filenames"]) == 8 and row["step"] == 23
    with numpy.load(tmp_path / "predictions.npz") as kept:
        classes = kept["classes"]
        expected = [
            f"predicted {classes[predicted]} ({100 * score:.0f} %), label {classes[label]}"
            for predicted, score, label in zip(kept["predicted"], kept["score"], kept["label"], strict=True)
        ]
    assert shown["captions"] == expected[:8]
    [first, *_] = (path for path in tmp_path.glob(f"wandb/offline-run-*/files/{shown['filenames'][0]}"))
    picture = numpy.asarray(PIL.Image.open(first))
    assert picture.min() == 0 and picture.max() == 255


def test_the_size_of_a_run_does_not_depend_on_the_size_of_its_sweep(environment, monkeypatch, tmp_path):
    import wandb

    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    shapes = {"small": (1, 5, 2), "seeds": (1, 5, 200), "configurations": (10, 100, 1)}
    for name, (rows, sizes, seeds) in shapes.items():
        cells = [
            {
                "operator": f"row{row}", "label": f"Row {row}", "axes": {"kernel_size": size}, "seed": seed,
                "cell_id": f"{row:04x}{size:04x}{seed:04x}",
                "group_id": hashlib.sha256(bytes([row, size])).hexdigest()[:12],
            }
            for row in range(rows) for size in range(sizes) for seed in range(seeds)
        ]  # fmt: skip
        plan = {"schema": 1, "title": "t" * 500, "axes": ["kernel_size"], "cells": cells}
        folder = tmp_path / name
        config = resolve(tiny(seed=seeds))
        tracker = open_logger(Tracking("offline", plan=plan), config, folder, None, StepPlan(5, 23), print)
        tracker.finish(None, None)
    wandb.teardown()  # W&B's service has written everything when it has ended
    found = {name: next(tmp_path.glob(f"{name}/wandb/offline-run-*/*.wandb")).stat().st_size for name in shapes}
    assert 1000 < found["seeds"] < 1.02 * found["small"], "1000 cells and 10 cells"
    assert found["configurations"] < found["small"] + 2000, "a finished run of the demo has 23000 bytes"


def test_a_killed_run_keeps_its_rows_and_the_resumed_one_adds_the_rest(track, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    # wandb writes every second here; its default is every fifteen.
    track(config, folder, death=Death(STEP, 17, kill=True, delay=2.5), expect=-9)
    [killed] = offline_runs(folder)
    assert json.loads(killed.summary["_cell"])["cell_id"] == cell_id(config) and killed.exit_code is None
    assert {(5, "val_top1"), (10, "train_loss"), (15, "val_loss")} <= {row[:2] for row in tracked_rows([killed])}
    track(config, folder)
    runs = offline_runs(folder)
    assert [run.header["run_id"] for run in runs] == [cell_id(config)] * 2
    assert tracked_rows(runs) == sorted(metric_rows(folder))
    assert json.loads(runs[1].summary["_result"]) == result_of(folder)


def test_online_a_failed_run_goes_on_as_the_same_run(run, wandb_server, tmp_path):
    config, folder = tiny("xvolution"), tmp_path / "cell"
    online = {"tracking": {"mode": "online"}, "environment": wandb_server.environment(tmp_path / "home")}
    run(config, folder, faults=[Fail(STEP, 12)], expect=1, **online)
    [tracked] = wandb_server.store.runs.values()
    group = f"xvolution ({group_id(config)[:8]})"
    assert (tracked.name, tracked.group, tracked.state) == (cell_id(config), group, "failed")
    assert tracked.summary["error"] == json.loads((folder / "failure.json").read_text())["error"]
    run(config, folder, **online)
    assert list(wandb_server.store.runs.values()) == [tracked] and tracked.state == "finished"
    assert json.loads(tracked.summary["_result"]) == result_of(folder)
    assert tracked.config["operator_name"] == {"value": "xvolution"}
    assert tracked_rows([OfflineRun(rows=[json.loads(line) for line in tracked.history])]) == sorted(
        metric_rows(folder)
    )
    assert not list(folder.glob("wandb/offline-run-*"))


def test_a_service_of_wandb_that_another_process_left_does_no_harm(run, environment, tmp_path):
    stale = {**environment, "WANDB_SERVICE": "3-1-unix-/nowhere/socket"}
    run(tiny(), tmp_path / "cell", tracking=OFFLINE, environment=stale)
    [tracked] = offline_runs(tmp_path / "cell")
    assert tracked.exit_code == 0


def test_a_failed_run_is_not_called_finished(track, tmp_path):
    folder = tmp_path / "cell"
    track(tiny(), folder, faults=[Fail(STEP, 12)], expect=1)
    [run] = offline_runs(folder)
    assert run.exit_code == 1 and "_result" not in run.summary and run.rows
    assert run.summary["error"] == json.loads((folder / "failure.json").read_text())["error"]


@pytest.mark.parametrize(
    "key", [pytest.param(None, id="without a key"), pytest.param("0123456789" * 4, id="with a key")]
)
def test_online_without_a_network_becomes_an_offline_run_with_one_warning(key, track, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    timeout = Set("lightning_xvol.training.tracking:ONLINE_TIMEOUT_SECONDS", 2)
    _, printed = track(config, folder, {"mode": "online"}, key=key, faults=[timeout])
    warnings = [line for line in printed.splitlines() if line.startswith("W&B")]
    assert len(warnings) == 1 and "not reachable" in warnings[0] and "offline" in warnings[0]
    assert "Traceback" not in printed and (key is None or key not in printed)
    [run] = offline_runs(folder)
    assert json.loads(run.summary["_result"])["status"] == "finished"


@pytest.mark.parametrize(
    "target", ["wandb:init", LOG, "wandb.sdk.wandb_run:Run.define_metric", "wandb.sdk.wandb_run:Run.finish"]
)
def test_no_error_of_wandb_fails_a_run(target, track, tmp_path):
    config, folder = tiny(), tmp_path / "cell"
    _, printed = track(config, folder, faults=[Fail(target)])
    [warning] = [line for line in printed.splitlines() if "W&B" in line]
    assert "fails here); the run goes on without it" in warning
    assert "Traceback" not in printed
    track(config, tmp_path / "undisturbed", {"mode": "disabled"})
    assert outcome(folder) == outcome(tmp_path / "undisturbed")


def test_a_run_after_one_with_a_broken_tracker_is_tracked_apart(monkeypatch, environment, tmp_path):
    """With several runs in one process, as in an inline sweep, wandb would go on in a run that was not finished."""
    import wandb

    from lightning_xvol.training.run import RunContext, train

    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    original, calls = wandb.sdk.wandb_run.Run.log, []

    def fails_in_the_first_run(self, *args, **kwargs):
        calls.append(self.id)
        if self.id == calls[0]:
            raise RuntimeError("no")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", fails_in_the_first_run)
    configs = [tiny(seed=seed) for seed in (0, 1)]
    for config in configs:
        train(config, tmp_path / cell_id(config), RunContext(tracking=Tracking("offline")))
    first, second = configs
    [broken], [whole] = (offline_runs(tmp_path / cell_id(config)) for config in configs)
    assert (broken.header["run_id"], whole.header["run_id"]) == (cell_id(first), cell_id(second))
    assert broken.exit_code is not None, "the broken run was left open"
    assert tracked_rows([whole]) == sorted(metric_rows(tmp_path / cell_id(second)))
    assert calls.count(cell_id(first)) == 1, "one error is enough"


def test_disabled_tracking_needs_no_wandb_and_writes_none_of_its_files(track, tmp_path):
    folder = tmp_path / "cell"
    _, printed = track(tiny(), folder, {"mode": "disabled"}, faults=[Without("wandb")])
    assert printed == "" and (folder / "result.json").exists() and not (folder / "wandb").exists()
    _, printed = track(tiny(), tmp_path / "tracked", faults=[Without("wandb")])
    assert "W&B cannot start" in printed, "this shows that the test notices an import"
    code = "import sys, lightning_xvol.training.tracking; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_disabled_tracking_does_not_import_wandb(tmp_path):
    code = (
        "import sys; from pathlib import Path; from core_tools import tiny\n"
        "from lightning_xvol.training.tracking import Tracking\n"
        "from lightning_xvol.training.run import RunContext, train\n"
        "train(tiny(train__steps=2), Path(sys.argv[1]), RunContext(tracking=Tracking('disabled')))\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'wandb'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- what W&B refuses is said before anything starts


@pytest.mark.parametrize(
    ("tracking", "variables", "words"),
    [
        (Tracking("offline", "my/proj"), {}, "W&B refuses --wandb-project='my/proj': "),
        (Tracking("online", " "), {}, "the W&B project has no name; give --wandb-project NAME"),
        (Tracking("online", entity="a/b"), {}, "--wandb-entity 'a/b' must be one name, as in wandb.ai/ENTITY/PROJECT"),
        (Tracking("online", tags=["a" * 65]), {}, "--wandb-tags: 'aaa"),
        (Tracking("offline"), {"WANDB_BASE_URL": "not an address"}, "W&B refuses WANDB_BASE_URL='not an address': "),
        (Tracking("online"), {"WANDB_MODE": "sometimes"}, "W&B refuses WANDB_MODE='sometimes': "),
    ],
)
def test_what_wandb_refuses_is_one_sentence_at_the_start(tracking, variables, words, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        check_tracking(tracking)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value) and "pydantic" not in str(error.value)


def test_a_refused_key_is_not_shown(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", " 0123456789 secret")
    with pytest.raises(UserError, match=r"WANDB_API_KEY='\*\*\*'") as error:
        check_tracking(Tracking("online"))
    assert "secret" not in str(error.value)


def test_nothing_is_refused_where_wandb_is_not_used(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "not an address")
    check_tracking(Tracking("disabled", "my/proj"))


@pytest.mark.parametrize(
    ("faults", "note"),
    [([Fail("wandb:init")], "untracked: W&B cannot start"), ([Fail(LOG)], "untracked: W&B failed")],
    ids=["init", "log"],
)
def test_the_record_of_a_run_that_is_not_tracked_as_asked_says_so(faults, note, track, tmp_path):
    track(tiny(), tmp_path, faults=faults)
    assert result_of(tmp_path)["tracking"].startswith(note)
