"""Ledgers of runs with the paper's printed numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.paper import published
from lightning_xvol.config import recipes, registry
from lightning_xvol.config.metrics import METRICS
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value, to_dict
from lightning_xvol.ledger import record
from lightning_xvol.ledger.origins import with_papers_origin

SEEDS = 3

Spread = Callable[[str, int], float]  # (row label, seed) -> what a run has beyond the printed number


def place(config: RunConfig, axes: Mapping[str, Any]) -> RunConfig:
    if "stages" in axes and config.operator.name != "convolution":
        config = set_value(config, "backbone.stages", axes["stages"])
    if "schedule" in axes:
        config = recipes.lengthen(config, axes["schedule"])
    return resolve(config)


def contents_of(config: RunConfig) -> dict[str, Any]:
    """What a record of `config` holds of its data, where they are what they are called."""
    return {"digest": config.data.name, "by": "files", **registry.lookup("data", config.data.name).facts}


def write_sweep(
    out: Path, name: str, recipe: str, rows: Sequence[tuple[str, dict[str, Any], dict[str, float]]],
    spread: Spread = lambda row, seed: 0.0, seeds: int = SEEDS, diverged: Mapping[str, int] | None = None,
    **changes: Any,
) -> None:  # fmt: skip
    """Write a ledger of runs with the metrics of `rows` (label, axes, metrics).

    The first seeds of the rows in `diverged` have diverged, as many as it says. `changes` are fields that are set last,
    such as `train__devices=8`; a function computes its value from the others.
    """
    cells = []
    for label, axes, metrics in rows:
        operator = label.removesuffix("_position")
        options = {"position_encoding": True} if operator != label else {}
        config = place(with_papers_origin(recipes.get_recipe(recipe).config(operator, **options)), axes)
        for path, value in changes.items():
            config = set_value(config, path.replace("__", "."), value(config) if callable(value) else value)
        for seed in range(seeds):
            run = resolve(set_value(config, "seed", seed))
            cell = {
                "operator": label, "label": label, "axes": axes, "seed": seed, "cell_id": record.cell_id(run),
                "group_id": record.group_id(run),
            }  # fmt: skip
            cells.append(cell)
            values = {metric: round(value + spread(label, seed), 6) for metric, value in metrics.items()}
            folder = out / "cells" / cell["cell_id"]
            folder.mkdir(parents=True, exist_ok=True)
            result = {
                **dict.fromkeys(record.RESULT_KEYS), **{key: cell[key] for key in ("cell_id", "group_id", "seed")},
                "optimisation_id": run.optimisation_id, "config": to_dict(run), "schema": 1,
                "status": "diverged" if seed < (diverged or {}).get(label, 0) else "finished",
                "params": 1, "macs": 1, "wall_seconds": 1.0,
                "metrics": {key: {"last": value, "best": value, "best_epoch": 1} for key, value in values.items()},
                "environment": {"torch": "2.15.0", "device": "cpu"}, "commit": "0" * 40,
                "data": contents_of(run),
            }  # fmt: skip
            (folder / "result.json").write_text(json.dumps(result))
    metric = METRICS[recipes.get_recipe(recipe).task]
    reproduces = recipes.get_recipe(recipe).reproduces
    plan = {
        "schema": 1, "sweep": name, "title": name, "recipe": recipe, "data": "the data", "budget": "the budget",
        "metric": metric.name, "metric_label": metric.label, "axes": list(rows[0][1]), "axis_labels": {},
        "baseline": None, "controls": {}, "beside": list(metric.secondary_metrics.items()),
        "below": [], "paper": {}, "note": "",
        "smoke": False, "reproduces": reproduces, "figure": None, "cells": cells,
    }  # fmt: skip
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / name / "cells.json").write_text(json.dumps(plan))


def rows_of(table: int, backbone: str = "ResNet-50") -> list[tuple[str, str, dict[str, float]]]:
    """Label, setting and printed numbers of the rows of a table, without `analysis.paper.published`."""
    path = Path(published.__file__).with_name("published.csv")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for line in csv.DictReader(path.open(newline="")):
        if (int(line["table"]), line["backbone"]) == (table, backbone):
            rows.setdefault((line["label"], line["setting"]), {})[line["metric"]] = float(line["value"])
    return [(*key, values) for key, values in rows.items()]


def write_paper(out: Path, spread: Spread = lambda row, seed: 0.0, **changes: Any) -> list[str]:
    """Write ledgers with a run for every printed row of Tables 1, 2, 3, 4 and 6; return the arguments of `--source`.

    `changes` are as in `write_sweep`.
    """

    def write(
        folder: Path, name: str, recipe: str, rows: Sequence[tuple[str, dict[str, Any], dict[str, float]]]
    ) -> None:
        write_sweep(folder, name, recipe, rows, spread, **changes)

    for backbone, recipe in (("ResNet-34", "imagenet_resnet34"), ("ResNet-50", "imagenet_resnet50")):
        rows = rows_of(1, backbone)
        plain = [row for row in rows if not row[1] or row[1] == "stage5"]
        write(out / recipe, "operator", recipe, [(label, {}, values) for label, _, values in plain])
        staged = [
            (label, {"stages": (stage,)}, values)
            for stage in (3, 4, 5) for label, setting, values in rows
            if label == "convolution" or setting == f"stage{stage}"
        ]  # fmt: skip
        write(out / recipe, "stage", recipe, staged)
    faster = out / "coco_faster_rcnn"
    write(faster, "operator", "coco_faster_rcnn", [(label, {}, values) for label, _, values in rows_of(2)])
    mask = [(label, {}, values) for label, _, values in rows_of(3)]
    write(out / "coco_mask_rcnn", "operator", "coco_mask_rcnn", mask)
    suffixes = {"no position encoding": "", "relative position encoding": "_position"}
    position = [(label + suffixes[setting], {}, values) for label, setting, values in rows_of(4)]
    write(faster, "position_encoding", "coco_faster_rcnn", position)
    schedule = [(label, {"schedule": int(setting.split()[0]) // 12}, values) for label, setting, values in rows_of(6)]
    write(faster, "schedule", "coco_faster_rcnn", schedule)
    return [word for folder in sorted(out.iterdir()) for word in ("--source", str(folder))]
