"""Where a mark stands: its flags, its sources, and the files that belong to its page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from analysis import render
from analysis.sources.collection import Collection
from analysis.sweep.results import SweepResults
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files


@dataclass(frozen=True)
class Opened:
    """What all pages of a run share.

    Attributes:
        sources: The sources by their names, each opened once.
        taken: What the marks write into each file.
    """

    sources: dict[tuple[str, ...], Collection] = field(default_factory=dict)
    taken: dict[Path, object] = field(default_factory=dict)


@dataclass
class Place:
    """What a kind needs to render a mark: its flags, the folder of the page, and open sources.

    Attributes:
        folder: The folder of the page. Files are written below it.
        opened: What all pages of a run share.
        texts: The text of each file that belongs to the page; the kinds fill it.
        drawings: A function that draws, for each figure that belongs to the page; the kinds fill it.
        notes: A sentence for each file or sweep that cannot be read whole.
        flags: The flags of the mark.
    """

    folder: Path
    opened: Opened
    texts: dict[Path, str] = field(default_factory=dict)
    drawings: dict[Path, Callable[[], Any]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    flags: argparse.Namespace = field(default_factory=argparse.Namespace)

    @property
    def sources(self) -> Collection:
        """The sources that the mark or `defaults` names, for a mark that counts all their sweeps.

        Raises:
            UserError: if neither names one, or one holds no runs.
        """
        found = self._open()
        self.notes |= dict.fromkeys(f"left out: {error}" for error in found.left_out())
        return found

    @property
    def sweep(self) -> SweepResults:
        """The sweep that the mark names. It raises errors as `load_sweep` does."""
        only = render.read_only(self.flags.only)
        return render.load_sweep(self._open(), self.flags.sweep, interval=self.flags.interval, only=only)

    def _open(self) -> Collection:
        names = tuple(self.flags.source)
        if not names:
            raise UserError("--source is missing, both here and in <!-- analysis defaults -->")
        if names not in self.opened.sources:
            self.opened.sources[names] = Collection(names)
        self.notes |= dict.fromkeys(self.opened.sources[names].losses)
        return self.opened.sources[names]

    def add_csv(self, name: str, text: str) -> None:
        """Add the file `name` with `text` to the page. It raises errors as `_file` does."""
        self.texts[self._file(name, ".csv", text)] = text

    def add_figure(self, name: str, content: object, draw: Callable[[], Any]) -> None:
        """Add the figure `name` to the page; equal figures have equal `content`. It raises errors as `_file` does."""
        self.drawings[self._file(name, ".png", content)] = draw

    def _file(self, name: str, suffix: str, content: object) -> Path:
        """The path of a file of the page. Where it is a link, this is the file that it leads to.

        Raises:
            UserError: for a path that leads out of the page's folder, another suffix, or a file of another mark.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix != suffix or not name.isprintable():
            raise UserError(f"{name!r} must be a file below the page's folder that ends in {suffix}")
        file = self.folder / path
        try:
            resolved, folder = files.resolved(file), files.resolved(self.folder)
        except OSError as error:
            raise UserError(f"{name!r} leads to no file: {error.strerror}") from error
        if not resolved.is_relative_to(folder):
            raise UserError(f"{name!r} leads to {str(resolved)!r}, which is not below the page's folder")
        if self.opened.taken.setdefault(resolved, content) != content:
            raise UserError(f"another mark writes other content into {name!r}; choose another name")
        return resolved if file.is_symlink() else file
