"""Other programs and text files: every call and every file names its encoding, and tests skip without a program."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_xvol.surroundings.programs import output_of, run_program

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lightning_xvol", "ablations", "analysis", "benchmarks")
STARTERS = {
    "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output",
    "subprocess.getoutput", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "os.posix_spawn",
    "pty.spawn",
}  # fmt: skip
TEXT_METHODS = {"open", "read_text", "write_text"}


def calls(folder: str) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node


def test_one_place_starts_other_programs() -> None:
    found = {
        place.partition(":")[0]
        for package in PACKAGES
        for place, call in calls(package)
        if ast.unparse(call.func) in STARTERS
    }
    assert found == {"lightning_xvol/surroundings/programs.py"}


def _mode(call: ast.Call, position: int) -> str:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"


def _opens_text(call: ast.Call) -> bool:
    """Whether `call` reads or writes text by Python's own functions, of `io` or of `pathlib`."""
    name = ast.unparse(call.func)
    if name in ("open", "io.open"):
        return "b" not in _mode(call, 1)
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in TEXT_METHODS:
        return False
    if name.startswith(("os.", "files.", "gzip.", "tarfile.", "zipfile.", "PIL.Image.", "Image.", "safetensors.")):
        return False
    return call.func.attr != "open" or "b" not in _mode(call, 0)


def _names_encoding(call: ast.Call) -> bool:
    first = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return first == "utf-8" or "encoding" in {keyword.arg for keyword in call.keywords}


def test_every_text_file_is_opened_with_an_encoding() -> None:
    missing = [
        place
        for package in PACKAGES
        for place, call in calls(package)
        if _opens_text(call) and not _names_encoding(call)
    ]
    assert missing == []


def test_the_output_of_a_program_may_be_in_any_encoding() -> None:
    done = run_program([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'gr\\xf6\\xdfe')"])
    assert done.stdout == "gr��e"


@pytest.mark.parametrize(
    "words", [["no-such-program"], [sys.executable, "-c", "raise SystemExit(1)"]], ids=["missing", "failing"]
)
def test_a_program_that_does_not_answer_is_none(words: list[str]) -> None:
    assert output_of(words) is None


def test_a_program_that_hangs_is_ended() -> None:
    assert output_of([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3) is None


def test_a_program_sees_no_variable_that_it_must_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "elsewhere")
    show = [sys.executable, "-c", "import os; print(os.environ.get('GIT_DIR'))"]
    assert output_of(show, without=["GIT_"]) == "None\n"
    assert output_of(show) == "elsewhere\n"


def _program(call: ast.Call) -> str | None:
    """The program that a test starts by its name."""
    if ast.unparse(call.func) not in STARTERS or not call.args or not isinstance(call.args[0], ast.List):
        return None
    first = call.args[0].elts[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def test_tests_start_only_programs_that_the_readme_asks_for() -> None:
    """Python, git, make and sh are there. Every other program is looked for, and its tests skip without it."""
    found = {(place.partition(":")[0], _program(call)) for place, call in calls("tests") if _program(call)}
    for path, program in found:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert program in ("git", "make", "sh") or f'which("{program}")' in text, f"{path} starts {program}"
    assert shutil.which("git")
