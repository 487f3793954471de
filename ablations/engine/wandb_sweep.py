"""A sweep as a file for `wandb sweep`, whose agents run one cell at a time by `--cell GROUP --seed N`.

Its two parameters are the groups (a configuration without its seed) and the seeds: a grid over them is the sweep's
cells, each once, which a grid over the sweep's own axes would not be where rows take different options.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.errors import ExitCode
from lightning_xvol.ledger import files


def describe(sweep: Sweep, cells: Sequence[Cell], flags: argparse.Namespace, out: Path) -> dict[str, Any]:
    """The sweep file for `cells`, which hold every seed of each of their groups."""
    return {
        "name": sweep.name,
        "description": f"{sweep.title} ({sweep.reproduces}), recipe {flags.recipe}",
        "project": flags.wandb_project,
        "method": "grid",
        "metric": {"name": registry.METRICS[get_recipe(flags.recipe).task].name, "goal": "maximize"},
        "command": ["${env}", "${interpreter}", "-m", *_arguments(flags, out), "${args}"],
        "parameters": {
            "cell": {"values": list(dict.fromkeys(cell.group for cell in cells))},
            "seed": {"values": sorted({cell.config.seed for cell in cells})},
        },
    }


def _arguments(flags: argparse.Namespace, out: Path) -> list[str]:
    """What makes the same cells again, and says where results and data lie. An agent needs its server: online."""
    arguments = [f"ablations.{flags.module}", f"--recipe={flags.recipe}", f"--out={os.fspath(out)}", "--wandb=online"]
    arguments.append(f"--wandb-project={flags.wandb_project}")
    if flags.data_dir is not None:
        arguments.append(f"--data-dir={os.fspath(flags.data_dir)}")
    if flags.backbone_from is not None:
        arguments.append(f"--backbone-from={os.fspath(flags.backbone_from)}")
    if flags.reading is not None:
        arguments.append(f"--reading={flags.reading}")
    if flags.gpus_per_cell is not None:
        arguments.append(f"--gpus-per-cell={flags.gpus_per_cell}")
    arguments += ["--download"] * flags.download + ["--smoke"] * flags.smoke
    return arguments + [f"--set={path}={value}" for path, value in flags.settings]


def emit(sweep: Sweep, cells: Sequence[Cell], flags: argparse.Namespace, out: Path) -> int:
    """Write the sweep file and say how to run it."""
    import yaml

    path = Path(flags.emit_wandb_sweep or out / sweep.name / "wandb-sweep.yaml")
    files.make_folder(path.parent)
    files.write_text(path, yaml.safe_dump(describe(sweep, cells, flags, out), sort_keys=False, width=1000))
    print(f"{len({cell.id for cell in cells})} cells in {path}")
    print(f"wandb sweep {path}    # prints the id for: wandb agent ID, here or on as many machines as share {out}")
    return ExitCode.SUCCESS
