"""Mode `overhead`: both loops train the same network, and the files say what a step of each costs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import overhead
from benchmarks.__main__ import main


def test_both_loops_are_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--smoke", "--rounds", "1", "--operator", "convolution", "--out", str(tmp_path)]
    assert main(["overhead", *flags]) == 0
    [path] = tmp_path.glob("overhead-*.csv")
    with path.open() as file:
        rows = {row["loop"]: row for row in csv.DictReader(file)}
    assert set(rows) == {overhead.SUITE, overhead.BARE}
    suite, bare = (float(rows[loop]["milliseconds"]) for loop in (overhead.SUITE, overhead.BARE))
    assert bare > 0 and float(rows[overhead.SUITE]["over_bare"]) == pytest.approx(suite / bare, rel=1e-4)
    assert path.with_suffix(".md").read_text().count("| convolution |") == 2
    assert "to bare" in capsys.readouterr().out


def test_time_is_counted_after_the_warm_up() -> None:
    times = [100.0 * number for number in range(overhead.WARM_UP)] + [5000.0, 5002.0, 5004.0]
    assert overhead._per_step(times) == 2.0
