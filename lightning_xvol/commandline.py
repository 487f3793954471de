"""Shared by all command lines: a parser with short errors, and flags that mean the same everywhere."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from lightning_xvol.config import registry
from lightning_xvol.config.imports import importable
from lightning_xvol.config.recipes import DEFAULT, RECIPES, get_recipe
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import DEFAULT_PROJECT, RunConfig, from_dict, leaves, set_value, to_dict
from lightning_xvol.config.smoke import smoke
from lightning_xvol.errors import UserError
from lightning_xvol.processes import rank

WANDB_MODES = ("offline", "online", "disabled")
WIDTH = 100
"""The most columns of a help text and of a table for a terminal."""
FIELDS = [f"{path}=" for path, _ in leaves(to_dict(RunConfig()))]
"""How a `--set` begins, for every field that each configuration has."""
OLD_SPELLINGS = {"--output": "--out"}
"""Flags that had another name once. Every command still takes it."""
DATA_DIR_HELP = "folder that holds data sets (default: what LIGHTNING_XVOL_DATA names, else data)"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` for people: errors of one line, help of at most `WIDTH` columns, completion by the shell.

    argparse itself prints the whole usage before an error, and fills the terminal with its help.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": _formatter, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        if "_ARGCOMPLETE" in os.environ:
            _answer_shell(self)
        words = sys.argv[1:] if args is None else args
        return super().parse_args([_current_spelling(word) for word in words], namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _answer_shell(parser: argparse.ArgumentParser) -> None:
    """Print the completions that the shell asks for by this variable (docs/setup.md), and exit."""
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)  # otherwise the command would run when somebody only presses the Tab key
    argcomplete.autocomplete(parser)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=min(shutil.get_terminal_size().columns, WIDTH) - 2)


def terminal_width() -> int:
    """The columns of the terminal, at most `WIDTH`; `WIDTH` where there is none."""
    return min(shutil.get_terminal_size((WIDTH, 0)).columns, WIDTH)


def _current_spelling(word: str) -> str:
    flag, equals, value = word.partition("=")
    return OLD_SPELLINGS.get(flag, flag) + equals + value


def completes(action: argparse.Action, values: Iterable[str]) -> None:
    """Let the shell complete the value of `action` to one of `values`, which are no more than suggestions."""
    action.completer = lambda **_: list(values)  # type: ignore[attr-defined]


class Reached(NamedTuple):
    """How far a run is. Loss, metric and time left are None where nothing is known yet.

    Attributes:
        step: the number of training steps that are done.
        total: the number of all training steps.
        loss: the training loss of the last step.
        metric: the last value of the validation metric.
        metric_name: the name of this metric.
        seconds_left: how long the run will still take.
    """

    step: int
    total: int
    loss: float | None = None
    metric: float | None = None
    metric_name: str = ""
    seconds_left: float | None = None

    def __str__(self) -> str:
        """What is known, for example `loss 1.234, validation top1 56.7, about 20 s left`."""
        return self._text("validation ", "about ")

    @property
    def short(self) -> str:
        """The same for a bar, `loss 1.234, top1 56.7, 20 s left`."""
        return self._text("", "")

    def _text(self, validation: str, about: str) -> str:
        known = [
            None if self.loss is None else f"loss {self.loss:.3f}",
            None if self.metric is None else f"{validation}{self.metric_name} {self.metric:.1f}",
            None if self.seconds_left is None else f"{about}{duration(self.seconds_left)} left",
        ]
        return ", ".join(filter(None, known))


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


def row_named(value: str, rows: Collection[str]) -> str | None:
    """The one of `rows` that `--only operator=VALUE` means, or None.

    A row has the name of a registered operator, of one with certain options, or of a class that `--set operator.name=`
    added. All spellings that `--set operator.name=` takes lead to it: registered names and import paths.
    """
    if value in rows:
        return value
    added = value.rpartition(":")[2]
    registered = (name for name, entry in registry.OPERATORS.items() if entry.path == value)
    return next((row for row in (added, *registered) if row in rows), None)


def _pair(text: str, expected: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be {expected}")
    return name, value


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a run: a recipe, its operator, and changes to it. `make_config` reads them."""
    recipe = parser.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help=f"one of {', '.join(RECIPES)} (default: %(default)s)"
    )
    completes(recipe, RECIPES)
    operator = parser.add_argument(
        "--operator",
        default="convolution",
        metavar="NAME",
        help="a registered operator or package.module:Class (default: %(default)s)",
    )
    completes(operator, registry.OPERATORS)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file with any fields of the configuration; they replace those of the recipe",
    )
    fields = parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="PATH=VALUE",
        dest="settings",
        help="set any field, for example optim.lr=0.05; repeatable",
    )
    completes(fields, FIELDS)
    add_trust(parser, "--config")


def add_trust(parser: argparse.ArgumentParser, file: str) -> None:
    """Add --trust, for the files of the flag `file`."""
    parser.add_argument(
        "--trust", action="store_true", help=f"import classes that {file} names by import path, which runs their code"
    )


def make_config(parsed: argparse.Namespace) -> Resolved:
    """The recipe with its operator, changed by the file, by `--smoke` and then by the flags, and resolved.

    Raises:
        UserError: for a name, a field or a value that does not exist, a file that cannot be read, or an import path in
            a file that is not trusted.
    """
    config = get_recipe(parsed.recipe).config(parsed.operator)
    if parsed.config is not None:
        source = f"--config {str(parsed.config)!r}"
        values = read_yaml(parsed.config, "sections such as optim: {lr: 0.05}")
        config = from_dict(values, config, source=source, trust=parsed.trust)
    if getattr(parsed, "smoke", False):
        config = smoke(config, [path for path, _ in parsed.settings])
    for path, value in parsed.settings:
        config = set_value(config, path, value)
    return resolve(importable(config))


def read_yaml(path: Path, expected: str, plain: bool = False) -> dict[str, Any]:
    """The mapping in the file of `--config`, which must hold what `expected` says.

    With `plain`, every value is its text, as on a command line: YAML would read the time limit `1:30:00` as 5400.

    Raises:
        UserError: for a file that cannot be read, or holds something else.
    """
    import yaml

    try:
        content = path.read_bytes()
        values = yaml.BaseLoader(content).get_single_data() if plain else yaml.safe_load(content)
    except OSError as error:
        raise UserError(f"cannot read --config {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--config {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        found = "other keys" if isinstance(values, dict) else type(values).__name__
        raise UserError(f"--config {str(path)!r} must hold {expected}, not {found}")
    return values


def ledger_folder(out: Path | None, smoke: bool) -> Path:
    """The folder that holds the results: `--out`, by default `runs`, or `runs-smoke` with `--smoke`."""
    return out or Path("runs-smoke" if smoke else "runs")


def add_run_flags(parser: argparse.ArgumentParser, each: str) -> None:
    """Add the flags that say where results and data are, how runs are tracked, and `--smoke`. `each` names a run."""
    parser.add_argument(
        "--smoke", action="store_true",
        help=f"train {each} for 20 steps on 256 images, to see that it works; write to runs-smoke",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="the ledger: the folder of the results (default: runs)")
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
