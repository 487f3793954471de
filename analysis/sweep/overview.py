"""The state of each sweep and its main result, with which the report and the summary begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.statistics import FEWEST_SEEDS
from analysis.sweep import footnotes
from analysis.sweep.results import SweepResults
from lightning_xvol.errors import UserError

STATES = ("finished", "missing", "failed", "diverged")


class Overview(SweepResults):
    """The results of a sweep in short: its cells by state, its best row and what is missing."""

    @property
    def runs(self) -> pd.DataFrame:
        """A row per cell."""
        return self.frame[self.frame["metric"] == self.layout.metric]

    @property
    def counts(self) -> dict[str, int]:
        """The number of cells in each of `STATES`."""
        found = self.runs["state"].value_counts()
        return {state: int(found.get(state, 0)) for state in STATES}

    @property
    def cells(self) -> int:
        return len(self.runs)

    @property
    def seconds(self) -> float:
        """The computing time of the runs that left a record."""
        return run_seconds([self])

    @property
    def best(self) -> pd.Series | None:
        """The row of `summary` with the highest mean, the first on a tie; None where no run has finished."""
        done = self.summary[self.summary["n"] > 0]
        return None if done.empty else done.loc[done["mean"].idxmax()]

    def best_text(self) -> str:
        """`X-volution, kernel size K = 7: 99.7 ± 0.3 (n = 3)`."""
        best = self.best
        if best is None:
            return "no finished run"
        axis = self.layout.column_axis
        position = "" if axis is None else f", {self.layout.place(axis, best[axis])}"
        return f"{best['row']}{position}: {numbers.runs(best['runs'])} (n = {best['n']})"

    def difference_text(self) -> str:
        """The best row against the baseline: `+0.5 [−0.1, +1.2] over Convolution, not resolved`; else a dash."""
        best = self.best
        baseline = self.layout.labels.get(self.layout.baseline or "")  # `--only` leaves rows out
        if best is None or baseline is None:
            return numbers.DASH
        if best["operator"] == self.layout.baseline:
            return f"{baseline} is the baseline"
        if pd.isna(best["delta"]):
            return f"no difference to {baseline} without two runs of both there"
        interval = ""
        if not pd.isna(best["delta_low"]) and best["n"] >= FEWEST_SEEDS:
            interval = f" [{numbers.signed(best['delta_low'])}, {numbers.signed(best['delta_high'])}]"
        resolved = "resolved" if best["resolved"] else "not resolved"
        return f"{numbers.signed(best['delta'])}{interval} over {baseline}, {resolved}"

    def control_texts(self) -> list[str]:
        """`X-volution minus X-volution (static): is above 0 at 3, 5`, for each row with a control."""
        return [
            f"{pair}: {footnotes.conclusion(self.layout, differences)}"
            for pair, differences in footnotes.against_controls(self)
        ]

    def warnings(self) -> list[str]:
        """Sentences about missing, diverged and failed cells, and about rows with too few seeds."""
        counts = self.counts
        found = [
            f"{counts[state]} of {self.cells} cells {text}"
            for state, text in {"missing": "missing", "diverged": "diverged and not averaged"}.items()
            if counts[state]
        ]
        few = int(((self.summary["n"] > 0) & (self.summary["n"] < FEWEST_SEEDS)).sum())
        if few:
            found.append(
                f"n too small: {few} of {len(self.summary)} table cells have fewer than {FEWEST_SEEDS} finished seeds, "
                "which decide nothing"
            )
        return found + footnotes.failures(self.runs)


def overviews(
    sources: Collection, select: str = "last", only: Mapping[str, Sequence[str]] | None = None,
    metrics: Sequence[str] = (),
) -> tuple[list[Overview], list[str]]:  # fmt: skip
    """Every sweep that can be shown, once per recipe, and a sentence for each that cannot.

    `only` and `metrics` are as in `analysis.render.load_sweep`.

    Raises:
        UserError: where no sweep can be shown.
    """
    found: list[Overview] = []
    left_out: list[UserError] = []
    for sweep, frame in sources.variants(sources.sweeps()):
        try:
            item = Overview.of(sources, sweep, frame, select, only=only, metrics=metrics)
            _ = item.summary  # raises where the sweep has nothing of what is asked for
            found.append(item)
        except UserError as error:
            left_out.append(UserError(f"sweep {sweep.name!r}: {error}"))
    left_out += sources.left_out()
    if not found:
        raise left_out[0]
    return found, [f"left out: {error}" for error in left_out]


def common_warnings(found: Sequence[Overview]) -> list[str]:
    """Warnings about the runs of all sweeps together."""
    return [*footnotes.selection(found[0].select), *footnotes.mixes(all_runs(found))]


def all_runs(found: Sequence[Overview]) -> pd.DataFrame:
    """A row per cell; a cell that several sweeps share counts once."""
    return pd.concat([overview.runs for overview in found]).drop_duplicates("cell_id")


def run_seconds(found: Sequence[Overview]) -> float:
    """The computing time of the runs that left a record; a cell that several sweeps share counts once."""
    return float(all_runs(found)["wall_seconds"].sum())
