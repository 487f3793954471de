"""Verdicts on the paper's claims, from runs with its numbers and from made-up runs with a plain right answer."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.paper import arithmetic, verdicts
from analysis.paper.claims import CLAIMS, Part, margin_of
from analysis.paper.judgement import Finding, answers
from analysis.paper.pools import SWEEPS, Pool, pools
from analysis.paper.published import of_table
from analysis.sources.collection import Collection
from analysis.statistics import Difference
from tests.analysis.paper_runs import write_paper, write_sweep

CIFAR = "the data (cifar10_resnet18, the budget)"
NOISE = (0.0, 0.21, -0.13, 0.08, -0.2)  # mean -0.008, sd 0.16


def noise(row: str, seed: int) -> float:
    """A little noise of each row of its own."""
    return 0.01 * math.sin(zlib.crc32(f"{row} {seed}".encode()))


def by_claim(found: Sequence[verdicts.Verdict]) -> dict[int, list[str]]:
    verdict: dict[int, list[str]] = {}
    for item in found:
        verdict.setdefault(item.claim.number, []).append(item.verdict)
    return verdict


def on_cifar(
    out: Path, scores: Mapping[str, Sequence[float]], diverged: Mapping[str, int] | None = None
) -> dict[int, verdicts.Verdict]:
    """The verdicts from runs of the sweep `operator` on CIFAR-10, by the number of the claim."""
    seeds = max(map(len, scores.values()))
    write_sweep(
        out, "operator", "cifar10_resnet18", [(row, {}, {"top1": 0.0}) for row in scores],
        lambda row, seed: scores[row][seed], seeds=seeds, diverged=diverged or {},
    )  # fmt: skip
    return {item.claim.number: item for item in verdicts.verdicts(Collection([out])) if item.data == CIFAR}


def around(mean: float, n: int = 5, loudness: float = 1.0) -> list[float]:
    return [round(mean + loudness * value, 4) for value in NOISE[:n]]


def test_runs_with_the_printed_numbers_reproduce_the_claims(tmp_path: Path) -> None:
    sources = write_paper(tmp_path, noise)[1::2]
    found = by_claim(verdicts.verdicts(Collection(sources)))
    assert sorted(found) == list(range(1, 28))
    for number in (1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 27):
        assert found[number][0] == "reproduced", number
    for number in (3, 5, 18):
        assert found[number][0] == "contradicted by its own table"
    for number in (19, 20, 21, 22, 23, 24, 25, 26):
        assert found[number] == ["not run"]


def redrawn(pool: Pool, generator: np.random.Generator, spread: float) -> None:
    """Draw runs of a pool anew: the paper's means have the errors of five runs, and ours have their own."""
    pool._estimates.clear()
    printed = {row: {metric: np.mean(list(runs.values())) for metric, runs in own.items()}
               for row, own in pool.values.items()}  # fmt: skip
    for row, metrics in printed.items():
        for metric, value in metrics.items():
            truth = value + generator.normal(0, spread / math.sqrt(5)) + generator.uniform(-0.05, 0.05)
            runs = {seed: truth + generator.normal(0, spread) for seed in range(3)}
            pool.samples[metric, ""][pool.groups[row]] = runs


def test_a_paper_that_is_right_is_seldom_contradicted(tmp_path: Path) -> None:
    draws = 400
    collection = Collection(write_paper(tmp_path)[1::2])
    by_table = {table: pools(collection, table) for table in SWEEPS}
    originals = [{row: dict(own) for row, own in pool.values.items()} for own in by_table.values() for pool in own]
    assert originals
    generator = np.random.default_rng(11)
    counts: Counter[int] = Counter()
    for _ in range(draws):
        for own in by_table.values():
            for pool in own:
                redrawn(pool, generator, 0.15)
        counts.update(item.claim.number for item in verdicts.judged_by(by_table) if item.kind == "contradicted")
    shares = {number: count / draws for number, count in sorted(counts.items())}
    error = math.sqrt(0.05 * 0.95 / draws)
    print(f"contradicted in {draws} draws by claim: {shares}; Monte-Carlo error {error:.3f}")
    judged = sum(bool(claim.parts) for claim in CLAIMS)
    assert sum(counts.values()) <= 0.05 * draws * judged
    assert all(share <= 0.05 + 2.6 * error for share in shares.values())


def test_a_clear_win_and_a_clear_loss(tmp_path: Path) -> None:
    # Claim 6: self-attention alone is worse than convolution. Claim 9 orders several operators.
    win = on_cifar(tmp_path / "win", {"convolution": around(92.0), "self_attention": around(89.0)})[6]
    assert win.verdict == f"holds on {CIFAR}" and win.more_seeds is None
    loss = on_cifar(tmp_path / "loss", {"convolution": around(89.0), "self_attention": around(92.0)})[6]
    assert loss.verdict == f"fails on {CIFAR}"


def test_a_quiet_tie_is_equal_and_a_loud_one_is_open(tmp_path: Path) -> None:
    # Claim 7: PSSA is about as good as convolution.
    quiet = on_cifar(tmp_path / "quiet", {"convolution": around(90.0), "pssa": around(90.05)})[7]
    assert quiet.verdict == f"holds on {CIFAR}"
    assert "margin 0.6, p = " in quiet.evidence[0] and "at 0.3 and yes at 1.2" in quiet.evidence[0]
    loud = on_cifar(tmp_path / "loud", {"convolution": around(90.0, 5, 9.0), "pssa": around(90.1, 5, -9.0)})[7]
    assert loud.verdict == f"not resolved on {CIFAR}" and loud.more_seeds is not None and loud.more_seeds > 0
    far = on_cifar(tmp_path / "far", {"convolution": around(90.0), "pssa": around(92.0)})[7]
    assert far.verdict == f"fails on {CIFAR}"


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_seeds_decide_nothing_even_with_equal_differences(tmp_path: Path, n: int) -> None:
    scores = {"convolution": [90.0, 91.0][:n], "self_attention": [85.0, 86.0][:n], "pssa": [90.0, 91.0][:n]}
    found = on_cifar(tmp_path, scores)
    assert {item.kind for item in found.values()} == {"not resolved"}
    assert "which decides nothing" in found[6].evidence[0] and "[" not in found[6].evidence[0]


def test_lost_runs_are_told_and_the_others_are_used(tmp_path: Path) -> None:
    scores = {"convolution": around(92.0), "self_attention": around(89.0)}
    found = on_cifar(tmp_path / "some", scores, {"self_attention": 2})[6]
    assert found.verdict == f"holds on {CIFAR}"
    assert "self_attention: 2 of 5 diverged" in found.evidence[0] and "n = 3" in found.evidence[0]
    found = on_cifar(tmp_path / "most", scores, {"convolution": 3})[6]
    assert found.kind == "not resolved" and "convolution: 3 of 5 diverged" in found.evidence[0]
    found = on_cifar(tmp_path / "all", scores | {"pssa": around(89.0)}, {"self_attention": 5})[8]
    assert found.kind == "not run" and "self_attention: 5 of 5 diverged" in " ".join(found.evidence)


def test_a_row_that_was_not_run_leaves_its_claim_open(tmp_path: Path) -> None:
    scores = {"convolution": around(90.0), "xvolution": around(92.0), "xvolution_sa": around(92.0)}
    found = on_cifar(tmp_path / "hold", scores)
    assert found[9].kind == "not complete" and "parts not run" in found[9].evidence[-1]
    assert 6 not in found
    assert on_cifar(tmp_path / "open", scores | {"xvolution": around(90.0)})[9].kind == "not resolved"
    assert on_cifar(tmp_path / "refuted", scores | {"xvolution": around(88.0)})[9].kind == "fails"


@pytest.mark.parametrize("schedules", [(1, 2), (1, 2, 3), (1, 2, 3, 6)])
def test_the_slope_of_a_gain_is_taken_over_the_schedules_that_were_run(tmp_path: Path, schedules: tuple) -> None:
    """Claim 17 has four schedules. On other data three are enough, and the plan may list more than were run."""
    gains = dict(zip((1, 2, 3, 6), (0.0, 1.0, 3.0, 9.0), strict=True))
    rows = [
        (row, {"schedule": schedule}, {"top1": 80.0 + (gains[schedule] if row == "pssa" else 0.0)})
        for row in ("convolution", "pssa") for schedule in gains
    ]  # fmt: skip
    write_sweep(tmp_path, "schedule", "cifar10_resnet18", rows, noise)
    cells = json.loads((tmp_path / "schedule" / "cells.json").read_text())["cells"]
    budgets = set()
    for cell in cells:
        path = tmp_path / "cells" / cell["cell_id"] / "result.json"
        if cell["axes"]["schedule"] in schedules:
            budgets.add(json.loads(path.read_text())["config"]["train"]["epochs"])
        else:
            path.unlink()
    [layout] = [layout for layout, _ in Collection([tmp_path]).variants(["schedule"])]
    assert layout.budget == f"{', '.join(map(str, sorted(budgets)))} epochs" and len(budgets) == len(schedules)
    found = [item for item in verdicts.verdicts(Collection([tmp_path])) if item.claim.number == 17 and item.findings]
    assert len(found) == (len(schedules) > 2)
    for item in found:
        [(finding, answer)] = item.findings
        x = np.log2(schedules)
        expected = np.polyfit(x, [gains[schedule] for schedule in schedules], 1)[0]
        assert answer == "yes" and finding.found.mean == pytest.approx(expected, abs=0.05)
        assert layout.budget in item.data


def test_a_slope_leaves_out_no_schedule_that_diverged(tmp_path: Path) -> None:
    rows = [(row, {"schedule": schedule}, {"top1": 80.0}) for row in ("convolution", "pssa") for schedule in (1, 2, 3)]
    longest = [(row, {"schedule": 6}, {"top1": 80.0}) for row in ("convolution", "pssa")]
    write_sweep(tmp_path / "other", "schedule", "cifar10_resnet18", longest, noise, diverged={"pssa": 3})
    write_sweep(tmp_path, "schedule", "cifar10_resnet18", [*rows, *longest], noise)
    shutil.copytree(tmp_path / "other" / "cells", tmp_path / "cells", dirs_exist_ok=True)
    [found] = [item for item in verdicts.verdicts(Collection([tmp_path])) if item.claim.number == 17 and item.evidence]
    assert found.kind == "not run" and "pssa schedule 6x: 3 of 3 diverged" in found.evidence[-1]


def test_everything_at_the_ceiling_decides_no_direction(tmp_path: Path) -> None:
    rows = ("convolution", "pssa", "xvolution", "self_attention", "aa_convolution", "involution")
    found = on_cifar(tmp_path, {row: [100.0] * 3 for row in rows})
    assert {number for number, item in found.items() if item.kind != "not resolved"} <= {7, 12}, "equalities alone"


def test_a_gain_in_every_stage_lets_no_claim_contradict_another(tmp_path: Path) -> None:
    rows = [("convolution", {"stages": (stage,)}, {"top1": 90.0}) for stage in (3, 4, 5)]
    rows += [("xvolution", {"stages": (stage,)}, {"top1": 95.0 - 0.1 * stage}) for stage in (3, 4, 5)]
    write_sweep(tmp_path, "stage", "cifar10_resnet18", rows, noise)
    found = {item.claim.number: item for item in verdicts.verdicts(Collection([tmp_path])) if item.data == CIFAR}
    assert {number: item.kind for number, item in found.items() if number in (1, 2, 4, 27)} == {
        1: "holds", 2: "holds", 4: "holds", 27: "not complete",
    }  # fmt: skip
    for number in (1, 2, 4):
        assert any("the paper has both signs" in text for text in found[number].evidence), number
    signs: dict[str, set[str]] = {}
    for item in found.values():
        for text in item.evidence:
            assert "ResNet-34" not in text and "ResNet-50" not in text, "nobody ran them"
            if "parts" not in text:
                assert "ResNet-18" in text
                signs.setdefault(text.partition(":")[0], set()).add(item.kind)
    assert all(kinds <= {"holds", "not resolved", "not complete"} for kinds in signs.values())


def finding(part: Part, mean: float, error: float = 0.1, n: int = 5) -> Finding:
    """Of runs on the paper's protocol: a difference with its error."""
    found = Difference(mean, mean - 0.2, mean + 0.2, "moderated", error, 12.0, n, 5 * error**2, 2.0)
    return Finding(part, part.metric, found, part.published if part.kind == "M" else None, 0.6, (), True, (), ())


def test_a_part_is_refuted_only_after_holm_over_its_claim() -> None:
    parts = CLAIMS[0].parts
    right = [finding(part, part.published or 0.0) for part in parts]
    wrong = finding(Part("D", parts[0].terms, "top1", 1), -0.3)
    assert 0.01 < wrong.found.p < 0.02, "a resolved wrong sign by itself"
    assert answers([wrong]) == ["no"]
    assert answers([*right[1:], wrong])[-1] == "open"
    assert answers([*right[1:], finding(wrong.part, -0.6)])[-1] == "no"
    assert answers([finding(wrong.part, -0.6, n=2)]) == ["open"], "two runs refute nothing"
    large = finding(parts[1], 1.5)  # 0.5 is printed
    assert large.against[0] == 1 and answers([*right[:1], large]) == ["yes", "no"]
    assert "printed +0.5" in large.text("no") and "times noisier than ours" in large.text("no")
    assert answers([finding(parts[1], 0.5, error=1.0)]) == ["open"], "neither its sign nor its size is known"


def test_margins_are_half_of_what_the_paper_claims() -> None:
    assert [margin_of(metric) for metric in ("top1", "box_ap", "mask_ap", "top5")] == [0.6, 0.75, 0.55, None]
    two, three = of_table(2), of_table(3)
    for table, metric, setting in ((two, "box_ap", "faster_rcnn 1x"), (three, "mask_ap", "mask_rcnn 1x")):
        base = {key[1]: row for key, row in table.items()}
        gain = base["xvolution"][metric].value - base["convolution"][metric].value
        assert margin_of(metric) == pytest.approx(gain / 2), setting


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
            assert (part.published is None) == (on_figure or static), part.text()
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
    assert row["verdict"] == f"holds on {CIFAR}"
    assert "self_attention" in row["evidence"] and "n = 3" in row["evidence"] and "ResNet-18" in row["evidence"]
    assert main(["claims", "--source", str(tmp_path), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.count("\n| ") == len(rows) + 1
