"""A table as LaTeX that a paper includes as it is.

The body has text of 8 points. If it does not fit on the page then, it has 7 points, as its notes do. A wide table spans
both columns of a page, is turned, or stands in panels, one below the other (`analysis.table.pages`). A high table goes
on in further floats. LaTeX measures the body, because the width of a column depends on the document.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.table.letters import escape_flowing, foreign
from analysis.table.pages import panels, parts
from analysis.table.tabular import tabular

if TYPE_CHECKING:
    from analysis.table import Table

COLUMN = 235.0
"""The width of a column in points, on a page with two columns."""
PAGE, LIMITS = 490.0, (COLUMN, 490.0, 505.0)
"""In points: the width of a page with two columns, and the widths of tables there. The last is for text of 7 points."""
NARROW_PAGE, NARROW_LIMITS = 345.0, (COLUMN, 350.0)
"""The same for a narrower page: the one column of LaTeX's `article`."""
HEIGHT = 530.0
"""The largest height of a float in points, so that it fits on a page of every common class."""
_CAPTION = (4.9, 12.0)
_NOTE = (3.3, 8.4)
"""The width of a character and the height of a line of the notes, in points."""
_MOST_BELOW = HEIGHT / 3
"""Notes up to this height, in points, stay below the last part of the body."""

_HEAD = r"""% Needs {packages}. pdfLaTeX and LuaLaTeX compile it.
% The text has 8 points. The table spans both columns if it is wider than one. If it does not fit on the page then, its
% text has 7 points. Only on a page that is narrower still, body and notes shrink alike.
{foreign}\begingroup
\ifdefined\resultbox\else\newsavebox{{\resultbox}}\fi
\def\resultsize{{\fontsize{{8}}{{9.6}}\selectfont\setlength{{\tabcolsep}}{{4pt}}}}
\def\resultfloat{{table}}
\def\resultwidth{{\linewidth}}
\def\resultfit{{}}
\def\resultchoose{{%
  \resultmeasure
  \ifdim\wd\resultbox>\columnwidth
    \ifdim\columnwidth<\textwidth \def\resultfloat{{table*}}\fi
  \fi
  \ifdim\wd\resultbox>\textwidth
    \def\resultsize{{\fontsize{{7}}{{8.4}}\selectfont\setlength{{\tabcolsep}}{{3pt}}}}%
    \resultmeasure
  \fi
  \ifdim\wd\resultbox>\textwidth
    \def\resultwidth{{\wd\resultbox}}%
    \def\resultfit{{\resizebox{{\linewidth}}{{!}}}}%
  \fi}}
"""
_FLOAT = r"""\begin{{\resultfloat}}[tp]
  \centering
  {caption}
  \par\smallskip
  \resultfit{{\begin{{minipage}}{{\resultwidth}}
    \centering
{content}
  \end{{minipage}}}}
\end{{\resultfloat}}
"""
_FEW_FLOATS = 4  # LaTeX keeps 18 in mind
_CONTINUED = r"\tablename~\thetable{} (continued)"


@dataclass
class _Float:
    """The contents of a float, or a part of them: names of tabulars, notes, and their height in points."""

    bodies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    height: float = 0.0

    def add(self, other: _Float) -> None:
        self.bodies += other.bodies
        self.notes += other.notes
        self.height += other.height

    def text(self) -> str:
        blocks = [rf"    {{\resultsize{name}\par}}" for name in self.bodies]
        if self.notes:
            written = "\\par\n    ".join(map(escape_flowing, self.notes))
            blocks.append(f"    \\fontsize{{7}}{{8.4}}\\selectfont\\raggedright\n    {written}")
        return "\n    \\medskip\n".join(blocks)


def to_latex(table: Table, siunitx: bool = False) -> str:
    """`table` as one or several floats. With `siunitx`, LaTeX's package of this name aligns the numbers."""
    wide = _layout(table, LIMITS, PAGE, siunitx)
    narrow = _layout(table, NARROW_LIMITS, NARROW_PAGE, siunitx)
    packages = ("booktabs", "graphicx", *(["siunitx"] if siunitx else []))
    head = _HEAD.format(packages=" and ".join(rf"\usepackage{{{name}}}" for name in packages), foreign=_foreign(table))
    if wide == narrow:
        return f"{head}{wide}\\endgroup\n"
    choice = f"% The same numbers twice, for pages of different widths.\n\\ifdim\\textwidth<{PAGE:g}pt\n"
    return f"{head}{choice}{narrow}\\else\n{wide}\\fi\n\\endgroup\n"


def _layout(table: Table, limits: Sequence[float], page: float, siunitx: bool) -> str:
    """The bodies and floats for a page whose text is `page` points wide."""
    grids = panels(table, limits)
    line = page if max(grid.width for grid in grids) > COLUMN else COLUMN
    notes = [_Float([], [note], _height(note, line, _NOTE)) for note in _notes(table, grids[0].is_turned)]
    below = sum(note.height for note in notes)
    limit = HEIGHT - min(_height(table.latex_caption, line, _CAPTION) + _CAPTION[1], HEIGHT / 3)
    bodies = [part for grid in grids for part in parts(grid, limit - min(below, _MOST_BELOW))]
    names = [rf"\resulttable{_letters(number)}" for number in range(len(bodies))]
    items = [_Float([name], [], body.height + 10) for name, body in zip(names, bodies, strict=True)]
    if below <= _MOST_BELOW:
        for note in notes:
            items[-1].add(note)
    else:
        items += notes
    caption = rf"\caption{{{escape_flowing(table.latex_caption)}}}" + "\n  " + rf"\label{{tab:{table.label}}}"
    boxes = "".join(rf"\hbox{{{name}}}" for name in names)
    floats = _packed(items, limit)
    return "".join(
        [
            *(f"\\def{name}{{%\n{tabular(body, siunitx)}}}\n" for name, body in zip(names, bodies, strict=True)),
            rf"\extrafloats{{{len(floats)}}}" + "\n" if len(floats) > _FEW_FLOATS else "",
            rf"\def\resultmeasure{{\sbox{{\resultbox}}{{\resultsize\vbox{{{boxes}}}}}}}" + "\n\\resultchoose\n",
            *(
                _FLOAT.format(caption=_CONTINUED if number else caption, content=content.text())
                for number, content in enumerate(floats)
            ),
        ]
    )


def _notes(table: Table, turned: bool) -> list[str]:
    """The footnotes. One that is longer than a page is cut, so that it can go on in another float."""
    return [part for note in table.footnotes("Bold", turned) for part in textwrap.wrap(note, 3000)]


def _height(text: str, line: float, character: tuple[float, float]) -> float:
    return character[1] * math.ceil(character[0] * len(text) / line)


def _packed(items: Sequence[_Float], limit: float) -> list[_Float]:
    """`items` joined in their order, as many as fit in `limit` points."""
    floats: list[_Float] = []
    for item in items:
        if not floats or floats[-1].height + item.height > limit:
            floats.append(_Float())
        floats[-1].add(item)
    return floats


def _letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ...: names of LaTeX have no digits."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _foreign(table: Table) -> str:
    """A comment that lists the letters that pdfTeX lacks, with their replacements; empty where there are none."""
    found = foreign(" ".join(table.texts))
    listed = ", ".join(f"{letter} = {text or 'nothing'}" for letter, text in found.items())
    return f"% Letters that pdfTeX lacks are replaced: {listed}.\n" if found else ""
