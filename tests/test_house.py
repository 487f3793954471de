"""Where files lie and what they import: rooms, the direction of imports, rooms without torch, and the length of lines.

A room is a folder of a package, or a module in a package's root. `lint-imports` checks more contracts, and this file
shares no code with it.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What lies in the root of each package beside `__init__` and `__main__`: modules, and folders with a slash.
HOUSE = {
    "lightning_xvol": (
        "commandline errors processes seeding config/ ledger/ modules/ training/ operators/ kernels/ backbones/ data/ "
        "detection/ fusion/ visualize/ commands/ surroundings/"
    ),
    "benchmarks": (
        "operators core network scaling growth data overhead bandwidth "  # the modes
        "flags shapes session measure power_law growth_tables subjects pictures report plot gpu_check/"
    ),
    "analysis": (
        "statistics numbers render table/ sources/ sweep/ compare/ paper/ figures/ output/ report/ dashboard/ "
        "publication/ commands/"
    ),
    "ablations": "all rows engine/",  # and the sweeps
}
MAY_IMPORT = {"lightning_xvol": (), "benchmarks": ("lightning_xvol",), "analysis": ("lightning_xvol",)}
LINE = 120
# Imports every module that is named, and stops at the first that loads torch.
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in HOUSE
    for path in (ROOT / package).rglob("*.py")
}
"""Every Python file of the packages, by the name of its module."""


@pytest.mark.parametrize("package", HOUSE)
def test_a_package_root_holds_only_what_the_house_lists(package: str) -> None:
    root = ROOT / package
    found = {path.stem for path in root.glob("*.py")} | {f"{path.parent.name}/" for path in root.glob("*/*.py")}
    if package == "ablations":
        found -= {path.stem for path in root.glob("*.py") if "\nSWEEP = " in path.read_text()}
    assert found == {"__init__", "__main__", *HOUSE[package].split()}


def room(module: str) -> str:
    """The folder or the module of a root. The modes of `benchmarks` are one room, and so are the sweeps."""
    package, *rest = module.split(".")
    if not rest or (package in ("benchmarks", "ablations") and f"{rest[0]}/" not in HOUSE[package].split()):
        return package
    return f"{package}.{rest[0]}"


def imports(module: str) -> Iterator[str]:
    """The modules of the packages that `module` imports anywhere, also in a function or only for type checking."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module} has a relative import"
            names = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name in FILES else node.module for name in names if node.module in FILES)


def test_rooms_have_an_order_in_which_each_imports_only_earlier_ones() -> None:
    below: dict[str, set[str]] = {}
    for module in FILES:
        below.setdefault(room(module), set()).update({room(name) for name in imports(module)} - {room(module)})
    assert len(below) > 25 and "lightning_xvol.config" in below["ablations.engine"]  # imports are found
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"rooms that import each other: {' <- '.join(error.args[1])}")
    for upper, lower in ((upper, lower) for upper, rooms in below.items() for lower in rooms):
        package, imported = (name.partition(".")[0] for name in (upper, lower))
        allowed = MAY_IMPORT.get(package, tuple(HOUSE))
        assert imported == package or imported in allowed, f"{upper} imports {lower}"


def test_package_roots_and_the_rooms_config_and_ledger_load_no_torch() -> None:
    modes = set(HOUSE["benchmarks"].split()) - {"flags", "shapes", "power_law", "growth_tables"}
    heavy = {"lightning_xvol.ledger.checkpoints", *(f"benchmarks.{name}" for name in modes)}
    folders = (*HOUSE, "lightning_xvol/config", "lightning_xvol/ledger")
    light = [name for name, path in FILES.items() if str(path.parent.relative_to(ROOT)) in folders]
    done = subprocess.run([sys.executable, "-c", IMPORT, *sorted({*light} - heavy)], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_no_line_of_python_or_markdown_is_too_long() -> None:
    """Rows of Markdown tables, the addresses of links, and the marks of numbers from records do not count."""
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    long = []
    for name in listed.stdout.splitlines():
        for number, line in enumerate((ROOT / name).read_text().splitlines(), start=1):
            if name.endswith(".md"):
                line = "" if line.startswith("|") else re.sub(r"\]\([^)]*\)|https?://\S+|<!--.*?-->", "", line)
            if len(line) > LINE and not name.startswith("docs/protocol"):
                long.append(f"{name}:{number}")
    assert not long, "\n".join(long)
