"""Verdicts on the paper's claims, from runs with its numbers and from other runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.paper import arithmetic, verdicts
from analysis.paper.claims import CLAIMS
from analysis.sources.collection import Collection
from tests.analysis.paper_runs import write_paper, write_sweep


def by_claim(found: Sequence[verdicts.Verdict]) -> dict[int, list[str]]:
    verdict: dict[int, list[str]] = {}
    for item in found:
        verdict.setdefault(item.claim.number, []).append(item.verdict)
    return verdict


def noise(row: str, seed: int) -> float:
    """Noise that is the same in every row, so that differences are exact, plus a little noise of each row."""
    return 0.3 * seed + 0.001 * ((seed * 7 + len(row)) % 5)


def test_runs_with_the_printed_numbers_reproduce_the_claims(tmp_path: Path) -> None:
    sources = write_paper(tmp_path, noise)[1::2]
    found = by_claim(verdicts.verdicts(Collection(sources)))
    assert sorted(found) == list(range(1, 28))
    for number in (1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 27):
        assert found[number][0] == "reproduced", number
    for number in (3, 5, 18):
        assert found[number][0] == "contradicted by its own table"
    for number in (19, 20, 21, 22, 23, 24, 25, 26):
        assert found[number] == ["not run"]


def test_claims_can_be_contradicted_and_not_resolved(tmp_path: Path) -> None:
    worse = [("convolution", {}, {"top1": 73.8}), ("self_attention", {}, {"top1": 75.0}), ("pssa", {}, {"top1": 76.0})]
    write_sweep(tmp_path, "operator", "imagenet_resnet34", worse, noise)
    found = verdicts.verdicts(Collection([tmp_path]))
    assert by_claim(found)[6] == ["contradicted"] and by_claim(found)[7] == ["contradicted"]

    def loud(row: str, seed: int) -> float:
        return (2.0 if row == "convolution" else -2.0) * (-1) ** seed

    write_sweep(
        tmp_path,
        "operator",
        "imagenet_resnet34",
        [("convolution", {}, {"top1": 73.8}), ("self_attention", {}, {"top1": 73.2})],
        loud,
    )
    [claim] = [item for item in verdicts.verdicts(Collection([tmp_path])) if item.claim.number == 6]
    assert claim.verdict == "not resolved" and claim.more_seeds is not None and claim.more_seeds > 0


def test_the_27_claims_have_parts_and_printed_numbers() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 28))
    for claim in CLAIMS:
        assert claim.claim and claim.where and claim.refuted_by and set(claim.kinds.split()) <= set("DMEOSXA")
        for part in claim.parts:
            on_figure = any(row.table in ("3a", "3b") for _, row in part.terms)
            static = any("static" in row.label for _, row in part.terms)
            assert (part.published is None) == (on_figure or static), part.text
    # The numbers of the notes, which compute them by hand.
    sizes = [round(arithmetic.added_parameters(stage) / 1e6, 1) for stage in (3, 4, 5)]
    assert sizes == [1.8, 11.0, 22.0]


def test_the_command_prints_every_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(
        tmp_path,
        "operator",
        "cifar10_resnet18",
        [("convolution", {}, {"top1": 90.0}), ("self_attention", {}, {"top1": 89.0})],
        noise,
    )
    assert main(["claims", "--source", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    [row] = [row for row in rows if row["claim"] == "6"]
    assert row["verdict"] == "holds on the data (cifar10_resnet18, the budget)"
    assert "self_attention" in row["evidence"] and "n = 3" in row["evidence"]
    assert main(["claims", "--source", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n| ") == len(rows) + 1
