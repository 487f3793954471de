"""The W&B server of the tests, talked to by the real client of the environment."""

from __future__ import annotations

import math
from typing import Any

import pytest

wandb = pytest.importorskip("wandb")


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
