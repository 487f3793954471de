"""The report prints the hash of the protocol, and calls exploratory what the protocol does not plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.publication.verdict_table import found_by, primary_contrasts, verdict_table
from analysis.report.frozen import Frozen
from analysis.report.page import html
from analysis.sources.collection import Collection
from analysis.sweep.overview import overviews
from lightning_xvol.ledger.protocol import read_protocol
from tests.analysis.paper_runs import write_sweep

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


def test_a_run_that_another_sweep_plans_is_planned_and_a_contrast_is_primary_in_its_own_sweep(protocol) -> None:
    block = """```yaml protocol
recipe: cifar10_resnet18
sweeps:
  operator: {seeds: 0-2, contrasts: [xvolution - convolution]}
  stage: {axes: {stages: [3, 5]}, seeds: 0-1}
```
"""
    protocol.write_text(block)
    values = {"convolution": {"top1": 90.0}, "xvolution": {"top1": 92.0}}
    out = protocol.parent / "two"
    write_sweep(out, "operator", "cifar10_resnet18", [(row, {}, values[row]) for row in values], seeds=3)
    rows = [(row, {"stages": (stage,)}, values[row]) for row in values for stage in (3, 4, 5)]
    write_sweep(out, "stage", "cifar10_resnet18", rows, seeds=3)
    sources, plan = Collection([out]), read_protocol(protocol)
    found = overviews(sources)[0]
    frozen = Frozen.of(sources, found, protocol)
    told = {item.layout.name: " ".join(frozen.lines(sources, item)) for item in found}
    assert "not in the protocol" not in told["operator"]
    [outside] = [line for line in told["stage"].split(": ") if "(seeds" in line]
    # The convolution without a stage is the run of `operator`, and so is X-volution in stage 5, the recipe's own.
    assert outside.startswith("xvolution, stages = 3 (seeds 2); xvolution, stages = 4 (seeds 0, 1, 2)."), outside
    [stage] = overviews(sources, only={"stages": ["5"]})[0]  # `operator` has no such axis
    assert " ".join(Frozen.of(sources, [stage], protocol).lines(sources, stage)) == told["stage"]
    marked = verdict_table(*found_by(sources), primary_contrasts(sources, plan))
    assert set(re.findall(r"\| ([^|]*?) \(primary\)", marked)) == {
        "xvolution − convolution", "xvolution, stage5 − convolution",
    }  # fmt: skip


def test_a_difference_after_an_epoch_is_no_primary_contrast(protocol) -> None:
    """Claim 21 compares the rows after some epochs; a contrast of the protocol is that of whole runs."""
    protocol.write_text(
        "```yaml protocol\nrecipe: cifar10_resnet18\n"
        "sweeps: {schedule: {seeds: 0-2, contrasts: [xvolution - convolution]}}\n```\n"
    )
    out = protocol.parent / "schedule"
    rows = [(row, {"schedule": 1}, {"top1": 90.0, "val_top1": 90.0}) for row in ("convolution", "xvolution")]
    write_sweep(out, "schedule", "cifar10_resnet18", rows, lambda row, seed: seed / 10, seeds=3)
    for folder in (out / "cells").iterdir():
        lines = [f"{epoch},{epoch},val_top1,{50 + epoch}" for epoch in range(1, 5)]
        (folder / "metrics.csv").write_text("\n".join(["step,epoch,name,value", *lines]) + "\n")
    sources = Collection([out])
    table = verdict_table(*found_by(sources), primary_contrasts(sources, read_protocol(protocol)))
    assert "xvolution − convolution, epoch 3 |" in re.sub(" +", " ", table) and "(primary)" not in table
