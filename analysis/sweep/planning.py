"""How many seeds a sweep needs: the power of its differences, from the spread of a pilot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import nctdtr, stdtrit

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.statistics import ALPHA, FEWEST_SEEDS, MOST_SEEDS, Estimate
from analysis.sweep.results import SweepResults
from lightning_xvol.commandline import columns
from lightning_xvol.errors import UserError


def power(distance: float, error: float, degrees: float, alpha: float = ALPHA) -> float:
    """The probability that the two-sided t test finds a true difference of `distance` with this standard error."""
    quantile = float(stdtrit(degrees, 1 - alpha / 2))
    return 1 - _noncentral(degrees, distance / error, quantile) + _noncentral(degrees, distance / error, -quantile)


def _noncentral(degrees: float, shift: float, bound: float) -> float:
    """The distribution function of noncentral t. SciPy has no number where it is 0 to all digits."""
    found = float(nctdtr(degrees, shift, bound))
    return 0.0 if math.isnan(found) else found


@dataclass(frozen=True)
class Pair:
    """The spreads of two rows, as runs scatter, and what their degrees of freedom become with more runs.

    Attributes:
        spreads: The standard deviation of a run in each row, in points.
        prior_degrees: The weight d0 of the table's prior; 0 without one.
        entries: The number of rows that share it.
    """

    spreads: tuple[float, float]
    prior_degrees: float
    entries: int

    @property
    def spread(self) -> float:
        """The root mean square of the two spreads."""
        return math.sqrt((self.spreads[0] ** 2 + self.spreads[1] ** 2) / 2)

    def power(self, distance: float, n: int, alpha: float = ALPHA) -> float:
        """The power with `n` runs of each row."""
        each = min(self.prior_degrees + n - 1, max(self.entries, 1) * (n - 1))
        first, second = (spread**2 / n for spread in self.spreads)
        degrees = each * (first + second) ** 2 / (first**2 + second**2)
        return power(distance, math.sqrt(first + second), degrees, alpha)

    def seeds(self, distance: float, wanted: float, alpha: float = ALPHA) -> int | None:
        """The fewest runs of each row with the power `wanted`; None beyond `MOST_SEEDS`."""
        numbers_of_seeds = range(FEWEST_SEEDS, MOST_SEEDS + 1)
        return next((n for n in numbers_of_seeds if self.power(distance, n, alpha) >= wanted), None)


def plan(results: Sequence[SweepResults], distance: float, wanted: float) -> str:
    """For each sweep, the number of seeds that finds a difference of `distance` points with the power `wanted`.

    Raises:
        UserError: where no sweep has two rows of two runs.
    """
    texts = [text for item in results if (text := _sweep(item, distance, wanted))]
    if not texts:
        names = ", ".join(item.layout.name for item in results)
        raise UserError(f"no sweep of {names} has two finished runs of two rows; a pilot needs them to know the spread")
    return "\n\n".join([*texts, _legend(wanted)])


def _sweep(results: SweepResults, distance: float, wanted: float) -> str:
    """What `plan` says of one sweep; empty where the spread of its rows is not known."""
    sweep, pairs = results.layout, _pairs(results)
    if not pairs:
        return ""
    family = max(len(results.measured.pairs), 1)
    typical, loudest = pairs[(len(pairs) - 1) // 2], pairs[-1]
    hours, kind = _hours_of(results)
    rows = [[f"to find a difference of {distance:g} points", "sd of a run", "seeds", f"{kind} hours"]]
    for name, pair, alpha in (
        ("one planned difference, typical spread", typical, ALPHA),
        (f"each of {family}, after Holm, typical spread", typical, ALPHA / family),
        (f"each of {family}, after Holm, largest spread", loudest, ALPHA / family),
    ):
        seeds = pair.seeds(distance, wanted, alpha)
        told = [f"over {MOST_SEEDS}", numbers.DASH]
        if seeds is not None:
            told = [str(seeds), numbers.number(hours * seeds, 2)]
        rows.append([name, numbers.number(pair.spread, 2), *told])
    counts = [item.n for item in results.measured.estimates.values() if item.n > 1]
    n = numbers.DASH.join(map(str, dict.fromkeys((min(counts), max(counts)))))
    smoke = "SMOKE, the numbers mean nothing: " if sweep.smoke else ""
    head = f"{smoke}{sweep.name} ({sweep.origin}, {sweep.budget}), {sweep.metric_label}; pilot: n = {n}"
    return "\n".join([head, results.diagnostic(), *columns(rows, right=(1, 2, 3))])


def _pairs(results: SweepResults) -> list[Pair]:
    """The pairs of rows that the table compares, by their spread; without a baseline, each row and one like it."""
    measured = results.measured
    several = {group: item for group, item in measured.estimates.items() if item.n > 1}
    known = [pair for pair in measured.pairs if all(group in several for group in pair)]
    if not measured.pairs:
        known = [(group, group) for group in several]
    found = [_pair(results, several[first], several[second]) for first, second in known]
    return sorted((pair for pair in found if pair.spread > 0), key=lambda pair: pair.spread)


def _pair(results: SweepResults, first: Estimate, second: Estimate) -> Pair:
    degrees, entries = (0.0, 1) if results.prior is None else (results.prior.degrees, results.prior.entries)
    return Pair((first.sd_used, second.sd_used), degrees, entries)


def _hours_of(results: SweepResults) -> tuple[float, str]:
    """The hours of one run of every group, and of what: a process of several threads counts each of them."""
    frame = results.frame[results.frame["metric"] == results.layout.metric]
    done = frame[frame["state"] == "finished"]
    on_cpu = done["device"].map(lambda device: str(device).startswith("cpu"))
    records = results.sources.results(frame)
    seconds = [
        float(rows["wall_seconds"].mean()) * _units(records.get(str(group)), bool(on_cpu[rows.index].all()))
        for group, rows in done.groupby("group_id", sort=False)
    ]
    groups = frame["group_id"].nunique()  # a group that the pilot lacks counts as the mean of the others
    kind = "CPU" if on_cpu.all() else "CPU and GPU" if on_cpu.any() else "GPU"
    return math.fsum(seconds) / len(seconds) * groups / 3600, kind


def _units(record: dict[str, object] | None, on_cpu: bool) -> int:
    """The number of threads or devices that a run had for itself."""
    config = (record or {}).get("config")
    train = config.get("train") if isinstance(config, dict) else None
    found = [train.get(name) for name in (("devices", "threads") if on_cpu else ("devices",))] if train else []
    return math.prod(value for value in found if isinstance(value, int))


def _legend(wanted: float) -> str:
    return (
        f"Seeds: how many each row needs, those of the pilot included, so that a test at {100 * ALPHA:.0f} % finds a\n"
        f"true difference with a probability of {100 * wanted:g} %. After Holm: at its strictest step. Hours: of the\n"
        "whole sweep with so many seeds. The spread of a small pilot is uncertain; see docs/statistics.md."
    )


def results_of(sources: Collection, names: Sequence[str], select: str) -> list[SweepResults]:
    """The sweeps `names`, all of their recipes and budgets.

    Raises:
        UserError: for a sweep that the sources lack.
    """
    found = [
        SweepResults.of(sources, sweep, frame, select) for name in names for sweep, frame in sources.variants([name])
    ]
    if not found:
        sources.load(names[0])  # which says what there is
    return found
