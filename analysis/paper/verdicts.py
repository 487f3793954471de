"""A verdict on each of the paper's claims, from our runs.

On the paper's protocol a claim is reproduced, contradicted, not resolved, not complete (the parts that were run hold,
and others were not run) or not run. On other data D it holds on D or fails on D, and so on: other data can neither
reproduce nor contradict. `analysis.paper.judgement` judges the parts of a claim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.paper import arithmetic
from analysis.paper.claims import CLAIMS, Claim
from analysis.paper.judgement import Answer, Finding, answers, judge, losses, signed_contrast
from analysis.paper.pools import PAPER, SWEEPS, Pool, pools
from analysis.sources.collection import Collection
from analysis.table import escape_markdown

PRINTED = "printed numbers"
KINDS = (
    "reproduced", "holds", "contradicted", "fails", "not resolved", "not complete", arithmetic.OWN, "not judged",
    "not run",
)  # fmt: skip
_ELSEWHERE = {"yes": "holds", "no": "fails", "open": "not resolved", "part": "not complete"}
_ON_PAPER = {**_ELSEWHERE, "yes": "reproduced", "no": "contradicted"}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim from one data set.

    Attributes:
        claim: The claim.
        data: The data and the budget, `paper` on its protocol, `PRINTED`, or empty where nothing was run.
        verdict: The verdict in words, with the data.
        evidence: A sentence per part.
        more_seeds: The number of further seeds per row that would resolve every part, if mean and spread stay.
        runs: The rows behind the verdict: the name of each, and the group id of its runs.
        findings: What the runs say of each part that they judge, and its answer; `evidence` begins with these.
        metrics: The metrics of these runs; other data than the paper's may lack those of the claim.
    """

    claim: Claim
    data: str
    verdict: str
    evidence: tuple[str, ...]
    more_seeds: int | None = None
    runs: tuple[tuple[str, str], ...] = ()
    findings: tuple[tuple[Finding, Answer], ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The verdict without the data: `holds`, `not resolved`, `not run`, ..."""
        return self.verdict.removesuffix(f" on {self.data}")


def verdicts(sources: Collection, select: str = "last") -> list[Verdict]:
    """For each claim, the verdict of the printed numbers if there is one, then a verdict per data set with runs."""
    return judged_by({table: pools(sources, table, select) for table in SWEEPS})


def judged_by(by_table: Mapping[str, Sequence[Pool]]) -> list[Verdict]:
    """`verdicts` from the pools of each table."""
    every = {pool.data for own in by_table.values() for pool in own}
    both = {data: _both_signs(data, by_table) for data in every}
    found = []
    for claim in CLAIMS:
        own = _own(claim)
        tried = (_judge(claim, data, by_table, both[data]) for data in _data(claim, by_table))
        judged = [verdict for verdict in tried if verdict is not None]
        if not judged and not own:
            judged = [Verdict(claim, "", "not run", (f"Decided by: {claim.refuted_by}.",))]
        found += [*own, *judged]
    return found


def _own(claim: Claim) -> list[Verdict]:
    decide = arithmetic.BY_CLAIM.get(claim.number)
    sentence = decide() if decide is not None else None
    return [] if sentence is None else [Verdict(claim, PRINTED, arithmetic.OWN, (sentence,))]


def _data(claim: Claim, by_table: Mapping[str, Sequence[Pool]]) -> list[str]:
    tables = dict.fromkeys(row.table for part in claim.parts for _, row in part.terms)
    return list(dict.fromkeys(pool.data for table in tables for pool in by_table[table]))


def _judge(
    claim: Claim, data: str, by_table: Mapping[str, Sequence[Pool]], both_signs: frozenset[tuple[Any, ...]]
) -> Verdict | None:
    findings: list[Finding] = []
    lost: dict[str, None] = {}
    planned, untold, undecidable = 0, 0, 0
    for part in claim.parts:
        pool = next((pool for pool in by_table[part.terms[0][1].table] if pool.data == data), None)
        planned += 1
        finding = None if pool is None else judge(part, pool)
        if finding is None:
            untold += 1
            if pool is not None:
                lost |= dict.fromkeys(losses(part, pool))
        elif finding.contrast in both_signs:
            undecidable += 1
        elif finding.key not in {other.key for other in findings}:
            # On other data several tables share their runs: a difference that occurs in two tables counts once.
            findings.append(finding)
    died = any("diverged" in text for text in lost)
    if not findings and not undecidable and not died:
        return None
    judged = answers(findings)
    evidence = [finding.text(answer) for finding, answer in zip(findings, judged, strict=True)]
    if undecidable:
        evidence.append(f"{undecidable} of {planned} parts not judged on {data}: the paper has both signs")
    if untold:
        evidence.append(f"{untold} of {planned} parts not run" + (f" ({'; '.join(lost)})" if lost else ""))
    runs = tuple(dict.fromkeys(run for finding in findings for run in finding.runs))
    metrics = tuple(dict.fromkeys(finding.metric for finding in findings))
    if not findings:
        return Verdict(claim, data, f"{'not judged' if undecidable else 'not run'} on {data}", tuple(evidence))
    answer = "no" if "no" in judged else "open" if "open" in judged else "part" if untold else "yes"
    return Verdict(
        claim, data, word(answer, data), tuple(evidence), _most(findings, judged), runs,
        tuple(zip(findings, judged, strict=True)), metrics,
    )  # fmt: skip


def _both_signs(data: str, by_table: Mapping[str, Sequence[Pool]]) -> frozenset[tuple[Any, ...]]:
    """The contrasts of which the paper claims both signs, once its networks, detectors and schedules are one.

    On its own data they belong to different networks, and there is none.
    """
    if data == PAPER:
        return frozenset()
    signs: dict[tuple[Any, ...], set[int]] = {}
    for claim in CLAIMS:
        for part in claim.parts:
            for pool in by_table[part.terms[0][1].table]:
                if pool.data == data and part.kind != "E":
                    contrast, sign = signed_contrast(part, pool)
                    signs.setdefault(contrast, set()).add(sign * part.sign)
    return frozenset(contrast for contrast, found in signs.items() if len(found) > 1)


def word(answer: str, data: str) -> str:
    """The verdict in words; the answer `part` says that the parts that were run hold, and that others were not run."""
    if data == PAPER:
        return _ON_PAPER[answer]
    return f"{_ELSEWHERE[answer]} on {data}"


def _most(findings: Sequence[Finding], judged: Sequence[Answer]) -> int | None:
    """The largest number of further seeds that an open part needs; None where none is open or a number is unknown."""
    needs = [finding.more_seeds for finding, answer in zip(findings, judged, strict=True) if answer == "open"]
    return max((need for need in needs if need is not None), default=None) if None not in needs else None


def tally(found: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """The number of claims by data and kind of verdict. Data with runs come first, claims that were not run last."""
    counts: dict[str, Counter[str]] = {}
    for verdict in found:
        counts.setdefault(verdict.data, Counter())[verdict.kind] += 1
    order = sorted(counts, key=lambda data: (data == "", data == PRINTED))
    return {data: {kind: counts[data][kind] for kind in KINDS if counts[data][kind]} for data in order}


def to_frame(found: Sequence[Verdict]) -> pd.DataFrame:
    """A row per verdict."""
    rows = [
        {
            "claim": item.claim.number, "text": item.claim.claim, "where": item.claim.where, "kinds": item.claim.kinds,
            "data": item.data, "verdict": item.verdict, "evidence": "; ".join(item.evidence),
            "more_seeds": item.more_seeds,
        }
        for item in found
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"more_seeds": "Int64"})


def to_markdown(found: Sequence[Verdict], note: str = "") -> str:
    """A Markdown table of the verdicts, with `note` and the legend below."""
    lines = ["| # | Claim | Where | Kind | Verdict | Evidence | More seeds |", "|" + " --- |" * 7]
    for item in found:
        more = numbers.DASH if item.more_seeds is None else str(item.more_seeds)
        texts = (item.claim.claim, item.claim.where, item.claim.kinds, item.verdict, "; ".join(item.evidence), more)
        lines.append(f"| {item.claim.number} | {' | '.join(map(escape_markdown, texts))} |")
    return "\n".join([*lines, "", *([note] if note else []), *LEGEND, ""])


LEGEND = (
    "Kinds: D direction, M magnitude, E equality (two one-sided t tests at 5 %, margin in points: half of what the "
    "paper claims for X-volution on the metric), O order, S shape, X exact, A arithmetic on the printed numbers. In "
    "square brackets 95 % intervals over seeds, with variances pooled over the table and no pairing by seed.",
    "A claim holds where every part does at 5 %; it fails where a part is refuted after Holm over the claim's parts. A "
    "printed magnitude is taken as a rounded mean of five runs that spread as ours do. On other data than the paper's "
    "a magnitude is judged by its sign. Nothing is decided from fewer than three runs of a row.",
    "More seeds: how many each row would need beyond those it has to resolve every part, if mean and spread stay; "
    f"{numbers.DASH} where nothing is open or one seed shows no spread.",
)
