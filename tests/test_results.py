"""What lies in results/ and what docs/ say of it: pages, descriptions, and records under their protocol.

A page of docs/ with marks (`python -m analysis fill`) is rendered again from the records and compared byte by byte.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from lightning_xvol.ledger.protocol import Protocol, read_protocol

ROOT = Path(__file__).resolve().parent.parent
ARCHIVES = sorted((ROOT / "results").glob("*.jsonl.gz"))
PROTOCOLS = sorted((ROOT / "docs" / "protocol").glob("*.md"))
PAGES = [
    path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "<!-- analysis " in path.read_text()
]  # fmt: skip

needs_records = pytest.mark.skipif(not ARCHIVES, reason="results/ holds no records")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@needs_records
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_what_its_records_give(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["fill", "--check", str(page.relative_to(ROOT))])
    assert code == 0, capsys.readouterr().out


@needs_records
def test_the_descriptions_are_those_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["crate", "--folder", "results", "--check"])
    assert code == 0, f"run python -m analysis crate --folder results: {capsys.readouterr().out}"


def planned(protocol: Protocol) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records that `protocol` plans, each with its id."""
    for path in ARCHIVES:
        for line in gzip.decompress(path.read_bytes()).splitlines():
            cell = json.loads(line)
            for sweep in cell["sweeps"]:
                recipe, name = sweep["plan"]["recipe"], sweep["plan"]["sweep"]
                for place in sweep["places"]:
                    seed = cell["record"]["seed"]
                    if protocol.covers(recipe, name, place["operator"], place["axes"], seed):
                        yield cell["record"]["cell_id"], cell["record"]


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)


def commits_of(path: Path) -> dict[str, str]:
    """The hash of each version of a file in the history, with the oldest commit that has it."""
    name = str(path.relative_to(ROOT))
    listed = git("rev-list", "--reverse", "HEAD", "--", name).stdout.decode().split()
    found: dict[str, str] = {}
    for commit in listed:
        content = git("show", f"{commit}:{name}")
        if content.returncode == 0:
            found.setdefault(hashlib.sha256(content.stdout).hexdigest(), commit)
    return found


@pytest.mark.skipif(not (ARCHIVES and PROTOCOLS), reason="no records under a protocol in results/")
@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_planned_records_hold_the_hash_of_their_protocol_which_was_committed_before_them(path: Path) -> None:
    protocol = read_protocol(path)
    records = dict(planned(protocol))
    if not records:
        pytest.skip(f"no record of {path.name} yet")
    stamped = {cell: record.get("protocol") or {} for cell, record in records.items()}
    without = [cell for cell, stamp in stamped.items() if stamp.get("sha256") not in protocol.versions]
    assert not without, "planned, and made under no version of the protocol"
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != b"false":
        pytest.skip("this clone has no history")
    versions = commits_of(path)
    for cell, record in records.items():
        assert record["commit"] and "-" not in record["commit"], f"{cell} was made with uncommitted changes"
        frozen = versions[stamped[cell]["sha256"]]
        if git("cat-file", "-e", f"{record['commit']}^{{commit}}").returncode:
            pytest.skip(f"this clone has no commit {record['commit']}")
        ancestor = git("merge-base", "--is-ancestor", frozen, record["commit"])
        assert ancestor.returncode == 0, f"{cell} was made before its protocol was committed"
