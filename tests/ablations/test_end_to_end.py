"""A smoke sweep from the command to its table, its repetition, and the same sweep by another launcher."""

from __future__ import annotations

import csv
import json
from typing import Any

COLUMNS = ["operator", "kernel_size", "metric", "planned", "diverged", "n", "mean", "sd"]
SELECTION = (
    *("--smoke", "--seeds", "1", "--set", "data.limit=64"),
    *("--only", "kernel_size=1,3", "--only", "operator=convolution,xvolution", "--only", "seed=0"),
)


def test_a_smoke_sweep_writes_records_table_and_figure_and_is_not_run_twice(bench: Any) -> None:
    ended = bench.run(*SELECTION, "--jobs", "2")
    assert ended.code == 0, ended
    results = bench.ledger.results()
    assert set(results) == set(bench.cells(*SELECTION).values()) and len(results) == 4
    assert set(bench.states(*SELECTION).values()) == {"done"}

    lines = ended.err.splitlines()
    assert [line.partition("]")[0] for line in lines] == [f"[{count}/4" for count in range(1, 5)]
    assert {line.partition("] ")[2].partition(":")[0] for line in lines} == set(bench.cells(*SELECTION))
    assert "4 cells, 0 done, 4 to run" in ended.out

    folder = bench.out / "kernel_size"
    for suffix, head in {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}.items():
        assert (folder / f"figure.{suffix}").read_bytes().startswith(head)
    for name in ("table.md", "figure.png"):
        assert str(folder / name) in ended.out, "it says where the renderings lie"
    assert "SMOKE" in ended.out and "SMOKE" in (folder / "table.md").read_text()
    assert r"\toprule" in (folder / "table.tex").read_text()
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(COLUMNS)] == COLUMNS
    rows = [row for row in rows if row["metric"] == "top1"]
    assert len(rows) == 15
    means = {(row["operator"], int(row["kernel_size"])): row["mean"] for row in rows if row["n"] == "1"}
    described = json.loads((folder / "cells.json").read_text())
    assert (described["sweep"], described["recipe"], described["smoke"]) == ("kernel_size", "match_small", True)
    assert described["reproduces"] is None and described["axes"] == ["kernel_size"]
    ran = [cell for cell in described["cells"] if cell["cell_id"] in results]
    assert len(ran) == len(means) == 4
    for cell in ran:
        result = results[cell["cell_id"]]
        assert (result["seed"], result["group_id"]) == (cell["seed"], cell["group_id"])
        mean = float(means[cell["operator"], cell["axes"]["kernel_size"]])
        assert abs(mean - result["metrics"]["top1"]["last"]) < 1e-3

    for cell, result in results.items():
        names = {path.name for path in (bench.ledger.cells / cell).iterdir()} - {".lock"}
        assert names == {
            "config.yaml", "metrics.csv", "result.json", "predictions.npz", "checkpoints", "wandb", "log.txt",
        }  # fmt: skip
        assert list((bench.ledger.cells / cell / "wandb").glob("offline-run-*/*.wandb"))
        assert len(result["segments"]) == 1 and result["segments"][0]["end_step"] == 20

    before = bench.ledger.files()
    again = bench.here(*SELECTION, "--jobs", "2")
    assert again.code == 0 and again.err == ""
    assert "4 cells, 4 done, 0 to run" in again.out
    assert bench.ledger.files() == before, "a finished cell is not touched"
    assert again.out.partition("SMOKE")[2] == ended.out.partition("SMOKE")[2], "the same table"


def test_cells_run_inline_equal_those_of_the_pool(bench: Any, undisturbed: Any) -> None:
    """Inline, a cell runs in a process that trained others before it."""
    ended = bench.here(*bench.four_cells, "--launcher", "inline")
    assert ended.code == 0, ended
    assert bench.ledger.essence() == undisturbed.essence()
    assert not list(bench.ledger.cells.glob("*/wandb")), "nothing is tracked when W&B is disabled"


def test_a_cell_of_another_command_is_done(bench: Any) -> None:
    """Cells live once: more seeds run only the cells that are missing."""
    assert (
        bench.here(*bench.quick, "--only", "kernel_size=1", "--only", "operator=convolution", "--jobs", "2").code == 0
    )
    before = bench.ledger.files()
    ended = bench.here(
        *bench.quick, "--only", "kernel_size=1", "--seeds", "2", "--only", "operator=convolution", "--jobs=2"
    )
    assert "2 cells, 1 done, 1 to run" in ended.out and "[2/2]" in ended.err
    after = bench.ledger.files()
    assert len(bench.ledger.results()) == 2
    assert before.items() <= after.items()
    tidy = (bench.out / "kernel_size" / "table.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in tidy if line.startswith("convolution,1,")] == ["2"]
