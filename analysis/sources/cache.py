"""What was read from W&B files, kept on disk by path, size and time of change.

One SQLite file, `lightning-xvol/offline-runs-1.sqlite` in the user's cache folder; it may be deleted at any time. Where
it cannot be written to, or is damaged, memory takes its place for as long as the process lives.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

VERSION = 1  # of what is kept; another one begins a new file
SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, content TEXT);
CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT);
CREATE TABLE IF NOT EXISTS curves (path TEXT, name TEXT, steps BLOB, readings BLOB, PRIMARY KEY (path, name));
"""

Curves = Mapping[str, tuple[array, array]]
T = TypeVar("T")


def cache_folder() -> Path:
    """Where what can be made again is kept for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning-xvol"


class Cache:
    """`content` and `curves` of files. Texts that many files share, such as the plan of a sweep, are kept once."""

    def __init__(self, path: Path | None = None) -> None:
        self._stores = [sqlite3.connect(":memory:", isolation_level=None)]
        path = path or cache_folder() / f"offline-runs-{VERSION}.sqlite"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            disk = sqlite3.connect(path, isolation_level=None, timeout=10)
            disk.executescript(f"PRAGMA synchronous = OFF; {SCHEMA}")
            self._stores.insert(0, disk)
        except (OSError, sqlite3.Error):
            pass
        self._stores[-1].executescript(SCHEMA)

    def get(self, path: Path, stat: os.stat_result) -> dict[str, Any] | None:
        """What was put for `path` while it was as `stat` says, or None."""
        query = "SELECT content FROM files WHERE path = ? AND size = ? AND mtime = ?"
        row = self._first(lambda store: store.execute(query, _key(path, stat)).fetchone())
        return None if row is None else {key: self._text(value) for key, value in json.loads(row[0]).items()}

    def put(self, path: Path, stat: os.stat_result, content: Mapping[str, Any], curves: Curves) -> None:
        texts: dict[str, str] = {}
        kept = {key: _shared(value, texts) for key, value in content.items()}

        def write(store: sqlite3.Connection) -> bool:
            store.execute("BEGIN")
            try:
                store.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.items())
                store.execute("DELETE FROM curves WHERE path = ?", (str(path),))
                readings = ((str(path), name, *map(bytes, pair)) for name, pair in curves.items())
                store.executemany("INSERT INTO curves VALUES (?, ?, ?, ?)", readings)
                store.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (*_key(path, stat), json.dumps(kept)))
            except sqlite3.Error:
                store.execute("ROLLBACK")
                raise
            store.execute("COMMIT")
            return True

        self._first(write)

    def curve(self, path: Path, name: str) -> tuple[array, array] | None:
        query = "SELECT steps, readings FROM curves WHERE path = ? AND name = ?"
        row = self._first(lambda store: store.execute(query, (str(path), name)).fetchone())
        return None if row is None else (array("q", row[0]), array("d", row[1]))

    def _first(self, ask: Callable[[sqlite3.Connection], T | None]) -> T | None:
        """The first answer that is one, of the store on disk and that in memory."""
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
        return None if row is None else row[0]


def _key(path: Path, stat: os.stat_result) -> tuple[str, int, int]:
    return str(path), stat.st_size, stat.st_mtime_ns


def _shared(value: Any, texts: dict[str, str]) -> Any:
    if not isinstance(value, str) or len(value) < 1000:
        return value
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
    texts[digest] = value
    return {"digest": digest}
