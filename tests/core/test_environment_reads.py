"""Every variable of the environment that the packages read stands in docs/identity.md, by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lightning_xvol", "ablations", "analysis", "benchmarks")
MODULES = [
    path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    if re.search(r"\benviron|getenv", path.read_text())
]  # fmt: skip
NAME = re.compile(r"[A-Z][A-Z0-9_]+")


def _is_environ(node: ast.AST) -> bool:
    return ast.unparse(node) in ("environ", "os.environ")


def read_names(tree: ast.Module) -> set[str]:
    """The names that `tree` reads: as they stand, or where a name is computed, all that its constants could be."""
    computed, found = False, set[str]()
    for node in ast.walk(tree):
        keys: list[ast.AST] = []
        if isinstance(node, ast.Subscript) and _is_environ(node.value):
            keys = [node.slice]
        elif isinstance(node, ast.Compare) and any(map(_is_environ, node.comparators)):
            keys = [node.left]
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function.endswith("getenv") or function.rpartition(".")[0] in ("environ", "os.environ"):
                keys = list(node.args[:1]) or [node]
        for key in keys:
            if isinstance(key, ast.Constant):
                found.add(str(key.value))
            else:
                computed = True
    if computed:
        found |= set(_constants(tree))
    return found


def _constants(tree: ast.Module) -> Iterator[str]:
    """The texts that could be names of variables, in the constants at the top of a module."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                    yield node.value


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_variable_that_is_read_is_documented(module: Path) -> None:
    text = (ROOT / "docs" / "identity.md").read_text()
    documented = set(re.findall(r"`([A-Z_][A-Z0-9_]*)\*?`", text.partition("## Variables of libraries")[0]))
    assert read_names(ast.parse(module.read_text())) <= documented


def test_the_scan_sees_every_way_to_read() -> None:
    ways = 'os.environ["A1"]; os.environ.get("B1"); os.getenv("C1"); "D1" in os.environ; environ.pop("E1")\n'
    assert read_names(ast.parse(ways)) == {"A1", "B1", "C1", "D1", "E1"}
    assert read_names(ast.parse('X = ("F1", "G1")\nfor name in X: os.environ[name]')) == {"F1", "G1"}
    assert {path.name for path in MODULES} >= {"processes.py", "variables.py", "environment.py", "gpus.py", "triton.py"}
