"""Renders the marks of pages again, in place, or checks that their contents are what the records give."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.publication.blocks import rendered
from analysis.publication.marked import replaced
from analysis.publication.place import Opened, Place
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files


@dataclass(frozen=True)
class Page:
    """A page that is filled from records.

    Attributes:
        path: Its file. Where the name that was given is a link, this is the file that it leads to.
        content: The content of the file when it was read.
        text: Its text after filling.
        place: The files that belong to it.
        stale: The lines of the marks whose content in the file differs from that in `text`.
    """

    path: Path
    content: bytes
    text: str
    place: Place
    stale: tuple[int, ...]

    def differences(self) -> list[str]:
        """A sentence for each mark and file that is not what the records give. A figure counts by its CSV."""
        found = [f"{self.path}, line {line}: not what its records give" for line in self.stale]
        for path, text in self.place.texts.items():
            if not path.is_file():
                found.append(f"{path}: missing")
            elif files.read_bytes(path) != files.text_bytes(text):
                found.append(f"{path}: not what its records give")
        return found + [f"{path}: missing" for path in self.place.drawings if not path.is_file()]

    def write(self) -> None:
        """Write the page and its files, each whole or not at all. A file that would not change is not written.

        Raises:
            UserError: for a page that is read-only, or that has changed since it was read.
        """
        contents = {path: files.text_bytes(text) for path, text in self.place.texts.items()}
        contents |= self._drawn()  # what cannot be drawn stops it here
        if self.stale:
            self._check_unchanged()
        for path in contents:
            files.make_folder(path.parent)
        for path, content in contents.items():
            if not path.is_file() or files.read_bytes(path) != content:
                files.write_bytes(path, content)
        if self.stale:
            self._check_unchanged()  # the files took a while
            with files.replacing(self.path) as file:
                os.fchmod(file.fileno(), stat.S_IMODE(self.path.stat().st_mode))
                file.write(files.text_bytes(self.text))

    def _drawn(self) -> dict[Path, bytes]:
        if not self.place.drawings:
            return {}
        from analysis.figures import kinds  # with matplotlib

        return {path: kinds.content(draw(), "png") for path, draw in self.place.drawings.items()}

    def _check_unchanged(self) -> None:
        """Rendering takes seconds, and the author may edit the page meanwhile."""
        if files.read_bytes(self.path) != self.content:
            raise UserError(f"the page {str(self.path)!r} has changed since it was read; run fill again")
        if not self.path.stat().st_mode & stat.S_IWUSR:
            raise UserError(f"the page {str(self.path)!r} is read-only; make it writable and run fill again")


def pages(paths: Sequence[Path]) -> list[Page]:
    """The pages at `paths`, each file once. Nothing is written.

    Raises:
        UserError: for a page that cannot be read or is not UTF-8, or a mark that cannot be rendered, with its page and
            line.
    """
    opened = Opened()
    found: dict[Path, Page] = {}
    for path in paths:
        file, content = _read(path)
        where = files.resolved(file)
        if where in found:
            continue
        try:
            found[where] = _page(file, content, opened)
        except UnicodeDecodeError as error:
            raise UserError(
                f"the page {str(path)!r} is not UTF-8 from byte {error.start} on; save it in this encoding"
            ) from error
        except UserError as error:
            raise UserError(f"{path}, {error}") from error
    return list(found.values())


def _read(path: Path) -> tuple[Path, bytes]:
    """The file of the page `path`, and its content."""
    try:
        file = files.resolved(path) if path.is_symlink() else path
        return file, files.read_bytes(file)
    except OSError as error:
        raise UserError(f"the page {str(path)!r} cannot be read: {error.strerror or error}") from error


def _page(file: Path, content: bytes, opened: Opened) -> Page:
    place = Place(file.parent, opened)
    # The page is its author's: what stands around the marks keeps its bytes, so no character or end of a line changes.
    text, stale = replaced(content.decode(), lambda mark: rendered(mark, place))
    return Page(file, content, text, place, tuple(stale))
