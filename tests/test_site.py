"""The site of docs/: every page has its place, links of README lead to pages, and `make docs` builds it whole."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PLACES = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """docs/make_site.py, whose pages go to a folder of the test."""
    specification = importlib.util.spec_from_file_location("make_site", ROOT / "docs" / "make_site.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "PAGES", tmp_path / "pages")
    monkeypatch.setattr(module, "SITE", tmp_path / "site")
    return module


def test_every_page_has_one_place_in_the_navigation(maker: Any) -> None:
    maker.put_together()
    pages = [page for part in PLACES for listed in part.values() for page in listed]
    written = {path.relative_to(maker.PAGES).as_posix() for path in maker.PAGES.rglob("*.md")}
    assert len(pages) == len(set(pages)) and {*pages} == written


def test_links_of_readme_lead_to_pages_of_the_site_or_to_files(maker: Any) -> None:
    maker.put_together()
    for name in ("index.md", "contributing.md", "operators.md"):
        page = maker.PAGES / name
        targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in target]
        assert len(targets) > 1
        assert all((page.parent / target.partition("#")[0]).exists() for target in targets), targets


def test_every_requirement_of_the_site_is_pinned_with_a_hash() -> None:
    text = (ROOT / "docs" / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.M))
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["docs"]
    for requirement in map(Requirement, group):
        assert requirement.specifier.contains(Version(pinned[requirement.name]))
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z0-9])", text) if "==" in block)
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("<a href='b.html'>x</a>", "a.html links to b.html, which is not there"),
        ("<a href='#here'>x</a>", "a.html links to #here, and that page has no such heading"),
        ("<script src='https://example.org/x.js'></script>", "a.html loads https://example.org/x.js from the network"),
        ("<h1 id='top'></h1><a href='#top'></a><a href='https://example.org'></a><a href='c%20d.png'></a>", None),
    ],
)
def test_a_link_that_leads_nowhere_is_found(page: str, fault: str | None, maker: Any) -> None:
    maker.SITE.mkdir()
    (maker.SITE / "a.html").write_text(page)
    (maker.SITE / "c d.png").touch()
    assert list(maker.faults()) == [fault] * (fault is not None)


@pytest.mark.slow
def test_make_docs_builds_the_site_from_a_clean_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", os.fspath(ROOT), os.fspath(clone)], check=True)
    if shutil.which("make") is None:
        pytest.skip("needs make")
    done = subprocess.run(["make", "docs", f"PYTHON={sys.executable}"], cwd=clone, capture_output=True, text=True)
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        pytest.skip("needs a package index once")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    api = (clone / "build/docs/site/api/lightning_xvol.html").read_text()
    for name in ("build_operator", "replace_operators", "fuse", "RunConfig", "train"):
        assert f'id="lightning_xvol.{name}"' in api
    assert 'id="ablations.run"' in (clone / "build/docs/site/api/ablations.html").read_text()
