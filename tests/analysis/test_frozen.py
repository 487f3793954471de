"""The report prints the hash of the protocol, and calls exploratory what the protocol does not plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report.page import html
from analysis.sources.collection import Collection
from lightning_xvol.ledger.protocol import read_protocol

PROTOCOL = """# Protocol
```yaml protocol
recipe: match_small
sweeps:
  kernel_size:
    rows: [convolution, xvolution]
    axes: {kernel_size: [1, 3]}
    seeds: 0-1
    contrasts: [xvolution - convolution]
```
"""


@pytest.fixture
def protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "protocol.md"
    path.write_text(PROTOCOL)
    return path


def stamp(ledger, protocol: Path, cells=None) -> None:
    """Write the hash of the protocol into the records of `cells`, by default of all."""
    for cell in ledger.cells if cells is None else cells:
        path = ledger.out / "cells" / cell["cell_id"] / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": read_protocol(protocol).stamp}))


def test_a_report_without_a_protocol_says_nothing_of_it(make_ledger, protocol) -> None:
    page = html(Collection([make_ledger().out]), "c")
    assert "rotocol" not in page.partition("<section")[2] and "xploratory" not in page


def test_what_is_not_planned_is_exploratory(make_ledger, protocol) -> None:
    ledger = make_ledger()
    stamp(ledger, protocol)
    page = html(Collection([ledger.out]), "c")
    assert f"protocol.md, SHA-256 {read_protocol(protocol).sha256} (45 of 45 runs)" in page
    assert "Primary contrasts: X-volution − Convolution. Others are secondary." in page
    [line] = [line for line in page.splitlines() if "as not in the protocol" in line]
    assert "Convolution, kernel size K = 1 (seeds 2)" in line and "kernel size K = 5 (seeds 0, 1, 2)" in line, line
    assert "and 5 more" in line, "15 places; all of them but none wholly planned"
    assert "not run under the protocol" not in page and "Planned and not done" not in page


def test_planned_runs_without_the_hash_are_exploratory_and_missing_ones_are_counted(make_ledger, protocol) -> None:
    ledger = make_ledger()
    stamp(ledger, protocol, ledger.cells[3:])
    ledger.lose("xvolution", 1, 0)
    page = html(Collection([ledger.out]), "c")
    assert "not run under the protocol: 2 planned runs" in page
    assert "Planned and not done: 1 of the runs" in page


def test_a_protocol_that_was_appended_to_still_counts_and_another_is_told(make_ledger, protocol) -> None:
    ledger = make_ledger()
    stamp(ledger, protocol)
    before = read_protocol(protocol).sha256
    protocol.write_text(PROTOCOL + "\nA later note.\n")
    page = html(Collection([ledger.out]), "c")
    assert before in page and read_protocol(protocol).sha256 in page and "Primary contrasts" in page
    protocol.write_text(PROTOCOL.replace("0-1", "0-2"))
    page = html(Collection([ledger.out]), "c")
    assert "the protocol is not here" in page and "Primary contrasts" not in page
    page = html(Collection([ledger.out]), "c", protocol=protocol)
    assert "45 runs were made under a protocol that is no earlier version" in page


def test_a_sweep_that_the_protocol_does_not_name_is_exploratory(make_ledger, protocol, capsys) -> None:
    ledger = make_ledger()
    protocol.write_text(PROTOCOL.replace("kernel_size:", "stage:", 1))
    assert main(["report", "--source", str(ledger.out), "--protocol", str(protocol)]) == 0
    page = (ledger.out / "report.html").read_text()
    assert "Exploratory: protocol.md does not plan this sweep." in page


@pytest.mark.parametrize("file", ["../elsewhere.md", "/etc/passwd", "missing.md", "other.md"])
def test_only_a_protocol_below_the_current_folder_is_read_by_itself(make_ledger, protocol, file) -> None:
    ledger = make_ledger()
    Path("other.md").write_text("no protocol")
    for cell in ledger.cells:
        path = ledger.out / "cells" / cell["cell_id"] / "result.json"
        named = {"file": file, "sha256": read_protocol(protocol).sha256}
        path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": named}))
    assert "the protocol is not here" in html(Collection([ledger.out]), "c")
