"""`ablations.run` and `ablations.SWEEPS`: sweeps from Python, in a script, an interpreter, a notebook or a thread."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import pkgutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from sweep_bench import Bench

import ablations
from ablations.engine.cli import command
from ablations.engine.options import Options
from lightning_xvol.errors import ExitCode, UserError

QUICK: dict[str, Any] = {"smoke": True, "seeds": 1, "wandb": "disabled", "settings": {"data.limit": 64}}
TWO: dict[str, Any] = {"only": {"kernel_size": 1, "operator": ["convolution", "xvolution"]}}
HEAVY = {"torch", "torchvision", "pytorch_lightning", "wandb", "pandas", "scipy", "matplotlib", "numpy"}


def test_importing_the_package_and_its_names_loads_nothing_heavy() -> None:
    program = "import sys, ablations; ablations.run, ablations.SWEEPS; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "ablations.kernel_size" in loaded and not HEAVY & {*loaded}


def test_the_names_are_public_and_no_module_has_one_of_them() -> None:
    assert ablations.__all__ == ["SWEEPS", "run"]
    assert {*ablations.__all__} <= {*dir(ablations)}
    assert not {*ablations.__all__} & {module.name for module in pkgutil.iter_modules(ablations.__path__)}
    assert {"kernel_size", "operator"} <= ablations.SWEEPS.keys()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ablations.nonsense


def test_help_shows_an_argument_for_every_option() -> None:
    shown = inspect.signature(ablations.run).parameters
    assert list(shown) == ["sweep", *(field.name for field in dataclasses.fields(Options))]
    assert all(f"        {name}: " in (Options.__doc__ or "") for name in list(shown)[1:])


def test_a_sweep_runs_reports_and_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ablations.run("kernel_size", out=tmp_path, jobs=2, **QUICK, **TWO)
    assert (report.sweep, report.recipe, report.out, report.ran) == ("kernel_size", "match_small", tmp_path, 2)
    assert (report.counts, report.exit_code) == ({"done": 2}, ExitCode.SUCCESS)
    assert [(cell.row, cell.axes, cell.seed) for cell in report.cells] == [
        ("convolution", {"kernel_size": 1}, 0), ("xvolution", {"kernel_size": 1}, 0),
    ]  # fmt: skip
    assert all((cell.folder / "result.json").exists() for cell in report.cells)
    assert {"table.md", "table.csv", "figure.png"} <= report.files.keys()
    assert all(path.parent == tmp_path / "kernel_size" and path.exists() for path in report.files.values())
    first = capsys.readouterr().out
    assert "2 cells, 0 done, 2 to run" in first and str(report.files["table.md"]) in first
    # The command is the same function: it finds the cells, and so does the dry run.
    flags = ["--smoke", "--seeds=1", "--wandb=disabled", "--set=data.limit=64", "--only=kernel_size=1"]
    assert command(ablations.SWEEPS["kernel_size"], [*flags, f"--out={tmp_path}", "--only=operator=convolution"]) == 0
    assert "1 cells, 1 done, 0 to run" in capsys.readouterr().out
    again = ablations.run("kernel_size", out=str(tmp_path), dry_run=True, **QUICK, **TWO)
    assert (again.cells, again.ran, again.files) == (report.cells, 0, {})


def test_cells_that_fail_are_reported_and_raise_nothing(bench: Bench) -> None:
    plugin = {**QUICK["settings"], "operator.name": ["faulty_operators:Raises"]}
    only = {"kernel_size": 1, "operator": ["convolution", "Raises"]}
    report = ablations.run("kernel_size", out=bench.out, **{**QUICK, "settings": plugin}, only=only)
    assert (report.counts, report.exit_code) == ({"done": 1, "failed": 1}, ExitCode.FAILURE)
    [failed] = [cell for cell in report.cells if cell.state == "failed"]
    assert failed.detail == "RuntimeError: größe 中: broken on purpose"


@pytest.mark.parametrize(
    ("sweep", "options", "words"),
    [
        ("kernel_sise", {}, "kernel_sise; did you mean 'kernel_size'; operator"),
        ("kernel_size", {"sedes": 3}, "sedes; did you mean 'seeds'"),
        ("kernel_size", {"recipe": "match_smal"}, "match_smal; did you mean 'match_small'"),
        ("kernel_size", {"reading": "B"}, "B; readings: A"),
        ("kernel_size", {"jobs": 0}, "jobs; '0'; at least 1"),
        ("kernel_size", {"jobs": 2.5}, "jobs; '2.5'; whole number"),
        ("kernel_size", {"seeds": 10**6}, "seeds; at most 1000"),
        ("kernel_size", {"launcher": "slrum"}, "launcher; slrum; did you mean 'slurm'"),
        ("kernel_size", {"wandb": "maybe"}, "wandb; maybe; offline"),
        ("kernel_size", {"only": {"kernel_size": [4]}}, "kernel_size=4; 1, 3, 5"),
        ("kernel_size", {"only": {"kernel_size": []}}, "kernel_size=; nothing"),
        ("kernel_size", {"only": "kernel_size"}, "kernel_size; KEY=V1,V2"),
        ("kernel_size", {"settings": {"optim.lrr": 0.1}}, "optim.lrr; did you mean 'lr'"),
        ("kernel_size", {"settings": ["optim.lr"]}, "--set; optim.lr; PATH=VALUE"),
        ("kernel_size", {"jobs": 2, "launcher": "inline"}, "--jobs 2; --launcher local"),
        ("kernel_size", {"cell": "000000000000"}, "000000000000; 0 cells"),
        ("kernel_size", {"time": "soon", "launcher": "slurm"}, "time; soon; H:M:S"),
    ],
)
def test_a_mistake_raises_a_user_error_and_writes_nothing(
    sweep: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        ablations.run(sweep, **{"out": tmp_path / "runs", **options})
    assert all(word in str(error.value) for word in words.split("; ")), error.value
    assert not (tmp_path / "runs").exists()


def test_values_may_be_those_of_python_or_of_the_command_line(tmp_path: Path) -> None:
    plain = {"dry_run": True, "out": tmp_path}
    one = ablations.run("shift_distance", only={"shift_distances": (1, 3), "seed": [0, 1]}, **plain)
    assert {(cell.axes["shift_distances"], cell.seed) for cell in one.cells} == {((1, 3), 0), ((1, 3), 1)}
    assert one.cells == ablations.run("shift_distance", only=["shift_distances=1+3", "seed=0,1"], **plain).cells
    small = ablations.run("operator", settings={"backbone.widths": (8, 8, 16, 16), "optim.lr": 0.1}, **plain)
    texts = ["backbone.widths=8,8,16,16", "optim.lr=0.1"]
    assert small.cells == ablations.run("operator", settings=texts, **plain).cells
    assert len({cell.id for cell in small.cells}) > 1


PROGRAM = f"""
from ablations import run
report = run("kernel_size", out="runs", jobs=2, **{ {**QUICK, **TWO} })
print("ran", report.ran, report.counts)
"""


@pytest.mark.parametrize("how", ["script", *(pytest.param(how, marks=pytest.mark.slow) for how in ("-c", "stdin"))])
def test_two_jobs_need_no_guard_around_the_main_program(how: str, bench: Bench) -> None:
    """multiprocessing would import a script again in every process, which would start the sweep again."""
    (bench.folder / "script.py").write_text(PROGRAM)
    arguments = {"script": ["script.py"], "-c": ["-c", PROGRAM], "stdin": ["-"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=bench.folder, input=PROGRAM, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ran 2 {'done': 2}") == 1
    assert [line.partition("]")[0] for line in done.stderr.splitlines()] == ["[1/2", "[2/2"]


class NotebookStream(io.TextIOBase):
    """A stream like ipykernel's: no terminal and no file descriptor."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


@pytest.mark.parametrize("jobs", [1, 2])
def test_it_runs_in_a_notebook_and_outside_the_main_thread(jobs: int, bench: Bench) -> None:
    import torch

    threads = torch.get_num_threads()
    out, err, reports = NotebookStream(), NotebookStream(), []
    work = threading.Thread(
        target=lambda: reports.append(ablations.run("kernel_size", out=bench.out, jobs=jobs, **QUICK, **TWO))
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        work.start()
        work.join(300)
    assert reports[0].counts == {"done": 2}
    assert "2 cells, 0 done, 2 to run" in out.text and "[2/2]" in err.text
    assert torch.get_num_threads() == threads, "a cell in this process leaves its number of threads as it was"


def test_a_sweep_may_be_defined_where_it_runs(bench: Bench) -> None:
    """In a script or a notebook, as an object that no module holds."""
    program = textwrap.dedent(
        """
        from ablations import SWEEPS, rows, run
        import dataclasses
        base = SWEEPS["kernel_size"]
        one = rows.labelled("convolution")
        mine = dataclasses.replace(base, name="mine", axes={"kernel_size": (3,)}, rows=one, controls={})
        report = run(mine, out="runs", jobs=2, smoke=True, seeds=2, wandb="disabled", settings={"data.limit": 64})
        print(report.counts, report.files["table.csv"])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=bench.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'done': 2} runs/mine/table.csv"
