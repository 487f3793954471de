"""Caption and footnotes of a sweep's table: how it was computed, its runs, and what the runs cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.paper.claims import margin_of
from analysis.sources.frame import SweepLayout
from analysis.sources.samples import Comparison
from analysis.statistics import ALPHA, FEWEST_SEEDS, Difference, equivalence
from analysis.sweep import display, product_use
from analysis.sweep.results import SweepResults

_SECONDS = {
    "wall_seconds": "Seconds a run: mean wall time of training and evaluation over the finished runs; other work on "
    "the machine lengthens it. MACs are those of one image.",
    "cpu_seconds": "CPU seconds a run: mean CPU time of training and evaluation over the finished runs. MACs are "
    "those of one image.",
}


def title(sweep: SweepLayout) -> str:
    return f"{'SMOKE: ' if sweep.smoke else ''}{sweep.title} ({sweep.origin})."


def caption(sweep: SweepLayout, summary: pd.DataFrame) -> str:
    metric = sweep.metric_label[:1].upper() + sweep.metric_label[1:]
    cannot = " These data cannot reproduce the paper." if sweep.reproduces is None else ""
    shown = f"mean {numbers.PLUS_MINUS} standard deviation"
    if summary["n"].max() < FEWEST_SEEDS:
        shown = "single runs"
    return f"{metric}, {shown}.{cannot}"


def common_n(summary: pd.DataFrame) -> int:
    """The number of seeds of most table cells, the larger one on a tie; a cell states its own only if it differs."""
    counts = summary.loc[summary["n"] > 0, "n"]
    return int(counts.mode().max()) if len(counts) else 0


def notes(results: SweepResults) -> list[str]:
    sweep, frame, summary, select = results.layout, results.frame, results.visible, results.select
    runs = frame[frame["metric"] == sweep.metric]
    lines = warnings(runs, select)
    lines += [estimator(sweep, summary, select), replication(runs, summary), _intervals(results), _brackets(results)]
    lines += [display.note(results.only, len(results.summary), len(results.whole), results.metrics)]
    lines += [display.left_note(results.summary, summary, runs, sweep.column_axis), *control_sentences(results)]
    lines += [product_use.note(results.others, sweep), sweep.note]
    if sweep.column_axis is None and not results.metrics:
        lines += [text for cost, text in _SECONDS.items() if cost in display.costs(summary)]
    lines.append(f"Data: {sweep.data}; budget: {sweep.budget}{sweep.changes}; {computed_by(runs)}.")
    if sweep.smoke:
        lines.append("SMOKE: a budget of a few steps shows that everything runs; the numbers mean nothing.")
    if sweep.reproduces is None:
        lines.append(f"Published: {numbers.DASH}; these data cannot reproduce the paper; no published value.")
    return [line for line in lines if line]


def short_notes(results: SweepResults) -> list[str]:
    """A sentence on the estimator and the number of seeds, one on the data, and warnings."""
    sweep, summary = results.layout, results.visible
    runs = results.frame[results.frame["metric"] == sweep.metric]
    brackets = ""
    if sweep.baseline is not None and summary["delta"].notna().any():
        brackets = f"; in brackets: difference to {sweep.labels[sweep.baseline]}"
        brackets += f", {numbers.DAGGER} where resolved" if summary["resolved"].fillna(False).any() else ""
    return [
        f"{short_estimator(sweep, summary, results.select)}{brackets}.",
        f"Data: {sweep.data}; budget: {sweep.budget}{sweep.changes}; {commits_of(runs)}.",
        *warnings(runs, results.select),
    ]


def short_estimator(sweep: SweepLayout, summary: pd.DataFrame, select: str) -> str:
    """`Mean ± standard deviation over seeds of each run's last top-1 accuracy (%), n = 3`."""
    value = f"each run's {select} {sweep.metric_label}, {_count(summary)}"
    if summary["n"].max() < FEWEST_SEEDS:
        return f"E{value[1:]}"
    return f"Mean {numbers.PLUS_MINUS} standard deviation over seeds of {value}"


def warnings(runs: pd.DataFrame, select: str) -> list[str]:
    return [f"Warning: {warning}." for warning in (*selection(select), *mixes(runs), *failures(runs))]


def _count(summary: pd.DataFrame, seeds: str = "") -> str:
    """`n = 3 (seeds 0, 1, 2) unless a table cell states its own`."""
    common = common_n(summary)
    return f"n = {common}{seeds}" + (" unless a table cell states its own" if (summary["n"] != common).any() else "")


def computed_by(runs: pd.DataFrame) -> str:
    """`commit: 0123456789; torch 2.15.0 on cpu` of the runs that left a record. `runs` has a row per cell."""
    recorded = runs[runs["state"].isin(["finished", "diverged"])]
    return f"{commits_of(runs)}; torch {_joined(recorded['torch'])} on {_joined(recorded['device'])}"


def commits_of(runs: pd.DataFrame) -> str:
    """`commit: 0123456789` of the runs that left a record."""
    recorded = runs[runs["state"].isin(["finished", "diverged"])]
    return f"commit: {_joined(recorded['commit'].map(numbers.short_commit))}"


def selection(select: str) -> list[str]:
    """A warning where the best evaluation of each run counts instead of its last."""
    too_high = "each run's best evaluation (select = best), not its last; picked among many, it is too high"
    return [too_high] if select == "best" else []


def mixes(runs: pd.DataFrame) -> list[str]:
    """Warnings such as `mixed commits: A, B`, for commits, versions of torch and devices. `runs` has a row per cell."""
    recorded = runs[runs["state"].isin(["finished", "diverged"])]
    kinds = {
        "commits": recorded["commit"].map(numbers.short_commit),
        "versions of torch": recorded["torch"],
        "devices": recorded["device"],
    }
    return [f"mixed {name}: {_joined(values)}" for name, values in kinds.items() if values.nunique(dropna=False) > 1]


def failures(runs: pd.DataFrame) -> list[str]:
    """A warning that names the failed runs and their errors. `runs` has a row per cell."""
    failed = runs[runs["state"] == "failed"]
    if failed.empty:
        return []
    pairs = zip(failed["cell_id"], failed["error"], strict=True)
    cells = [f"{cell} ({error})" if error else cell for cell, error in pairs]
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return [f"{numbers.counted(len(cells), 'failed cell')}: {', '.join(cells[:3])}{more}"]


def estimator(sweep: SweepLayout, summary: pd.DataFrame, select: str) -> str:
    """The footnote that says what the values of a table are."""
    if summary["n"].max() < FEWEST_SEEDS:
        return f"Estimator: each run's {select} {sweep.metric_label}."
    return (
        f"Estimator: mean over seeds of each run's {select} {sweep.metric_label}, "
        f"{numbers.PLUS_MINUS} standard deviation (ddof 1)."
    )


def replication(runs: pd.DataFrame, summary: pd.DataFrame) -> str:
    """The footnote on the number of runs. `runs` has a row per cell, `summary` a row per group."""
    few = "; one or two runs stand as they are, without a spread" if summary["n"].isin([1, 2]).any() else ""
    apart = any(numbers.extremes(values) for values in summary["runs"])
    extremes = f"; runs more than {numbers.FAR_APART:g} points apart: lowest to highest in brackets" if apart else ""
    diverged = "; diverged runs are not averaged" if summary["diverged"].any() else ""
    usual = runs[runs["group_id"].isin(summary.loc[summary["n"] == common_n(summary), "group_id"])]
    usual = usual[usual["state"] == "finished"]
    seeds = sorted((runs if usual.empty else usual)["seed"].unique().tolist())
    named = f"seed{'s' if len(seeds) > 1 else ''} {numbers.integers(seeds)}"
    return f"{_count(summary, f' ({named})')}{few}{extremes}{diverged}."


def _intervals(results: SweepResults) -> str:
    """How the table's 95 % intervals are made, and what they cannot do."""
    if not (results.summary["n"] > 1).any():
        return ""
    return intervals_note(results.interval, None if results.prior is None else results.prior.degrees)


def intervals_note(interval: str, prior_degrees: float | None) -> str:
    """The footnote on intervals, for a table whose prior has so many degrees of freedom; None without a prior."""
    rest = f"differences are not paired, p by Holm; n < {FEWEST_SEEDS} decides nothing."
    if interval == "t":
        return (
            "95 % intervals over seeds are Student's t, from a row's own spread alone (--interval t): they may pass "
            "100 %, cover too little near it, and rest on spreads that are zero by chance where n is small; " + rest
        )
    if prior_degrees is None:
        return f"95 % intervals over seeds use a row's own spread on the arcsine scale; {rest}"
    return (
        "95 % intervals over seeds use a row's own spread or, where that is smaller, one pooled with the other rows of "
        f"the table (d0 = {prior_degrees:.1f}); {rest}"
    )


def _brackets(results: SweepResults) -> str:
    sweep, summary = results.layout, results.summary
    if sweep.baseline is None or not summary["delta"].notna().any():
        return ""
    where = f" at the same {' and '.join(map(sweep.axis_label, sweep.axes))}" if sweep.axes else ""
    family = numbers.counted(results.measured.comparisons, "difference")
    return (
        f"In brackets: difference of the means to {sweep.labels[sweep.baseline]}{where}; {numbers.DAGGER}: resolved, p "
        f"below {ALPHA:.0%} after Holm over the {family} of the table. CSV and figure hold the intervals."
    ).replace("5%", "5 %")


def control_sentences(results: SweepResults) -> list[str]:
    """A sentence for each pair of a row and its control: their differences with intervals, and what they show."""
    return [_control_sentence(results.layout, *found) for found in against_controls(results)]


def against_controls(results: SweepResults) -> list[tuple[str, dict[tuple[Any, ...], Comparison]]]:
    """For each pair of a row and its control: its name `A minus B`, and the known differences by values of the axes."""
    sweep, measured = results.layout, results.measured
    shown = set(results.summary["group_id"])
    found = []
    for subject, controls in sweep.controls.items():
        for control in controls:
            compared = {
                place[1:]: measured.compare(place, control)
                for place, group in measured.places.items() if place[0] == subject and group in shown
            }  # fmt: skip
            known = {key: item for key, item in compared.items() if not pd.isna(item.difference.mean)}
            if known:
                found.append((f"{sweep.labels[subject]} minus {sweep.labels[control]}", known))
    return found


def conclusion(sweep: SweepLayout, differences: Mapping[tuple[Any, ...], Comparison]) -> str:
    """`is not resolved at 3 (a gain above 1.2 is excluded) and is above 0 at 1`; empty without differences."""
    margin = margin_of(sweep.metric)
    found = {key: _verdict(item, margin) for key, item in differences.items()}
    one, *others = {*found.values()} or {("", "")}
    if one[1] and not others:  # such as two seeds everywhere
        return f"{one[0]} ({one[1]})"
    verdicts: dict[str, list[str]] = {}
    for key, (verdict, more) in found.items():
        verdicts.setdefault(verdict, []).append(_position(sweep, key) + (f" ({more})" if more else ""))
    return " and ".join(
        verdict + (f" at {', '.join(positions)}" if sweep.axes else "".join(positions))
        for verdict, positions in verdicts.items()
    )


def _control_sentence(sweep: SweepLayout, pair: str, differences: Mapping[tuple[Any, ...], Comparison]) -> str:
    values = [_position(sweep, key, ": ") + difference_text(item.difference) for key, item in differences.items()]
    axes = f", by {' / '.join(map(sweep.axis_label, sweep.axes))}" if sweep.axes else ""
    interval = " [95 % interval each]" if any(_has_interval(item.difference) for item in differences.values()) else ""
    return (
        f"Against its control, {pair}, mean difference{interval}{axes}: {'; '.join(values)}; the difference "
        f"{conclusion(sweep, differences)}."
    )


def _has_interval(item: Difference) -> bool:
    return item.n >= FEWEST_SEEDS and item.is_tested  # the interval of two runs stands in the CSV alone


def difference_text(item: Difference) -> str:
    """`+0.70 [−0.41, +1.81]`: the difference, and its interval from three runs on."""
    mean = numbers.signed(item.mean, decimals=2)
    if item.n >= FEWEST_SEEDS and not item.is_tested:
        return f"{mean} (no spread, no interval)"
    if not _has_interval(item):
        return mean
    return f"{mean} [{numbers.signed(item.low, decimals=2)}, {numbers.signed(item.high, decimals=2)}]"


def _verdict(item: Comparison, margin: float | None) -> tuple[str, str]:
    """What a difference shows, and a remark on it. Equality is shown by two one-sided tests alone."""
    found = item.difference
    if item.is_resolved:
        return ("is above 0" if found.mean > 0 else "is below 0"), ""
    if not found.can_decide:
        few = found.n < FEWEST_SEEDS
        return "is not resolved", f"n < {FEWEST_SEEDS}" if few else "no spread"
    if margin is not None and equivalence(found, margin) < ALPHA:
        return f"is equivalent within {numbers.PLUS_MINUS}{margin:g} (two one-sided tests)", ""
    excluded = "any gain" if found.high <= 0 else f"a gain above {numbers.number(found.high, 2)}"
    return "is not resolved", f"{excluded} is excluded"


def _position(sweep: SweepLayout, key: tuple[Any, ...], end: str = "") -> str:
    """The values of the axes, followed by `end`; empty for a sweep without axes."""
    return " / ".join(map(sweep.value_label, sweep.axes, key)) + end if key else ""


def _joined(values: pd.Series) -> str:
    return ", ".join("unknown" if pd.isna(value) else str(value) for value in values.drop_duplicates()) or numbers.DASH
