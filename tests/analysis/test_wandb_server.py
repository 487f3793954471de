"""The installed client of W&B against the server of the tests: the behaviour that the suite relies on."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.sources.collection import Collection

wandb = pytest.importorskip("wandb")

CELL = {"cell_id": "cell", "sweep": "some-sweep", "total_steps": 100, "steps_per_epoch": 10}
# Two attempts at a cell. The second repeats a part of the first, like a run that resumes from a checkpoint.
ATTEMPTS = """
import sys
import wandb
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
attempts = ((range(30), 1, {"error": "killed"}, 1), (range(20, 60), 10, {"result_json": "{}"}, 0))
for steps, factor, summary, code in attempts:
    run = wandb.init(mode=sys.argv[1], dir=sys.argv[2], id="cell", project="demo", resume="allow", config=CONFIG,
                     settings=settings, tags=[f"attempt-{factor}"])
    for step in steps:
        run.log({"trainer/global_step": step, "loss": factor * step, "odd": float("nan")})
    run.summary.update(summary)
    run.finish(exit_code=code)
""".replace("CONFIG", repr(CELL))
EXPECTED = {step + 1: (step // 10 + 1, float(step * (10 if step >= 20 else 1))) for step in range(60)}


def start(**values: Any) -> Any:
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
    return wandb.init(project="demo", settings=settings, **values)


def test_a_run_online_is_read_back(wandb_server) -> None:
    run = start(id="abc", config={"lr": 0.1}, group="some-group", job_type="some-job", tags=["one"])
    for step in range(1200):
        run.log({"trainer/global_step": step, "loss": 1 / (step + 1), "odd": math.nan})
    run.summary["note"] = "done"
    run.finish(exit_code=0)
    [found] = wandb.Api().runs("tester/demo", lazy=False)
    assert (found.id, found.state, found.group, found.job_type, found.tags) == (
        "abc", "finished", "some-group", "some-job", ["one"],
    )  # fmt: skip
    assert found.config == {"lr": 0.1} and found.summary["note"] == "done"
    rows = list(found.scan_history())
    assert [row["loss"] for row in rows] == [1 / (step + 1) for step in range(1200)]
    assert {row["odd"] for row in rows} == {"NaN"}, "as W&B's server sends it"
    assert len(found.history(pandas=False)) == 500, "thinned, as on W&B's server"


def test_listing_with_filters_order_and_pages(wandb_server) -> None:
    for number in range(7):
        config, state = {"seed": {"value": number % 3}}, "failed" if number == 5 else "finished"
        wandb_server.store.add_run(
            "tester", "demo", f"run-{number}", config=config, summary={"top1": number}, state=state
        )

    def ids(**wanted: Any) -> list[str]:
        return [run.id.removeprefix("run-") for run in wandb.Api().runs("tester/demo", per_page=2, **wanted)]

    assert ids() == list("0123456")
    assert ids(order="-summary_metrics.top1") == list("6543210")
    assert ids(filters={"config.seed": 1}) == list("14")
    assert ids(filters={"$and": [{"state": "finished"}, {"summary_metrics.top1": {"$gte": 4}}]}) == list("46")
    assert ids(filters={"name": {"$in": ["run-2", "run-3"]}}) == list("23")
    assert ids(filters={"display_name": {"$regex": "[01]$"}}) == list("01")


def both_attempts(mode: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", ATTEMPTS, mode, str(folder)], check=True, timeout=240)


def test_a_resumed_run_and_its_two_offline_segments_are_the_same(wandb_server, tmp_path: Path) -> None:
    """Online with resume, as two files, and as synced files: one cell with the rows of the later attempt."""
    both_attempts("online", tmp_path)
    [run] = wandb_server.store.runs.values()
    assert run.state == "finished" and run.tags == ["attempt-10"] and len(run.history) == 70
    online = Collection(["wandb:demo"])
    assert online.curve("cell", "loss") == EXPECTED
    both_attempts("offline", tmp_path / "copied")
    offline = Collection([tmp_path / "copied"])
    wandb_server.store.runs.clear()
    paths = sorted(map(str, (tmp_path / "copied").glob("wandb/offline-run-*")))
    subprocess.run([sys.executable, "-m", "wandb", "sync", "--yes", *paths], check=True, timeout=240)
    [run] = wandb_server.store.runs.values()
    assert (run.name, run.project, len(run.history), run.exit_code) == ("cell", "demo", 70, 0)
    synced = Collection(["wandb:demo"])
    for found in (offline, synced):
        assert found.curve("cell", "loss") == EXPECTED
        assert list(found.curve("cell", "odd")) == list(EXPECTED)
    assert [found.outcome("cell").error for found in (online, offline)] == ["killed"] * 2
    assert synced.outcome("cell").error is None, "`wandb sync` keeps the summary of the last segment alone"


def test_resume_must_and_never(wandb_server) -> None:
    with pytest.raises(wandb.errors.UsageError, match="requires an existing run"):
        start(id="unheard-of", resume="must")
    start(id="known").finish()
    with pytest.raises(wandb.errors.UsageError, match="already exists"):
        start(id="known", resume="never")
