"""Only one place imports what a name stands for, and no file of data becomes code in any other way."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lightning_xvol", "ablations", "analysis", "benchmarks")
SOURCES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(itertools.chain.from_iterable((ROOT / package).rglob("*.py") for package in PACKAGES))
}

# What may import by a name that it computes, and why no file can choose that name.
IMPORTS = {
    "lightning_xvol/config/imports.py": "the gate",
    "lightning_xvol/__init__.py": "names of its own table",
    "analysis/__init__.py": "names of its own table",
    "ablations/engine/catalogue.py": "modules of the package itself",
    "benchmarks/__main__.py": "one of the subcommands",
}
READERS = {
    "lightning_xvol/commandline.py": "importable",
    "lightning_xvol/fusion/weights.py": "importable",
    "lightning_xvol/detection/predict.py": "importable",
    "ablations/engine/stored.py": "importable",
    "ablations/engine/sweep_file.py": "importable, flags",
    "analysis/report/verify.py": "importable",
    # These compute ids and labels, and build nothing; `load` would refuse it.
    "lightning_xvol/ledger/record.py": "ids",
    "lightning_xvol/ledger/origins.py": "ids",
    "lightning_xvol/ledger/spellings.py": "ids",
    "analysis/paper/pools.py": "ids",
    "analysis/paper/protocol.py": "ids",
    "analysis/compare/settings.py": "ids",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its callee as it is written, `torch.load`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def files_that_call(*names: str) -> set[str]:
    return {path for path, tree in SOURCES.items() if any(callee.split(".")[-1] in names for callee, _ in calls(tree))}


def test_only_the_gate_imports_by_a_name_that_a_file_could_choose() -> None:
    importers = "import_module __import__ exec_module spec_from_file_location run_path run_module resolve_name"
    assert files_that_call(*importers.split(), "entry_points") == set(IMPORTS)
    assert files_that_call("import_class") == {"lightning_xvol/config/registry.py"}


def test_every_reader_of_a_stored_configuration_is_known() -> None:
    readers = files_that_call("from_dict", "from_record") - {"lightning_xvol/config/schema.py"}
    assert readers == {path for path, how in READERS.items() if "flags" not in how}
    assert files_that_call("importable") == {path for path, how in READERS.items() if how.startswith("importable")}


def test_trust_is_only_what_the_caller_says() -> None:
    """No code of ours sets `trust=True`: it comes from a flag or from whoever calls the Python function."""
    for path, tree in SOURCES.items():
        for callee, call in calls(tree):
            for keyword in call.keywords:
                if keyword.arg == "trust":
                    assert ast.unparse(keyword.value) in ("trust", "parsed.trust"), f"{path}: {callee}"


CODE = {
    "eval": "ast.literal_eval",
    "exec": "ast.literal_eval",
    "compile": "ast.literal_eval",
    "yaml.load": "yaml.safe_load",
    "yaml.unsafe_load": "yaml.safe_load",
    "yaml.full_load": "yaml.safe_load",
    "pickle.load": "json",
    "pickle.Unpickler": "json",
    "cloudpickle.load": "json",
    "shelve.open": "json",
    "joblib.load": "json",
    "marshal.loads": "json",
    "pd.read_pickle": "CSV or SQLite",
    "torch.hub.load": "a backbone of the registry",
    "torch.jit.load": "read_checkpoint",
    "torch.package.PackageImporter": "read_checkpoint",
    "torch.serialization.add_safe_globals": "plain data in checkpoints",
    "os.system": "subprocess with a list",
    "os.popen": "subprocess with a list",
}
# These read what this process has made itself a moment before.
OWN = {
    "pickle.loads": {"lightning_xvol/data/coco_annotations.py"},
    "torch.export.load": {"lightning_xvol/fusion/export.py"},
}


def test_nothing_else_turns_data_into_code() -> None:
    for path, (callee, call) in ((path, found) for path, tree in SOURCES.items() for found in calls(tree)):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        where = f"{path}, line {call.lineno}: {ast.unparse(call)}"
        assert callee not in CODE, f"{where}; use {CODE.get(callee)}"
        assert path in OWN.get(callee, {path}), where
        assert keywords.get("allow_pickle", "False") == "False" and keywords.get("shell", "False") == "False", where
        if callee == "torch.load":
            assert keywords.get("weights_only") == "True", where
        if callee == "jinja2.Environment":
            assert keywords["loader"] == "jinja2.FileSystemLoader(HERE)" and keywords["autoescape"] == "True", where
