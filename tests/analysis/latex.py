"""Compiles tables with LaTeX and measures the text of the PDF. It also reads tables back from their LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
CLASSES = {
    "large text": r"\documentclass[12pt]{article}",
    "one column": r"\documentclass{article}",
    "two columns": r"\documentclass[twocolumn]{article}",
    "two wide columns": r"\documentclass[twocolumn]{article}\usepackage[textwidth=7.2in]{geometry}",
}
ROOT = Path(__file__).parents[2]
PACKAGES = r"\usepackage{booktabs}\usepackage{graphicx}"


class Word(NamedTuple):
    """A word of a PDF, with its box in points."""

    page: int
    left: float
    top: float
    right: float
    bottom: float
    text: str

    @property
    def height(self) -> float:
        return self.bottom - self.top


def compiled(folder: Path, content: str, layout: str = "one column", packages: str = "") -> str:
    """Compile a document with `content` to `folder/document.pdf`, and return the output of pdflatex."""
    document = "\n".join([CLASSES[layout], PACKAGES, packages, r"\begin{document}", content, r"\end{document}", ""])
    (folder / "document.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    printed = done.stdout.decode(errors="replace")
    assert done.returncode == 0, printed[-2000:]
    return printed


def words(pdf: Path) -> list[Word]:
    """The words of a PDF, as `pdftotext -bbox` finds them."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    done = subprocess.run(["pdftotext", "-bbox", pdf, "-"], capture_output=True, text=True, check=True, timeout=60)
    found, page = [], 0
    for line in done.stdout.splitlines():
        page += "<page " in line
        box = re.search(r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*)</word>', line)
        if box:
            found.append(Word(page, *map(float, box.groups()[:4]), box[5]))
    return found


def point_height(folder: Path, size: int) -> float:
    """The height of the box of a word with text of so many points."""
    (folder / "reference").mkdir(exist_ok=True)
    compiled(folder / "reference", rf"\fontsize{{{size}}}{{{size}}}\selectfont reference")
    return words(folder / "reference" / "document.pdf")[0].height


def read_latex(latex: str) -> list[list[str]]:
    """The rows of a table for a wide page, each a label and its cells as in Markdown, however LaTeX lays them out."""
    latex = latex.partition("\n\\else\n")[2].partition("\n\\fi\n")[0] or latex
    bodies = [_read_tabular(body) for body in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", latex, re.S)]
    turned = bodies[0][0][0] != "Operator"
    panels: list[tuple[list[str], list[list[str]]]] = []
    for headings, rows in bodies:
        if panels and panels[-1][0] == headings:
            panels[-1][1].extend(rows)
        else:
            panels.append((headings, rows))
    if turned:
        return [
            list(column)
            for headings, rows in panels
            for column in zip(headings[1:], *(row[1:] for row in rows), strict=True)
        ]
    [(_, first), *others] = panels
    return [[*row, *(cell for _, rows in others for cell in rows[number][1:])] for number, row in enumerate(first)]


def _read_tabular(body: str) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of a tabular."""
    kinds = re.findall(r"r@\{\}l|[lc](?=[ @}])", body.splitlines()[0])
    head, *blocks = body.split(r"\midrule")
    headings = [""] * len(kinds)
    for line in re.findall(r"^    (.*) \\\\$", head, re.M):
        if "cmidrule" not in line and not re.search(r"multicolumn\{(?!2\})", line):
            cells = zip(headings, _read_line(line, kinds), strict=True)
            headings = [f"{before} {cell}".strip().replace("- ", "-") for before, cell in cells]
    rows: list[list[str]] = []
    for line in re.findall(r"^    (.*) \\\\(?:\[2pt\])?$", "".join(blocks), re.M):
        if r"\emph" in line:
            continue
        cells = _read_line(line, kinds)
        if cells[0] and not line.startswith(r"\quad"):
            rows.append(cells)
        else:
            rows[-1] = [f"{before} {cell}".strip() for before, cell in zip(rows[-1], cells, strict=True)]
    return headings, rows


def _read_line(line: str, kinds: list[str]) -> list[str]:
    line = re.sub(r"\\multicolumn\{2\}\{c\}\{(.*?)\}(?= & | *$)", r"\1 & ", line).removeprefix(r"\quad ")
    line = re.sub(r"\\(?:hspace\*|phantom)\{.*?\}|\\llap", "", line).replace("$-$", "−").replace("--", "–")
    cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line)]
    found = []
    for kind in kinds:
        parts = [cells.pop(0) for _ in range(2 if kind == "r@{}l" else 1)]
        text = "".join(re.sub(r"^\\textbf\{(.*)\}$", r"\1", part) for part in parts)
        bold = any(part.startswith(r"\textbf") for part in parts)
        text = re.sub(r"[{}]|\\(?=[_%])", "", text)
        found.append(f"**{text}**" if bold else text)
    return found
