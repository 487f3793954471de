"""Turns archives into a ledger, so that a sweep goes on from their cells, on this machine or another.

A finished cell of a source becomes the folder of a cell that has ended. The folder holds its record, its configuration
and its evaluations. An archive holds no checkpoints, no predictions of single images and no training losses. The plan
of a sweep becomes its `cells.json`. So the tables of the ledger are those of the source until the sweep runs again.

A folder that exists is never changed. A new folder appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from analysis.sources import contradictions
from analysis.sources.archive import curves_of
from analysis.sources.collection import Collection
from analysis.sources.ledger import Ledger
from lightning_xvol.errors import UserError, first_line
from lightning_xvol.ledger import checks, files, record
from lightning_xvol.ledger.spellings import as_recorded

CELLS = "cells"
"""The folder of all cells in a ledger. No sweep can have this name."""


@dataclass
class Restored:
    """What was restored, by the ids of the cells and the names of the sweeps.

    Attributes:
        cells, sweeps: Those that were written.
        kept_cells, kept_sweeps: Those that the ledger had already.
        refused: A sentence for each cell or sweep that was left out because it contradicts itself, has no place, or has
            another result in the ledger.
    """

    cells: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    kept_cells: list[str] = field(default_factory=list)
    kept_sweeps: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def restore(runs: Collection, out: Path) -> Restored:
    """Write the finished cells of `runs` and their sweeps into the ledger `out`.

    Raises:
        UserError: for a folder that cannot be written to, or a file in the place of one. Nothing is written then.
        OSError: for a full disk, for example. What was written stays, and the next call goes on.
    """
    done = Restored()
    metrics: dict[str, set[str]] = {}
    plans = runs.plans()
    for plan in plans:
        for cell in plan.content["cells"]:
            metrics.setdefault(cell["cell_id"], set()).add(plan.content["metric"])
    named = [out / plan.name for plan in plans if _can_be_folder(plan.name)]
    for folder in [*named, *(record.cell_folder(out, cell_id) for cell_id in sorted(metrics))]:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{str(folder)!r} is no folder, and a folder of this name is needed; move it away")
    files.make_folder(out / CELLS)
    ledger = Ledger(out)
    # The cells come first, so that no plan stands for cells that a later error has lost.
    for cell_id in sorted(metrics):
        outcome = runs.outcome(cell_id)
        if outcome is None or outcome.result is None:
            continue
        foreign = _foreign(outcome.result)
        if foreign:
            done.refused.append(f"{outcome.where}: {foreign}")
            continue
        content = _cell_files(runs, outcome.result, metrics[cell_id])
        new = _write_folder(out, f"{CELLS}/{cell_id}", content)
        (done.cells if new else done.kept_cells).append(cell_id)
        known = None if new else ledger.outcome(cell_id)
        if known is not None and known.result is not None:
            what = contradictions.difference(known.result, outcome.result)
            if what:
                done.refused.append(contradictions.sentence(f"{known.where} and {outcome.where}", {cell_id: what}))
    for plan in plans:
        if not _can_be_folder(plan.name):
            done.refused.append(
                f"{plan.where}: the sweep {checks.shown(plan.name)} is left out, because a folder cannot have its name"
            )
            continue
        if plan.name in done.sweeps:
            done.refused.append(
                f"{plan.where}: a second sweep {plan.name!r} is left out, because a ledger holds one; name another "
                "--out for it"
            )
            continue
        new = _write_folder(out, plan.name, {"cells.json": files.json_bytes(plan.content)})
        (done.sweeps if new else done.kept_sweeps).append(plan.name)
    return done


def _can_be_folder(sweep: str) -> bool:
    return not checks.problems(sweep, checks.name) and sweep != CELLS


def _foreign(result: Mapping[str, Any]) -> str:
    """A sentence that says why a record cannot be that of its cell; empty where it can.

    The id must follow from the configuration, because a sweep looks for its results by their ids alone.
    """
    try:
        config = as_recorded(result)
    except (AttributeError, KeyError, TypeError) as error:
        return f"its configuration cannot be read ({first_line(error)}), so it is left out"
    except UserError as error:
        return f"this version does not accept its configuration ({error}), so it is left out"
    for key, own in (("cell_id", config.cell_id), ("group_id", config.group_id), ("seed", config.seed)):
        if result[key] != own:
            return f"its {key} is {checks.shown(result[key])}, and its configuration gives {own!r}; it is left out"
    return ""


def _cell_files(runs: Collection, result: Mapping[str, Any], metrics: set[str]) -> dict[str, bytes]:
    curves = curves_of(runs, result, metrics)
    points = [(name, *point) for name, curve in curves.items() for point in curve.items()]
    rows = sorted((step, name, epoch, value) for name, step, (epoch, value) in points)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "epoch", "name", "value"))
    writer.writerows((step, epoch, name, value) for step, name, epoch, value in rows)
    lines = files.text_bytes(text.getvalue())
    return {
        "metrics.csv": lines,
        "config.yaml": files.text_bytes(yaml.safe_dump(result["config"], sort_keys=False)),
        "result.json": files.json_bytes({**result, "metrics_bytes": len(lines)}),
    }


def _write_folder(ledger: Path, name: str, content: Mapping[str, bytes]) -> bool:
    """Write the folder `name` of `ledger` with files of this content. Returns False if the name is taken.

    The folder is written under another name and then renamed. Renaming fails if another process was faster.
    """
    folder = ledger / name
    if os.path.lexists(folder):
        return False
    temporary = ledger / f".restore-{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        for file, data in content.items():
            files.write_bytes(temporary / file, data)
        temporary.rename(folder)
    except OSError:
        if not os.path.lexists(folder):
            raise
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True
