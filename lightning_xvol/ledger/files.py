"""Files that are whole or absent: they are written beside their target, synced, and renamed over it.

Only regular files are read: opening a FIFO waits for ever, and a device has no end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from lightning_xvol.errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` on success. After a failure `path` is as it was before.

    Nobody can guess its name and put a link there, and it is created anew or not at all.
    """
    _check_name(path)
    # A name has at most 255 bytes, and that of the temporary file is longer than that of `path`.
    start = path.name.encode(errors="ignore")[:200].decode(errors="ignore")
    temporary = path.with_name(f".{start}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error tells more
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
    write_bytes(path, text_bytes(content))


def text_bytes(content: str) -> bytes:
    return content.encode(errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    return text_bytes(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_by(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill the file, for libraries that write to an open file (torch.save, matplotlib)."""
    with replacing(path) as file:
        write(file)


def read_bytes(path: Path) -> bytes:
    """The content of the regular file at `path`.

    Raises:
        OSError: for a file that is missing, that this process may not read, or that is not a regular file.
    """
    with open_bytes(path) as file:
        return file.read()


def open_bytes(path: Path) -> io.BufferedReader:
    """Open the regular file at `path` for reading.

    Raises:
        OSError: as `read_bytes`.
    """
    _check_name(path)
    _check_regular(path.stat().st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor).st_mode, path)  # somebody may have put another file there
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def resolved(path: Path) -> Path:
    """The file that `path` leads to, without links.

    Raises:
        OSError: for links that lead in a circle, or a name that no file can have.
    """
    _check_name(path)
    try:
        return path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def _check_name(path: Path) -> None:
    if "\0" in str(path):  # calls of the system would raise a ValueError
        raise OSError(errno.EINVAL, "a name cannot hold a null character", str(path))


def _check_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def parse_json(content: str | bytes) -> Any | None:
    """The value that `content` holds, or None if it is incomplete or not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def open_text(path: Path, mode: Literal["r", "a"] = "r", newline: str | None = None) -> IO[str]:
    """Open the text file `path`. It is UTF-8 in any locale, and what is not becomes a mark, never an error.

    Raises:
        OSError: for a file that is not a regular one, or a link where text would be added.
    """
    if mode == "r":
        return io.TextIOWrapper(open_bytes(path), encoding="utf-8", errors="replace", newline=newline)
    file = os.fdopen(open_to_add(path), "ab")
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline=newline)


def open_to_add(path: Path) -> int:
    """A descriptor that adds to the regular file at `path`, which is created if needed. It follows no link.

    Raises:
        OSError: for a link, or a file that is not a regular one.
    """
    _check_name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        _check_regular(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_text(path: Path) -> str:
    """The content of a text file, opened by `open_text`."""
    with open_text(path) as file:
        return file.read()


def read_json(path: Path) -> Any | None:
    """The content of `path`, or None if it is missing, incomplete or not JSON.

    Raises:
        OSError: for a file that is there and cannot be read. It must not count as missing.
    """
    try:
        return parse_json(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
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
