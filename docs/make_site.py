"""Builds the site of these pages and checks every link in it: `make docs`, or `python docs/make_site.py`.

The pages are those of this folder, README as the first one, CONTRIBUTING, CHANGELOG, and API pages from the docstrings.
They are put together in build/docs/pages, where their links lead to each other, and built into build/docs/site. Nothing
is fetched: the site works without a network and opens from its folder.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
PAGES, SITE = ROOT / "build/docs/pages", ROOT / "build/docs/site"
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages outside of docs/, with their names in the site."""
API = {
    "lightning_xvol": ("One run and its parts", "lightning_xvol"),
    "operators": ("Operators", "lightning_xvol.operators", "lightning_xvol.operators.base"),
    "config": ("Configurations", "lightning_xvol.config.schema", "lightning_xvol.config.recipes"),
    "ablations": ("Sweeps", "ablations", "ablations.engine.options", "ablations.engine.sweep"),
    "analysis": ("Analysis", "analysis"),
}
"""The API pages: a title, then the modules whose docstrings they show."""


def put_together() -> None:
    """Write all pages into `PAGES`, with links that lead from one to the other."""
    shutil.rmtree(PAGES, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "docs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split():
        if Path(name).suffix != ".py" and (ROOT / name).is_file():
            _place(name, posixpath.relpath(name, "docs"))
    for name, new in OUTSIDE.items():
        _place(name, new)
    for name, (title, *modules) in API.items():
        blocks = (f"::: {module}\n" for module in modules)
        _write(f"api/{name}.md", "\n".join([f"# {title}\n", *blocks]))


def _place(name: str, new: str) -> None:
    source = ROOT / name
    if source.suffix != ".md":
        (PAGES / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, PAGES / new)
        return

    def link(match: re.Match[str]) -> str:
        target, hash_, anchor = match[1].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        place = OUTSIDE.get(path, posixpath.relpath(path, "docs"))
        return f"]({posixpath.relpath(place, posixpath.dirname(new) or '.')}{hash_}{anchor})"

    _write(new, re.sub(r"\]\(([^)\s]+)\)", link, source.read_text(encoding="utf-8")))


def _write(new: str, text: str) -> None:
    (PAGES / new).parent.mkdir(parents=True, exist_ok=True)
    (PAGES / new).write_text(text, encoding="utf-8")


class _Page(HTMLParser):
    """The anchors of a page, and what it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.targets = set[str](), list[tuple[str, str]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value is not None:
                self.targets.append((tag, value))


def faults() -> Iterator[str]:
    """A sentence for each link that leads nowhere, and for each file that a page would fetch from a network."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(SITE.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(SITE)
        for tag, target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if tag in ("script", "link", "img") and parts.scheme != "data":
                    yield f"{where} loads {target} from the network"
                continue
            if where.name == "404.html":  # its links begin at the root of a server
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                yield f"{where} links to {target}, which is not there"
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors:
                yield f"{where} links to {target}, and that page has no such heading"


def main() -> int:
    put_together()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode:
        return done.returncode
    found = sorted(set(faults()))
    print("\n".join(found), file=sys.stderr) if found else print(f"the site is in {SITE / 'index.html'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
