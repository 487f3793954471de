"""Made-up ledgers whose records hold true configurations, so that their settings can be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import from_record, set_value, to_dict
from lightning_xvol.ledger import record

LABELS = {"convolution": "Convolution", "pssa": "PSSA", "xvolution": "X-volution"}
Scores = Mapping[tuple[str, int], Sequence[float]]
"""The values of the seeds, by operator and kernel size."""


def write_runs(
    out: Path, scores: Scores, *settings: tuple[str, Any], recipe: str = "match_small", metric: str = "top1",
    lost: Sequence[tuple[str, int]] = (), digest: str = "d", plan: bool = True, **changes: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Write the runs of a sweep `kernel_size` with the `settings` of `--set`, as its command does.

    The plan replaces that of an earlier call. A setting of an operator's option changes the rows that have it alone.
    The runs of the rows in `lost` are planned and have no record.
    """
    cells = []
    axes = changes.get("axes", ["kernel_size"])
    for (operator, size), values in scores.items():
        config = get_recipe(recipe).config(operator, **({} if operator == "pssa" else {"kernel_size": size}))
        for path, value in settings:
            if not path.startswith("operator.") or operator != "convolution":
                config = set_value(config, path, value)
        for seed, value in enumerate(values):
            run = resolve(set_value(config, "seed", seed))
            cell = {
                "operator": operator, "label": LABELS[operator], "axes": dict.fromkeys(axes, size), "seed": seed,
                "cell_id": run.cell_id, "group_id": run.group_id,
            }  # fmt: skip
            cells.append(cell)
            if (operator, size) in lost:
                continue
            folder = out / "cells" / run.cell_id
            folder.mkdir(parents=True, exist_ok=True)
            result = {
                **dict.fromkeys(record.RESULT_KEYS), "cell_id": run.cell_id, "group_id": run.group_id, "seed": seed,
                "config": to_dict(run), "schema": 1, "status": "finished", "params": 10, "macs": 10,
                "wall_seconds": 1.0, "metrics": {metric: {"last": value, "best": value, "best_epoch": 1}},
                "environment": {"torch": "2.15.0", "device": "cpu"}, "commit": "0" * 40,
                "data": {"digest": digest, "by": "pixels", "validation": 1000},
            }  # fmt: skip
            (folder / "result.json").write_text(json.dumps(result))
    content = {
        "schema": 1, "sweep": "kernel_size", "title": "Kernel size", "recipe": recipe, "data": "match-to-sample",
        "budget": "3 epochs", "metric": metric, "metric_label": "top-1 accuracy (%)", "axes": axes,
        "axis_labels": {"kernel_size": "kernel size K"}, "baseline": "convolution", "controls": {}, "beside": {},
        "below": [], "paper": {}, "note": "", "smoke": False, "reproduces": None,
        "figure": {"kind": "lines", "x": "kernel_size"}, "cells": cells,
        **({"settings": [f"{path}={value}" for path, value in settings]} if settings else {}),
        **changes,
    }  # fmt: skip
    if plan:
        (out / "kernel_size").mkdir(parents=True, exist_ok=True)
        (out / "kernel_size" / "cells.json").write_text(json.dumps(content))
    return cells


def add_settings(out: Path, *settings: tuple[str, Any], replace_plans: bool = False) -> None:
    """Add to the ledger `out` a copy of each finished run with other `settings`; values and curves stay.

    With `replace_plans`, the plans of its sweeps list the copies, as if the sweeps had run with these settings alone.
    """
    ids: dict[str, tuple[str, str]] = {}
    for path in [*out.glob("cells/*/result.json")]:
        result = json.loads(path.read_text())
        config = from_record(result["config"])
        for field, value in settings:
            config = set_value(config, field, value)
        run = resolve(config)
        ids[result["cell_id"]] = run.cell_id, run.group_id
        folder = out / "cells" / run.cell_id
        if folder == path.parent:
            continue
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path.parent / "metrics.csv", folder / "metrics.csv")
        result |= {"cell_id": run.cell_id, "group_id": run.group_id, "config": to_dict(run), "optimisation_id": None}
        (folder / "result.json").write_text(json.dumps(result))
    for path in out.glob("*/cells.json") if replace_plans else ():
        plan = json.loads(path.read_text())
        for cell in plan["cells"]:
            cell["cell_id"], cell["group_id"] = ids.get(cell["cell_id"], (cell["cell_id"], cell["group_id"]))
        path.write_text(json.dumps(plan))
