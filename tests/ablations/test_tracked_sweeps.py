"""A tracked sweep as people see it on W&B: names, groups, tags, notes, steps, pictures and artifacts.

The installed client talks to the server of the tests.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

SMALL = {"backbone.widths": "4,4,8,8", "backbone.stem_width": "4", "train.steps": "12"}
SMALL |= {f"data.{split}_size": "40" for split in ("train", "validation", "test")}
FLAGS = ["--smoke", "--seeds", "1", "--only", "kernel_size=5", "--only", "operator=xvolution", "--wandb", "online"]
FLAGS += ["--wandb-project", "demo", "--wandb-tags", "mine, yours", "--wandb-notes", "why it runs", "--wandb-artifacts"]
FLAGS += [word for item in SMALL.items() for word in ("--set", "=".join(item))]


def test_a_sweep_on_a_server(wandb_server: Any, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis.sources.collection import Collection

    monkeypatch.setenv("XDG_CACHE_HOME", str(bench.folder / "cache"))
    ended = bench.here(*FLAGS)
    assert ended.code == 0 and "W&B" not in ended.out + ended.err
    [cell] = (bench.out / "cells").iterdir()
    record = json.loads((cell / "result.json").read_text())
    [table, run] = sorted(wandb_server.store.runs.values(), key=lambda run: run.job_type != "table")
    assert (run.display_name, run.name, run.job_type, run.notes, run.state) == (
        "xvolution K=5 s0", record["cell_id"], "kernel_size", "why it runs", "finished",
    )  # fmt: skip
    assert run.group == f"xvolution K=5 · match_small ({record['group_id'][:8]})"
    tags = [tag for tag in run.tags if not tag.startswith("commit:")]
    assert tags == ["kernel_size", "match_small", "xvolution", "SMOKE", "mine", "yours"]
    _steps_are_those_of_metrics_csv(run, cell)
    [pictures] = [row["predictions"] for row in map(json.loads, run.history) if "predictions" in row]
    assert len(pictures["captions"]) == 8 and all(text.startswith("predicted ") for text in pictures["captions"])
    assert set(pictures["filenames"]) <= set(run.files)
    stored = {one.name: one for one in wandb_server.store.artifacts.values()}
    assert all(one.committed for one in stored.values())
    assert json.loads(stored[f"record-{record['cell_id']}"].files["result.json"]) == record
    [checkpoint] = (cell / "checkpoints").glob("*.ckpt")
    assert stored[f"checkpoint-{record['cell_id']}"].files["last.ckpt"] == checkpoint.read_bytes()
    [drawn] = [one for one in stored.values() if one.type == "table"]
    folder = bench.out / "kernel_size"
    for name in ("table.csv", "table.md", "table.tex", "figure.png", "figure.pdf", "figure.svg"):
        assert drawn.files[name] == (folder / name).read_bytes()
    assert (table.display_name, drawn.run) == ("kernel_size · match_small", table.name)
    found = Collection(["wandb:demo"])
    assert found.losses == [], "the run of the table is known"
    _, frame = found.load("kernel_size")
    assert frame.loc[frame["state"] == "finished", "cell_id"].unique().tolist() == [record["cell_id"]]


def _steps_are_those_of_metrics_csv(run: Any, cell: Path) -> None:
    with (cell / "metrics.csv").open() as file:
        wanted = {(row["name"], int(row["step"]), int(row["epoch"])) for row in csv.DictReader(file)}
    rows = [json.loads(row) for row in run.history]
    logged = {
        (name, row["step"], row["epoch"])
        for row in rows for name in row if not name.startswith("_") and name not in ("step", "epoch", "predictions")
    }  # fmt: skip
    assert logged == wanted


def test_artifacts_that_w_and_b_refuses_fail_nothing(
    wandb_server: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no artifacts here")

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log_artifact", refuse)
    ended = bench.here(*FLAGS)
    assert ended.code == 0
    assert "note: the table is not on W&B (no artifacts here)" in ended.out
    assert "without its artifacts: W&B failed (no artifacts here)" in ended.out
    assert {run.state for run in wandb_server.store.runs.values()} == {"finished"}
