"""A verdict on each of the paper's claims, from our runs.

On the paper's protocol a claim is reproduced, contradicted, not resolved (the interval allows both) or not run. On
other data D it holds on D, fails on D or is not resolved on D: other data can neither reproduce nor contradict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis import numbers
from analysis.paper import arithmetic
from analysis.paper.claims import CLAIMS, Claim, Part
from analysis.paper.pools import PAPER, SWEEPS, Pool, pools
from analysis.sources.collection import Collection
from analysis.statistics import Difference, contrast, equivalence, seeds_to_resolve
from analysis.table import escape_markdown

Answer = Literal["yes", "no", "open"]
ALPHA = 0.05
ROUNDING = 0.05  # half a unit in the last digit of a printed number
PRINTED = "printed numbers"
KINDS = ("reproduced", "holds", "contradicted", "fails", "not resolved", arithmetic.OWN, "not run")
OWN_METRICS = ("top1",)  # judged on data that lack the metric of the claim


@dataclass(frozen=True)
class Finding:
    """What the runs say of one part of a claim.

    Attributes:
        part: The part.
        metric: The metric of the runs.
        found: The weighted sum of the rows.
        answer: Whether the part is true: `yes`, `no`, or `open` where the interval allows both.
        more_seeds: The number of further seeds per row that would resolve an open part, if the spread stays.
        runs: The rows: the name of each in the claim, and the group id of its runs.
    """

    part: Part
    metric: str
    found: Difference
    answer: Answer
    more_seeds: int | None
    runs: tuple[tuple[str, str], ...]

    def text(self, paper: bool) -> str:
        found = self.found
        interval = (
            f" [{numbers.signed(found.low, 2)}, {numbers.signed(found.high, 2)}]" if found.method != "none" else ""
        )
        facts = [f"n = {found.n}", *([found.method] if found.method == "welch" else [])]
        if self.part.kind == "E":
            facts.append(f"margin {self.part.margin:g}, p = {equivalence(found, self.part.margin):.2g}")
        if paper and self.part.published is not None:
            facts.append(f"printed {numbers.signed(self.part.published)}")
        return f"{self.part.text}: {self.metric} {numbers.signed(found.mean, 2)}{interval} ({', '.join(facts)})"


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
    """

    claim: Claim
    data: str
    verdict: str
    evidence: tuple[str, ...]
    more_seeds: int | None = None
    runs: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """The verdict without the data: `holds`, `not resolved`, `not run`, ..."""
        return self.verdict.removesuffix(f" on {self.data}")


def verdicts(sources: Collection, select: str = "last") -> list[Verdict]:
    """For each claim, the verdict of the printed numbers if there is one, then a verdict per data set with runs."""
    by_table = {table: pools(sources, table, select) for table in SWEEPS}
    found = []
    for claim in CLAIMS:
        own = _own(claim)
        judged = [verdict for data in _data(claim, by_table) if (verdict := _judge(claim, data, by_table)) is not None]
        if not judged and not own:
            judged = [Verdict(claim, "", "not run", (f"Decided by: {claim.refuted_by}.",))]
        found += [*own, *judged]
    return found


def judge(part: Part, pool: Pool) -> Finding | None:
    """What the runs of `pool` say of `part`; None where one of its rows has not been run."""
    metric = part.metric
    if pool.data != PAPER and metric not in pool.metrics:
        metric = next((own for own in OWN_METRICS if own in pool.metrics), metric)
    rows = [(row.backbone if pool.data == PAPER else "", row.label, row.setting) for _, row in part.terms]
    terms = [(weight, pool.seeds(row, metric)) for (weight, _), row in zip(part.terms, rows, strict=True)]
    if not all(values for _, values in terms):
        return None
    found = contrast(terms)
    answer, distance, confidence = _answer(part, found, pool.data == PAPER)
    more = seeds_to_resolve(found, distance, confidence) if answer == "open" else None
    runs = tuple((" ".join(filter(None, (*row[1:], row[0]))), pool.groups[row]) for row in rows)
    return Finding(part, metric, found, answer, more, runs)


def _answer(part: Part, found: Difference, paper: bool) -> tuple[Answer, float, float]:
    """The answer; for an open part also the width and the confidence of an interval that resolves it.

    An interval resolves the part when half of it is shorter than this width.
    """
    if found.method == "none":
        return "open", 0.0, 0.95
    if part.kind == "E":
        if equivalence(found, part.margin) < ALPHA:
            return "yes", 0.0, 0.9
        outside = found.low > part.margin or found.high < -part.margin
        inside = part.margin - abs(found.mean)
        return ("no" if outside else "open"), abs(inside), 0.9 if inside > 0 else 0.95
    holds_zero = found.low <= 0 <= found.high
    if part.kind == "M" and paper and part.published is not None:
        holds_it = found.low - ROUNDING <= part.published <= found.high + ROUNDING
        if holds_it and holds_zero:
            return "open", max(abs(found.mean), abs(found.mean - part.published)), 0.95
        return ("yes" if holds_it else "no"), 0.0, 0.95
    if holds_zero:
        return "open", abs(found.mean), 0.95
    return ("yes" if found.mean * part.sign > 0 else "no"), 0.0, 0.95


def _own(claim: Claim) -> list[Verdict]:
    decide = arithmetic.BY_CLAIM.get(claim.number)
    sentence = decide() if decide is not None else None
    return [] if sentence is None else [Verdict(claim, PRINTED, arithmetic.OWN, (sentence,))]


def _data(claim: Claim, by_table: Mapping[str, Sequence[Pool]]) -> list[str]:
    tables = dict.fromkeys(row.table for part in claim.parts for _, row in part.terms)
    return list(dict.fromkeys(pool.data for table in tables for pool in by_table[table]))


def _judge(claim: Claim, data: str, by_table: Mapping[str, Sequence[Pool]]) -> Verdict | None:
    findings: dict[str, Finding] = {}
    planned = set()
    for part in claim.parts:
        planned.add(_key(part, data))
        pool = next((pool for pool in by_table[part.terms[0][1].table] if pool.data == data), None)
        finding = judge(part, pool) if pool is not None else None
        if finding is not None:
            findings[_key(part, data)] = finding
    if not findings:
        return None
    answers = {finding.answer for finding in findings.values()}
    missing = len(planned) - len(findings)
    answer: Answer = "no" if "no" in answers else "open" if "open" in answers or missing else "yes"
    # On other data several tables share their runs: a difference that occurs in two tables is listed once.
    told = {(finding.metric, finding.found, finding.part.kind): finding for finding in reversed(findings.values())}
    evidence = [finding.text(data == PAPER) for finding in reversed(told.values())]
    if missing:
        evidence.append(f"{missing} of {len(planned)} parts not run")
    runs = tuple(dict.fromkeys(run for finding in findings.values() for run in finding.runs))
    return Verdict(claim, data, word(answer, data), tuple(evidence), _most(list(findings.values())), runs)


def _key(part: Part, data: str) -> str:
    """A key of a part. Parts that differ in their backbone alone are the same on other data, which has one network."""
    rows = " ".join(f"{weight:g} {row.label} {row.setting}" for weight, row in part.terms)
    backbones = {row.backbone for _, row in part.terms} if data == PAPER else ""
    tables = {row.table for _, row in part.terms}
    return f"{part.kind} {part.sign} {part.metric} {rows} {backbones} {tables}"


def word(answer: Answer, data: str) -> str:
    if data == PAPER:
        return {"yes": "reproduced", "no": "contradicted", "open": "not resolved"}[answer]
    return {"yes": "holds on", "no": "fails on", "open": "not resolved on"}[answer] + f" {data}"


def _most(findings: Sequence[Finding]) -> int | None:
    """The largest number of further seeds that an open part needs; None where none is open or a number is unknown."""
    needs = [finding.more_seeds for finding in findings if finding.answer == "open"]
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


def to_markdown(found: Sequence[Verdict]) -> str:
    lines = ["| # | Claim | Where | Kind | Verdict | Evidence | More seeds |", "|" + " --- |" * 7]
    for item in found:
        more = numbers.DASH if item.more_seeds is None else str(item.more_seeds)
        texts = (item.claim.claim, item.claim.where, item.claim.kinds, item.verdict, "; ".join(item.evidence), more)
        lines.append(f"| {item.claim.number} | {' | '.join(map(escape_markdown, texts))} |")
    return "\n".join([*lines, "", *LEGEND, ""])


LEGEND = (
    "Kinds: D direction, M magnitude, E equality (two one-sided t tests at 5 %, margin in points), O order, S shape, "
    "X exact, A arithmetic on the printed numbers. In square brackets 95 % intervals over seeds (paired by seed where "
    "the seeds match, else Welch's), not adjusted for their number: chance contradicts a claim of many parts more "
    "easily. On other data than the paper's a magnitude is judged by its sign.",
    "More seeds: how many each row would need beyond those it has to resolve every part, if mean and spread stay; "
    f"{numbers.DASH} where nothing is open or one seed shows no spread.",
)
