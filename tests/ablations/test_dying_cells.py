"""A process killed right before or after one of its writes: the next process ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep_bench import Bench

MOMENTS = ("before", "after")
# 2 steps an epoch and a checkpoint each; BEST is the checkpoint of the best epoch.
NAMES = ("config.yaml", "metrics.csv", "segments.json", "best.pt", "BEST", "step=00000020.ckpt", "result.json")
IN_CI = {
    ("after", "best.pt"),
    ("before", "BEST"),
    ("after", "BEST"),
    ("before", "result.json"),
    ("after", "result.json"),
}


def flags_of(switch: Path, name: str, moment: str) -> tuple[str, ...]:
    values = {"name": "dying_operators:DiesWriting", "switch": switch, "file": name, "moment": moment}
    settings = [argument for key, value in values.items() for argument in ("--set", f"operator.{key}={value}")]
    only = ("--only", "kernel_size=1", "--only", "operator=DiesWriting", "--set", "train.checkpoint_every=2")
    return (*Bench.quick, *settings, *only)


@pytest.fixture(scope="session")
def alive(tmp_path_factory: pytest.TempPathFactory, make_bench: Callable[[Path], Bench]) -> tuple[Any, int]:
    """The essence of the cell where nothing is killed, and the step of its best epoch."""
    bench = make_bench(tmp_path_factory.mktemp("alive"))
    assert bench.here(*flags_of(bench.folder / "never", "none", "after"), "--launcher", "local").code == 0
    [essence] = bench.ledger.essence().values()
    [result] = bench.ledger.results().values()
    return essence, 2 * result["metrics"]["val_top1"]["best_epoch"]


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        pytest.param(moment, name, marks=() if (moment, name) in IN_CI else pytest.mark.slow)
        for name in NAMES
        for moment in MOMENTS
    ],
)
def test_a_process_that_dies_writing_loses_nothing(
    moment: str, name: str, bench: Bench, alive: tuple[Any, int]
) -> None:
    essence, best_step = alive
    switch = bench.folder / "switch"
    switch.touch()
    flags = flags_of(switch, f"step={best_step:08d}.ckpt" if name == "BEST" else name, moment)
    recorded = (moment, name) == ("after", "result.json")

    ended = bench.here(*flags, "--launcher", "local")
    assert ended.code == (0 if recorded else 1), ended
    assert set(bench.states(*flags).values()) == {"done" if recorded else "failed"}
    [cell] = bench.ledger.ids()
    if not recorded:
        assert bench.ledger.failure(cell)["error"] == "its process was killed by SIGKILL"
    # A checkpoint that was put in its place is used. One that was not is made again.
    step = bench.ledger.newest_step(cell)
    switch.unlink()
    assert bench.here(*flags, "--cell", cell).code == 0

    # The configurations differ in the options of the operator alone.
    [found] = bench.ledger.essence().values()
    assert [value for key, value in found.items() if key != "config"] == [
        value for key, value in essence.items() if key != "config"
    ]
    assert bench.ledger.segments()[cell][-1]["start_step"] == (0 if recorded else step)
