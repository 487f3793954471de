"""Synthetic ledgers with plausible numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

LABELS = {"convolution": "Convolution", "xvolution": "X-volution", "xvolution_static": "X-volution (static)"}
# Top-1 accuracy per row, kernel size and seed.
SCORES: dict[str, dict[int, list[float]]] = {
    "convolution": {
        1: [24.4, 24.7, 25.0], 3: [70.0, 70.4, 71.2], 5: [95.9, 95.4, 95.6], 7: [98.4, 98.9, 99.4],
        9: [98.3, 98.9, 99.8],
    },
    "xvolution": {
        1: [96.8, 98.4, 99.4], 3: [97.9, 98.5, 99.1], 5: [99.7, 99.7, 99.6], 7: [99.7, 99.9, 99.4],
        9: [98.9, 99.6, 100.0],
    },
    "xvolution_static": {
        1: [96.5, 98.9, 99.8], 3: [99.3, 99.5, 99.7], 5: [99.8, 99.6, 99.9], 7: [99.9, 99.8, 99.7],
        9: [99.6, 99.9, 99.8],
    },
}  # fmt: skip
PARAMS = {
    "convolution": {1: 26292, 3: 44724, 5: 81588, 7: 136884, 9: 210612},
    "xvolution": {1: 33940, 3: 52372, 5: 89236, 7: 144532, 9: 218260},
    "xvolution_static": {1: 28404, 3: 46836, 5: 83700, 7: 138996, 9: 212724},
}
ENVIRONMENT = {"python": "3.11.9", "torch": "2.15.0", "pytorch_lightning": "2.6.6", "device": "cpu"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def result(cell: Mapping[str, Any], value: float, **changes: Any) -> dict[str, Any]:
    size = cell["axes"]["kernel_size"]
    return {
        "schema": 1,
        "cell_id": cell["cell_id"],
        "group_id": cell["group_id"],
        "seed": cell["seed"],
        "config": {"train": {"epochs": 3, "steps": None}},
        "metrics": {
            "top1": {"last": value, "best": value, "best_epoch": 2},
            "val_top1": {"last": value - 0.5, "best": value + 0.5, "best_epoch": 1},
        },
        "params": PARAMS[cell["operator"]][size],
        "macs": 1000 * PARAMS[cell["operator"]][size],
        "wall_seconds": 9.5,
        "segments": [],
        "weights_sha256": "0" * 64,
        "environment": ENVIRONMENT,
        "commit": COMMIT,
        "status": "finished",
        **changes,
    }


class Ledger:
    """A ledger on disk: `cells` as in `cells.json`, and methods that spoil single cells."""

    def __init__(self, out: Path, scores: Mapping[str, Mapping[int, Sequence[float]]], **changes: Any) -> None:
        self.out = out
        self.cells = [
            {
                "operator": operator, "label": LABELS[operator], "axes": {"kernel_size": size}, "seed": seed,
                "cell_id": digest(operator, size, seed), "group_id": digest(operator, size),
            }
            for operator, sizes in scores.items() for size, values in sizes.items() for seed in range(len(values))
        ]  # fmt: skip
        self.sweep: dict[str, Any] = {
            "schema": 1,
            "sweep": "kernel_size",
            "title": "Kernel size of the convolution",
            "recipe": "match_small",
            "data": "match-to-sample",
            "budget": "3 epochs",
            "metric": "top1",
            "metric_label": "top-1 accuracy (%)",
            "axes": ["kernel_size"],
            "axis_labels": {"kernel_size": "kernel size K"},
            "baseline": "convolution",
            "controls": {"xvolution": ["xvolution_static"]},
            "below": ["params"],
            "paper": {},
            "note": "",
            "smoke": False,
            "reproduces": None,
            "figure": {"kind": "lines", "x": "kernel_size"},
            "cells": self.cells,
            **changes,
        }
        self.write_sweep()
        for cell in self.cells:
            self.write(cell, scores[cell["operator"]][cell["axes"]["kernel_size"]][cell["seed"]])

    def write_sweep(self) -> None:
        folder = self.out / self.sweep["sweep"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cells.json").write_text(json.dumps(self.sweep))

    def cell(self, operator: str, size: int, seed: int) -> dict[str, Any]:
        return next(
            cell for cell in self.cells
            if (cell["operator"], cell["axes"]["kernel_size"], cell["seed"]) == (operator, size, seed)
        )  # fmt: skip

    def folder(self, operator: str, size: int, seed: int) -> Path:
        return self.out / "cells" / self.cell(operator, size, seed)["cell_id"]

    def write(self, cell: Mapping[str, Any], value: float, **changes: Any) -> None:
        folder = self.out / "cells" / cell["cell_id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(result(cell, value, **changes)))

    def lose(self, operator: str, size: int, seed: int) -> None:
        (self.folder(operator, size, seed) / "result.json").unlink()

    def diverge(self, operator: str, size: int, seed: int) -> None:
        metrics = {"top1": {"last": None, "best": 31.0, "best_epoch": 0}}
        self.write(self.cell(operator, size, seed), 0.0, status="diverged", metrics=metrics)


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Ledger]:
    def make(scores: Mapping[str, Mapping[int, Sequence[float]]] = SCORES, **changes: Any) -> Ledger:
        return Ledger(tmp_path / "runs", scores, **changes)

    return make
