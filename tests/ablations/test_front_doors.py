"""What `python -m ablations` and its sweeps print without running anything. They load nothing heavy for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import ablations.__main__

SWEEPS = ablations.__main__.sweeps()
HEAVY = ("torch", "torchvision", "pytorch_lightning", "wandb", "pandas", "scipy", "matplotlib", "numpy")

# Runs a module as `python -m` does, and prints on stderr the heavy packages that it loaded.
PROGRAM = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as ended:
    code = ended.code or 0
else:
    code = 0
print("loaded:", *[name for name in HEAVY if name in sys.modules], file=sys.stderr)
sys.exit(code)
""".replace("HEAVY", repr(HEAVY))


@pytest.mark.parametrize(
    "arguments",
    [
        ["ablations"],
        ["ablations", "--help"],
        ["ablations", "--format", "json"],
        *(["ablations." + name, flag] for name in SWEEPS for flag in ("--help", "--dry-run")),
        ["ablations.kernel_size", "--dry-run", "--smoke", "--only", "seed=0", "--set", "operator.name=no.such:Module"],
        ["ablations.kernel_size", "--reading", "A", "--dry-run"],
        ["ablations.all", "--help"],
        ["ablations.all", "--dry-run", "--sweeps", "operator,stage"],
        ["ablations.kernel_size", "--seeds", "0"],
        ["ablations.kernel_size", "--only", "seed=99"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded(arguments: list[str], tmp_path: Any) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == (2 if arguments[-1] in ("0", "seed=99") else 0)
    assert ended.stderr.splitlines()[-1].strip() == "loaded:"
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_the_list_names_every_sweep_and_what_it_reproduces() -> None:
    ended = subprocess.run([sys.executable, "-m", "ablations"], capture_output=True, text=True, check=True, timeout=60)
    for name, sweep in SWEEPS.items():
        [line] = [line for line in ended.stdout.splitlines() if line.startswith(f"python -m ablations.{name} ")]
        assert sweep.reproduces in line and sweep.title in line
    listed = [line.split()[2].removeprefix("ablations.") for line in ended.stdout.splitlines() if "  " in line]
    assert listed == sorted(SWEEPS, key=lambda name: (SWEEPS[name].reproduces, name))
    assert ended.stderr == ""


@pytest.mark.parametrize("name", SWEEPS)
def test_help_names_every_flag(name: str) -> None:
    command = [sys.executable, "-m", f"ablations.{name}", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for flag in (
        *("recipe", "seeds", "out", "data-dir", "launcher", "jobs", "only", "set", "cell", "dry-run", "force"),
        *("fail-fast", "no-wait", "wandb", "wandb-project", "wandb-entity", "wandb-tags", "wandb-notes", "smoke"),
        *("wandb-system", "wandb-artifacts"),
    ):
        assert f"--{flag} " in text or f"--{flag}\n" in text or f"--{flag}]" in text
    assert SWEEPS[name].title in text and SWEEPS[name].recipe in text
    assert all(row in "".join(text.split()) for row in SWEEPS[name].rows)


def test_the_dry_run_has_the_ids_of_the_cells(bench: Any) -> None:
    from ablations.engine.cells import make_cells
    from lightning_xvol.config.recipes import get_recipe

    cells = make_cells(SWEEPS["kernel_size"], get_recipe("match_small"), seeds=2)
    assert bench.cells("--seeds", "2") == {cell.name: cell.id for cell in cells}
    assert set(bench.states("--seeds", "2").values()) == {"missing"}
