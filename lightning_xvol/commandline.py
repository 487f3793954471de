"""What the command lines share: a parser whose errors are short, and flags that mean the same everywhere."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lightning_xvol.errors import UserError

WANDB_MODES = ("offline", "online", "disabled")
DEFAULT_PROJECT = "lightning-xvol"


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors (it would print the whole usage first)."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def at_least(minimum: int, name: str) -> Callable[[str], int]:
    """An argparse type: a whole number not below `minimum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {minimum}")
        return value

    parse.__name__ = name
    return parse


def is_helper_process() -> bool:
    """Whether this process repeats a command line as the second or a later process of one run (DDP), silently."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def setting(text: str) -> tuple[str, str]:
    """An argparse type: PATH=VALUE."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be PATH=VALUE, for example optim.lr=0.05")
    return path, value


def add_run_flags(parser: argparse.ArgumentParser, out: str | None) -> None:
    """Where results and data lie, and how runs are tracked."""
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="ledger folder (default: runs)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder that holds data sets (default: data)")
    parser.add_argument(
        "--download", action="store_true", help="let torchvision fetch CIFAR and Fashion-MNIST into --data-dir"
    )
    parser.add_argument(
        "--wandb", choices=WANDB_MODES, default="offline", help="tracking by Weights & Biases (default: offline)"
    )
    parser.add_argument(
        "--wandb-project", default=DEFAULT_PROJECT, metavar="NAME", help="W&B project (default: %(default)s)"
    )
