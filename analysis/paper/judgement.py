"""What runs say of a part of a claim: its difference, the tests on it, and the answers after Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis import numbers
from analysis.paper.claims import Part, Row, margin_of
from analysis.paper.pools import PAPER, Pool, RowKey
from analysis.statistics import (
    ALPHA,
    FEWEST_SEEDS,
    NAN,
    Difference,
    contrast,
    equivalence,
    holm,
    magnitude,
    noise_to_agree,
    outside,
    seeds_to_resolve,
)  # fmt: skip

Answer = Literal["yes", "no", "open"]
OWN_METRICS = ("top1",)
"""The metrics that stand for a claim's own on data that lack it."""
HEADLINES = ("top1", "top5", "box_ap", "mask_ap")
"""The metrics that `OWN_METRICS` may stand for: an accuracy says nothing of large objects."""


@dataclass(frozen=True)
class Finding:
    """What the runs say of one part of a claim.

    Attributes:
        part: The part.
        metric: The metric of the runs.
        found: The weighted sum of the rows.
        printed: The sum of the printed numbers, where it is judged; None elsewhere.
        margin: The largest difference that counts as equal.
        contrast: The groups and their weights, up to a common sign.
        on_paper: Whether the runs are on the paper's protocol.
        facts: What else is told: networks, and runs that were lost.
        runs: The rows: the name of each, and the group id of its runs.
    """

    part: Part
    metric: str
    found: Difference
    printed: float | None
    margin: float
    contrast: tuple[Any, ...]
    on_paper: bool
    facts: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for parts that ask the same of the same runs."""
        equal = self.part.kind == "E"
        return equal, 0 if equal else self.part.sign, self.printed, self.contrast  # an equality claims no sign

    @property
    def has_sign(self) -> bool:
        return self.found.mean * self.part.sign > 0

    @property
    def agrees(self) -> bool:
        """Whether the part is true at 5 %, unadjusted."""
        return self._agrees(self.margin)

    def _agrees(self, margin: float) -> bool:
        if not self.found.can_decide:
            return False
        if self.part.kind == "E":
            return equivalence(self.found, margin) < ALPHA
        refuted = self.printed is not None and magnitude(self.found, self.printed) < ALPHA
        return self.found.p < ALPHA and self.has_sign and not refuted

    @property
    def against(self) -> tuple[float, ...]:
        """The p of each test that may refute the part: of its sign and its size, or of its equality."""
        return self._against(self.margin)

    def _against(self, margin: float) -> tuple[float, ...]:
        if not self.found.can_decide:
            return ()
        if self.part.kind == "E":
            return (outside(self.found, margin),)
        sign = 1.0 if self.has_sign else self.found.p
        return (sign,) if self.printed is None else (sign, magnitude(self.found, self.printed))

    def at(self, margin: float) -> str:
        """The answer of an equality by itself, at another margin."""
        if self._agrees(margin):
            return "yes"
        return "no" if any(p < ALPHA for p in self._against(margin)) else "open"

    @property
    def more_seeds(self) -> int | None:
        """The number of further seeds per row that would resolve the part, if mean and spread stay."""
        mean = self.found.mean
        if self.part.kind == "E":
            inside = self.margin - abs(mean)
            return seeds_to_resolve(self.found, abs(inside), 1 - 2 * ALPHA if inside > 0 else 1 - ALPHA)
        beyond = 0.0 if self.printed is None else abs(mean - self.printed)
        return seeds_to_resolve(self.found, max(abs(mean), beyond))

    def text(self, answer: Answer) -> str:
        """The part with its difference, the tests on it, and the runs that were lost."""
        found, few = self.found, self.found.n < FEWEST_SEEDS
        interval = f" [{numbers.signed(found.low, 2)}, {numbers.signed(found.high, 2)}]"
        facts = [f"n = {found.n}" + (", which decides nothing" if few else "")]
        if found.is_tested and self.part.kind == "E":
            p = equivalence(found, self.margin)
            others = " and ".join(f"{self.at(margin)} at {margin:g}" for margin in (self.margin / 2, 2 * self.margin))
            facts.append(f"margin {self.margin:g}, p = {p:.2g}" + ("" if few else f"; {others}"))
        if self.printed is not None:
            facts.append(f"printed {numbers.signed(self.printed)}")
            if found.can_decide and answer == "no" and self.has_sign:
                noise = noise_to_agree(found, self.printed)
                facts.append(f"agrees only if the paper's runs were {noise:.1f} times noisier than ours")
        shown = f"{numbers.signed(found.mean, 2)}{interval if found.is_tested and not few else ''}"
        told = self.part.text(self.on_paper)
        return f"{told}: {self.metric} {shown} ({', '.join([*facts, *self.facts])})"


def metric_on(part: Part, pool: Pool) -> str:
    """The metric by which `pool` judges `part`."""
    if pool.data != PAPER and part.metric in HEADLINES and part.metric not in pool.metrics:
        return next((own for own in OWN_METRICS if own in pool.metrics), part.metric)
    return part.metric


def key_of(row: Row, pool: Pool) -> RowKey:
    """The key of `row` in `pool`; other data have one network."""
    return (row.backbone if pool.data == PAPER else "", row.label, row.setting)


def signed_contrast(part: Part, pool: Pool) -> tuple[tuple[Any, ...], int]:
    """The metric, and the groups with their weights up to a common sign; then that sign. Equal runs are one group."""
    weights: dict[str, float] = {}
    for weight, row in part.terms:
        key = key_of(row, pool)
        epoch = key[2] if key[2].startswith("epoch ") else ""
        group = pool.groups.get(key, "/".join(key)) + epoch
        weights[group] = weights.get(group, 0.0) + weight
    terms = sorted((group, round(weight, 9)) for group, weight in weights.items() if weight)
    sign = -1 if terms and terms[0][1] < 0 else 1
    return (metric_on(part, pool), *((group, sign * weight) for group, weight in terms)), sign


def judge(part: Part, pool: Pool) -> Finding | None:
    """What the runs of `pool` say of `part`, or of its shorter form; None where one of its rows has no result.

    A row whose runs diverged was run, and no shorter form leaves it out.
    """
    metric, on_paper = metric_on(part, pool), pool.data == PAPER
    rows = [key_of(row, pool) for _, row in part.terms]
    estimates = [pool.estimate(row, metric) for row in rows]
    if lacking := [row for row, item in zip(rows, estimates, strict=True) if not item.n]:
        diverged = any("diverged" in pool.losses(row) for row in lacking)
        return None if on_paper or diverged or part.shorter is None else judge(part.shorter, pool)
    found = contrast([(weight, item) for (weight, _), item in zip(part.terms, estimates, strict=True)])
    networks = dict.fromkeys(filter(None, (pool.network(row) for row in rows)))
    facts = (*([] if on_paper else networks), *losses(part, pool))
    printed = part.published if part.kind == "M" and on_paper else None
    names = [row.text if on_paper else row.on_other_data for _, row in part.terms]
    runs = tuple((name, pool.groups[row]) for name, row in zip(names, rows, strict=True))
    margin = margin_of(metric) or margin_of(part.metric) or NAN
    contrast_ = signed_contrast(part, pool)[0]
    return Finding(part, metric, found, printed, margin, contrast_, on_paper, facts, runs)


def losses(part: Part, pool: Pool) -> list[str]:
    """For each row of `part`, how many of its runs diverged or are missing: `pssa: 3 of 5 diverged`."""
    told = dict.fromkeys(
        (key_of(row, pool), row.text if pool.data == PAPER else row.on_other_data) for _, row in part.terms
    )
    return [f"{name}: {lost}" for row, name in told if (lost := pool.losses(row))]


def answers(findings: Sequence[Finding]) -> list[Answer]:
    """The answer to each part: `no` where it is refuted after Holm over all of them, `yes` where it holds at 5 %."""
    adjusted = iter(holm([p for finding in findings for p in finding.against]))
    found: list[Answer] = []
    for finding in findings:
        least = min((next(adjusted) for _ in finding.against), default=math.inf)
        found.append("no" if least < ALPHA else "yes" if finding.agrees else "open")
    return found
