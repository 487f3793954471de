"""A folder that holds nothing but W&B offline runs, such as copies of the `wandb/` folders of a cluster.

A cell that was interrupted and resumed has several files. The folders that `--force` put aside (`<cell id>.old-N`) are
left out.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from analysis.sources import wandb_file
from analysis.sources.cache import Cache, Curves
from analysis.sources.tree import Tree, reason
from analysis.sources.wandb_runs import Segment, TrackedRuns, make_curves, make_segment

_PUT_ASIDE = re.compile(r"\.old-\d+$")


def is_offline(folder: Path) -> bool:
    """Whether anything in `folder` is called as W&B's files are, even a file that will not be read."""
    tree = Tree(folder)
    return next(_logs(tree), None) is not None or bool(tree.notes)


def _logs(tree: Tree) -> Iterator[Path]:
    """Every regular `*.wandb` of `tree` once."""
    return tree.walk(lambda name: name.endswith(".wandb"), skip=lambda name: bool(_PUT_ASIDE.search(name)))


def read_segment(path: Path) -> tuple[Segment, Curves]:
    """The segment and the curves in the file at `path`.

    `losses` of the segment says what is lost, or why the file is not a run of this project.
    """
    try:
        log = wandb_file.read(path)
    except OSError as error:
        return Segment(losses=[f"cannot be read: {reason(error)}"]), {}
    segment = make_segment(log.config, log.summary, log.start_time)
    segment.losses = list(dict.fromkeys(log.losses))
    if not (segment.cell_id or segment.is_table):
        segment.losses.append("it holds no run of this project" if log.run_id else "no run can be read from it")
    curves = make_curves(log.rows, segment.total_steps)
    segment.names = list(curves)
    return segment, curves


class OfflineRuns(TrackedRuns):
    """A folder of W&B offline runs as a source (`analysis.sources.collection.Source`)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._cache = Cache()
        tree = Tree(folder)
        self._take((str(path), segment) for path in _logs(tree) if (segment := self._read(path)) is not None)
        self.losses += tree.notes

    def _read(self, path: Path) -> Segment | None:
        try:
            stat = path.stat()
        except OSError:  # moved away in the meantime
            return None
        stamp = f"{stat.st_size} {stat.st_mtime_ns}"
        kept = self._cache.get(str(path), stamp)
        if kept is not None:
            return Segment(**kept)
        segment, curves = read_segment(path)
        self._cache.put(str(path), stamp, asdict(segment), curves)
        return segment

    def _curve(self, where: str, segment: Segment, name: str) -> tuple[array, array] | None:
        if name not in segment.names:
            return None
        # The user may have deleted the cache in the meantime.
        return self._cache.curve(where, name) or read_segment(Path(where))[1].get(name)
