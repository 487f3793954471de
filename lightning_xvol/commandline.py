"""Shared by all command lines: a parser with short errors, and flags that mean the same everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from lightning_xvol.config.imports import importable
from lightning_xvol.config.recipes import DEFAULT, RECIPES, get_recipe
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import DEFAULT_PROJECT, from_dict, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.processes import rank

WANDB_MODES = ("offline", "online", "disabled")
DATA_DIR_HELP = "folder that holds data sets (default: what LIGHTNING_XVOL_DATA names, else data)"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line; argparse itself prints the whole usage first."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def at_least(minimum: int, name: str, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number from `minimum` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {minimum}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at most {most}")
        return value

    parse.__name__ = name
    return parse


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)  # rounded first, so that 59.7 becomes `1 min 0 s`, not `60 s`
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def columns(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Each of `rows` as a line for a terminal, two spaces between its aligned cells.

    Args:
        rows: lists of as many cells each. A row that is a string becomes a line as it is: a heading.
        right: the columns, counted from 0, whose cells are flush right.
    """
    rows = list(rows)
    cells = iter(padded([row for row in rows if not isinstance(row, str)], right))
    return [row if isinstance(row, str) else "  ".join(next(cells)).rstrip() for row in rows]


def padded(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[list[str]]:
    """`rows` with every cell as wide as the widest of its column. Cells of the columns in `right` are flush right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        [cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in enumerate(pairs)]
        for pairs in (zip(row, widths, strict=True) for row in rows)
    ]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], marks: Sequence[str]) -> str:
    """A Markdown table with aligned source. `marks` aligns each column: `:--` left, `:-:` centre, `--:` right."""
    right = [place for place, mark in enumerate(marks) if mark == "--:"]
    lines = padded([header, marks, *rows], right)
    lines[1] = [mark.replace("-", "-" * (len(cell) - 2), 1) for mark, cell in zip(marks, lines[1], strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def is_helper_process() -> bool:
    """Whether this is a later process of one run (DDP), which repeats the command line and prints nothing."""
    return rank() != 0


def setting(text: str) -> tuple[str, str]:
    """An argparse type: PATH=VALUE."""
    return _pair(text, "PATH=VALUE, for example optim.lr=0.05")


def selection(text: str) -> tuple[str, str]:
    """An argparse type: KEY=V1,V2."""
    return _pair(text, "KEY=V1,V2, for example seed=0,1")


def _pair(text: str, expected: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be {expected}")
    return name, value


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a run: a recipe, its operator, and changes to it. `make_config` reads them."""
    parser.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help=f"one of {', '.join(RECIPES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--operator", default="convolution", metavar="NAME", help="a registered operator or package.module:Class"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file with any fields of the configuration; they replace those of the recipe",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="PATH=VALUE",
        dest="settings",
        help="set any field; repeatable",
    )
    add_trust(parser, "--config")


def add_trust(parser: argparse.ArgumentParser, file: str) -> None:
    """Add --trust, for the files of the flag `file`."""
    parser.add_argument(
        "--trust", action="store_true", help=f"import classes that {file} names by import path, which runs their code"
    )


def make_config(parsed: argparse.Namespace) -> Resolved:
    """The recipe with its operator, changed by the file and then by the flags, and resolved.

    Raises:
        UserError: for a name, a field or a value that does not exist, a file that cannot be read, or an import path in
            a file that is not trusted.
    """
    config = get_recipe(parsed.recipe).config(parsed.operator)
    if parsed.config is not None:
        source = f"--config {str(parsed.config)!r}"
        config = from_dict(_read_yaml(parsed.config), config, source=source, trust=parsed.trust)
    for path, value in parsed.settings:
        config = set_value(config, path, value)
    return resolve(importable(config))


def _read_yaml(path: Path) -> dict:
    import yaml

    try:
        values = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read --config {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"--config {str(path)!r} must hold sections such as optim: {{lr: 0.05}}, not {type(values).__name__}"
        )
    return values


def add_run_flags(parser: argparse.ArgumentParser, out: str | None) -> None:
    """Add the flags that say where results and data are, and how runs are tracked."""
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="ledger folder (default: runs)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help=DATA_DIR_HELP)
    parser.add_argument(
        "--download", action="store_true", help="let torchvision fetch CIFAR and Fashion-MNIST into --data-dir"
    )
    parser.add_argument(
        "--backbone-from", type=Path, metavar="LEDGER",
        help="start each detector from the classification run in this ledger with the same backbone, operator and seed",
    )  # fmt: skip
    parser.add_argument(
        "--wandb", choices=WANDB_MODES, default="offline", help="how Weights & Biases tracks runs (default: offline)"
    )
    parser.add_argument(
        "--wandb-project", default=DEFAULT_PROJECT, metavar="NAME", help="W&B project (default: %(default)s)"
    )
    parser.add_argument("--wandb-entity", metavar="NAME", help="W&B user or team (default: your own)")
    parser.add_argument(
        "--wandb-tags", action="append", metavar="TAG1,TAG2",
        help="further W&B tags, beside sweep, recipe and operator; repeatable",
    )  # fmt: skip
    parser.add_argument("--wandb-notes", metavar="TEXT", help="the notes of each W&B run")
    parser.add_argument(
        "--wandb-system", action="store_true", help="let W&B measure the processor, memory and accelerators"
    )
    parser.add_argument(
        "--wandb-artifacts", action="store_true",
        help="upload the last checkpoint and the record of each run, and the table and figure of a sweep, as artifacts",
    )  # fmt: skip


def tag_list(given: Iterable[str] | None) -> tuple[str, ...]:
    """The tags of `--wandb-tags`: texts in which commas separate tags."""
    return tuple(tag.strip() for words in given or () for tag in words.split(",") if tag.strip())
