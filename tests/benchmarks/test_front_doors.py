"""What `python -m benchmarks` answers without measuring: help, plans and mistakes, without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.flags import parse
from lightning_xvol.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "pytorch_lightning", "wandb", "pandas", "scipy", "matplotlib", "numpy"}
MODES = ("operators", "core", "network", "scaling", "growth", "data", "overhead", "bandwidth")
# Answers several command lines in one process and then tells which modules were loaded.
CODE = """
import sys
from benchmarks.__main__ import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit:
        pass
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def answers(tmp_path, *lines: str) -> str:
    """The output of the command `lines`, which may neither load anything heavy nor write a file."""
    command = [sys.executable, "-c", CODE, *lines]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    text, _, loaded = done.stdout.rpartition("LOADED")
    assert not set(loaded.split()) & HEAVY and not list(tmp_path.iterdir())
    return text


def test_help_names_every_mode_and_loads_nothing_heavy(tmp_path):
    text = answers(tmp_path, "--help", *(f"{mode} --help" for mode in MODES))
    assert all(f"\n    {mode}" in text and f"usage: python -m benchmarks {mode}" in text for mode in MODES)


def test_a_dry_run_says_what_would_be_measured_and_loads_nothing_heavy(tmp_path):
    text = answers(
        tmp_path,
        *(f"{mode} --dry-run" for mode in MODES),
        "operators --dry-run --shapes 800-stage5 2x8x7x9 --operator package.module:Class",
        "network --smoke --dry-run",
        "scaling --core --dry-run",
    )
    for expected in (
        "shape 800-stage5: 1x512x25x42\nshape 2x8x7x9: 2x8x7x9\noperators: package.module:Class\n",
        "operators: pssa, xvolution, self_attention\n",
        "network: 9 rounds, files in runs/benchmarks\n",
        "network: 2 rounds, files in runs-smoke/benchmarks\n",
        "PSSA's arithmetic alone\n",
        "2 workers\n",
        "side: 32, 48, 64, 96, 128, 176, 224\ndepth: 1, 2, 4, 8\noperators: convolution, pssa, xvolution, ",
        "shape 64x256x56x56: 64x256x56x56\n",
        "xvolution_inv",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "MODE.*--help"),
        ("--core", "MODE.*--help"),
        ("speed", "invalid choice: 'speed'.*operators.*bandwidth"),
        ("operators --operator xvolutoin", "unknown operator 'xvolutoin'.*did you mean 'xvolution'"),
        ("operators --shapes 224-stag5", "--shapes '224-stag5' is not a shape.*did you mean '224-stage5'.*BxCxHxW"),
        ("operators --rounds 0", "--rounds: '0' must be a whole number of at least 1"),
        ("operators --device tpu", "invalid choice: 'tpu'.*--help"),
        ("core --operator pssa", "unrecognized arguments: --operator pssa"),
        ("network --shapes all", "unrecognized arguments: --shapes all"),
        ("scaling --core --operator pssa", "not allowed with argument"),
        ("data --dtype float64", "unrecognized arguments: --dtype float64"),
        ("overhead --seed 1", "unrecognized arguments: --seed 1"),
        ("bandwidth --threads 2", "unrecognized arguments: --threads 2"),
    ],
)
def test_a_mistake_and_a_flag_of_another_mode_are_refused_in_one_sentence(line, words):
    with pytest.raises(UserError, match=words):
        parse(line.split())
