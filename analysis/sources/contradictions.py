"""Two records of one cell with different results. The first record counts, and a sentence names the cell and both.

Two records of one run may differ in their times, their machine and their curves, and an older one has fewer metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_xvol.ledger import checks

MOST_NAMED = 3
_MEASURED = ("last", "best", "best_epoch")


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first difference in the results of two usable records: `last top1 99.1 and 98.0`; empty where they agree.

    A metric that one of them lacks makes no difference.
    """
    if first["status"] != second["status"]:
        return f"{first['status']} and {second['status']}"
    one, other = (result["metrics"] or {} for result in (first, second))
    for name in one:
        for key in _MEASURED if name in other else ():
            values = [_number(metrics[name].get(key)) for metrics in (one, other)]
            if values[0] != values[1]:
                return f"{key} {checks.shown(name)[1:-1]} {values[0]} and {values[1]}"
    return ""


def _number(value: Any) -> Any:
    """`value`, or None for one that is not finite: an archive writes null for it."""
    return value if checks.is_number(value) else None


def sentence(where: str, found: Mapping[str, str]) -> str:
    """A sentence on the cells of `found`, which maps their ids to differences."""
    named = [f"{cell} ({what})" for cell, what in list(found.items())[:MOST_NAMED]]
    more = [f"{len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return f"{where}: two different results of one cell, of which the first counts: {', '.join([*named, *more])}"


def between(sources: Sequence[Any]) -> list[str]:
    """A sentence for each two of `sources` (`analysis.sources.collection.Source`) that contradict each other."""
    holders = Counter(cell for source in sources for cell in set(source.cells()))
    first: dict[str, tuple[str, Mapping[str, Any]]] = {}
    found: dict[str, dict[str, str]] = {}
    for source in sources:
        for cell in source.cells():
            outcome = source.outcome(cell) if holders[cell] > 1 else None
            if outcome is not None and outcome.result is not None:
                where, result = first.setdefault(cell, (source.where, outcome.result))
                what = difference(result, outcome.result)
                if what:
                    found.setdefault(f"{where} and {source.where}", {})[cell] = what
    return [sentence(where, cells) for where, cells in found.items()]
