"""Files that are whole or absent: they are written beside their target, synced, and renamed over it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from lightning_xvol.errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` on success. After a failure `path` is as it was before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # the error of a full disk names no file
            error.filename, error.filename2 = str(path), None
        raise
    # The rename is durable only after its folder is synced.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that died. The caller must be the only writer in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_by(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill the file, for libraries that write to an open file (torch.save, matplotlib)."""
    with replacing(path) as file:
        write(file)


def open_text(path: Path, mode: Literal["r", "a"] = "r", newline: str | None = None) -> IO[str]:
    """Open the text file `path`. It is UTF-8 in any locale, and what is not becomes a mark, never an error."""
    return path.open(mode, encoding="utf-8", errors="replace" if mode == "r" else "backslashreplace", newline=newline)


def read_text(path: Path) -> str:
    """The content of a text file, opened by `open_text`."""
    with open_text(path) as file:
        return file.read()


def read_json(path: Path) -> Any | None:
    """The content of `path`, or None if it is missing, torn or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def make_folder(path: Path) -> Path:
    """Create `path` with its parents, and return it.

    Raises:
        UserError: if this process cannot create it or write to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {str(path)!r}: {error.strerror}; choose another with --out"
        ) from error
    if not writable:
        raise UserError(f"cannot write to the folder {str(path)!r}; choose another with --out")
    return path
