"""Plans, records and run files with random damage: no traceback, no hang, and the good sweeps are still rendered."""

from __future__ import annotations

import json
import random
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from lightning_xvol.errors import UserError
from tests.analysis import mutations

SCORES = {
    "convolution": {1: [90.0, 91.0, 92.0], 3: [80.0, 81.0, 82.0]},
    "xvolution": {1: [95.0, 96.0, 97.0], 3: [85.0, 86.0, 87.0]},
}
KINDS = ("plan", "plan", "record", "record", "metrics", "failure", "run file", "bytes")
LONGEST = 10.0  # seconds


class Bench:
    """A ledger with a good sweep beside one that is damaged, and a folder of W&B files of both."""

    def __init__(self, make_ledger: Any, start_run: Any, folder: Path) -> None:
        self.start_run = start_run
        self.folder = folder
        self.good = make_ledger(SCORES, sweep="good", figure=None)
        self.runs = make_ledger(SCORES, sweep="kernel_size", figure=None)
        for cell in self.runs.cells:  # cells of their own
            cell["cell_id"], cell["group_id"] = f"b{cell['cell_id']}", f"b{cell['group_id']}"
            self.runs.write(cell, 90.0 + cell["seed"])
        self.runs.write_sweep()
        self.runs.write_curves()
        self.out = self.runs.out

    def damage(self, number: int) -> Path:
        """A source with one damaged file."""
        random_ = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        if kind == "run file":
            return self._tracked(random_)
        source = self.folder / f"source-{number}"
        shutil.copytree(self.out, source)
        plan = source / "kernel_size" / "cells.json"
        cell = source / "cells" / random_.choice(self.runs.cells)["cell_id"]
        if kind == "plan":
            plan.write_text(json.dumps(mutations.changed(json.loads(plan.read_text()), random_)))
        elif kind == "record":
            result = cell / "result.json"
            result.write_text(json.dumps(mutations.changed(json.loads(result.read_text()), random_)))
        elif kind == "failure":
            (cell / "result.json").unlink()
            failure = {"error": "out of memory", "step": 3, "attempt": 1}
            (cell / "failure.json").write_text(json.dumps(mutations.changed(failure, random_)))
        elif kind == "metrics":
            value = random_.choice(("9" * 4000, "nan", "1e400", "-1", "\x00", '"', "1e308"))
            with (cell / "metrics.csv").open("a") as file:
                file.write(
                    "".join(f"{','.join(row)}\n" for row in (("5", value, "val_top1", "1"), (value, "1", "x", "1")))
                )
        else:
            path = random_.choice([plan, cell / "result.json", cell / "metrics.csv"])
            path.write_bytes(mutations.damaged(path.read_bytes(), random_))
        return source

    def _tracked(self, random_: random.Random) -> Path:
        source = self.folder / f"tracked-{random_.random()}"
        victim = random_.choice(self.runs.cells)
        for ledger in (self.good, self.runs):
            for cell in ledger.cells:
                plan, result = (
                    ledger.sweep,
                    json.loads((ledger.out / "cells" / cell["cell_id"] / "result.json").read_text()),
                )
                step: Any = 1.0
                if cell is victim:
                    plan, result = (mutations.changed(value, random_) for value in (plan, result))
                    step = random_.choice((-1e300, 1e300, 10**400, "x", None, 3.0))
                file = self.start_run(ledger.sweep, cell)
                if cell is victim:
                    odd = {key: random_.choice(mutations.ODD) for key in ("total_steps", "steps_per_epoch", "cell_id")}
                    key = random_.choice([*odd, "plan_json"])
                    file.run(
                        cell["cell_id"], {"plan_json": json.dumps(plan)} if key == "plan_json" else {key: odd[key]}
                    )
                file.row(trainer__global_step=step, val_top1=50.0)
                file.summary(result_json=json.dumps(result)).exit(0)
                path = file.write(source / cell["cell_id"] / "run.wandb")
                if cell is victim and random_.random() < 0.3:
                    path.write_bytes(mutations.damaged(path.read_bytes(), random_))
        return source


def check(bench: Bench, number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = bench.damage(number)
    for command in ("summary", "tables", "claims") + (("figures", "report") if number % 50 == 49 else ()):
        begun = time.monotonic()
        out = tmp_path / "rendered"
        arguments = [command, "--source", str(source)] + (
            ["--out", str(out)] if command in ("tables", "figures", "report") else []
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            assert main(arguments) == 0, f"{command} of damage {number}"
        assert time.monotonic() - begun < LONGEST, f"{command} of damage {number}"
        captured = capsys.readouterr()
        if command == "tables":
            assert (out / "good" / "table.md").exists() and "Traceback" not in captured.err
            shutil.rmtree(out)
        elif command == "summary":
            assert "good" in captured.out
    shutil.rmtree(source)


@pytest.fixture
def bench(make_ledger, start_run, tmp_path: Path) -> Bench:
    return Bench(make_ledger, start_run, tmp_path / "damaged")


def test_forty_damaged_files_cost_at_most_their_sweep(bench: Bench, capsys, tmp_path: Path) -> None:
    for number in range(40):
        check(bench, number, capsys, tmp_path)


@pytest.mark.slow
def test_hundreds_of_damaged_files_cost_at_most_their_sweep(bench: Bench, capsys, tmp_path: Path) -> None:
    for number in range(40, 800):
        check(bench, number, capsys, tmp_path)


def test_a_source_with_nothing_but_damage_gives_one_sentence(bench: Bench) -> None:
    shutil.rmtree(bench.out / "good")
    (bench.out / "kernel_size" / "cells.json").write_text("{")
    for command in ("summary", "tables", "figures", "claims", "report"):
        with pytest.raises(UserError, match="cannot read"):
            main([command, "--source", str(bench.out)])
