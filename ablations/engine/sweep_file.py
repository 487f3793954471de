"""`--config sweep.yaml`: the flags of a sweep by their names, in a file. Flags of the command line come first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.engine.options import FLAGS, listed, read_value
from lightning_xvol.commandline import read_yaml
from lightning_xvol.config.imports import importable, marked
from lightning_xvol.errors import UserError, nearest

EXPECTED = "the names of flags with their values, such as seeds: 3"
ONLY_TYPED = ("config", "trust")
"""What a file cannot say: which file to read, and that it is to be trusted."""
SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read_arguments(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> dict[str, Any]:
    """The values that the command line gives, and those of its `--config` file for all other flags.

    A flag that neither gives is missing, so that `read_options` fills in its default. `--set` and `--only` of the
    command line replace what the file says about the same field or key, and leave the rest of the file's.

    Raises:
        UserError: for a file that cannot be read, a name that is no flag, a value of another kind, or an import path in
            a file that is not trusted.
    """
    # A flag that is not given is None here, whatever its default is.
    flags = [action for action in parser._actions if action.dest != "help"]
    parsed = parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(flag.dest for flag in flags)))
    typed = {name: value for name, value in vars(parsed).items() if value is not None}
    path = typed.pop("config", None)
    if path is None:
        return typed
    values = _read(path, flags)
    settings = read_value("settings", values.get("settings", []))
    if not typed.get("trust"):
        importable(marked(settings, f"--config {str(path)!r}"))
    if settings:
        values["settings"] = _merged(settings, read_value("settings", typed.pop("settings", [])))
    if "only" in values:
        values["only"] = {**read_value("only", values["only"]), **read_value("only", typed.pop("only", []))}
    return {**values, **typed}


def _read(path: Path, flags: Sequence[argparse.Action]) -> dict[str, Any]:
    """The values in the file. They are texts, as on a command line; only `set` and `only` hold more."""
    source = f"--config {str(path)!r}"
    by_name = {_name(flag): flag for flag in flags if flag.dest not in ONLY_TYPED}
    values: dict[str, Any] = {}
    for key, value in read_yaml(path, EXPECTED, plain=True).items():
        name = key.replace("_", "-")
        if name in ONLY_TYPED:
            raise UserError(f"{source}: {key} is only taken from the command line")
        if name not in by_name:
            raise UserError(f"{source}: no flag --{name}{nearest(name, by_name)}; flags: {', '.join(by_name)}")
        flag = by_name[name]
        if flag.dest in values:
            raise UserError(f"{source} names {name} twice")
        values[flag.dest] = _value(flag, value, f"{source}: {key}")
    return values


def _value(flag: argparse.Action, value: Any, where: str) -> Any:
    if flag.dest == "settings":
        return {path: _row_names(path, item) for path, item in value.items()} if isinstance(value, Mapping) else value
    if flag.dest == "only":
        return value
    if flag.nargs == 0:
        if not isinstance(value, str) or value.lower() not in SWITCH:
            raise UserError(f"{where} must be true or false, not {value!r}")
        return SWITCH[value.lower()]
    takes_list = flag.dest == "sweeps" or isinstance(flag, argparse._AppendAction)
    if isinstance(value, Mapping) or (isinstance(value, list) and not takes_list):
        raise UserError(f"{where} must be one value, not {value!r}")
    return ",".join(map(str, listed(value)))


def _row_names(path: str, value: Any) -> Any:
    """A list of names of operators, which add a row each, or the text of a value. `[3, 4]` becomes `3,4`."""
    return value if path == "operator.name" or not isinstance(value, list) else ",".join(map(str, value))


def _name(flag: argparse.Action) -> str:
    return FLAGS.get(flag.dest, f"--{flag.dest.replace('_', '-')}").removeprefix("--")


def _merged(file: Sequence[tuple[str, str]], typed: Sequence[tuple[str, str]]) -> list[str]:
    """The settings of the file that no typed one replaces, and the typed ones, as texts of `--set`."""
    replaced = {path for path, _ in typed} - {"operator.name"}  # which adds a row each time
    return [f"{path}={value}" for path, value in [*(pair for pair in file if pair[0] not in replaced), *typed]]
