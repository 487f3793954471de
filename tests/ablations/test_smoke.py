"""The smoke run of every sweep, on one ledger, so that cells that sweeps share run once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from ablations.engine.catalogue import sweeps
from ablations.engine.sweep import recipes_for

FEW: dict[str, tuple[str, ...]] = {
    "kernel_size": ("kernel_size=3", "operator=convolution,xvolution"),
    "shift_distance": ("shift_distances=1+3+5,1", "operator=convolution,xvolution"),
    "stage": ("stages=3+4+5,all", "operator=convolution,xvolution"),
    "position_encoding": ("operator=xvolution,xvolution_position",),
    "operator": ("operator=convolution,xvolution,xvolution_static",),
    "pssa_form": ("variant=propagate", "operator=convolution,pssa_dot_8,pssa_8_static"),
    "schedule": ("schedule=1,6", "operator=convolution,xvolution"),
    "backbone": ("backbone=resnet18,vgg13", "operator=convolution,xvolution"),
    "efficiency": ("operator=convolution,xvolution",),
    "distance": ("distance=20", "operator=convolution,pssa"),
    "controls": ("operator=xvolution,xvolution_linear",),
    "approximation": ("softmax=True", "depth=1", "operator=static_1x1,pssa"),
    "approximation_distance": ("shift_distances=1+3+5", "depth=1", "operator=static_1x1,pssa"),
}
"""A few cells of each sweep that has many."""


def check(out: Path, sweep: str) -> int:
    """Check that table and figure are there. Returns the number of table rows with a result or a divergence."""
    folder = out / sweep
    assert "SMOKE" in (folder / "table.md").read_text()
    assert imread(folder / "figure.png").std() > 0.03
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))  # those of the first metric, then those of the others
    return sum(int(row["n"]) + int(row["diverged"]) for row in rows if row["metric"] == rows[0]["metric"])


@pytest.mark.smoke
def test_a_few_cells_of_every_sweep_give_a_table_and_a_figure(bench: Any) -> None:
    for name in sweeps():
        bench.sweep = name
        only = [flag for choice in FEW.get(name, ()) for flag in ("--only", choice)]
        ended = bench.here(*bench.quick, "--jobs", "2", *only)
        assert ended.code == 0, (name, ended)
        # Other rows of the table may show a cell that was run.
        assert check(bench.out, name) >= len(bench.cells(*bench.quick, *only))
    bench.sweep = "kernel_size"
    ended = bench.here(*bench.quick, "--jobs", "2", "--only", "kernel_size=3", "--reading", "A")
    assert ended.code == 0 and "3 cells, 3 done, 0 to run" in ended.out, "other sweeps have run them"
    assert check(bench.out, "kernel_size_reading_a") == 3


SMALL = {
    "backbone.widths": "8,8,16,16",
    "backbone.blocks": "1,1,1,1",
    "data.image_size": "96",
    "data.train_size": "16",
    "data.validation_size": "4",
    "data.batch_size": "4",
    "train.steps": "4",
}


def test_two_detectors_give_a_table_and_a_figure(bench: Any) -> None:
    bench.sweep = "operator"
    settings = [flag for path, value in SMALL.items() for flag in ("--set", f"{path}={value}")]
    flags = ("--recipe", "shapes_mask_rcnn", "--smoke", "--seeds", "1", "--only", "operator=convolution,xvolution")
    given = (*flags, *settings, "--wandb", "disabled", "--data-dir", str(bench.folder))
    ended = bench.here(*given, "--launcher", "inline")
    assert ended.code == 0 and "2 cells, 0 done, 2 to run" in ended.out, ended
    assert check(bench.out, "operator") == 2
    assert "xvolution,mask_ap,1,0,1," in (bench.out / "operator" / "table.csv").read_text()
    assert set(bench.states(*given).values()) == {"done"}


@pytest.mark.smoke
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", ["match_small", "attention_maps"])
def test_every_sweep_gives_a_table_and_a_figure_in_a_whole_smoke_run(recipe: str, bench: Any) -> None:
    fitting = [name for name, sweep in sweeps().items() if recipe in recipes_for(sweep)]
    flags = ("--recipe", recipe, "--smoke", "--seeds", "1", "--wandb", "disabled")
    bench.sweep = "all"
    ended = bench.start(*flags, "--jobs", "2").ended(within=3000)
    assert ended.code == 0, ended
    for name in fitting:
        bench.sweep = name
        assert check(bench.out, name) >= len(bench.cells(*flags)), name
