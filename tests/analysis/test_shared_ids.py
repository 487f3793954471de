"""Runs on W&B that hold some bytes alone of the ids of their sweep's groups: all that finished are in the table."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from analysis.sources.archive import ToArchive
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import packed
from tests.analysis.test_tracked_runs import new_run

SHARES = {1: 90, 2: 45, 3: 30, 6: 15}  # bytes, for 15 groups


def finished(*sources: Path) -> list[tuple[Any, ...]]:
    _, frame = Collection([*map(str, sources)]).load("kernel_size")
    done = frame[(frame["state"] == "finished") & (frame["metric"] == "top1")]
    return list(done[["operator", "kernel_size", "seed", "cell_id", "last"]].itertuples(index=False, name=None))


def write(make: Any, runs: Any, folder: Path, cells: list[dict[str, Any]], plan: dict[str, Any], start: float) -> None:
    for cell in cells:
        result = json.loads((runs.out / "cells" / cell["cell_id"] / "result.json").read_text())
        new_run(make, plan, cell, result, start).write(folder / f"run-{cell['cell_id']}.wandb")


@pytest.mark.parametrize("parts", SHARES)
def test_runs_of_two_plans_and_two_folders_are_one_table(
    parts: int, make_ledger: Any, wandb_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that was resumed with more seeds has runs of two plans, whose finished runs may be in any folder."""
    monkeypatch.setattr(packed, "SHARE", SHARES[parts])
    runs = make_ledger()
    fewer = {**runs.sweep, "cells": [cell for cell in runs.cells if cell["seed"] < 2]}
    for number, count in enumerate((1, 2, 2, 5, 20)):
        chosen = random.Random(number).sample(runs.cells, count)
        places: dict[tuple[bool, int], list[dict[str, Any]]] = {}
        for place, cell in enumerate(chosen):
            places.setdefault((cell["seed"] < 2, place % 2), []).append(cell)
        root = tmp_path / str(number)
        for (former, folder), cells in places.items():
            write(wandb_file, runs, root / str(folder), cells, fewer if former else runs.sweep, 1e9 + former)
        expected = {cell["cell_id"] for cell in chosen}
        whole = [run for run in finished(runs.out) if run[3] in expected]
        folders = sorted(root.iterdir())
        assert finished(root) == finished(*folders) == finished(*folders[::-1]) == whole
        assert len(finished(runs.out, *folders)) == len(runs.cells)


def test_an_archive_of_such_runs_and_their_ledger_are_one_table(
    make_ledger: Any, wandb_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SHARE", SHARES[6])
    runs = make_ledger()
    write(wandb_file, runs, tmp_path / "one", runs.cells[:1], runs.sweep, 1e9)
    path = tmp_path / "match_small.jsonl.gz"
    ToArchive(Collection([tmp_path / "one"]), "match_small").write(path)
    assert finished(path) == finished(tmp_path / "one") == finished(runs.out)[:1]
    assert finished(path, runs.out) == finished(runs.out, path) == finished(runs.out)


def test_another_configuration_at_the_same_place_is_told_by_its_bytes(
    make_ledger: Any, wandb_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SHARE", SHARES[6])
    runs = make_ledger()
    cells = [{**cell, "group_id": cell["group_id"][::-1]} for cell in runs.cells]
    other = {**runs.sweep, "cells": cells}
    [first, *_], [*_, last] = runs.cells, cells
    write(wandb_file, runs, tmp_path / "a", [first], runs.sweep, 1e9)
    new_run(wandb_file, other, last, {**last}, 1e9).write(tmp_path / "b" / "run-b.wandb")
    with pytest.raises(UserError, match="differ in the configuration of row"):
        finished(tmp_path / "a", tmp_path / "b")
