"""Any mix of sources as one: ledgers and folders of W&B offline runs, merged by the id of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from analysis.sources.ledger import Ledger, is_ledger
from analysis.sources.offline import OfflineRuns, is_offline
from analysis.sources.sweep import Outcome, Sweep, assemble
from lightning_xvol.errors import UserError, nearest


class Source(Protocol):
    """Where runs are read from; `losses` says what in it cannot be read."""

    where: str
    losses: list[str]

    def plans(self) -> dict[str, tuple[Any, str]]:
        """By the name of a sweep what its `cells.json` holds, None where that is torn, and where it was found."""

    def outcome(self, cell_id: str) -> Outcome | None:
        """What is known of a cell; None where it was never begun."""

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """The epoch and the value of the metric `name` by the number of steps done."""


def open_source(name: str | Path) -> Source:
    """The source that `--source` names.

    Raises:
        UserError: where there are no runs.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(
            f"no runs at {str(name)!r}: no such folder; give the --out folder of a sweep or one of W&B runs"
        )
    if is_ledger(folder):
        return Ledger(folder)
    if is_offline(folder):
        return OfflineRuns(folder)
    raise UserError(
        f"no runs at {str(name)!r}: it holds neither a ledger (*/cells.json) nor W&B offline runs (*.wandb); "
        "give the --out folder of a sweep or one of W&B runs"
    )


class Collection:
    """What several sources hold together."""

    def __init__(self, names: Sequence[str | Path]) -> None:
        self.sources = [open_source(name) for name in names]
        self._plans = _merged([source.plans() for source in self.sources])

    @property
    def losses(self) -> list[str]:
        return [loss for source in self.sources for loss in source.losses]

    def sweeps(self) -> list[str]:
        """Their names.

        Raises:
            UserError: where the runs belong to none.
        """
        if not self._plans:
            places = ", ".join(repr(source.where) for source in self.sources)
            raise UserError(f"no sweep at {places}: its runs carry no plan of one; single runs make no table")
        return sorted(self._plans)

    def load(self, name: str) -> tuple[Sweep, pd.DataFrame]:
        """The sweep `name` and its frame.

        Raises:
            UserError: for an unknown sweep, a plan that is none, or results that do not belong together.
        """
        known = self.sweeps()
        if name not in known:
            places = ", ".join(repr(source.where) for source in self.sources)
            raise UserError(f"no sweep {name!r} at {places}{nearest(name, known)} It has: {', '.join(known)}")
        plan, where = self._plans[name]
        return assemble(plan, where, self.outcome)

    def outcome(self, cell_id: str) -> Outcome | None:
        """A record if any source has one, else an error, else what there is; of equals the first source's."""
        found = [outcome for source in self.sources if (outcome := source.outcome(cell_id)) is not None]
        return min(found, key=lambda outcome: (outcome.result is None, outcome.error is None), default=None)

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """From the source that knows most of the metric `name` of a cell."""
        return max((source.curve(cell_id, name) for source in self.sources), key=len)


def _merged(plans: Sequence[Mapping[str, tuple[Any, str]]]) -> dict[str, tuple[Any, str]]:
    """Plans of one name are put together where they differ in nothing but their cells.

    Raises:
        UserError: where they differ in more.
    """
    merged: dict[str, tuple[Any, str]] = {}
    for name, (plan, where) in (item for source in plans for item in source.items()):
        if name not in merged:
            merged[name] = (plan, where)
            continue
        first, first_where = merged[name]
        if not isinstance(first, dict) or not isinstance(plan, dict):
            raise UserError(f"cannot read {(where if isinstance(first, dict) else first_where)!r} as JSON")
        different = [key for key in first if key != "cells" and plan.get(key) != first[key]]
        if different:
            raise UserError(
                f"the sweep {name!r} of {first_where!r} and that of {where!r} differ in {', '.join(different)}; "
                "render them one by one"
            )
        cells = {json.dumps(cell, sort_keys=True): cell for cell in [*first["cells"], *plan.get("cells", ())]}
        merged[name] = ({**first, "cells": list(cells.values())}, first_where)
    return merged
