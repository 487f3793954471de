"""`--only operator=` and `--metric` for the paper's tables and claims: which rows, columns and claims are shown.

The two flags change no number. Tests and pooled variances use all rows, and Holm adjusts p over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.paper import published
from analysis.paper.claims import CLAIMS
from analysis.paper.verdicts import Verdict
from lightning_xvol.commandline import row_named
from lightning_xvol.errors import UserError, nearest


@dataclass(frozen=True)
class Shown:
    """The operators and metrics that are shown. An empty set stands for all.

    Attributes:
        operators: The labels of rows.
        metrics: The names of metrics.
    """

    operators: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()

    @classmethod
    def of(cls, only: Mapping[str, Sequence[str]], metrics: Sequence[str], strict: bool = True) -> Shown:
        """The operators and metrics that `--only` and `--metric` choose.

        With `strict`, they may name only what the paper has. A report is not strict, because its sweeps have more
        operators and metrics.

        Raises:
            UserError: for a key, an operator or a metric that the paper does not have.
        """
        labels, known = _labels(), _metrics()
        for key in only if strict else ():
            if key != "operator":
                raise UserError(f"--only {key}: in the paper's tables and claims, only operator can be chosen")
        asked = only.get("operator", ())
        found = [row_named(value, labels) for value in asked]
        for value, row in zip(asked, found, strict=True):
            if row is None and strict:
                raise UserError(
                    f"--only operator={value} selects nothing{nearest(value, labels)}; values: {', '.join(labels)}"
                )
        for name in metrics if strict else ():
            if name not in known:
                raise UserError(f"--metric {name} selects nothing{nearest(name, known)}; metrics: {', '.join(known)}")
        return cls(frozenset(row or value for row, value in zip(found, asked, strict=True)), frozenset(metrics))

    @property
    def all(self) -> bool:
        return not (self.operators or self.metrics)

    def has_row(self, label: str) -> bool:
        return not self.operators or label in self.operators

    def has_metric(self, name: str) -> bool:
        return not self.metrics or name in self.metrics

    def has_claim(self, verdict: Verdict) -> bool:
        """Whether a claim is about one of the operators and one of the metrics."""
        subjects = verdict.claim.subjects
        about = not self.operators or bool(self.operators & subjects)
        return about and (not self.metrics or bool(self.metrics & {*subjects, *verdict.metrics}))

    def note(self, shown: int, of: int, what: str) -> str:
        """A footnote such as `Shown: 3 of 27 claims (operator xvolution); ...`; empty where everything is shown."""
        if self.all:
            return ""
        chosen = [f"operator {', '.join(sorted(self.operators))}"] if self.operators else []
        chosen += [f"metric {', '.join(sorted(self.metrics))}"] if self.metrics else []
        return (
            f"Shown: {shown} of {of} {what} ({'; '.join(chosen)}); intervals, p and verdicts are those of all rows, so "
            "hiding some rows does not change them."
        )


EVERYTHING = Shown()


def _labels() -> list[str]:
    """The labels of the rows in the paper's tables and claims."""
    printed = (label for number in (1, 2, 3, 4, 6) for _, label, _ in published.of_table(number))
    claimed = (row.label for claim in CLAIMS for part in claim.parts for _, row in part.terms)
    return list(dict.fromkeys([*printed, *claimed]))


def _metrics() -> list[str]:
    printed = (name for number in (1, 2, 3, 4, 6) for row in published.of_table(number).values() for name in row)
    return list(dict.fromkeys(printed))
