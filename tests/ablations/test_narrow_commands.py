"""A later command with fewer rows or seeds keeps the finished cells of the same sweep in the table."""

from __future__ import annotations

import csv
import shutil
from typing import Any

from analysis.__main__ import main


def counts(bench: Any) -> dict[tuple[str, str], str]:
    """The number of seeds of each finished table cell."""
    with (bench.out / "kernel_size" / "table.csv").open(newline="") as file:
        return {(row["operator"], row["kernel_size"]): row["n"] for row in csv.DictReader(file) if row["n"] != "0"}


def test_a_narrower_command_shrinks_no_table(bench: Any, undisturbed: Any) -> None:
    shutil.copytree(undisturbed.out, bench.out)
    *flags, _, only_size, _, only_rows = bench.four_cells
    assert only_size.startswith("kernel_size=") and only_rows.startswith("operator=")
    whole = {(row, size): "1" for row in ("convolution", "xvolution") for size in ("1", "3")}
    assert counts(bench) == whole
    one = ("--only", "kernel_size=1", "--only", "operator=convolution")
    assert bench.here(*flags, *one, "--seeds", "2").code == 0
    assert counts(bench) == whole | {("convolution", "1"): "2"}, "a further seed of one cell"
    ended = bench.here(*flags, *one, "--seeds", "1")
    assert ended.code == 0 and "1 done, 0 to run" in ended.out
    assert counts(bench) == whole | {("convolution", "1"): "2"}, "fewer seeds and rows"
    # A cell of the earlier plan that was lost since is not in the table.
    [lost] = [cell for cell, record in bench.ledger.results().items() if record["config"]["seed"] == 1]
    shutil.rmtree(bench.ledger.cells / lost)
    assert bench.here(*flags, *one, "--seeds", "1").code == 0
    assert counts(bench) == whole


def test_another_setting_starts_another_table(bench: Any, undisturbed: Any) -> None:
    shutil.copytree(undisturbed.out, bench.out)
    one = ("--only", "kernel_size=1", "--only", "operator=convolution", "--set", "optim.lr=0.05")
    assert bench.here(*bench.four_cells[:-4], *one).code == 0
    assert counts(bench) == {("convolution", "1"): "1"}
    table = (bench.out / "kernel_size" / "table.md").read_text()
    assert "n = 0" not in table and "rows and 4 columns without a finished run of their own" in table
    sides = ["--set", "optim.lr=0.1", "--set", "optim.lr=0.05"]
    assert main(["compare", "--source", str(bench.out), *sides]) == 0, "the runs of both settings are in the ledger"
    with (bench.out / "compare" / "kernel_size" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["operator"], row["kernel_size"], row["settings"]) for row in rows] == [
        ("convolution", "1", "lr 0.1"), ("convolution", "1", "lr 0.05"),
    ]  # fmt: skip
    by_rate = {
        record["config"]["optim"]["lr"]: record["metrics"]["top1"]["last"]
        for record in bench.ledger.results().values() if record["params"] == int(rows[0]["params"])
    }  # fmt: skip
    assert [float(row["mean"]) for row in rows] == [by_rate[0.1], by_rate[0.05]]
