"""Two records of one cell with different results: the first counts, and a note names the cell and both sources."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.sources.archive import Archive
from analysis.sources.collection import Collection
from analysis.sources.contradictions import difference
from tests.analysis.conftest import result

SCORES = {"convolution": {1: [24.4, 24.7]}, "xvolution": {1: [96.8, 98.4]}}


def value_of(cell: str, *sources: Path) -> Any:
    frame = Collection(sources).load("kernel_size")[1]
    [value] = frame.loc[(frame["cell_id"] == cell) & (frame["metric"] == "top1"), "last"]
    return value


@pytest.fixture
def two(make_ledger, tmp_path: Path) -> tuple[Path, Path, str]:
    """Two ledgers, which differ in one result, and the id of its cell."""
    first = make_ledger(SCORES)
    shutil.copytree(first.out, tmp_path / "other")
    cell = first.cell("xvolution", 1, 0)
    first.write(cell, 12.5)
    return first.out, tmp_path / "other", cell["cell_id"]


def test_two_sources(two, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, cell = two
    assert Collection([first]).losses == [] and Collection([first, first]).losses == []
    for one, other, values in ((first, second, (12.5, 96.8)), (second, first, (96.8, 12.5))):
        [loss] = Collection([one, other]).losses
        assert loss.startswith(f"{one} and {other}: two different results of one cell")
        assert loss.endswith(f"{cell} (last top1 {values[0]} and {values[1]})")
        assert value_of(cell, one, other) == values[0]
    assert main(["summary", "--source", str(first), "--source", str(second)]) == 0
    assert f"note: {first} and {second}: two different" in capsys.readouterr().err


def test_two_lines_of_an_archive(two, tmp_path: Path) -> None:
    first, second, cell = two
    files = [tmp_path / f"{number}.jsonl.gz" for number in range(2)]
    for ledger, path in zip((first, second), files, strict=True):
        assert main(["archive", "--source", str(ledger), "--out", str(path)]) == 0
    joined = tmp_path / "joined.jsonl.gz"
    joined.write_bytes(b"".join(path.read_bytes() for path in files))
    [loss] = Archive(joined).losses
    assert loss.startswith(f"{joined}: ") and f"{cell} (last top1 12.5 and 96.8)" in loss
    assert value_of(cell, joined) == 12.5
    # A record that cannot be used gives way to one that can.
    line = json.loads(gzip.decompress(files[0].read_bytes()).splitlines()[0])
    line["record"]["params"] = -1
    joined.write_bytes(gzip.compress(json.dumps(line).encode() + b"\n") + files[1].read_bytes())
    [loss] = Archive(joined).losses
    assert loss.startswith(f"{joined}: line 1 has missing or unfit values: params=-1")
    assert value_of(line["record"]["cell_id"], joined) == value_of(line["record"]["cell_id"], files[1])


def record(**changes: Any) -> dict[str, Any]:
    cell = {"cell_id": "a", "group_id": "b", "seed": 0, "axes": {"kernel_size": 1}, "operator": "convolution"}
    return result(cell, 50.0, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"wall_seconds": 1.0, "commit": "f" * 40, "environment": {}, "data": {"digest": "a"}}, ""),
        ({"metrics": {"top1": {"last": 50.0, "best": 50.0, "best_epoch": 2}, "loss": {"last": 1.0}}}, ""),
        ({"metrics": None}, ""),
        ({"metrics": {"top1": {"last": 50.0, "best": 50.0, "best_epoch": 1}}}, "best_epoch top1 2 and 1"),
        ({"metrics": {"top1": {"last": float("nan"), "best": 50.0, "best_epoch": 2}}}, "last top1 50.0 and None"),
        ({"status": "diverged"}, "finished and diverged"),
    ],
)
def test_only_results_contradict(changes: dict[str, Any], expected: str) -> None:
    assert difference(record(), record(**changes)) == expected


def test_a_value_that_is_not_finite_is_null_in_an_archive() -> None:
    one, other = (record(metrics={"top1": {"last": value}}) for value in (float("nan"), None))
    assert difference(one, other) == ""
