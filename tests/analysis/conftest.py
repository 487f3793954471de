"""Synthetic ledgers with plausible numbers, and files of W&B runs."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
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
            "val_top1": {"last": value - 0.5, "best": min(value + 0.5, 100.0), "best_epoch": 1},
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
    """A ledger on disk: `cells` are those of `cells.json`, and methods damage single cells."""

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
            "beside": {},
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

    def write_curves(self, name: str = "val_top1") -> None:
        """Write a learning curve of two epochs for every cell."""
        for cell in self.cells:
            rows = [f"{epoch},{epoch},{name},{10 * epoch + cell['seed']}" for epoch in (1, 2)]
            path = self.out / "cells" / cell["cell_id"] / "metrics.csv"
            path.write_text("\n".join(["step,epoch,name,value", *rows]) + "\n")

    def diverge(self, operator: str, size: int, seed: int) -> None:
        metrics = {"top1": {"last": None, "best": 31.0, "best_epoch": 0}}
        self.write(self.cell(operator, size, seed), 0.0, status="diverged", metrics=metrics)


@pytest.fixture
def wandb_file() -> type[WandbFile]:
    return WandbFile


@pytest.fixture
def start_run() -> Callable[..., WandbFile]:
    return cell_run


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Ledger]:
    def make(scores: Mapping[str, Mapping[int, Sequence[float]]] = SCORES, **changes: Any) -> Ledger:
        return Ledger(tmp_path / "runs", scores, **changes)

    return make


@pytest.fixture
def fill(make_ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that fills a page beside a ledger `runs`, and returns its text."""
    if not (tmp_path / "runs").exists():
        make_ledger()
    monkeypatch.chdir(tmp_path)

    def run(text: str) -> str:
        from analysis.__main__ import main

        Path("page.md").write_text(text)
        assert main(["fill", "page.md"]) == 0
        return Path("page.md").read_text()

    return run


class WandbFile:
    """Writes the file of an offline run from W&B's own messages, in the frames of its log."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def run(self, run_id: str, config: Mapping[str, Any], start: float = 1_700_000_000.0) -> WandbFile:
        record = self._record()
        record.run.run_id = run_id
        record.run.start_time.seconds = int(start)
        self._items(record.run.config.update, config)
        return self._add(record)

    def row(self, **values: float) -> WandbFile:
        record = self._record()
        self._items(record.history.item, {key.replace("__", "/"): value for key, value in values.items()})
        return self._add(record)

    def summary(self, **values: Any) -> WandbFile:
        record = self._record()
        self._items(record.summary.update, values)
        return self._add(record)

    def exit(self, code: int) -> WandbFile:
        record = self._record()
        record.exit.exit_code = code
        return self._add(record)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content())
        return path

    def content(self) -> bytes:
        content = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
        for record in self.records:
            first = True
            while True:
                left = 32768 - len(content) % 32768
                if left < 7:
                    content += bytes(left)
                    left = 32768
                part, record = record[: left - 7], record[left - 7 :]
                kind = (1 if first else 4) if not record else (2 if first else 3)
                checksum = zlib.crc32(bytes([kind]) + part)
                content += struct.pack("<IHB", checksum, len(part), kind) + part
                first = False
                if not record:
                    break
        return bytes(content)

    @staticmethod
    def _record() -> Any:
        from wandb.proto import wandb_internal_pb2

        return wandb_internal_pb2.Record()

    @staticmethod
    def _items(target: Any, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            item = target.add()
            item.nested_key.append(key)
            item.value_json = json.dumps(value)

    def _add(self, record: Any) -> WandbFile:
        self.records.append(record.SerializeToString())
        return self


def cell_run(plan: Mapping[str, Any], cell: Mapping[str, Any], start: float = 1_700_000_000.0) -> WandbFile:
    """The first records of the run of a cell, as `lightning_xvol.training.tracking` writes them."""
    config = {
        "cell_id": cell["cell_id"], "sweep": plan["sweep"], "plan_json": json.dumps(plan), "steps_per_epoch": 10,
        "total_steps": 30,
    }  # fmt: skip
    return WandbFile().run(cell["cell_id"], config, start)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
