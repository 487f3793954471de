"""Renders the marks of pages again, in place, or checks that their contents are what the records give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.publication.blocks import Place, rendered
from analysis.publication.marked import replaced
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files


@dataclass(frozen=True)
class Page:
    """A page that is filled from records.

    Attributes:
        path: Its file. Where the name that was given is a link, this is the file that it leads to.
        text: Its text after filling.
        place: The files that belong to it.
        stale: The lines of the marks whose content in the file differs from that in `text`.
    """

    path: Path
    text: str
    place: Place
    stale: tuple[int, ...]

    def differences(self) -> list[str]:
        """A sentence for each mark and file that is not what the records give. A figure counts by its CSV."""
        found = [f"{self.path}, line {line}: not what its records give" for line in self.stale]
        for path, text in self.place.texts.items():
            if not path.is_file():
                found.append(f"{path}: missing")
            elif files.read_text(path) != text:
                found.append(f"{path}: not what its records give")
        return found + [f"{path}: missing" for path in self.place.drawings if not path.is_file()]

    def write(self) -> None:
        """Write the page and its files, each whole or not at all."""
        from analysis.figures import kinds

        drawn = {path: draw() for path, draw in self.place.drawings.items()}  # what cannot be drawn stops it here
        for path in (*self.place.texts, *drawn):
            files.make_folder(path.parent)
        for path, text in self.place.texts.items():
            files.write_text(path, text)
        for path, axes in drawn.items():
            kinds.write(axes, path)
        files.write_text(self.path, self.text)


def pages(paths: Sequence[Path]) -> list[Page]:
    """The pages at `paths`. Nothing is written.

    Raises:
        UserError: for a page that cannot be read or is not UTF-8, or a mark that cannot be rendered, with its page and
            line.
    """
    opened: dict[tuple[str, ...], Collection] = {}
    found = []
    for path in paths:
        try:
            found.append(_page(path, opened))
        except UnicodeDecodeError as error:
            raise UserError(
                f"the page {str(path)!r} is not UTF-8 from byte {error.start} on; save it in this encoding"
            ) from error
        except OSError as error:
            raise UserError(f"the page {str(path)!r} cannot be read: {error.strerror or error}") from error
        except UserError as error:
            raise UserError(f"{path}, {error}") from error
    return found


def _page(path: Path, opened: dict[tuple[str, ...], Collection]) -> Page:
    file = path.resolve() if path.is_symlink() else path
    place = Place(file.parent, opened)
    # The page is its author's: what stands around the marks keeps its bytes, so no character or end of a line changes.
    content = files.read_bytes(file).decode()
    text, stale = replaced(content, lambda mark: rendered(mark, place))
    return Page(file, text, place, tuple(stale))
