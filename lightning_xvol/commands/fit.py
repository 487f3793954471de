"""`python -m lightning_xvol fit`: train one run and write its record."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys

from lightning_xvol.commandline import (
    add_config_flags,
    add_run_flags,
    at_least,
    columns,
    is_helper_process,
    ledger_folder,
    make_config,
    tag_list,
)
from lightning_xvol.config import fast
from lightning_xvol.config.schema import to_dict
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.ledger import record
from lightning_xvol.ledger.origins import with_origin
from lightning_xvol.ledger.spellings import as_begun
from lightning_xvol.processes import refuse_several_tasks
from lightning_xvol.surroundings.streams import is_terminal

SUMMARY = "train one run and write its record"
DESCRIPTION = "Train one run. The same command resumes a run that was stopped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flags(parser)
    parser.add_argument("--fast", action="store_true", help=fast.HELP)
    parser.add_argument("--seed", type=at_least(0, "seed"), metavar="N", help="the seed (default: 0)")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and its cell id, and stop"
    )
    add_run_flags(parser, "the run")


def run(parsed: argparse.Namespace) -> int:
    """Train one run in OUT/cells/<cell id> and print its metrics."""
    if parsed.fast:
        parsed.settings = [*parsed.settings, *fast.fast_settings(parsed.settings)]
    config = make_config(parsed)
    if parsed.seed is not None:
        config = dataclasses.replace(config, seed=parsed.seed)
    out = ledger_folder(parsed.out, parsed.smoke)
    [config] = as_begun([with_origin(config, parsed.backbone_from)], out)
    folder = record.cell_folder(out, config.cell_id)
    if parsed.dry_run:
        import yaml

        print(yaml.safe_dump(to_dict(config), sort_keys=False), end="")
        print(f"# cell {config.cell_id}, group {config.group_id}, folder {folder}")
        return ExitCode.SUCCESS
    refuse_several_tasks()
    from lightning_xvol.ledger.locking import Held
    from lightning_xvol.training.progress import Lines
    from lightning_xvol.training.run import RunContext, train
    from lightning_xvol.training.tracking import Tracking

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if parsed.fast:
        print(fast.NOTE)
    tracking = Tracking(
        parsed.wandb,
        parsed.wandb_project,
        recipe=parsed.recipe,
        entity=parsed.wandb_entity,
        tags=tag_list(parsed.wandb_tags),
        notes=parsed.wandb_notes,
        system=parsed.wandb_system,
        artifacts=parsed.wandb_artifacts,
    )
    bar = is_terminal(sys.stderr)
    lines = None if bar or is_helper_process() else Lines(f"{config.operator.name} on {config.data.name}")
    try:
        result = train(
            config,
            folder,
            RunContext(parsed.data_dir, parsed.download, tracking=tracking, progress_bar=bar, report=lines),
        )
    except Held as error:
        raise UserError(f"another process works in {str(folder)!r}; wait for it or stop it") from error
    if is_helper_process():
        return ExitCode.SUCCESS
    rows = [
        (name, "last", f"{values['last']:.3f}", "best", f"{values['best']:.3f}", f"(epoch {values['best_epoch']})")
        for name, values in sorted(result["metrics"].items())
    ]
    print("\n".join(columns(rows, right=(2, 4))))
    print(f"{result['status']}; record in {folder / 'result.json'}")
    if parsed.wandb != "disabled" and "tracking" in result:
        print(f"note: {result['tracking']}")
    return ExitCode.SUCCESS
