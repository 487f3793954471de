"""What `fit` says while it trains, and its smoke run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_xvol.commandline import Reached
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.smoke import smoke
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.origins import check_weights

TINY = (
    *("--set", "data.options.train_size=64", "--set", "data.options.validation_size=8"),
    *("--set", "data.options.test_size=8", "--set", "data.batch_size=16", "--wandb", "disabled"),
)


def test_a_smoke_run_says_where_it_is_off_a_terminal_and_writes_to_its_own_folder(command: Any, tmp_path: Path) -> None:
    done = command("fit", "--operator", "xvolution", "--smoke", *TINY)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("xvolution on match: ")]
    assert lines[0] == "xvolution on match: step 0 of 20"
    assert re.fullmatch(r"xvolution on match: step 20 of 20: loss \d\.\d{3}, validation top1 \d+\.\d", lines[-1])
    [cell] = (tmp_path / "work" / "runs-smoke" / "cells").iterdir()
    config = yaml.safe_load((cell / "config.yaml").read_text())
    assert (config["train"]["steps"], config["data"]["limit"], config["data"]["batch_size"]) == (20, 256, 16)
    assert len({line.index(" last ") for line in done.stdout.splitlines() if " last " in line}) == 1, "aligned"


def test_lines_come_at_the_start_at_the_end_and_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_xvol.training import progress

    clock = iter([0.0, 1.0, 14.0, 15.0, 16.0, 40.0, 41.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.Lines("name")
    for step in range(7):
        lines(Reached(step, 6, 1.25 if step else None, 50.0 if step > 3 else None, "AP", 6.0 - step))
    assert capsys.readouterr().err.splitlines() == [
        "name: step 0 of 6: about 6 s left",
        "name: step 3 of 6: loss 1.250, about 3 s left",
        "name: step 5 of 6: loss 1.250, validation AP 50.0, about 1 s left",
        "name: step 6 of 6: loss 1.250, validation AP 50.0, about 0 s left",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_smoke_run_needs_no_weights_unless_a_setting_asks_for_some(name: str) -> None:
    config = RECIPES[name].config("convolution")
    check_weights(smoke(config))
    if config.detector.pretraining == "own":
        with pytest.raises(UserError, match="--backbone-from"):
            check_weights(config)
        with pytest.raises(UserError, match="--backbone-from"):
            check_weights(smoke(config, ["detector.pretraining"]))
    else:
        assert smoke(config).detector == config.detector


def test_a_smoke_run_of_coco_asks_for_the_data_and_for_no_classification(command: Any) -> None:
    recipe = "coco_mask_rcnn"
    plan = command("fit", "--recipe", recipe, "--smoke", "--dry-run")
    assert plan.returncode == 0 and yaml.safe_load(plan.stdout)["detector"]["pretraining"] == "random"
    assert "folder runs-smoke/cells/" in plan.stdout
    run = command("fit", "--recipe", recipe, "--smoke", "--wandb", "disabled")
    assert run.returncode == 2 and "COCO" in run.stderr and "--backbone-from" not in run.stderr, run.stderr
