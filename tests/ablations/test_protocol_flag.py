"""`--protocol FILE`: its hash is in each record and changes no id."""

from __future__ import annotations

from typing import Any

from lightning_xvol.ledger.protocol import read_protocol

ONLY = ("--only", "operator=convolution", "--only", "kernel_size=1")
TEXT = "```yaml protocol\nrecipe: match_small\nsweeps: {kernel_size: {rows: [convolution], seeds: 0}}\n```\n"


def test_each_record_holds_the_hash_outside_its_id(bench: Any) -> None:
    path = bench.folder / "protocol.md"
    path.write_text(TEXT)
    sha256 = read_protocol(path).sha256
    ended = bench.here(*bench.quick, *ONLY, "--protocol", str(path))
    assert ended.code == 0 and f"SHA-256 {sha256}" in ended.out and "not in it" not in ended.out
    [(cell, result)] = bench.ledger.results().items()
    assert result["protocol"] == {"file": "protocol.md", "sha256": sha256}
    assert set(bench.cells(*bench.quick, *ONLY).values()) == {cell}
    again = bench.here(*bench.quick, *ONLY, "--only", "seed=0")
    assert "1 done, 0 to run" in again.out and "protocol" not in again.out


def test_unplanned_cells_and_cells_of_no_protocol_are_told(bench: Any) -> None:
    path = bench.folder / "protocol.md"
    path.write_text(TEXT)
    assert bench.here(*bench.quick, *ONLY).code == 0
    listed = ("--only", "kernel_size=1", "--protocol", str(path), "--dry-run")
    told = bench.here(*bench.quick, *listed).out
    assert "note: 2 of 3 cells are not in it; they are exploratory" in told
    assert "note: 1 finished cells were not run under it, and stay exploratory" in told


def test_a_protocol_that_cannot_be_read_stops_the_sweep_before_it_writes(bench: Any) -> None:
    for text in (None, "no block"):
        path = bench.folder / "protocol.md"
        if text is not None:
            path.write_text(text)
        ended = bench.here(*bench.quick, *ONLY, "--protocol", str(path))
        assert ended.code == 2 and len(ended.err.splitlines()) == 1 and "protocol" in ended.err
        assert not bench.out.exists()
