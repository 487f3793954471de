"""A set has one form, in whatever order it is written, and a run that was finished under another order counts."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

import ablations
from ablations import kernel_size
from ablations.engine.options import read_options
from ablations.engine.selection import cells_of, choose
from lightning_xvol.config.resolved import AsWritten, Resolved, resolve, sections
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.ledger import record
from lightning_xvol.ledger.spellings import as_begun
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking

# Ids that commit b76e077 gave to the default configuration with these stages.
OLD_IDS = {(3, 4): "17cda8b27939", (4, 3): "035a04beba98", (4, 3, 3): "595565febe62"}
ONE = {
    "smoke": True, "wandb": "disabled", "seeds": 2, "only": {"kernel_size": 1, "operator": "convolution"},
}  # fmt: skip
TINY = {"train.steps": 2, "backbone.widths": "4,4,8,8", "backbone.stem_width": 4}


def _configs(options: dict[str, Any]) -> list[Resolved]:
    read = read_options(options)
    return [cell.config for cell in choose(cells_of(kernel_size.SWEEP, read), read)]


def spelled(stages: tuple[int, ...], seed: int = 0) -> AsWritten:
    config = RunConfig(seed=seed)
    return AsWritten(**sections(config) | {"backbone": dataclasses.replace(config.backbone, stages=stages)})


@pytest.mark.parametrize("stages", list(itertools.permutations((3, 4, 5))))
def test_every_order_of_a_set_is_one_run(stages: tuple[int, ...]) -> None:
    written = ",".join(map(str, (*stages, stages[0])))
    config = resolve(set_value(RunConfig(), "backbone.stages", written))
    assert config.backbone.stages == (3, 4, 5)
    assert config.cell_id == record.cell_id(RunConfig())


def test_milestones_are_in_one_order_and_each_of_them_counts() -> None:
    one, other, twice = (
        resolve(set_value(RunConfig(), "optim.milestones", text)) for text in ("0.3,0.6", "0.6,0.3", "0.3,0.3,0.6")
    )
    assert one.cell_id == other.cell_id != twice.cell_id
    assert twice.optim.milestones == (0.3, 0.3, 0.6)


@pytest.mark.parametrize("stages", OLD_IDS)
def test_the_ids_of_older_runs_are_known(stages: tuple[int, ...]) -> None:
    assert spelled(stages).cell_id == OLD_IDS[stages]
    assert spelled(stages).optimisation_id == spelled((3, 4)).optimisation_id


@pytest.mark.parametrize("asked", ["3,4", "4,3", "4,3,4,3"])
def test_a_cell_that_was_finished_in_another_order_is_done(
    asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**ONE, "settings": {**TINY, "backbone.stages": asked}, "out": tmp_path}
    [first, _] = _configs(options)
    old = AsWritten(**sections(first) | {"backbone": dataclasses.replace(first.backbone, stages=(4, 3, 3))})
    assert old.cell_id != first.cell_id
    folder = record.cell_folder(tmp_path, old.cell_id)
    weights = train(old, folder, RunContext(tracking=Tracking("disabled")))["weights_sha256"]
    found = _configs(options)
    assert [config.group_id for config in found] == [old.group_id] * 2, "its seeds stay one group"
    report = ablations.run("kernel_size", **options)
    assert "2 cells, 1 done, 1 to run" in capsys.readouterr().out
    assert report.counts == {"done": 2}
    assert "n = 2" in (tmp_path / "kernel_size" / "table.md").read_text()
    assert as_begun([first], tmp_path / "elsewhere") == [first]
    again = train(first, tmp_path / "anew", RunContext(tracking=Tracking("disabled")))
    assert again["weights_sha256"] == weights, "both orders compute the same"
