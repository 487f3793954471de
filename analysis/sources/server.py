"""The runs of a project on a W&B server, read by W&B's own client (`wandb.Api`).

One listing gives the runs and the time of each run's last activity. Configurations and summaries are fetched, many
at a time, for the runs that have changed since they were last read. The history of a run is fetched when its curve is
needed.

W&B's client has three traps. The listing may repeat or omit runs at the borders of its pages: runs are told apart by
id, and counted. `history()` returns a sample of 500 rows: all rows are scanned, and counted. NaN and Infinity come as
texts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from analysis.sources.cache import Cache, Curves
from analysis.sources.wandb_runs import Segment, TrackedRuns, make_curves, make_segment
from lightning_xvol.errors import UserError

PREFIX = "wandb:"
# Runs per request: a listing without configurations and summaries is light; a summary holds a whole record.
LISTED_AT_ONCE, READ_AT_ONCE = 500, 50
# By default W&B's client tries for minutes. These settings wait long for a busy server (HTTP 429), and some 20 s for a
# server that is not there.
PATIENCE: dict[str, Any] = {
    "x_graphql_retry_max": 4, "x_graphql_retry_wait_min_seconds": 1, "x_graphql_retry_wait_max_seconds": 10,
    "x_graphql_timeout_seconds": 30,
}  # fmt: skip
REQUEST_SECONDS = 180  # all attempts together
_TEXTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}

T = TypeVar("T")

log = logging.getLogger(__name__)


def is_server(name: str) -> bool:
    return name.startswith(PREFIX)


class ServerRuns(TrackedRuns):
    """A project on a W&B server as a source (`analysis.sources.collection.Source`).

    Args:
        name: `wandb:ENTITY/PROJECT` or `wandb:PROJECT`.

    Raises:
        UserError: for a name of another form, an unknown or empty project, an API key that is missing or refused, or a
            server that does not answer.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.project = name.removeprefix(PREFIX)
        if not re.fullmatch(r"[^/]+(/[^/]+)?", self.project):
            raise UserError(f"{name!r} is not a W&B project; write {PREFIX}ENTITY/PROJECT, or {PREFIX}PROJECT")
        self._cache = Cache()
        self._incomplete: dict[str, Curves] = {}
        with self._asking():
            api = connect()
            with _scratch_folder():
                self._runs = self._list(api)
                found = list(self._read(api))
        self._take(found)
        foreign = sum(not (segment.cell_id or segment.is_table) for _, segment in found)
        if foreign:
            self.losses.append(f"{name}: {foreign} of its {len(found)} runs were not tracked by this project")
        if not self._runs:
            raise UserError(
                f"no runs at {name!r}: the project is empty; runs get there by --wandb online or `wandb sync`"
            )

    def _list(self, api: Any) -> dict[str, Any]:
        """The runs of the project by their address, without configurations and summaries."""
        found: dict[str, Any] = {}
        number = 0
        # Runs created at the same time may change their order between two pages. The other order has other borders.
        for order in ("+created_at", "-created_at"):
            listing = api.runs(self.project, order=order, per_page=LISTED_AT_ONCE, lazy=True)
            found |= {run.url: run for run in listing}
            number = len(listing)
            if len(found) >= number:
                return found
        self.losses.append(f"{self.where}: the server's listing lacks {number - len(found)} of {number} runs")
        return found

    def _read(self, api: Any) -> Iterator[tuple[str, Segment]]:
        """The segment of each run; only runs that have changed since they were last read are fetched."""
        changed = []
        for where, run in self._runs.items():
            kept = self._cache.get(where, _stamp(run))
            if kept is None:
                changed.append(run)
            else:
                yield where, Segment(**kept)
        for runs in _batches(changed, READ_AT_ONCE):
            wanted = {"name": {"$in": [run.id for run in runs]}}
            whole = {run.id: run for run in api.runs(self.project, wanted, per_page=len(runs), lazy=False)}
            for run in runs:
                if run.id not in whole:
                    self.losses.append(f"{run.url}: the server lists this run but does not return it")
                    continue
                segment = _segment(whole[run.id])
                self._cache.put(run.url, _stamp(run), asdict(segment), {})
                yield run.url, segment

    def _curve(self, where: str, segment: Segment, name: str) -> tuple[array, array] | None:
        if not segment.total_steps:
            return None
        place, stamp = f"{where}/history", _stamp(self._runs[where])
        kept = place in self._incomplete or self._cache.get(place, stamp) is not None
        if not kept:
            with self._asking():
                rows = _history(self._runs[where])
            curves = make_curves(rows, segment.total_steps)
            expected = self._runs[where].history_line_count or 0
            if len(rows) < expected:
                log.warning("%s: the server did not return %d of its %d rows", where, expected - len(rows), expected)
                self._incomplete[place] = curves
            else:
                self._cache.put(place, stamp, {}, curves)
        if place in self._incomplete:
            return self._incomplete[place].get(name)
        found = self._cache.curve(place, name)
        if found is None and kept and self._cache.get(place, stamp) is None:  # damaged, and dropped
            return self._curve(where, segment, name)
        return found

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn every error of a request into a `UserError`."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"cannot read {self.where!r}: {reason(error)}") from error


def connect() -> Any:
    """W&B's client, with settings that give up within half a minute where there is no server."""
    import wandb

    settings = {name: value for name, value in PATIENCE.items() if name in wandb.Settings.model_fields}
    wandb.setup(wandb.Settings(silent=True, **settings))
    return wandb.Api(timeout=REQUEST_SECONDS)


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
    """A temporary folder for W&B's client, which makes a folder for every run that it lists."""
    before = os.environ.get("WANDB_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["WANDB_DIR"]
            else:
                os.environ["WANDB_DIR"] = before


def _stamp(run: Any) -> str:
    """A text that changes with everything that a run sends."""
    return f"{run.state} {run.heartbeat_at} {run.history_line_count}"


def _segment(run: Any) -> Segment:
    return make_segment(run.config, run.summary_metrics, datetime.fromisoformat(run.created_at).timestamp())


def _history(run: Any) -> list[dict[str, Any]]:
    """The rows of `run` in the order of their steps. If rows are missing by the server's count, ask once more."""
    rows: dict[int, Mapping[str, Any]] = {}
    for use_cache in (True, False):
        for row in run.scan_history(use_cache=use_cache):
            rows[row["_step"]] = row
        if len(rows) >= (run.history_line_count or 0):
            break
    return [{name: _number(value) for name, value in rows[step].items()} for step in sorted(rows)]


def _number(value: Any) -> Any:
    """A number as a float: JSON writes 1.0 as 1, and W&B's server writes NaN and Infinity as texts."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _TEXTS.get(value, value) if isinstance(value, str) else value


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


_ANSWERS = {
    "401": "the server does not accept the API key; set WANDB_API_KEY or run `wandb login`",
    "403": "the API key gives no access to the project; ask its owner for access",
    "404": "there is no such project; check entity and project",
    "429": "too many requests (HTTP 429); try again in some minutes, what was read is kept",
}


def reason(error: Exception) -> str:
    """An error of W&B's client in one line, with what to do."""
    text = " ".join(str(error).split())
    status = re.search(r"(?:HTTP|error) (\d{3})\b", text)
    if status:
        return _ANSWERS.get(status[1], f"the server failed (HTTP {status[1]}); try again later, what was read is kept")
    if "not logged in" in text:
        return _ANSWERS["401"]
    if "Could not find project" in text:
        return _ANSWERS["404"]
    if "giving up" in text or "did not respond" in text:
        return f"no answer from the server ({text.rpartition(': ')[2]}); check the network and WANDB_BASE_URL"
    if "API key" in text:
        return f"{text.rstrip('.')}; set WANDB_API_KEY or run `wandb login`"
    return text or type(error).__name__
