"""A disk that is full for one cell: the cell fails with one line and keeps its checkpoint, the others go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--smoke", "--seeds", "1", "--wandb", "disabled", "--set", "data.limit=64", "--only", "kernel_size=1")
ROWS = ("--only", "operator=convolution,xvolution", "--jobs", "2")


def test_a_cell_whose_disk_is_full_goes_on_when_there_is_room(
    bench: Any, undisturbed_pair: dict[str, Any], small_disk: Callable[..., None]
) -> None:
    cells = {name.split()[0]: cell for name, cell in bench.cells(*FLAGS, *ROWS).items()}
    folder = bench.ledger.cells / cells["xvolution"]
    folder.mkdir(parents=True)
    # Room for two checkpoints, but not for the third that is written before the oldest is deleted.
    [size] = {round(size, -4) for size in undisturbed_pair["checkpoints"][cells["xvolution"]]}
    small_disk(folder, int(2.7 * size))
    ended = bench.here(*FLAGS, *ROWS)
    assert ended.code == 1
    assert set(bench.ledger.results()) == {cells["convolution"]}
    [line] = [line for line in ended.out.splitlines() if line.startswith("failed:")]
    assert "xvolution" in line and "No space left on device" in line, line
    assert "Traceback" not in ended.out + ended.err
    kept = bench.ledger.newest_step(cells["xvolution"])
    assert kept == 10 and not list(folder.rglob("*.tmp"))
    small_disk(folder, 10 * size)
    assert bench.here(*FLAGS, *ROWS).code == 0
    assert bench.ledger.essence() == undisturbed_pair["essence"]
    assert bench.ledger.segments()[cells["xvolution"]][-1]["start_step"] == kept


@pytest.fixture
def undisturbed_pair(make_bench: Callable[[Path], Any], tmp_path: Path) -> dict[str, Any]:
    """The results where the disk has room, and the sizes of the checkpoints."""
    bench = make_bench(tmp_path / "undisturbed")
    assert bench.here(*FLAGS, *ROWS).code == 0
    sizes = {
        cell: [path.stat().st_size for path in (bench.ledger.cells / cell / "checkpoints").glob("step=*")]
        for cell in bench.ledger.ids()
    }
    return {"essence": bench.ledger.essence(), "checkpoints": sizes}
