"""The commands of docs/walkthrough.md lead from `make demo` to a PDF."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.latex import point_height, words

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "walkthrough.md").read_text()
FIGURES = [f"{name}-column.{kind}" for name in ("figure", "seeds", "learning") for kind in ("png", "pdf", "svg")]


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block("bash").splitlines()]


def block(language: str) -> str:
    """The code blocks of a language."""
    return "".join(text for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S) if name == language)


def demo() -> list[str]:
    """The command that `make demo` runs in an existing environment."""
    shown = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    [line] = [line for line in shown.stdout.splitlines() if "-m ablations" in line]
    return ["python", *shlex.split(line)[1:]]


def run(command: list[str], folder: Path) -> str:
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def walk(folder: Path) -> None:
    """Run every command except `make demo`. Its ledger is in `folder`."""
    (folder / "document.tex").write_text(block("tex"))
    made = commands()
    assert made[0] == ["make", "demo"] and made[-1] == ["pdflatex", "document.tex"] and len(made) == 5
    tables, figures, claims, latex = made[1:]
    assert "Convolution" in run(tables, folder)
    run(figures, folder)
    written = {path.name for path in (folder / "runs" / "kernel_size").iterdir()}
    assert {"table.md", "table.tex", "table.csv", "figure.png", "figure.pdf", "figure.svg", *FIGURES} <= written
    told = " ".join(run(claims, folder).split())
    assert "(match_small, 3 epochs): " in told and "claims are not decided by these runs; --all shows them" in told
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed; every other command ran")
    printed = run([*latex[:1], "-interaction=nonstopmode", "-halt-on-error", *latex[1:]], folder)
    assert "Overfull" not in printed and "Output written on document.pdf (1 page" in printed
    assert (folder / "document.pdf").read_bytes().startswith(b"%PDF")
    shown = words(folder / "document.pdf")
    assert min(word.height for word in shown) > 0.99 * point_height(folder, 7)
    numbers = [word.height for word in shown if re.fullmatch(r"\d\d\.\d", word.text)]
    [notes] = [word.height for word in shown if word.text == "Data:"]
    assert len(numbers) > 10 and min(numbers) > 0.99 * point_height(folder, 8) > notes


def test_the_document_names_the_command_of_the_demo() -> None:
    assert f"`{shlex.join(demo())}`" in TEXT


def test_every_command_after_the_demo_works(make_ledger) -> None:
    """They start with a prepared ledger, because the demo takes minutes. The test below runs it."""
    runs = make_ledger()
    runs.write_curves()
    walk(runs.out.parent)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_works_with_the_demo_itself(tmp_path: Path) -> None:
    assert "top-1 accuracy" in run(demo(), tmp_path)
    walk(tmp_path)
