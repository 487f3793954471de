"""A protocol: a Markdown file that says before an experiment what will be run and compared. Nothing here imports torch.

People read the whole file. Programs read its fenced blocks that begin with three backticks and `yaml protocol`:

    recipe: fashion_small
    sweeps:
      kernel_size:
        rows: [convolution, xvolution, xvolution_static]  # default: every row
        axes: {kernel_size: [1, 3, 5]}                    # default: every value of every axis
        seeds: 0-4, 7
        contrasts: [xvolution - xvolution_static]         # the primary ones; default: none

A file may have several blocks. Later edits only append to it: a record that holds the hash of an earlier version holds
that of a beginning of the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger import files

_BLOCK = re.compile(r"^```yaml protocol[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_SEEDS = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
_BLOCK_KEYS = ("recipe", "sweeps")
_SWEEP_KEYS = ("rows", "axes", "seeds", "contrasts")
_MOST_SEEDS = 10_000

Place = tuple[Any, ...]
"""A row of a sweep, and the value of each of its axes."""


@dataclass(frozen=True)
class PlannedSweep:
    """What a protocol says about one sweep.

    Attributes:
        recipe: The recipe.
        sweep: The name of the sweep.
        rows: The rows; None for every row.
        axes: The values of axes, as texts. An axis that is not named has every value.
        seeds: The seeds.
        contrasts: The primary contrasts, pairs of rows: the first minus the second.
    """

    recipe: str
    sweep: str
    rows: tuple[str, ...] | None
    axes: Mapping[str, tuple[str, ...]]
    seeds: frozenset[int]
    contrasts: tuple[tuple[str, str], ...]

    def covers(self, row: str, axes: Mapping[str, Any], seed: int) -> bool:
        """Whether the cell of `row` at these values of the axes and this seed is planned."""
        return (self.rows is None or row in self.rows) and self.covers_axes(axes) and seed in self.seeds

    def covers_axes(self, axes: Mapping[str, Any]) -> bool:
        """Whether these values of the axes are planned for any row."""
        return all(axis in axes and as_text(axes[axis]) in values for axis, values in self.axes.items())

    def pairs(self, axes: Sequence[str], places: Collection[Place]) -> Iterator[tuple[Place, Place]]:
        """The two places of each primary contrast, at each planned value of `axes` that has both rows in `places`."""
        for row, other in self.contrasts:
            for place in places:
                there = (other, *place[1:])
                if place[0] == row and there in places and self.covers_axes(dict(zip(axes, place[1:], strict=True))):
                    yield place, there


@dataclass(frozen=True)
class Protocol:
    """A protocol as it was read.

    Attributes:
        file: The path as records hold it: relative to the folder of the command, or the name alone.
        sha256: The SHA-256 of the file.
        versions: The SHA-256 of every beginning of the file that ends with a line, and of the whole file.
        planned: What it says about each sweep.
    """

    file: str
    sha256: str
    versions: frozenset[str]
    planned: tuple[PlannedSweep, ...]

    @property
    def stamp(self) -> dict[str, str]:
        """What a record holds."""
        return {"file": self.file, "sha256": self.sha256}

    def of(self, recipe: str, sweep: str) -> list[PlannedSweep]:
        """What it says about `sweep` on `recipe`; nothing for a sweep that it does not name."""
        return [planned for planned in self.planned if (planned.recipe, planned.sweep) == (recipe, sweep)]

    def covers(self, recipe: str, sweep: str, row: str, axes: Mapping[str, Any], seed: int) -> bool:
        return any(planned.covers(row, axes, seed) for planned in self.of(recipe, sweep))

    def stamped(self, result: Mapping[str, Any]) -> bool:
        """Whether the record `result` was made under this protocol or an earlier version of it."""
        return (recorded(result) or {}).get("sha256") in self.versions


def recorded(result: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The file and the hash of the protocol under which a record was made, if it holds one."""
    stamp = result.get("protocol")
    whole = isinstance(stamp, Mapping) and all(isinstance(stamp.get(key), str) for key in ("file", "sha256"))
    return stamp if whole else None


def read_protocol(path: Path) -> Protocol:
    """The protocol in the file at `path`.

    Raises:
        UserError: for a file that cannot be read, has no block, or has a block that says something else.
    """
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise UserError(f"cannot read the protocol {str(path)!r}: {error.strerror}") from error
    blocks = _BLOCK.findall(content.decode(errors="replace").replace("\r\n", "\n"))
    if not blocks:
        raise UserError(
            f"the protocol {str(path)!r} has no block that begins with ```yaml protocol; docs/ablations.md shows one"
        )
    where = f"the protocol {str(path)!r}"
    planned = tuple(sweep for block in blocks for sweep in _planned(_parsed(block, where), where))
    return Protocol(_name(path), hashlib.sha256(content).hexdigest(), frozenset(_versions(content)), planned)


def _name(path: Path) -> str:
    """`path` without the names of this machine's folders."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return path.name


def _versions(content: bytes) -> Iterator[str]:
    read = hashlib.sha256()
    for line in content.splitlines(keepends=True):
        bare = read.copy()
        bare.update(line.rstrip(b"\r\n"))
        yield bare.hexdigest()  # of a version whose last line had no end
        read.update(line)
        yield read.hexdigest()
    yield hashlib.sha256(content).hexdigest()


def _parsed(block: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(block)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{where} has a block that is not YAML: {' '.join(str(error).split())}") from error


def _planned(block: Any, where: str) -> Iterator[PlannedSweep]:
    _check_keys(block, _BLOCK_KEYS, where, "a block")
    recipe, sweeps = block.get("recipe"), block.get("sweeps")
    if not isinstance(recipe, str) or not isinstance(sweeps, Mapping) or not sweeps:
        raise UserError(f"{where}: a block needs `recipe`, a name, and `sweeps`, what is run of each sweep")
    for name, said in sweeps.items():
        at = f"{where}, sweep {name!r}"
        _check_keys(said, _SWEEP_KEYS, where, f"sweep {name!r}")
        rows, axes = said.get("rows"), said.get("axes") or {}
        if rows is not None and not _are_texts(rows):
            raise UserError(f"{at}: rows={rows!r} must be a list of rows")
        if not isinstance(axes, Mapping) or not all(isinstance(values, list) for values in axes.values()):
            raise UserError(f"{at}: axes={axes!r} must name a list of values for each axis")
        yield PlannedSweep(
            recipe=recipe,
            sweep=str(name),
            rows=None if rows is None else tuple(rows),
            axes={str(axis): tuple(map(as_text, values)) for axis, values in axes.items()},
            seeds=_seeds(said.get("seeds"), at),
            contrasts=tuple(_contrasts(said.get("contrasts") or [], at)),
        )


def _check_keys(content: Any, known: tuple[str, ...], where: str, what: str) -> None:
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: {what} must name {', '.join(known)}, not {content!r}")
    for key in content:
        if key not in known:
            raise UserError(f"{where}: {what} has {key!r}{nearest(str(key), known)}; it takes {', '.join(known)}")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _seeds(said: Any, where: str) -> frozenset[int]:
    texts = [str(item) for item in said] if isinstance(said, list) else str(said).split(",")
    seeds: set[int] = set()
    for text in texts:
        match = _SEEDS.fullmatch(text)
        if match is None or int(match[2] or match[1]) - int(match[1]) not in range(_MOST_SEEDS):
            raise UserError(f"{where}: seeds={said!r} must be seeds such as 0-9 or 0-4, 7")
        seeds.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(seeds)


def _contrasts(said: Any, where: str) -> Iterator[tuple[str, str]]:
    if not _are_texts(said):
        raise UserError(f"{where}: contrasts={said!r} must be a list of differences such as xvolution - convolution")
    for text in said:
        rows = [row.strip() for row in text.split(" - ")]
        if len(rows) != 2 or not all(rows):
            raise UserError(f"{where}: contrast {text!r} must be two rows, such as xvolution - convolution")
        yield rows[0], rows[1]


def as_text(value: Any) -> str:
    """A value of an axis in one form, whether it comes from a protocol, a plan or a table: `1+3+5`, `true`, `0.1`."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(as_text, value))
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).lower()
    return {"yes": "true", "no": "false"}.get(text, text)
