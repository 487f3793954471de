"""Runs sampled cells of a source again on this machine and compares them with their records.

Each run is a process of its own, `python -m lightning_xvol fit`, in a folder that is removed afterwards. So nothing
here imports torch.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from scipy.special import stdtrit

from analysis import numbers
from analysis.sources.collection import Collection
from lightning_xvol.config.imports import importable
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import from_record, to_dict
from lightning_xvol.errors import UserError, first_line
from lightning_xvol.ledger import record
from lightning_xvol.surroundings.programs import run_program

BIT_EQUAL, WITHIN, OUTSIDE = "bit-equal", "within the prediction interval of the row's seeds", "outside"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """A finished cell that can be run again.

    Attributes:
        name: Its row, axes and seed, for messages.
        metric: The metric of its sweep.
        result: Its record.
        seeds: The values of the metric in the finished runs of its row, its own included.
    """

    name: str
    metric: str
    result: Mapping[str, Any]
    seeds: tuple[float, ...]

    @property
    def cell_id(self) -> str:
        return str(self.result["cell_id"])


@dataclass(frozen=True)
class Check:
    """What came of running a cell again.

    Attributes:
        candidate: The cell.
        verdict: `BIT_EQUAL`, `WITHIN`, `OUTSIDE`, or a sentence that says why there is none of them.
        here: The value of the metric here; NaN without one.
        seconds: How long it took.
        environment: The environment of the run here.
    """

    candidate: Candidate
    verdict: str
    here: float = math.nan
    seconds: float = 0.0
    environment: Mapping[str, str] | None = None

    @property
    def agrees(self) -> bool:
        return self.verdict in (BIT_EQUAL, WITHIN)

    def text(self) -> str:
        recorded = numbers.number(_value(self.candidate.result, self.candidate.metric), record.DECIMALS)
        here = numbers.number(self.here, record.DECIMALS)
        about = self.candidate
        return f"{about.cell_id} {about.name}: {about.metric} recorded {recorded} / here {here}: {self.verdict} " + (
            f"({self.seconds:.0f} s)"
        )


def candidates(sources: Collection) -> list[Candidate]:
    """The finished cells of all sweeps in `sources`, each once, in the order of their ids."""
    found: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for plan in sources.whole_plans():
        for cell in plan.content["cells"]:
            outcome = sources.outcome(cell["cell_id"])
            if outcome is None or outcome.result is None or outcome.result["status"] != "finished":
                continue
            axes = [f"{axis}={value}" for axis, value in cell["axes"].items()]
            name = " ".join([cell["operator"], *axes, f"seed={cell['seed']}"])
            found.setdefault(cell["cell_id"], (name, plan.content["metric"], outcome.result))
            groups.setdefault(cell["group_id"], {})[cell["cell_id"]] = outcome.result
    return [
        Candidate(name, metric, result, tuple(_value(other, metric) for other in groups[result["group_id"]].values()))
        for _, (name, metric, result) in sorted(found.items())
    ]


def sample(cells: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """`count` of `cells`, the same ones for equal `seed` on every machine."""

    def key(cell: Candidate) -> str:
        return hashlib.sha256(f"{seed} {cell.cell_id}".encode()).hexdigest()

    return sorted(cells, key=key)[:count]


def verify(
    cells: Sequence[Candidate], where: str, data_dir: Path | None, download: bool, trust: bool
) -> Iterator[Check]:
    """Run each of `cells` again.

    Raises:
        UserError: before the first run, for a configuration that names an import path without `trust`.
    """
    configs = [_config(cell, where, trust) for cell in cells]
    for cell, config in zip(cells, configs, strict=True):
        yield _check(cell, config, data_dir, download, trust)


def _config(cell: Candidate, where: str, trust: bool) -> Resolved | str:
    """The configuration of `cell`, or why it cannot be run here."""
    try:
        config = importable(from_record(cell.result["config"], source=f"cell {cell.cell_id} of {where}", trust=trust))
        resolved = resolve(config)
    except (AttributeError, TypeError) as error:
        return f"not run, its configuration cannot be read ({first_line(error)})"
    except UserError as error:
        if "--trust" in str(error):
            raise
        return f"not run, this version does not take its configuration ({error})"
    if resolved.cell_id != cell.cell_id:
        return "not run, its configuration has another id in this version"
    if resolved.detector.origin is not None:
        return "not run, it starts from weights that no record holds"
    return resolved


def _check(cell: Candidate, config: Resolved | str, data_dir: Path | None, download: bool, trust: bool) -> Check:
    if isinstance(config, str):
        return Check(cell, config)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lightning-xvol-verify-") as folder:
        result, error = _run(config, Path(folder), data_dir, download, trust)
    seconds = time.monotonic() - began
    if result is None:
        return Check(cell, f"failed here: {error}", seconds=seconds)
    here = _value(result, cell.metric)
    return Check(cell, _verdict(cell, result), here, seconds, result["environment"])


def _run(
    config: Resolved, folder: Path, data_dir: Path | None, download: bool, trust: bool
) -> tuple[dict[str, Any] | None, str]:
    """The record of `config`, run in `folder`, or None and the error."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False), encoding="utf-8")
    words = [sys.executable, "-m", "lightning_xvol", "fit", "--config", str(path), "--out", str(folder)]
    words += ["--wandb", "disabled"] + ["--download"] * download + ["--trust"] * trust
    words += [] if data_dir is None else ["--data-dir", str(data_dir)]
    done = run_program(words)
    result = record.read_result(record.cell_folder(folder, config.cell_id))
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return result, lines[-1].removeprefix("error: ")


def _verdict(cell: Candidate, here: Mapping[str, Any]) -> str:
    before, now = (_digest(result) for result in (cell.result, here))
    if before is not None and now is not None and before != now:
        return f"not comparable, the data here are others (digest {now}, recorded {before})"
    if all(cell.result[key] == here[key] for key in ("weights_sha256", "metrics", "status")):
        return BIT_EQUAL
    if here["status"] != "finished":
        return f"{OUTSIDE}: it has diverged here"
    if len(cell.seeds) < 2:
        return "not bit-equal, and one seed gives no prediction interval"
    low, high = prediction_interval(cell.seeds)
    return WITHIN if low <= _value(here, cell.metric) <= high else OUTSIDE


def prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval for one more value from the normal distribution of `values`.

    `mean -+ t(n - 1) s sqrt(1 + 1 / n)`, with the standard deviation s (ddof 1) of the n values.
    """
    count = len(values)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    mean = statistics.fmean(values)
    return mean - half, mean + half


def _value(result: Mapping[str, Any], metric: str) -> float:
    value = (result["metrics"] or {}).get(metric, {}).get("last")
    return math.nan if value is None else float(value)


def _digest(result: Mapping[str, Any]) -> str | None:
    data = result.get("data")
    return data.get("digest") if isinstance(data, Mapping) else None


def differences(checks: Sequence[Check]) -> list[str]:
    """Sentences on what the machines and versions of the records have and this one has not."""
    found: dict[str, None] = {}
    for check in checks:
        recorded, here = check.candidate.result["environment"] or {}, check.environment
        if here is not None:
            names = [name for name in ("torch", "device") if recorded.get(name) != here.get(name)]
            found |= {f"{name}: recorded {recorded.get(name)}, here {here.get(name)}": None for name in names}
    return list(found)
