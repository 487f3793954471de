"""Reads the file of a W&B offline run (`run-<id>.wandb`) with the standard library alone.

W&B's own API cannot read it, and wandb 0.31 removed its Python reader. The format, from the source of wandb 0.31 and
unchanged since 0.18:

- 7 bytes: `:W&B`, 0xBEE1 (little-endian), version 0.
- Blocks of 32 KiB; the 7 bytes belong to the first. They hold records as in LevelDB's log: CRC-32 of type and data
  (4 bytes), length (2 bytes), type (1 byte: 1 whole, 2 first part, 3 middle part, 4 last part), data. Fewer than 7
  bytes at the end of a block are padding.
- A record is a protobuf message `Record`. Its values are JSON texts, in which NaN and Infinity are bare words.

A record counts only if its checksum is right. Damage is reported; it costs at most the rest of its block.
"""

from __future__ import annotations

import json
import pathlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from lightning_xvol.ledger import files

BLOCK = 32 * 1024
FILE_HEADER = struct.Struct("<4sHB")
RECORD_HEADER = struct.Struct("<IHB")
EXPECTED_HEADER = (b":W&B", 0xBEE1, 0)
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4

# Numbers of fields in wandb_internal.proto.
HISTORY, SUMMARY, CONFIG, RUN, EXIT = 2, 3, 5, 17, 18
RUN_TEXTS = {1: "run_id", 2: "entity", 3: "project", 6: "group", 7: "job_type", 8: "name"}
RUN_CONFIG, RUN_SUMMARY, RUN_TAGS, RUN_START = 4, 5, 10, 17
ITEM_KEY, ITEM_NESTED_KEY, ITEM_JSON = 1, 2, 16

Path = tuple[str, ...]  # the keys that lead to a nested value
Texts = dict[Path, bytes]  # JSON texts, parsed when all updates are known
Value = int | bytes  # a protobuf field: a varint or fixed-width number, or delimited bytes


_MALFORMED = (ValueError, IndexError, RecursionError, OverflowError)


@dataclass
class Log:
    """The content of a file.

    Attributes:
        run_id, entity, project, group, job_type, name, tags: How W&B calls the run.
        start_time: When the run began, in seconds since 1970.
        config, summary: Its configuration and its summary.
        rows: Its history.
        exit_code: How it ended; None where it was killed or still runs.
        losses: A sentence for each part that is lost.
    """

    run_id: str = ""
    entity: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    start_time: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    losses: list[str] = field(default_factory=list)


def read(path: pathlib.Path) -> Log:
    """Read the run in the file at `path`. No content raises; only a file that cannot be opened does (OSError)."""
    content = files.read_bytes(path)
    log = Log()
    config: Texts = {}
    summary: Texts = {}
    for record in _records(content, log.losses):
        try:
            _take(record, log, config, summary)
        except _MALFORMED:
            log.losses.append("a record is not as this version writes it")
    for texts, values in ((config, log.config), (summary, log.summary)):
        for key, text in texts.items():
            try:
                _put(values, key, json.loads(text))
            except _MALFORMED:
                log.losses.append(f"the value of {'.'.join(key)} is not JSON")
    return log


def _records(content: bytes, losses: list[str]) -> Iterator[bytes]:
    """The records with right checksums, joined from their parts."""
    if len(content) < FILE_HEADER.size:
        losses.append("the file is empty" if not content else "the file ends within its header")
        return
    if FILE_HEADER.unpack_from(content) != EXPECTED_HEADER:
        losses.append("the file does not begin like one of W&B's")
    parts: list[bytes] = []
    for part in _parts(content, losses):
        if part is None:  # damage: the record before it has lost its end
            parts = []
            continue
        kind, data = part
        if kind in (WHOLE, FIRST) and parts:
            losses.append("a record lost its end")
            parts = []
        if kind == WHOLE:
            yield data
        elif kind == FIRST:
            parts = [data]
        elif parts:
            parts.append(data)
            if kind == LAST:
                yield b"".join(parts)
                parts = []
    if parts:
        losses.append("the file ends within a record")


def _parts(content: bytes, losses: list[str]) -> Iterator[tuple[int, bytes] | None]:
    """(type, data) of each part, and None at each damage."""
    position, end = FILE_HEADER.size, len(content)
    while position < end:
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER.size:
            position += left
            continue
        start, stop = position + RECORD_HEADER.size, _stop(content, position)
        if start > end or (stop is not None and stop > end):
            losses.append("the file ends within a record")
            return
        if stop is not None and _holds(content, position, stop):
            yield content[start - 1], content[start:stop]
            position = stop
            continue
        # With a right length the next part can be found; with a damaged one, reading continues in the next block.
        following = _stop(content, stop) if stop is not None and stop % BLOCK else None
        if stop is None or following is None or not _holds(content, stop, following):
            stop = position + left
        losses.append(f"bytes {position} to {min(stop, end)} are damaged")
        position = stop
        yield None


def _stop(content: bytes, position: int) -> int | None:
    """The end of the part whose header is at `position`; None if the bytes there cannot be a header."""
    if position + RECORD_HEADER.size > len(content):
        return None
    _, length, kind = RECORD_HEADER.unpack_from(content, position)
    stop = position + RECORD_HEADER.size + length
    return stop if WHOLE <= kind <= LAST and stop <= position - position % BLOCK + BLOCK else None


def _holds(content: bytes, position: int, stop: int) -> bool:
    """Whether the checksum of the part from `position` to `stop` is right; it covers the type and the data."""
    (checksum,) = struct.unpack_from("<I", content, position)
    return stop <= len(content) and crc32(content[position + 6 : stop]) == checksum


def _take(record: bytes, log: Log, config: Texts, summary: Texts) -> None:
    """Add `record` to `log`, or to the texts of `config` and `summary`, which are parsed later."""
    for number, content in _fields(record):
        if not isinstance(content, bytes):
            continue
        if number == HISTORY:
            log.rows.append(_row(content))
        elif number == RUN:
            _take_run(content, log, config, summary)
        elif number == SUMMARY:
            _update(summary, content)
        elif number == CONFIG:
            _update(config, content)
        elif number == EXIT:
            log.exit_code = _signed(dict(_fields(content)).get(1, 0))


def _take_run(content: bytes, log: Log, config: Texts, summary: Texts) -> None:
    """Add the description of the run. W&B writes it again when it changes; the later values count."""
    tags = []
    for number, value in _fields(content):
        if not isinstance(value, bytes):
            continue
        if number in RUN_TEXTS:
            setattr(log, RUN_TEXTS[number], value.decode())
        elif number == RUN_CONFIG:
            _update(config, value)
        elif number == RUN_SUMMARY:
            _update(summary, value)
        elif number == RUN_TAGS:
            tags.append(value.decode())
        elif number == RUN_START:
            parts = dict(_fields(value))
            log.start_time = _signed(parts.get(1, 0)) + _signed(parts.get(2, 0)) / 1e9
    log.tags = tags or log.tags


def _update(target: Texts, content: bytes) -> None:
    """Apply a message of updates (field 1) and removals (field 2) to `target`."""
    for number, path, text in _items(content, (1, 2)):
        if number == 1:
            target[path] = text
        else:
            for known in [known for known in target if known[: len(path)] == path]:
                del target[known]


def _row(content: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for _, path, text in _items(content, (1,)):
        try:
            value: Any = float(text)
        except ValueError:
            value = json.loads(text)
        if len(path) == 1:
            row[path[0]] = value
        else:
            _put(row, path, value)
    return row


def _items(content: bytes, wanted: Sequence[int]) -> Iterator[tuple[int, Path, bytes]]:
    """Number, path and JSON text of the items in `content` whose number is in `wanted`.

    Most items are a flat key and a short text, and each length takes one byte. A fast path reads these.
    """
    position, end = 0, len(content)
    while position < end:
        if content[position] == 0x0A and position + 3 < end:
            start, stop = position + 4, position + 2 + content[position + 1]
            middle = start + content[start - 1]
            if (
                content[start - 2] == 0x12
                and content[middle : middle + 2] == b"\x82\x01"
                and middle + 3 + content[middle + 2] == stop <= end
                and stop - position < 0x80
            ):
                yield 1, (content[start:middle].decode(),), content[middle + 3 : stop]
                position = stop
                continue
        number, value, position = _field(content, position)
        if number in wanted and isinstance(value, bytes):
            yield number, *_item(value)


def _item(content: bytes) -> tuple[Path, bytes]:
    """The path and the JSON text of an item."""
    path: list[str] = []
    text = b"null"
    for number, value in _fields(content):
        if isinstance(value, bytes) and number in (ITEM_KEY, ITEM_NESTED_KEY):
            path.append(value.decode())
        elif isinstance(value, bytes) and number == ITEM_JSON:
            text = value
    if not path:
        raise ValueError("an item without a key")
    return tuple(path), text


def _put(target: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[path[-1]] = value


def _fields(content: bytes) -> Iterator[tuple[int, Value]]:
    position = 0
    while position < len(content):
        number, value, position = _field(content, position)
        yield number, value


def _field(content: bytes, position: int) -> tuple[int, Value, int]:
    """Number and value of the field at `position`, and the position of the next field."""
    tag, position = _varint(content, position)
    kind = tag & 7
    if kind == 0:
        value, position = _varint(content, position)
        return tag >> 3, value, position
    length = {1: 8, 5: 4}.get(kind)
    if kind == 2:
        length, position = _varint(content, position)
    if length is None:
        raise ValueError(f"wire type {kind}")
    if position + length > len(content):
        raise ValueError("a field longer than its message")
    return tag >> 3, content[position : position + length], position + length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _signed(value: Value) -> int:
    """A signed number: protobuf writes negative numbers in two's complement of 64 bits."""
    number = value if isinstance(value, int) else int.from_bytes(value, "little")
    return number - (1 << 64) if number >= 1 << 63 else number
