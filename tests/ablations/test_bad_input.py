"""A mistake on the command line is one or two lines on stderr and exit code 2, and writes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

QUICK = ("--smoke", "--seeds", "1", "--wandb", "disabled")
PLUGIN = "operator.name=faulty_operators"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--set operator.name=xvolutoin", "xvolutoin; did you mean 'xvolution'; known: convolution"),
        ("--set operator.dilated_kernel_size=4 --jobs 2", "dilated_kernel_size; odd; 4"),
        ("--set operator.num_heads=7 --jobs 2", "num_heads; 7"),
        ("--set operator.name=no.such.module:Thing --jobs 2", "no.such.module:Thing; expected package.module:Class"),
        (f"--set {PLUGIN}:Absent --jobs 2", "faulty_operators:Absent; expected package.module:Class"),
        (f"--set {PLUGIN}:WrongArguments --jobs 2", "WrongArguments; kernel_size"),
        (f"--set {PLUGIN}:RaisesWhenBuilt", "RaisesWhenBuilt; no such thing; faulty_operators.py"),
        ("--recipe match_smal", "match_smal; did you mean 'match_small'; known: "),
        ("--set optim.lrr=0.1", "optim.lrr; did you mean 'lr'"),
        ("--set optim.lr", "optim.lr; PATH=VALUE"),
        ("--set optim.lr=fast", "optim.lr=fast; number"),
        ("--set train.steps=0", "train.steps=0; at least 1"),
        ("--set data.batch_size=512", "data.batch_size=512; 256"),
        ("--only operator=", "operator=; nothing"),
        ("--only seed=", "seed=; nothing"),
        ("--only seed", "seed; KEY=V1,V2"),
        ("--only operator=pssa", "pssa; convolution, xvolution, xvolution_static"),
        ("--only kernel_size=4", "kernel_size=4; 1, 3, 5, 7, 9"),
        ("--only colour=red", "colour; kernel_size"),
        ("--jobs 0", "jobs; '0'; at least 1"),
        ("--jobs x", "jobs; 'x'; at least 1"),
        ("--seeds 0", "seeds; '0'; at least 1"),
        ("--seeds 1.5", "seeds; '1.5'; at least 1"),
        ("--seeds 1000000", "seeds; '1000000'; at most 1000"),
        ("--set operator.form=hadamard", "operator.form; tells the rows; --only"),
        ("--cell 000000000000 --dry-run", "000000000000; 0 cells; --dry-run"),
        ("--launcher inline --jobs 2", "inline; --jobs 2; --launcher local"),
        ("--launcher cluster", "cluster; inline; local"),
        ("--wandb maybe", "maybe; offline; disabled"),
        ("--cell 000000000000", "000000000000; 0 cells; --dry-run"),
        ("--cell=", "''; 15 cells; --dry-run"),
        ("--recipe imagenet_resnet50 --data-dir /nope --jobs 2", "/nope; imagenet"),
        ("--recipe cifar10_resnet18 --data-dir /nope --jobs 2", "/nope; --download"),
        ("--unheard-of", "--unheard-of; --help"),
    ],
)
def test_a_mistake_is_one_line(arguments: str, words: str, bench: Any) -> None:
    ended = bench.here(*QUICK, *arguments.split())
    assert ended.code == 2
    assert ended.out == ""
    assert all(word.lower() in ended.one_error.lower() for word in words.split("; ")), ended.err
    assert not bench.out.exists()


def test_a_process_of_the_pool_adds_nothing_to_the_message(bench: Any) -> None:
    """Only building the networks shows this mistake. It happens in a process of the pool, which shares stderr."""
    ended = bench.run(*QUICK, "--set", f"{PLUGIN}:RaisesWhenBuilt", "--jobs", "2")
    assert ended.code == 2
    assert ended.out == ""
    assert "RaisesWhenBuilt" in ended.one_error and "KeyError" in ended.one_error
    assert not bench.out.exists()


@pytest.mark.parametrize("out", ["file", "file/below", "/dev/null/x", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_named(out: str, bench: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ended = bench.here(*QUICK, "--jobs", "2", "--only", "kernel_size=1", "--out", str(tmp_path / out))
    assert ended.code == 2
    assert out in ended.one_error and "--out" in ended.err
    assert (tmp_path / "file").read_text() == "mine"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_a_cluster_that_does_not_answer_is_told_at_once(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sbatch", "srun", "squeue"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    ended = bench.here(*QUICK, "--launcher", "slurm")
    assert ended.code == 2 and "does not answer" in ended.one_error
    assert not bench.out.exists()


def test_a_mistake_changes_no_ledger(bench: Any) -> None:
    (bench.out / "kernel_size").mkdir(parents=True)
    (bench.out / "kernel_size" / "cells.json").write_text("{}")
    ended = bench.here(*QUICK, "--set", "operator.dilated_kernel_size=4", "--jobs", "2", "--force")
    assert ended.code == 2
    assert [path.name for path in bench.out.rglob("*")] == ["kernel_size", "cells.json"]
    assert (bench.out / "kernel_size" / "cells.json").read_text() == "{}"
