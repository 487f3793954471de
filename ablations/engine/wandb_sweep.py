"""A sweep as a file for `wandb sweep`, whose agents run one cell at a time by `--cell NAME --seed N`.

The two parameters of the file are the names of the configurations and the seeds. A grid over them has every cell of the
sweep once. A grid over the sweep's own axes would have some cells twice, because rows may share them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations.engine.options import Options
from ablations.engine.plan import metric_of
from ablations.engine.selection import recipe_of
from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.ledger import files


def describe(module: str, sweep: Sweep, cells: Sequence[Cell], options: Options) -> dict[str, Any]:
    """The sweep file for `cells`, which hold every seed of each of their groups."""
    recipe = recipe_of(sweep, options)
    names: dict[str, str] = {}
    for cell in cells:  # of two rows that share a configuration, the first one names it
        names.setdefault(cell.group, cell.place)
    return {
        "name": sweep.name,
        "description": f"{sweep.title} ({sweep.reproduces}), recipe {recipe.name}",
        **({} if options.wandb_entity is None else {"entity": options.wandb_entity}),
        "project": options.wandb_project,
        "method": "grid",
        "metric": {"name": metric_of(sweep, recipe, cells).name, "goal": "maximize"},
        "command": ["${env}", "${interpreter}", "-m", *_arguments(module, recipe.name, options), "${args}"],
        "parameters": {
            "cell": {"values": list(names.values())},
            "seed": {"values": sorted({cell.config.seed for cell in cells})},
        },
    }


def _arguments(module: str, recipe: str, options: Options) -> list[str]:
    """The command line that makes the same cells again. It tracks online, because an agent needs its server."""
    arguments = [f"ablations.{module}", f"--recipe={recipe}", f"--out={os.fspath(options.folder)}", "--wandb=online"]
    arguments.append(f"--wandb-project={options.wandb_project}")
    arguments += [f"--wandb-entity={options.wandb_entity}"] * (options.wandb_entity is not None)
    arguments += [f"--wandb-tags={tag}" for tag in options.wandb_tags]
    arguments += [f"--wandb-notes={options.wandb_notes}"] * (options.wandb_notes is not None)
    arguments += ["--wandb-system"] * options.wandb_system + ["--wandb-artifacts"] * options.wandb_artifacts
    if options.data_dir is not None:
        arguments.append(f"--data-dir={os.fspath(options.data_dir)}")
    if options.backbone_from is not None:
        arguments.append(f"--backbone-from={os.fspath(options.backbone_from)}")
    if options.protocol is not None:
        arguments.append(f"--protocol={os.fspath(options.protocol)}")
    if options.reading is not None:
        arguments.append(f"--reading={options.reading}")
    if options.gpus_per_cell is not None:
        arguments.append(f"--gpus-per-cell={options.gpus_per_cell}")
    arguments += ["--download"] * options.download + ["--smoke"] * options.smoke + ["--fast"] * options.fast
    return arguments + [f"--set={path}={value}" for path, value in options.settings]


def emit(module: str, sweep: Sweep, cells: Sequence[Cell], options: Options) -> None:
    """Write the sweep file and print how to run it. `module` is the sweep's module, also for one of its readings."""
    import yaml

    path = Path(options.emit_wandb_sweep or options.folder / sweep.name / "wandb-sweep.yaml")
    files.make_folder(path.parent)
    files.write_text(path, yaml.safe_dump(describe(module, sweep, cells, options), sort_keys=False, width=1000))
    print(f"{len({cell.id for cell in cells})} cells in {path}")
    shared = f"here or on as many machines as share {options.folder}"
    print(f"wandb sweep {path}    # prints the id for: wandb agent ID, {shared}")
