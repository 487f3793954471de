"""`python -m lightning_xvol`: train one run, fuse what it trained, or list what can be chosen."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from lightning_xvol import record, registry
from lightning_xvol.commandline import Parser, add_run_flags, at_least, is_helper_process, setting
from lightning_xvol.commands import fuse
from lightning_xvol.config import RunConfig, from_dict, resolve, set_value
from lightning_xvol.errors import UserError, run_command_line
from lightning_xvol.recipes import DEFAULT, RECIPES, get_recipe


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m lightning_xvol", description="Operators, backbones and training of X-volution.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    fit = commands.add_parser(
        "fit",
        help="train one run and write its record",
        description="Train one run; the same command again resumes it.",
    )
    fit.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help=f"one of {', '.join(RECIPES)} (default: %(default)s)"
    )
    fit.add_argument(
        "--operator", default="convolution", metavar="NAME", help="a registered operator or package.module:Class"
    )
    fit.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML with any fields of the configuration, over the recipe's"
    )
    fit.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="PATH=VALUE",
        dest="settings",
        help="set any field; repeatable",
    )
    fit.add_argument("--seed", type=at_least(0, "seed"), metavar="N", help="the seed (default: 0)")
    fit.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and its cell id, and stop"
    )
    add_run_flags(fit, out="runs")
    fuse.add_to(commands)
    commands.add_parser("list", help="what can be chosen by name", description="What can be chosen by name.")
    return parser


def main() -> int:
    parsed = make_parser().parse_args()
    if parsed.command == "fuse":
        return fuse.run(parsed)
    return fit(parsed) if parsed.command == "fit" else list_names()


def list_names() -> int:
    """Print every operator, backbone, data set and recipe with its options."""
    for kind, entries in registry.KINDS.items():
        print(f"{kind}s" if kind != "data" else "data sets")
        for name, entry in entries.items():
            options = ", ".join(f"{option}={value}" for option, value in entry.options.items())
            print(f"  {name:<18} {entry.label:<18} {options}")
    print("recipes")
    for name, recipe in RECIPES.items():
        print(f"  {name:<18} {recipe.summary}")
    return 0


def make_config(parsed: argparse.Namespace) -> RunConfig:
    """The recipe with the operator put in, then the file, then the flags."""
    config = get_recipe(parsed.recipe).config(parsed.operator)
    if parsed.config is not None:
        config = from_dict(_read_yaml(parsed.config), config)
    for path, value in parsed.settings:
        config = set_value(config, path, value)
    if parsed.seed is not None:
        config = dataclasses.replace(config, seed=parsed.seed)
    return resolve(config)


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


def fit(parsed: argparse.Namespace) -> int:
    """Train one run in OUT/cells/<cell id> and print its metrics."""
    config = make_config(parsed)
    folder = record.cell_folder(parsed.out, record.cell_id(config))
    if parsed.dry_run:
        import yaml

        from lightning_xvol.config import to_dict

        print(yaml.safe_dump(to_dict(config), sort_keys=False), end="")
        print(f"# cell {record.cell_id(config)}, group {record.group_id(config)}, folder {folder}")
        return 0
    from lightning_xvol.locking import Held
    from lightning_xvol.tracking import Tracking
    from lightning_xvol.training import Surroundings, train

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tracking = Tracking(parsed.wandb, parsed.wandb_project, labels={"row": config.operator.name})
    try:
        result = train(
            config,
            folder,
            Surroundings(parsed.data_dir, parsed.download, tracking=tracking, progress_bar=sys.stderr.isatty()),
        )
    except Held as error:
        raise UserError(f"another process works in {str(folder)!r}; wait for it or stop it first") from error
    if is_helper_process():
        return 0
    for name, values in sorted(result["metrics"].items()):
        print(f"{name:<10} last {values['last']:8.3f}   best {values['best']:8.3f} (epoch {values['best_epoch']})")
    print(f"{result['status']}; record in {folder / 'result.json'}")
    return 0


if __name__ == "__main__":
    run_command_line(main)
