"""`verify` runs sampled cells again and says whether they agree with their records."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.report import verify
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

SMALL = {"backbone.widths": "4,4,8,8", "data.limit": 40, "train.steps": 6}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two rows with two seeds, trained."""
    from ablations import run

    out = tmp_path_factory.mktemp("verify") / "runs"
    only = {"kernel_size": 1, "operator": ["convolution", "xvolution_static"]}
    assert run("kernel_size", smoke=True, seeds=2, only=only, settings=SMALL, wandb="disabled", out=out).exit_code == 0
    return out


def all_cells(source: Path) -> list[verify.Candidate]:
    return verify.candidates(Collection([source]))


def test_a_cell_of_an_archive_is_bit_equal_on_the_machine_that_made_it(runs, tmp_path, capsys) -> None:
    path = tmp_path / "match_small.jsonl.gz"
    assert main(["archive", "--source", str(runs), "--out", str(path)]) == 0
    capsys.readouterr()
    assert main(["verify", "--source", str(path), "--cells", "1", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    first, line, last = told.splitlines()
    assert first == "1 of 4 finished cells, chosen by seed 3"
    [cell] = verify.sample(all_cells(runs), 1, seed=3)
    recorded = cell.result["metrics"]["top1"]["last"]
    assert line.startswith(
        f"{cell.cell_id} {cell.name}: top1 recorded {recorded:.4f} / here {recorded:.4f}: bit-equal ("
    )
    assert last.startswith("1 bit-equal; ")


def test_the_sample_depends_on_the_seed_and_on_nothing_else(runs) -> None:
    cells = all_cells(runs)
    assert len(cells) == 4 and [cell.cell_id for cell in cells] == sorted(cell.cell_id for cell in cells)
    assert verify.sample(cells, 2, 0) == verify.sample(cells[::-1], 2, 0) == verify.sample(cells, 3, 0)[:2]
    assert {verify.sample(cells, 1, seed)[0].cell_id for seed in range(40)} == {cell.cell_id for cell in cells}
    assert len(verify.sample(cells, 9, 0)) == 4


def test_the_prediction_interval_is_that_of_one_more_value() -> None:
    values = [88.2, 88.9, 88.5, 87.9]
    low, high = verify.prediction_interval(values)
    mean, sd = sum(values) / 4, math.sqrt(sum((value - sum(values) / 4) ** 2 for value in values) / 3)
    expected = stats.t.interval(0.95, 3, mean, sd * math.sqrt(1.25))
    assert (low, high) == pytest.approx(expected)


def outcome(monkeypatch, cell: verify.Candidate, **changes) -> verify.Check:
    """The check of `cell` if the run here gives its record with `changes`."""
    here = copy.deepcopy(dict(cell.result)) | changes
    monkeypatch.setattr(verify, "_run", lambda *_: (here, ""))
    [check] = verify.verify([cell], "here", None, download=False, trust=False)
    return check


def with_top1(cell: verify.Candidate, value: float) -> dict:
    metrics = copy.deepcopy(cell.result["metrics"])
    metrics["top1"]["last"] = value
    return {"metrics": metrics, "weights_sha256": "other"}


def test_verdicts(runs, monkeypatch) -> None:
    cell = all_cells(runs)[0]
    cell = verify.Candidate(cell.name, cell.metric, cell.result, (cell.seeds[0], cell.seeds[0] + 2.5))
    low, high = verify.prediction_interval(cell.seeds)
    assert outcome(monkeypatch, cell).verdict == verify.BIT_EQUAL
    assert outcome(monkeypatch, cell, weights_sha256="other").verdict == verify.WITHIN
    for value, verdict in ((high - 1e-6, verify.WITHIN), (high + 1e-6, verify.OUTSIDE), (low - 1, verify.OUTSIDE)):
        check = outcome(monkeypatch, cell, **with_top1(cell, value))
        assert check.verdict == verdict and check.agrees == (verdict == verify.WITHIN) and check.here == value
    assert outcome(monkeypatch, cell, weights_sha256="x", status="diverged").verdict == "outside: it has diverged here"
    other = {**cell.result["data"], "digest": "f" * 16}
    assert "not comparable, the data here are others" in outcome(monkeypatch, cell, data=other).verdict
    alone = verify.Candidate(cell.name, cell.metric, cell.result, cell.seeds[:1])
    assert "one seed gives no prediction interval" in outcome(monkeypatch, alone, weights_sha256="x").verdict
    check = outcome(monkeypatch, cell, environment={**cell.result["environment"], "torch": "9.9"})
    assert verify.differences([check]) == [f"torch: recorded {cell.result['environment']['torch']}, here 9.9"]


def changed(cell: verify.Candidate, **sections) -> verify.Candidate:
    return verify.Candidate(cell.name, cell.metric, {**cell.result, "config": cell.result["config"] | sections}, ())


def test_import_paths_are_refused_before_anything_runs(runs, monkeypatch) -> None:
    monkeypatch.setattr(verify, "_run", lambda *_: pytest.fail("it ran"))
    good, bad, *_ = all_cells(runs)
    bad = changed(bad, operator={"name": "os:system", "options": {}})
    with pytest.raises(UserError, match=r"os:system.*--trust"):
        list(verify.verify([good, bad], "a file", None, download=False, trust=False))


def test_cells_that_cannot_be_run_say_why(runs, monkeypatch) -> None:
    monkeypatch.setattr(verify, "_run", lambda *_: pytest.fail("it ran"))
    cell = all_cells(runs)[0]
    cases = {
        "has another id": changed(cell, seed=77),
        "does not take its configuration": changed(cell, operator={"name": "gone", "options": {}}),
        "cannot be read": verify.Candidate(cell.name, cell.metric, {**cell.result, "config": None}, ()),
    }
    for words, candidate in cases.items():
        [check] = verify.verify([candidate], "a file", None, download=False, trust=False)
        assert words in check.verdict and not check.agrees


def test_a_run_that_fails_here_is_told_with_its_error(runs, tmp_path, capsys) -> None:
    cell = json.loads(next((runs / "cells").glob("*/result.json")).read_text())
    source = tmp_path / "runs"
    for path in runs.glob("*/cells.json"):
        (source / path.parent.name).mkdir(parents=True)
        (source / path.parent.name / "cells.json").write_text(path.read_text())
    folder = source / "cells" / cell["cell_id"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({**cell, "metrics_bytes": None}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setattr(verify.sys, "executable", "/bin/false")
        assert main(["verify", "--source", str(source)]) == 1
    assert "failed here: exit code 1" in capsys.readouterr().out


def test_a_source_without_finished_cells_is_one_sentence(make_ledger) -> None:
    ledger = make_ledger({"convolution": {1: [24.4]}})
    ledger.lose("convolution", 1, 0)
    with pytest.raises(UserError, match="no finished cell to verify"):
        main(["verify", "--source", str(ledger.out)])
