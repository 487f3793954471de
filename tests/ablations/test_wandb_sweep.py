"""The file for `wandb sweep` fits the schema of W&B, and its grid is every cell of the sweep once.

`wandb_sweep_schema.json` is sweeps/config/schema.json of the package sweeps 0.3.0 (Weights & Biases, MIT licence),
which wants a numpy older than ours.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.sources.collection import Collection

SCHEMA = Path(__file__).with_name("wandb_sweep_schema.json")

WANDB = [f"wandb_{name}" for name in ("project", "entity", "tags", "notes", "system", "artifacts")]
FLAGS = (
    ("--seeds", "2"),
    ("--smoke", "--seeds", "1", "--only", "kernel_size=1,3", "--set", "data.limit=64"),
    ("--recipe", "digits_small", "--seeds", "3", "--only", "operator=xvolution", "--only", "seed=1,2"),
    ("--seeds", "2", "--gpus-per-cell", "2", "--wandb-project", "else where"),
    ("--seeds", "1", "--reading", "A", "--only", "kernel_size=1,3"),
    (
        *("--seeds", "1", "--wandb-entity", "team", "--wandb-tags", "one, two", "--wandb-notes", "a note"),
        *("--wandb-system", "--wandb-artifacts"),
    ),
)


def emit(bench: Any, *flags: str) -> dict[str, Any]:
    path = bench.folder / "sweep.yaml"
    ended = bench.here("--emit-wandb-sweep", str(path), *flags)
    assert ended.code == 0 and f"wandb sweep {path}" in ended.out
    return yaml.safe_load(path.read_text())


def expand(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a grid search: every combination of the values of its parameters."""
    names, parameters = content["parameters"], content["parameters"].values()
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(p["values"] for p in parameters))]


def command(content: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """The command that the agent of W&B starts, without the interpreter."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    values = {"args": {name: {"value": value} for name, value in parameters.items()}}
    whole = [*create_sweep_command(content["command"])]
    arguments = create_sweep_command_args(values)
    whole = list(itertools.chain.from_iterable(arguments["args"] if word == "${args}" else [word] for word in whole))
    return whole[whole.index("-m") :]


@pytest.mark.parametrize("flags", FLAGS)
def test_the_file_fits_the_schema(flags: tuple[str, ...], bench: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    content = emit(bench, *flags)
    assert list(validator.iter_errors(content)) == []
    # The schema takes ranges for a grid too, which W&B could not run.
    assert all(set(parameter) == {"values"} for parameter in content["parameters"].values())
    assert list(validator.iter_errors({**content, "method": "sieve"}))
    assert list(validator.iter_errors({**content, "flags": []}))


@pytest.mark.parametrize("flags", FLAGS)
def test_the_runs_of_its_grid_are_the_cells(flags: tuple[str, ...], bench: Any) -> None:
    from ablations.engine.cli import make_parser
    from ablations.engine.options import read_options
    from ablations.engine.runner import reading_of
    from ablations.engine.selection import cells_of, choose
    from ablations.engine.sweep_file import read_arguments
    from ablations.kernel_size import SWEEP

    content = emit(bench, *flags)
    listed = sorted(bench.cells(*flags).values())
    found = []
    for parameters in expand(content):
        words = command(content, parameters)
        assert words[:2] == ["-m", "ablations.kernel_size"]
        options = read_options(read_arguments(make_parser(SWEEP), words[2:]))
        [cell] = choose(cells_of(reading_of(SWEEP, options.reading), options), options)
        found.append(cell.id)
        assert options.wandb == "online" and options.out == bench.out
        asked = read_options(read_arguments(make_parser(SWEEP), flags))
        assert all(getattr(options, name) == getattr(asked, name) for name in WANDB)
    assert sorted(found) == listed


def test_a_cell_is_found_by_its_name_and_seed(bench: Any) -> None:
    flags = (*bench.quick, "--only", "kernel_size=1", "--only", "operator=convolution")
    content = emit(bench, *flags)
    assert content["parameters"]["cell"]["values"] == ["convolution kernel_size=1"]
    assert bench.here(*flags, "--cell=convolution kernel_size=1", "--seed=0").code == 0
    assert set(bench.states(*flags).values()) == {"done"}
    [result] = bench.ledger.results().values()
    assert (result["config"]["operator"]["options"]["kernel_size"], result["seed"]) == (1, 0)
    for named in (["--cell=convolution kernel_size=1 seed=0"], [f"--cell={result['group_id']}", "--seed=0"]):
        again = bench.here(*flags, *named)
        assert again.code == 0 and result["cell_id"] in again.out


def test_the_file_lies_beside_the_table_by_default(bench: Any) -> None:
    assert bench.here("--emit-wandb-sweep", "--seeds", "1").code == 0
    path = bench.out / "kernel_size" / "wandb-sweep.yaml"
    assert yaml.safe_load(path.read_text())["method"] == "grid"
    assert not Path(bench.out / "cells").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seed", "1"), "--seed 1; --cell GROUP"),
        (("--cell", "zzzz", "--seed", "1"), "--cell 'zzzz' --seed 1; names 0 cells"),
    ],
)
def test_mistakes_are_told_in_one_line(flags: tuple[str, ...], words: str, bench: Any) -> None:
    ended = bench.here(*flags)
    assert ended.code == 2
    assert all(word in ended.one_error for word in words.split("; "))


@pytest.mark.slow
def test_wandbs_own_agent_runs_each_cell_once(bench: Any, wandb_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wandb sweep` and `wandb agent` of the installed version, against the server of the tests."""
    # The agent looks here for `python`.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    flags = (*bench.quick, "--only", "kernel_size=1,3", "--only", "operator=convolution", "--wandb-project", "swept")
    emit(bench, *flags)
    wandb = [sys.executable, "-m", "wandb"]
    subprocess.run([*wandb, "sweep", str(bench.folder / "sweep.yaml")], check=True, timeout=120, cwd=bench.folder)
    [sweep] = wandb_server.store.sweeps.values()
    assert (sweep.project, len(sweep.left)) == ("swept", 2)
    agent = [*wandb, "agent", f"tester/swept/{sweep.name}"]
    subprocess.run(agent, check=True, timeout=480, cwd=bench.folder)
    assert (sweep.state, sweep.left) == ("FINISHED", [])
    results = bench.ledger.results()
    assert sorted(results) == sorted(bench.cells(*flags).values()) and len(results) == 2
    assert [len(segments) for segments in bench.ledger.segments().values()] == [1, 1], "each cell was run once"
    runs = [run for run in wandb_server.store.runs.values() if run.project == "swept"]
    assert [(run.state, run.sweep) for run in runs] == [("finished", sweep.name)] * 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(bench.folder))
    for sources in (["wandb:swept"], [bench.out]):
        _, frame = Collection(sources).load("kernel_size")
        assert sorted(frame.loc[frame["state"] == "finished", "cell_id"].unique()) == sorted(results)
