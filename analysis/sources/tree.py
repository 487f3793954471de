"""What lies in a folder that is a source: regular files, and none that a link outside the folder leads to.

The folder may come from somebody else. A FIFO in it would wait for ever, a device has no end, and a link may lead to
any file of this machine. Such files are not read, and a note says so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_xvol.ledger import files

OUTSIDE = "a link to a place outside the folder"


class Tree:
    """The files below `folder`.

    Attributes:
        folder: The folder, which may be a link itself.
        notes: A sentence for each file or folder that is not read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._root = os.path.realpath(folder)

    def read(self, path: Path) -> bytes:
        """The content of the file at `path`.

        Raises:
            OSError: for a file that is missing, cannot be read, is not a regular file, or lies outside the folder.
        """
        if not self.holds(os.path.realpath(path)):
            raise OSError(errno.ELOOP, OUTSIDE, str(path))
        return files.read_bytes(path)

    def check(self, path: Path) -> None:
        """Note a file that is there and that `read` will refuse. A missing file is none."""
        try:
            regular = stat.S_ISREG(path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._note(error)
            return
        if regular and not os.access(path, os.R_OK):
            self.notes.append(f"{path}: not read, permission denied")
        elif not regular:
            self._may_read(path, os.path.realpath(path))

    def holds(self, real: str) -> bool:
        """Whether the real path `real` is the folder or lies below it."""
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def walk(self, wanted: Callable[[str], bool], skip: Callable[[str], bool]) -> Iterator[Path]:
        """The real path of each regular file with a wanted name, once, in the order of names.

        Args:
            wanted: Whether a file of this name is wanted.
            skip: Whether a folder of this name is left out.
        """
        seen: set[str] = set()
        for parent, folders, names in os.walk(self.folder, followlinks=True, onerror=self._note):
            real = os.path.realpath(parent)
            if real in seen:  # as for W&B's `latest-run`, which is a link to another folder
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in sorted(folders) if not skip(name) and self._may_enter(Path(parent, name))]
            for path in (Path(parent, name) for name in sorted(names) if wanted(name)):
                real = os.path.realpath(path)
                if real not in seen and self._may_read(path, real):
                    seen.add(real)
                    yield Path(real)

    def _may_enter(self, folder: Path) -> bool:
        inside = not folder.is_symlink() or self.holds(os.path.realpath(folder))
        if not inside:
            self.notes.append(f"{folder}: not read, {OUTSIDE}")
        return inside

    def _may_read(self, path: Path, real: str) -> bool:
        if not self.holds(real):
            self.notes.append(f"{path}: not read, {OUTSIDE}")
            return False
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            self._note(error)
            return False
        if not regular:
            self.notes.append(f"{path}: not read, not a regular file")
        return regular

    def _note(self, error: OSError) -> None:
        self.notes.append(f"{error.filename}: not read, {reason(error)}")


def reason(error: OSError) -> str:
    """Why the system refused a file, in a few words."""
    return (error.strerror or str(error))[:1].lower() + (error.strerror or str(error))[1:]
