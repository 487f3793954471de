"""Caption and footnotes of a sweep's table: what was computed, from which runs, and what it cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import numbers, product_use
from analysis.sources.ledger import Sweep
from analysis.statistics import Difference, compare


def title(sweep: Sweep) -> str:
    return f"{'SMOKE: ' if sweep.smoke else ''}{sweep.title} (recipe {sweep.recipe})."


def caption(sweep: Sweep) -> str:
    metric = sweep.metric_label[:1].upper() + sweep.metric_label[1:]
    cannot = " These data cannot reproduce the paper." if sweep.reproduces is None else ""
    return f"{metric}, mean {numbers.PLUS_MINUS} standard deviation.{cannot}"


def common_n(summary: pd.DataFrame) -> int:
    """The number of seeds of an entry that does not state its own: that of most entries, the larger on a tie."""
    counts = summary.loc[summary["n"] > 0, "n"]
    return int(counts.mode().max()) if len(counts) else 0


def notes(sweep: Sweep, frame: pd.DataFrame, summary: pd.DataFrame, select: str) -> list[str]:
    runs = frame[frame["metric"] == sweep.metric]
    lines = [*_warnings(runs, select), _estimator(sweep, summary, select), _replication(runs, summary)]
    lines.append(_brackets(sweep, summary))
    lines += control_sentences(sweep, frame, select)
    lines += [product_use.note(summary), sweep.note]
    if sweep.column_axis is None:
        lines.append(
            "Seconds a run: mean wall time of the finished runs, training and evaluation, beside whatever else the "
            "machine did; MACs of one image."
        )
    finished = runs[runs["state"].isin(["finished", "diverged"])]
    commits = _joined(finished["commit"].map(short_commit))
    environment = f"torch {_joined(finished['torch'])} on {_joined(finished['device'])}"
    lines.append(f"Data: {sweep.data}; budget: {sweep.budget}; commit: {commits}; {environment}.")
    if sweep.smoke:
        lines.append("SMOKE: a budget of a few steps that shows that everything runs; the numbers mean nothing.")
    if sweep.reproduces is None:
        lines.append(f"Published: {numbers.DASH}; these data cannot reproduce the paper; no published value.")
    return [line for line in lines if line]


def _warnings(runs: pd.DataFrame, select: str) -> list[str]:
    lines = []
    if select == "best":
        lines.append(
            "Warning: each run's best evaluation (select = best), not its last; picked among many, it is too high."
        )
    recorded = runs[runs["state"].isin(["finished", "diverged"])]
    mixes = {"commit": recorded["commit"].map(short_commit), "torch": recorded["torch"], "device": recorded["device"]}
    for name, values in mixes.items():
        if values.nunique(dropna=False) > 1:
            lines.append(f"Warning: mixed {_MIXED[name]}: {_joined(values)}.")
    failed = runs[runs["state"] == "failed"]
    if len(failed):
        pairs = zip(failed["cell_id"], failed["error"], strict=True)
        cells = [f"{cell} ({error})" if error else cell for cell, error in pairs]
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        lines.append(f"Warning: {_plural(len(cells), 'failed cell')}: {', '.join(cells[:3])}{more}.")
    return lines


_MIXED = {"commit": "commits", "torch": "versions of torch", "device": "devices"}


def _estimator(sweep: Sweep, summary: pd.DataFrame, select: str) -> str:
    text = (
        f"Estimator: mean over seeds of each run's {select} {sweep.metric_label}, "
        f"{numbers.PLUS_MINUS} standard deviation (ddof 1). CSV and figure hold its 95 % interval (Student's t)"
    )
    passes = "%" in sweep.metric_label and bool((summary["ci_high"] > 100).any())
    return text + (", which takes errors as normal and so may pass 100 %." if passes else ".")


def _replication(runs: pd.DataFrame, summary: pd.DataFrame) -> str:
    common = common_n(summary)
    own = " unless an entry states its own" if (summary["n"] != common).any() else ""
    single = f"; one seed has no spread ({numbers.DASH})" if (summary["n"] == 1).any() else ""
    diverged = "; diverged runs are not averaged" if summary["diverged"].any() else ""
    seeds = runs["seed"].unique().tolist()
    named = f"seed{'s' if len(seeds) > 1 else ''} {numbers.integers(seeds)}"
    return f"n = {common} ({named}){own}{single}{diverged}."


def _brackets(sweep: Sweep, summary: pd.DataFrame) -> str:
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


def control_sentences(sweep: Sweep, frame: pd.DataFrame, select: str) -> list[str]:
    """A sentence for each row and control of it: their differences with intervals, and where they tie."""
    lines = []
    for subject, controls in sweep.controls.items():
        for control in controls:
            differences = compare(frame, sweep.axes, sweep.metric, select, subject, control)
            known = {key: item for key, item in differences.items() if not pd.isna(item.mean)}
            if known:
                lines.append(_control_sentence(sweep, subject, control, known))
    return lines


def _control_sentence(
    sweep: Sweep, subject: str, control: str, differences: Mapping[tuple[Any, ...], Difference]
) -> str:
    values = [_place(key, ": ") + _difference(item) for key, item in differences.items()]
    verdicts: dict[str, list[str]] = {}
    for key, item in differences.items():
        if item.method != "none":
            verdicts.setdefault(_verdict(item), []).append(_place(key))
    found = [verdict + (f" at {', '.join(places)}" if sweep.axes else "") for verdict, places in verdicts.items()]
    axes = f", by {' / '.join(map(sweep.axis_label, sweep.axes))}" if sweep.axes else ""
    pair = f"{sweep.labels[subject]} minus {sweep.labels[control]}"
    conclusion = f"; the difference {' and '.join(found)}" if found else ""
    paired = " paired by seed" if any(item.method == "paired" for item in differences.values()) else ""
    measure = f"mean difference{paired} [95 % interval each]{axes}"
    return f"Against its control, {pair}, {measure}: {'; '.join(values)}{conclusion}."


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


def _place(key: tuple[Any, ...], end: str = "") -> str:
    return " / ".join(map(str, key)) + end if key else ""


def short_commit(commit: str | None) -> str:
    """The first ten digits, and what follows the hash (`-dirty`)."""
    if not isinstance(commit, str) or not commit:
        return "unknown"
    digest, dash, rest = commit.partition("-")
    return digest[:10] + dash + rest


def _joined(values: pd.Series) -> str:
    return ", ".join("unknown" if pd.isna(value) else str(value) for value in values.drop_duplicates()) or numbers.DASH


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
