"""A project on a W&B server, read by W&B's own client, gives the same frame as the ledger."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.sources import server
from analysis.sources.collection import Collection
from analysis.sources.server import ServerRuns
from lightning_xvol.errors import UserError
from tests.wandb_server import Fault

pytest.importorskip("wandb")

SCORES = {"convolution": {1: [24.0, 25.0], 3: [70.0, 71.0]}, "xvolution": {1: [97.0, 98.0], 3: [98.0, 99.0]}}
NAME = "wandb:tester/demo"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"x_graphql_retry_max": 1, "x_graphql_retry_wait_min_seconds": 1, "x_graphql_retry_wait_max_seconds": 1}
    monkeypatch.setattr(server, "PATIENCE", {**server.PATIENCE, **short})


@pytest.fixture
def published(make_ledger, wandb_server) -> tuple[Any, Any]:
    """A synthetic ledger, and a server with a run for each of its finished cells."""
    runs = make_ledger(SCORES)
    for cell in runs.cells:
        result = (runs.out / "cells" / cell["cell_id"] / "result.json").read_text()
        publish(wandb_server, runs.sweep, cell, {"top1": 1.0, "result_json": result})
    return runs, wandb_server


def publish(wandb_server: Any, plan: Any, cell: Any, summary: Any, state: str = "finished", name: str = "") -> Any:
    """A run as `lightning_xvol.training.tracking` sends it."""
    config = {
        "cell_id": cell["cell_id"], "sweep": plan["sweep"], "plan_json": json.dumps(plan), "steps_per_epoch": 10,
        "total_steps": 30,
    }  # fmt: skip
    wire = {key: {"value": value} for key, value in config.items()} | {"_wandb": {"value": {"t": 1}}}
    run = wandb_server.store.add_run(
        "tester", "demo", name or cell["cell_id"], config=wire, summary=summary, state=state
    )
    log_row(run, {"trainer/global_step": 9, "val_top1": 50.0, "epoch": 0})
    return run


def log_row(run: Any, row: Any) -> None:
    run.history.append(json.dumps({**row, "_step": len(run.history), "_timestamp": 1.0}))


def same(first: Collection, second: Collection, name: str = "kernel_size") -> pd.DataFrame:
    (ours, frame), (theirs, other) = first.load(name), second.load(name)
    assert ours == theirs
    pd.testing.assert_frame_equal(frame, other, check_exact=True)
    return frame


def test_the_frame_is_the_ledgers(published, tmp_path: Path) -> None:
    runs, wandb_server = published
    found = Collection([NAME])
    assert found.losses == []
    same(Collection([runs.out]), found)
    cell = runs.cells[0]["cell_id"]
    assert found.curve(cell, "val_top1") == {10: (1, 50.0)}
    outcome = found.outcome(cell)
    assert outcome.where == f"{wandb_server.address}/tester/demo/runs/{cell}"
    assert not list((tmp_path / "wandb-home").glob("tester/**")), "a folder for every run was left behind"


def test_runs_are_read_again_only_after_they_changed(published) -> None:
    runs, wandb_server = published
    same(Collection([runs.out]), Collection([NAME]))
    wandb_server.requests.clear()
    found = Collection([NAME])
    same(Collection([runs.out]), found)
    assert wandb_server.count("Runs") == 1, "one light listing"
    cell, other = (runs.cells[number]["cell_id"] for number in (0, 1))
    found.curve(cell, "val_top1")
    wandb_server.requests.clear()
    assert Collection([NAME]).curve(cell, "val_top1") == {10: (1, 50.0)}
    assert [name for name, _ in wandb_server.requests if "istory" in name] == []
    # A run with new activity is read again, and no other run is.
    changed = wandb_server.store.runs["tester", "demo", other]
    changed.heartbeat_at, changed.summary = wandb_server.store.now(), {"error": "ValueError: bad"}
    wandb_server.requests.clear()
    assert Collection([NAME]).outcome(other).error == "ValueError: bad"
    read = [json.loads(content["filters"]) for name, content in wandb_server.requests if name == "Runs"]
    assert read == [{}, {"name": {"$in": [other]}}]


def test_a_page_that_comes_twice_changes_nothing(published, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, wandb_server = published
    monkeypatch.setattr(server, "LISTED_AT_ONCE", 3)
    monkeypatch.setattr(server, "READ_AT_ONCE", 3)
    wandb_server.store.page_shifts = [-3]
    found = Collection([NAME])
    same(Collection([runs.out]), found)
    assert found.losses == []
    pages = [content for name, content in wandb_server.requests if name == "Runs" and content["filters"] == "{}"]
    assert len(pages) == 4, "three pages of eight runs, and one again"


def test_runs_that_the_listing_leaves_out_are_found_or_reported(published, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, wandb_server = published
    monkeypatch.setattr(server, "LISTED_AT_ONCE", 3)
    wandb_server.store.page_shifts = [1]
    found = Collection([NAME])
    same(Collection([runs.out]), found)  # the other order has it
    assert found.losses == []
    wandb_server.store.page_shifts = [1, 0, 2]  # the fourth in both orders
    found = Collection([NAME])
    assert found.losses == ["wandb:tester/demo: the server's listing lacks 1 of 8 runs"]
    assert found.outcome(runs.cells[3]["cell_id"]) is None


def test_the_history_is_complete_and_in_order(published) -> None:
    runs, wandb_server = published
    cell = runs.cells[0]["cell_id"]
    run = wandb_server.store.runs["tester", "demo", cell]
    run.config["total_steps"], run.config["steps_per_epoch"] = {"value": 3000}, {"value": 1000}
    run.lines["wandb-history.jsonl"] = []
    for step in range(2500):
        log_row(run, {"trainer/global_step": step, "train_loss": 1 / (step + 1), "whole": step})
    log_row(run, {"trainer/global_step": 2500, "odd": math.nan, "text": "NaN", "up": math.inf, "on": True})
    log_row(run, {"trainer/global_step": 5, "train_loss": 0.5})  # after a resume
    found = Collection([NAME])
    expected = {step + 1: (step // 1000 + 1, 1 / (step + 1)) for step in range(2500)} | {6: (1, 0.5)}
    assert found.curve(cell, "train_loss") == expected
    assert found.curve(cell, "whole")[8] == (1, 7.0) and isinstance(found.curve(cell, "whole")[8][1], float)
    [(step, (epoch, value))] = found.curve(cell, "odd").items()
    assert (step, epoch) == (2501, 3) and math.isnan(value)
    assert found.curve(cell, "up") == {2501: (3, math.inf)} and found.curve(cell, "on") == {}
    assert found.curve(cell, "unheard_of") == {}
    assert wandb_server.count("RunHistoryKeys") == 1, "read once for all metrics"


def test_an_incomplete_history_is_reported_and_not_cached(published, caplog) -> None:
    runs, wandb_server = published
    cell = runs.cells[0]["cell_id"]
    run = wandb_server.store.runs["tester", "demo", cell]
    run.history.append(run.history[-1])  # counted twice, one step
    for _ in range(2):
        found = Collection([NAME])
        assert found.curve(cell, "val_top1") == {10: (1, 50.0)} == found.curve(cell, "val_top1")
    assert [record.getMessage() for record in caplog.records if record.name == "analysis.sources.server"] == [
        f"{wandb_server.address}/tester/demo/runs/{cell}: the server did not return 1 of its 2 rows"
    ] * 2


def test_failed_killed_and_resumed_runs_keep_their_state(published) -> None:
    runs, wandb_server = published
    failed, killed, again = (cell["cell_id"] for cell in runs.cells[:3])
    for cell in (failed, killed):
        (runs.out / "cells" / cell / "result.json").unlink()
        wandb_server.store.runs["tester", "demo", cell].summary = {}
    (runs.out / "cells" / failed / "failure.json").write_text('{"error": "ValueError: bad", "step": 3}')
    wandb_server.store.runs["tester", "demo", failed].summary = {"error": "ValueError: bad"}
    wandb_server.store.runs["tester", "demo", killed].state = "crashed"
    wandb_server.store.runs["tester", "demo", again].summary["error"] = "of the first attempt"
    frame = same(Collection([runs.out]), Collection([NAME]))
    assert frame["state"].value_counts()[["failed", "missing"]].tolist() == [1, 1]


def test_a_run_that_an_agent_named_belongs_to_its_cell(published) -> None:
    """An agent gives runs its own ids; the id of the cell counts."""
    runs, wandb_server = published
    run = wandb_server.store.runs.pop(("tester", "demo", runs.cells[0]["cell_id"]))
    publish(wandb_server, runs.sweep, runs.cells[0], run.summary, name="of-an-agent")
    wandb_server.store.add_run("tester", "demo", "foreign", config={"lr": {"value": 0.1}}, state="finished")
    found = Collection([NAME])
    same(Collection([runs.out]), found)
    assert found.losses == ["wandb:tester/demo: 1 of its 9 runs were not tracked by this project"]


def test_the_command_line_takes_a_project_of_the_default_entity(published, tmp_path: Path, capsys) -> None:
    out = tmp_path / "paper"
    assert main(["tables", "--source", "wandb:demo", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "98.0, 99.0" in printed.out and printed.err == ""
    assert (out / "kernel_size" / "table.tex").exists()


@pytest.mark.parametrize("name", ["wandb:", "wandb:/demo", "wandb:a/b/c"])
def test_names_that_are_not_projects_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="write wandb:ENTITY/PROJECT, or wandb:PROJECT"):
        ServerRuns(name)


def test_unknown_and_empty_projects_are_refused(wandb_server) -> None:
    with pytest.raises(UserError, match="cannot read 'wandb:tester/demo': there is no such project"):
        ServerRuns(NAME)
    wandb_server.store.project("tester", "demo")
    with pytest.raises(UserError, match="no runs at 'wandb:tester/demo': the project is empty"):
        ServerRuns(NAME)


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_recovers_is_read(published, status: int) -> None:
    runs, wandb_server = published
    wandb_server.faults = [Fault(status, operation="Runs", retry_after=0 if status == 429 else None)]
    same(Collection([runs.out]), Collection([NAME]))
    assert wandb_server.faults[0].times == 0


@pytest.mark.parametrize(
    ("status", "operation", "words"),
    [
        (401, "Viewer", "the server does not accept the API key; set WANDB_API_KEY"),
        (403, "Runs", "the API key gives no access to the project"),
        (429, "Runs", r"too many requests \(HTTP 429\); try again in some minutes"),
        (500, "Viewer", r"the server failed \(HTTP 500\); try again later"),
        (500, "HistoryPage", r"the server failed \(HTTP 500\); try again later"),
    ],
)
def test_a_server_that_does_not_recover_is_one_sentence(published, status: int, operation: str, words: str) -> None:
    runs, wandb_server = published
    found = Collection([NAME]) if operation == "HistoryPage" else None
    wandb_server.faults = [Fault(status, times=100, operation=operation)]
    with pytest.raises(UserError, match=f"^cannot read 'wandb:tester/demo': {words}") as error:
        found.curve(runs.cells[0]["cell_id"], "val_top1") if found else ServerRuns(NAME)
    assert "\n" not in str(error.value)
    wandb_server.faults = []
    assert Collection([NAME]).curve(runs.cells[0]["cell_id"], "val_top1") == {10: (1, 50.0)}


def test_a_server_that_hangs_is_one_sentence(published, monkeypatch: pytest.MonkeyPatch) -> None:
    _, wandb_server = published
    monkeypatch.setitem(server.PATIENCE, "x_graphql_timeout_seconds", 1)
    wandb_server.faults = [Fault(200, times=100, operation="Runs", delay=5)]
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"no answer from the server .*; check the network and WANDB_BASE_URL"):
        ServerRuns(NAME)
    assert time.monotonic() - begun < 30


def test_a_dead_server_is_one_sentence(published) -> None:
    runs, wandb_server = published
    found = Collection([NAME])
    wandb_server.stop()
    with pytest.raises(UserError, match=r"no answer from the server \(connection refused\); check the network"):
        ServerRuns(NAME)
    with pytest.raises(UserError, match="no answer from the server"):
        found.curve(runs.cells[0]["cell_id"], "val_top1")


@pytest.mark.parametrize(("key", "words"), [(None, "No API key configured"), ("short", "must have 40")])
def test_malformed_keys_are_one_sentence(
    wandb_server, key: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key is None:
        monkeypatch.delenv("WANDB_API_KEY")
    else:
        monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(UserError, match=f"{words}.*; set WANDB_API_KEY or run `wandb login`"):
        ServerRuns(NAME)
    assert wandb_server.requests == []
