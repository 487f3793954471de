"""What one can ask of a sweep: the flags of its command line, which are also the keyword arguments of `run`."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablations.engine.sweep import text
from lightning_xvol.commandline import WANDB_MODES, at_least, ledger_folder, selection, setting, tag_list
from lightning_xvol.config.fast import SETTINGS, fast_settings
from lightning_xvol.config.schema import DEFAULT_PROJECT
from lightning_xvol.errors import UserError, nearest

LAUNCHERS = ("inline", "local", "slurm")
MOST_SEEDS = 1000  # more would be a typing error, and would take minutes to list


@dataclass(frozen=True, kw_only=True)
class Options:
    """What one command, or one call of `run`, asks of a sweep.

    `read_options` makes it and checks its values. A field has the name of its flag.

    Attributes:
        recipe: The recipe; by default the sweep's own.
        reading: Another way to read the experiment, a key of `Sweep.readings`.
        seeds: The number of seeds; by default the recipe says how many.
        first_seed: The first of them; by default 0.
        only: Run only the cells with these values of `operator`, an axis or `seed`.
        settings: The pairs of `--set`: field and value. Each `operator.name` adds a row. `ROW:optim.lr` sets the field
            in one row.
        fast: Train in bfloat16, with the products of PSSA in float32. The processor needs instructions for bfloat16.
            This sets fields of `train`, which changes the ids of the cells.
        smoke: Run 20 steps on 256 images, to see that it works.
        out: The ledger folder; by default `runs`, or `runs-smoke` for a smoke run.
        data_dir: The folder that holds the data sets.
        download: Let torchvision download the small data sets.
        backbone_from: The ledger whose classification runs detectors start from.
        protocol: The protocol of the experiment; each record holds its file and its SHA-256.
        wandb: `offline`, `online` or `disabled`.
        wandb_project: The W&B project.
        wandb_entity: The W&B user or team; by default the user's own.
        wandb_tags: Tags of each W&B run, beside its sweep, recipe and operator.
        wandb_notes: The notes of each W&B run.
        wandb_system: Let W&B measure the processor, memory and accelerators.
        wandb_artifacts: Upload the last checkpoint and the record of each run, and the table and figure, as artifacts.
        launcher: `inline`, `local` or `slurm`; by default `local` for more than one job, else `inline`.
        jobs: The number of cells that run at a time (`local`).
        gpus_per_cell: The GPUs and processes of each cell. It sets `train.devices`, which changes the ids of the cells.
        cells_per_gpu: The number of cells that share a GPU (`local`).
        partition: The partition (`slurm`).
        cpus_per_cell: The CPUs of each process of a cell (`slurm`).
        nodes_per_cell: The nodes that the GPUs of a cell are spread over (`slurm`).
        time: The time limit of a task in minutes, or in Slurm's notation (`slurm`).
        array_parallelism: The number of cells that run at a time (`slurm`).
        dry_run: Look at the cells and run nothing.
        force: Run the cells again. The old ones stay as `<id>.old-N`.
        fail_fast: Start no further cell after the first failure.
        no_wait: Do not wait for cells that another process works on.
        cell: Run only the cell with this name, or whose id begins with it, in this process, and write no table.
        trust: Import the classes of `cell` that only the ledger names by import path, which runs their code.
        seed: The seed of `cell`, which may then be a name without its seed, or the id of a group.
        emit_wandb_sweep: Run nothing and write this file for `wandb sweep`, whose agents run the cells. An empty name
            is `OUT/<sweep>/wandb-sweep.yaml`.
    """

    recipe: str | None = None
    reading: str | None = None
    seeds: int | None = None
    first_seed: int = 0
    only: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    settings: Sequence[tuple[str, str]] = ()
    fast: bool = False
    smoke: bool = False
    out: Path | None = None
    data_dir: Path | None = None
    download: bool = False
    backbone_from: Path | None = None
    protocol: Path | None = None
    wandb: Literal["offline", "online", "disabled"] = "offline"
    wandb_project: str = DEFAULT_PROJECT
    wandb_entity: str | None = None
    wandb_tags: Sequence[str] = ()
    wandb_notes: str | None = None
    wandb_system: bool = False
    wandb_artifacts: bool = False
    launcher: str | None = None
    jobs: int | None = None
    gpus_per_cell: int | None = None
    cells_per_gpu: int | None = None
    partition: str | None = None
    cpus_per_cell: int | None = None
    nodes_per_cell: int | None = None
    time: int | None = None
    array_parallelism: int | None = None
    dry_run: bool = False
    force: bool = False
    fail_fast: bool = False
    no_wait: bool = False
    cell: str | None = None
    trust: bool = False
    seed: int | None = None
    emit_wandb_sweep: str | None = None

    @property
    def folder(self) -> Path:
        """The ledger folder."""
        return ledger_folder(self.out, self.smoke)

    def changes(self) -> list[tuple[str, str]]:
        """The fields that change in every cell, with their values: `settings`, and what other options set."""
        quick = SETTINGS if self.fast else ()
        devices = [] if self.gpus_per_cell is None else [("train.devices", str(self.gpus_per_cell))]
        return [*self.settings, *quick, *devices]


def read_options(given: Mapping[str, Any]) -> Options:
    """`given`, from a command line or from Python, as `Options`. A value that is None means the default.

    Python may give numbers and texts as they are, `settings` as a mapping, and `only` as a mapping from keys to one
    value or to a list of values.

    Raises:
        UserError: for a name that is no option, or a value that the option cannot have.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    values = {}
    for name, value in given.items():
        if name not in known:
            raise UserError(f"a sweep has no option {name!r}{nearest(name, known)}; options: {', '.join(known)}")
        if value is not None:
            values[name] = read_value(name, value)
    options = Options(**values)
    if options.fast:
        fast_settings(options.settings)
    return options


def read_value(name: str, value: Any) -> Any:
    """`value` as the option `name` keeps it.

    Raises:
        UserError: for a value that the option cannot have.
    """
    try:
        return _READERS[name](value) if name in _READERS else value
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{FLAGS.get(name, '--' + name.replace('_', '-'))}: {error}") from None


def minutes(text: str) -> int:
    """Minutes from Slurm's notation: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be minutes, H:M:S or D-H:M:S")
    days, *parts = (int(value or 0) for value in match.groups())
    given = sum(value is not None for value in match.groups()[1:])
    if match["days"] is None and given < 3:  # minutes come first
        parts = [0, *parts[:2]]
    hours, mins, seconds = parts
    total = -(-((days * 24 + hours) * 3600 + mins * 60 + seconds) // 60)
    if total < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least one minute")
    return total


def _only(given: Mapping[str, Any] | Iterable[str]) -> dict[str, list[str]]:
    """Values by key, from a mapping or from texts `KEY=V1,V2`."""
    if isinstance(given, Mapping):
        pairs = [(key, [text(value) for value in listed(values)]) for key, values in given.items()]
    else:
        split = [selection(str(words)) for words in listed(given)]
        pairs = [(key, [value for value in values.split(",") if value]) for key, values in split]
    only: dict[str, list[str]] = {}
    for key, values in pairs:
        only.setdefault(key, []).extend(values)
        if not only[key]:
            raise UserError(f"--only {key}= selects nothing; give values, for example --only seed=0,1")
    return only


def _settings(given: Mapping[str, Any] | Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of field and value, from a mapping or from texts `PATH=VALUE`."""
    if not isinstance(given, Mapping):
        return [setting(str(words)) for words in listed(given)]
    rows = [("operator.name", str(name)) for name in listed(given.get("operator.name", []))]
    return [*rows, *((path, str(value)) for path, value in given.items() if path != "operator.name")]


def listed(values: Any) -> list[Any]:
    """A list as it is, and one value as a list. A tuple is one value, of an axis or of a field that holds a list."""
    return values if isinstance(values, list) else [values]


def _one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            raise argparse.ArgumentTypeError(f"{value!r} must be one of {', '.join(known)}{nearest(str(value), known)}")
        return str(value)

    return read


def _number(minimum: int, most: int | None = None) -> Callable[[Any], int]:
    return lambda value: at_least(minimum, "", most)(str(value))


_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_COUNTS = ("jobs", "gpus_per_cell", "cells_per_gpu", "cpus_per_cell", "nodes_per_cell", "array_parallelism")
_WANDB_TEXTS = ("wandb_project", "wandb_entity", "wandb_notes")
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_COUNTS, _number(1)),
    "seeds": _number(1, MOST_SEEDS),
    "seed": _number(0),
    "first_seed": _number(0, 2**62),
    "time": lambda value: minutes(str(value)),
    "only": _only,
    "settings": _settings,
    "launcher": _one_of(LAUNCHERS),
    "wandb": _one_of(WANDB_MODES),
    "wandb_tags": lambda value: tag_list(map(str, listed(value))),
    **dict.fromkeys(("out", "data_dir", "backbone_from", "protocol"), lambda value: Path(str(value))),
    **dict.fromkeys(("recipe", "reading", "cell", "partition", *_WANDB_TEXTS, "emit_wandb_sweep"), str),
}
FLAGS = {"settings": "--set"}
"""The flags that are not called as their option."""
