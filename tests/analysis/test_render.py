from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.render import render
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

ROOT = Path(__file__).parents[2]
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


def test_render_elsewhere_and_without_a_figure(make_ledger, tmp_path: Path) -> None:
    out = make_ledger(figure=None).out
    found = render(Collection([out]), "kernel_size", tmp_path / "paper")
    assert set(found.paths) == {"table.md", "table.tex", "table.csv"}
    assert found.paths["table.md"] == tmp_path / "paper" / "kernel_size" / "table.md"
    assert not (out / "kernel_size" / "table.md").exists()


def test_render_refuses_what_it_does_not_know(make_ledger) -> None:
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


def test_a_terminal_without_unicode(make_ledger) -> None:
    done = run("tables", "--source", str(make_ledger(figure=None).out), env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "98.5 ? 0.6" in done.stdout


def test_the_front_door_is_light() -> None:
    code = """
import sys
import analysis.__main__, analysis.render
try:
    analysis.__main__.main(["tables", "--help"])
except SystemExit as exit:
    assert exit.code == 0
print(sorted({"torch", "wandb", "pandas", "scipy", "matplotlib", "numpy", "jinja2", "yaml"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "--select" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_rendering_loads_neither_torch_nor_wandb_nor_ablations(make_ledger) -> None:
    code = f"""
import sys
from pathlib import Path
from analysis.render import render
from analysis.sources.collection import Collection
out = Path({str(make_ledger().out)!r})
render(Collection([out]), "kernel_size", out)
print(sorted({{"torch", "wandb", "ablations", "matplotlib.pyplot"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
