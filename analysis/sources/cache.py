"""A cache of what was read from W&B runs; an entry is valid while the stamp of its run stays the same.

The stamp is a file's size and time of change, or the time of a run's last activity on a server. The cache is one SQLite
file, `lightning-xvol/wandb-runs-5.sqlite` in the user's cache folder, which may be deleted at any time. Where the file
is damaged or cannot be written, or the user has no such folder, the cache is in memory.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lightning_xvol.surroundings.variables import cache_folder

VERSION = 5  # the version of the content; another version begins a new file
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (place TEXT PRIMARY KEY, stamp TEXT, content TEXT, digest TEXT);
CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT);
CREATE TABLE IF NOT EXISTS curves (
    place TEXT, name TEXT, steps BLOB, readings BLOB, digest TEXT, PRIMARY KEY (place, name)
);
"""

Curves = Mapping[str, tuple[array, array]]
T = TypeVar("T")


class Cache:
    """The content and the curves of runs, by their file or address (`place`).

    A text that many runs share, such as the plan of a sweep, is stored once.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._stores = [sqlite3.connect(":memory:", isolation_level=None)]
        folder = cache_folder()
        path = path or (folder and folder / f"wandb-runs-{VERSION}.sqlite")
        try:
            if path is None:
                raise FileNotFoundError("this user has no folder for a cache")
            path.parent.mkdir(parents=True, exist_ok=True)
            disk = sqlite3.connect(path, isolation_level=None, timeout=10)
            disk.executescript(f"PRAGMA synchronous = OFF; {SCHEMA}")
            self._stores.insert(0, disk)
        except (OSError, sqlite3.Error):
            pass
        self._stores[-1].executescript(SCHEMA)

    def get(self, place: str, stamp: str) -> dict[str, Any] | None:
        """The content that was stored for `place` under the same `stamp`, or None. A damaged row is dropped."""
        query = "SELECT content, digest FROM runs WHERE place = ? AND stamp = ?"
        row = self._first(lambda store: store.execute(query, (_key(place), stamp)).fetchone())
        if row is None:
            return None
        whole = row[1] == _digest(place, stamp, row[0])
        found = {key: self._text(value) for key, value in json.loads(row[0]).items()} if whole else {}
        if not whole or any(value is _DAMAGED for value in found.values()):
            self._drop(place)
            return None
        return found

    def _drop(self, place: str) -> None:
        """Forget what is stored for `place`, so that it is read again."""

        def delete(store: sqlite3.Connection) -> bool:
            for table in ("runs", "curves"):
                store.execute(f"DELETE FROM {table} WHERE place = ?", (_key(place),))
            return True

        self._first(delete)

    def put(self, place: str, stamp: str, content: Mapping[str, Any], curves: Curves) -> None:
        texts: dict[str, str] = {}
        text = json.dumps({key: _shared(value, texts) for key, value in content.items()})

        def write(store: sqlite3.Connection) -> bool:
            store.execute("BEGIN")
            try:
                store.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", texts.items())
                store.execute("DELETE FROM curves WHERE place = ?", (_key(place),))
                for name, pair in curves.items():
                    steps, readings = map(bytes, pair)
                    row = _key(place), _key(name), steps, readings, _digest(place, name, steps, readings)
                    store.execute("INSERT INTO curves VALUES (?, ?, ?, ?, ?)", row)
                run = _key(place), stamp, text, _digest(place, stamp, text)
                store.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", run)
            except sqlite3.Error:
                store.execute("ROLLBACK")
                raise
            store.execute("COMMIT")
            return True

        self._first(write)

    def curve(self, place: str, name: str) -> tuple[array, array] | None:
        query = "SELECT steps, readings, digest FROM curves WHERE place = ? AND name = ?"
        row = self._first(lambda store: store.execute(query, (_key(place), _key(name))).fetchone())
        if row is None:
            return None
        if row[2] != _digest(place, name, row[0], row[1]):
            self._drop(place)
            return None
        return array("q", row[0]), array("d", row[1])

    def _first(self, ask: Callable[[sqlite3.Connection], T | None]) -> T | None:
        """The first answer that is not None: of the store on disk, else of the one in memory."""
        for store in list(self._stores):
            try:
                answer = ask(store)
            except (sqlite3.Error, UnicodeEncodeError):  # locked, damaged, full; or a path that is not UTF-8
                self._stores = self._stores[-1:]
                continue
            if answer is not None:
                return answer
        return None

    def _text(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        query = "SELECT text FROM texts WHERE digest = ?"
        row = self._first(lambda store: store.execute(query, (value["digest"],)).fetchone())
        return _DAMAGED if row is None or _digest(row[0]) != value["digest"] else row[0]


_DAMAGED = object()


def _key(place: str) -> str:
    """`place` as UTF-8 can hold it: the name of a file may have other bytes."""
    return place.encode(errors="backslashreplace").decode()


def _digest(*parts: str | bytes | None) -> str:
    """The SHA-256 of a row, which tells whether it is as it was stored."""
    found = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
        found.update(len(content).to_bytes(8))
        found.update(content)
    return found.hexdigest()


def _shared(value: Any, texts: dict[str, str]) -> Any:
    if not isinstance(value, str) or len(value) < 1000:
        return value
    digest = _digest(value)
    texts[digest] = value
    return {"digest": digest}
