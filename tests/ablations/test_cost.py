"""The cost of a sweep before it starts: from earlier runs, or from a trial."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ablations.engine import cost
from ablations.engine.cell import Cost, trial
from ablations.engine.cells import make_cells
from ablations.engine.sweep import Cell
from ablations.kernel_size import SWEEP
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value, to_dict
from lightning_xvol.ledger import record


def cells_of(recipe: str = "match_small") -> list[Cell]:
    return make_cells(SWEEP, get_recipe(recipe), seeds=1)


def finish(cell: Cell, out: Path, seconds: float, size: int = 0) -> None:
    """A record of `cell` with `size` bytes beside it."""
    folder = cell.folder(out)
    folder.mkdir(parents=True)
    values: dict[str, Any] = dict.fromkeys(record.RESULT_KEYS)
    values |= {"group_id": cell.group, "config": to_dict(cell.config), "wall_seconds": seconds, "status": "finished"}
    (folder / "result.json").write_text(json.dumps(values))
    (folder / "last.ckpt").write_bytes(bytes(size))


def with_train(cell: Cell, **changes: Any) -> Cell:
    config: RunConfig = cell.config
    for name, value in changes.items():
        config = set_value(config, f"train.{name}", value)
    return Cell(cell.row, cell.axes, resolve(config))


def test_the_most_similar_runs_give_the_estimate(tmp_path: Path) -> None:
    cells = cells_of()
    convolutions = [cell for cell in cells if cell.row == "convolution"]
    attention = [cell for cell in cells if cell.row == "xvolution"]
    assert cost.from_records(cells, tmp_path) is None
    other_seed = resolve(set_value(convolutions[0].config, "seed", 1))
    finish(dataclasses.replace(convolutions[0], config=other_seed), tmp_path, 10.0)
    finish(convolutions[1], tmp_path, 20.0, size=1000)

    def seconds(cell: Cell) -> float:
        estimate = cost.from_records([cell], tmp_path)
        assert estimate is not None
        return estimate.cost.seconds

    assert seconds(convolutions[0]) == pytest.approx(10), "of its own group"
    assert seconds(convolutions[2]) == pytest.approx(15), "of the same operator"
    assert seconds(attention[0]) == pytest.approx(15), "of the same data and network"
    finish(attention[1], tmp_path, 40.0)
    assert seconds(attention[0]) == pytest.approx(40)
    whole = cost.from_records([convolutions[0], convolutions[1], attention[0]], tmp_path)
    assert whole is not None and whole.cost.seconds == pytest.approx(70) and whole.cost.bytes > 1000
    assert "about 1 min 10 s of computing, 35 s with 2 processes" in whole.describe(jobs=2)
    assert "3 cells to run" in whole.describe(jobs=1) and "with" not in whole.describe(jobs=1)


def test_times_follow_the_budget(tmp_path: Path) -> None:
    cell = cells_of()[0]
    finish(cell, tmp_path, 9.0)
    longer = cost.from_records([with_train(cell, epochs=18)], tmp_path)
    assert longer is not None and longer.cost.seconds == pytest.approx(54)
    assert cost.from_records([with_train(cell, steps=20)], tmp_path) is None, "steps of an epoch are not known"
    assert cost.from_records([with_train(cell, threads=2)], tmp_path) is None
    assert cost.from_records(cells_of("digits_small"), tmp_path) is None
    assert cost.from_records(cells_of()[:1], tmp_path) is not None
    assert cost.from_records([], tmp_path) is None


def test_a_torn_record_tells_nothing(tmp_path: Path) -> None:
    cell = cells_of()[0]
    finish(cell, tmp_path, 9.0)
    (cell.folder(tmp_path) / "result.json").write_text('{"wall_sec')
    assert cost.from_records([cell], tmp_path) is None


def test_a_sample_covers_all_kinds_of_rows() -> None:
    cells = cells_of()
    sample = cost.sample([*cells, *cells])
    assert len(sample) == cost.SAMPLE == len({cell.group for cell in sample})
    assert {cell.row for cell in sample} == set(SWEEP.rows)
    assert cost.sample(cells[:2]) == cells[:2]
    estimate = cost.from_trial(cells[:4], {cells[0].group: Cost(10, 100), cells[3].group: Cost(20, 300)})
    assert estimate.cost == Cost(10 + 15 + 15 + 20, 100 + 200 + 200 + 300)


def test_a_trial_takes_a_few_steps_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.engine.cell.TRIAL_SECONDS", 0.0)
    cells = [cells_of()[0], with_train(cells_of()[0], steps=1)]
    costs = trial(cells, None, False)
    whole, one = (costs[cell.group] for cell in cells)
    assert whole.bytes == one.bytes == 2 * 4 * 26292, "weights and momentum of the K = 1 convolution"
    assert 0 < one.seconds < whole.seconds, "279 steps and one"


def test_a_trial_leaves_out_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of that cell says why; the others go on."""
    monkeypatch.setattr("ablations.engine.cell.TRIAL_SECONDS", 0.0)
    sound = with_train(cells_of()[0], accumulate=4)
    broken = Cell("Raises", {}, resolve(get_recipe("match_small").config("faulty_operators:Raises")))
    assert set(trial([broken, sound], None, False)) == {sound.group}


def test_a_file_that_vanishes_meanwhile_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells_of()[0]
    finish(cell, tmp_path, 9.0, size=1000)
    gone = cell.folder(tmp_path) / "best.pt"
    found = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda folder, pattern: [*found(folder, pattern), gone])
    monkeypatch.setattr(Path, "is_file", lambda path: path == gone or not path.is_dir())
    estimate = cost.from_records([cell], tmp_path)
    assert estimate is not None and estimate.cost.bytes > 1000
