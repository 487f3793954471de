"""Caption and footnotes of a sweep's table: how it was computed, its runs, and what the runs cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.sources.frame import SweepLayout
from analysis.statistics import Difference, compare
from analysis.sweep import product_use
from analysis.sweep.results import SweepResults


def title(sweep: SweepLayout) -> str:
    return f"{'SMOKE: ' if sweep.smoke else ''}{sweep.title} (recipe {sweep.recipe})."


def caption(sweep: SweepLayout) -> str:
    metric = sweep.metric_label[:1].upper() + sweep.metric_label[1:]
    cannot = " These data cannot reproduce the paper." if sweep.reproduces is None else ""
    return f"{metric}, mean {numbers.PLUS_MINUS} standard deviation.{cannot}"


def common_n(summary: pd.DataFrame) -> int:
    """The number of seeds of most table cells, the larger one on a tie; a cell states its own only if it differs."""
    counts = summary.loc[summary["n"] > 0, "n"]
    return int(counts.mode().max()) if len(counts) else 0


def notes(results: SweepResults) -> list[str]:
    sweep, frame, summary, select = results.layout, results.frame, results.summary, results.select
    runs = frame[frame["metric"] == sweep.metric]
    lines = [f"Warning: {warning}." for warning in (*selection(select), *mixes(runs), *failures(runs))]
    lines += [_estimator(sweep, summary, select), _replication(runs, summary), _brackets(sweep, summary)]
    lines += control_sentences(sweep, frame, select)
    lines += [product_use.note(summary, sweep), sweep.note]
    if sweep.column_axis is None:
        lines.append(
            "Seconds a run: mean wall time of training and evaluation over the finished runs; other work on the "
            "machine lengthens it. MACs are those of one image."
        )
    finished = runs[runs["state"].isin(["finished", "diverged"])]
    commits = _joined(finished["commit"].map(numbers.short_commit))
    environment = f"torch {_joined(finished['torch'])} on {_joined(finished['device'])}"
    changed = f"; changed: {', '.join(sweep.settings)}" if sweep.settings else ""
    lines.append(f"Data: {sweep.data}; budget: {sweep.budget}{changed}; commit: {commits}; {environment}.")
    if sweep.smoke:
        lines.append("SMOKE: a budget of a few steps shows that everything runs; the numbers mean nothing.")
    if sweep.reproduces is None:
        lines.append(f"Published: {numbers.DASH}; these data cannot reproduce the paper; no published value.")
    return [line for line in lines if line]


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


def _estimator(sweep: SweepLayout, summary: pd.DataFrame, select: str) -> str:
    text = (
        f"Estimator: mean over seeds of each run's {select} {sweep.metric_label}, "
        f"{numbers.PLUS_MINUS} standard deviation (ddof 1). CSV and figure hold its 95 % interval (Student's t)"
    )
    passes = "%" in sweep.metric_label and bool((summary["ci_high"] > 100).any())
    return text + (", which assumes normal errors and so may exceed 100 %." if passes else ".")


def _replication(runs: pd.DataFrame, summary: pd.DataFrame) -> str:
    common = common_n(summary)
    own = " unless a table cell states its own" if (summary["n"] != common).any() else ""
    single = f"; one seed has no spread ({numbers.DASH})" if (summary["n"] == 1).any() else ""
    diverged = "; diverged runs are not averaged" if summary["diverged"].any() else ""
    seeds = runs["seed"].unique().tolist()
    named = f"seed{'s' if len(seeds) > 1 else ''} {numbers.integers(seeds)}"
    return f"n = {common} ({named}){own}{single}{diverged}."


def _brackets(sweep: SweepLayout, summary: pd.DataFrame) -> str:
    methods = set(summary.loc[summary["delta"].notna(), "delta_method"])
    if not methods or sweep.baseline is None:
        return ""
    where = f" at the same {' and '.join(map(sweep.axis_label, sweep.axes))}" if sweep.axes else ""
    how = {"paired": "paired by seed", "welch": "by Welch where the seeds differ"}
    named = [text for method, text in how.items() if method in methods]
    bootstrap = "bootstrap, " if summary.attrs.get("interval") == "bootstrap" else ""
    ways = f"; its 95 % interval ({bootstrap}{', '.join(named)}) is in the CSV" if named else ""
    if summary.attrs.get("adjusted"):
        ways += f", p adjusted for {int(summary['delta_p'].notna().sum())} comparisons by Holm's method"
    return f"In brackets: difference of the means to {sweep.labels[sweep.baseline]}{where}{ways}."


def control_sentences(sweep: SweepLayout, frame: pd.DataFrame, select: str) -> list[str]:
    """A sentence for each pair of a row and its control: their differences with intervals, and where they tie."""
    return [_control_sentence(sweep, *found) for found in against_controls(sweep, frame, select)]


def against_controls(
    sweep: SweepLayout, frame: pd.DataFrame, select: str
) -> list[tuple[str, dict[tuple[Any, ...], Difference]]]:
    """For each pair of a row and its control: its name `A minus B`, and the known differences by values of the axes."""
    found = []
    for subject, controls in sweep.controls.items():
        for control in controls:
            differences = compare(frame, sweep.axes, sweep.metric, select, subject, control)
            known = {key: item for key, item in differences.items() if not pd.isna(item.mean)}
            if known:
                found.append((f"{sweep.labels[subject]} minus {sweep.labels[control]}", known))
    return found


def conclusion(sweep: SweepLayout, differences: Mapping[tuple[Any, ...], Difference]) -> str:
    """`ties within the interval at 3, 5 and is above 0 at 1`; empty without intervals."""
    verdicts: dict[str, list[str]] = {}
    for key, item in differences.items():
        if item.method != "none":
            verdicts.setdefault(_verdict(item), []).append(_position(key))
    return " and ".join(
        verdict + (f" at {', '.join(positions)}" if sweep.axes else "") for verdict, positions in verdicts.items()
    )


def _control_sentence(sweep: SweepLayout, pair: str, differences: Mapping[tuple[Any, ...], Difference]) -> str:
    values = [_position(key, ": ") + _difference(item) for key, item in differences.items()]
    axes = f", by {' / '.join(map(sweep.axis_label, sweep.axes))}" if sweep.axes else ""
    found = conclusion(sweep, differences)
    concluded = f"; the difference {found}" if found else ""
    paired = " paired by seed" if any(item.method == "paired" for item in differences.values()) else ""
    measure = f"mean difference{paired} [95 % interval each]{axes}"
    return f"Against its control, {pair}, {measure}: {'; '.join(values)}{concluded}."


def _difference(item: Difference) -> str:
    mean = numbers.signed(item.mean, decimals=2)
    if item.method == "none":
        return f"{mean} (no interval)"
    bounds = f"[{numbers.signed(item.low, decimals=2)}, {numbers.signed(item.high, decimals=2)}]"
    return f"{mean} {bounds}" + (" (Welch)" if item.method == "welch" else "")


def _verdict(item: Difference) -> str:
    if item.low <= 0 <= item.high:
        return "ties within the interval"
    return "is above 0" if item.mean > 0 else "is below 0"


def _position(key: tuple[Any, ...], end: str = "") -> str:
    """The values of the axes, followed by `end`; empty for a sweep without axes."""
    return " / ".join(map(str, key)) + end if key else ""


def _joined(values: pd.Series) -> str:
    return ", ".join("unknown" if pd.isna(value) else str(value) for value in values.drop_duplicates()) or numbers.DASH
