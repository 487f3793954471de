from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.output.sweep import render
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

ROOT = Path(__file__).parents[2]
LABELS = ("convolution", "xvolution", "xvolution_static")
FILES = {"table.md", "table.tex", "table.csv", "figure.png", "figure.pdf", "figure.svg"}


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options)


def test_render_writes_everything_beside_the_sweep(make_ledger) -> None:
    out = make_ledger().out
    found = render(Collection([out]), "kernel_size", out)
    assert set(found.paths) == FILES
    assert {path.name for path in (out / "kernel_size").iterdir()} == FILES | {"cells.json"}
    assert all(path.stat().st_size for path in found.paths.values())
    assert (out / "kernel_size" / "table.md").read_text() == found.markdown
    assert "98.5 ± 0.6" in found.text


def test_render_writes_to_another_folder_and_without_a_figure(make_ledger, tmp_path: Path) -> None:
    out = make_ledger(figure=None).out
    found = render(Collection([out]), "kernel_size", tmp_path / "paper")
    assert set(found.paths) == {"table.md", "table.tex", "table.csv"}
    assert found.paths["table.md"] == tmp_path / "paper" / "kernel_size" / "table.md"
    assert not (out / "kernel_size" / "table.md").exists()


def test_render_refuses_unknown_names(make_ledger) -> None:
    out = make_ledger(figure={"kind": "pie"}).out
    with pytest.raises(UserError, match=r"select='lats'.*did you mean 'last'"):
        render(Collection([out]), "kernel_size", out, "lats")
    with pytest.raises(UserError, match=r"figure 'pie'.*lines"):
        render(Collection([out]), "kernel_size", out)


def test_command_line_renders_every_sweep(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    runs = make_ledger()
    runs.sweep["sweep"] = "other"
    runs.write_sweep()
    assert main(["tables", "--source", str(runs.out)]) == 0
    printed = capsys.readouterr().out
    assert f"table: {runs.out}/kernel_size/table.md (.tex, .csv)" in printed
    assert f"table: {runs.out}/other/table.md (.tex, .csv)" in printed
    assert (runs.out / "other" / "figure.svg").exists()


def test_select_best_warns(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tables", "--source", str(make_ledger().out), "--sweep", "kernel_size", "--select", "best"])
    assert "Warning: each run's best evaluation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND"),
        (("tables",), "--source"),
        (("tables", "--source", "x", "--select", "lats"), "lats"),
        (("tables", "--source", "does/not/exist"), "no runs at"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_without_unicode_shows_question_marks(make_ledger) -> None:
    done = run("tables", "--source", str(make_ledger(figure=None).out), env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "98.5 ? 0.6" in done.stdout


FRONT_DOORS = """
import contextlib, io, sys
from analysis.__main__ import build_parser, main
from lightning_xvol.errors import UserError
[commands] = [action.choices for action in build_parser()._actions if action.dest == "command"]
for arguments in ([], *([name] for name in commands), ["--help"], *([name, "--help"] for name in commands)):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit, UserError):
        main(arguments)
        raise AssertionError(f"{arguments} neither helped nor complained")
print(*commands)
print(sorted({"torch", "wandb", "pandas", "scipy", "matplotlib", "numpy", "jinja2", "yaml"} & set(sys.modules)))
"""


def test_help_and_mistakes_load_nothing_heavy() -> None:
    """The help of every command, and the error of every command without arguments."""
    done = subprocess.run(
        [sys.executable, "-c", FRONT_DOORS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    commands, loaded = done.stdout.splitlines()
    assert {"tables", "figures", "claims", "report", "summary", "dashboard"} <= set(commands.split()) and loaded == "[]"


def test_a_thousand_runs_take_less_than_ten_seconds(make_ledger) -> None:
    scores = {
        operator: {size: [50.0 + size + 0.01 * seed for seed in range(67)] for size in (1, 3, 5, 7, 9)}
        for operator in LABELS
    }
    runs = make_ledger(scores)
    assert len(runs.cells) == 1005
    start = time.process_time()
    assert main(["tables", "--source", str(runs.out)]) == 0
    assert time.process_time() - start < 10


def test_rendering_loads_neither_torch_nor_wandb_nor_ablations(make_ledger) -> None:
    code = f"""
import sys
import time
from pathlib import Path
from analysis.output.sweep import render
from analysis.sources.collection import Collection
out = Path({str(make_ledger().out)!r})
render(Collection([out]), "kernel_size", out)
print(sorted({{"torch", "wandb", "ablations", "matplotlib.pyplot"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
