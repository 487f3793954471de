"""Marks in code are text, and no other mark is. The oracle is a parser of CommonMark."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from analysis.publication.code import code_spans
from analysis.publication.marked import marks
from lightning_xvol.errors import UserError

COMMENT = r"<!-- (\d+) -->"
BEGINNINGS = ("", "", "", "", "> ", "- ", "* ", "1. ", "  ", "   ", "    ", "\t", "- > ", "> - ")
LINES = (
    "", "", "text", "C", "x C", "C C", "`C`", "`x` C `y`", "a ` C", "\\`C\\`", "`` C ` ``", "```x``` is C", "```",
    "```text", "````", "~~~", "~~~~", "# C", "# ` C", "----", "<!-- a", "b -->", "<!-- ` --> C `x`",
    "x <!-- ` --> C `", "\n| C | `C` |\n| - | - |\n| ` | C |\n",
)  # fmt: skip
"""Each C becomes a comment with a number of its own."""
MARK = "<!-- analysis hours -->1<!-- /analysis -->"


def page(seed: int) -> str:
    chance, count = random.Random(seed), iter(range(1000))
    lines = [
        (chance.choice(BEGINNINGS) if chance.random() < 0.6 else "") + chance.choice(LINES)
        for _ in range(chance.randint(1, 8))
    ]
    return re.sub("C", lambda _: f"<!-- {next(count)} -->", "\n".join(lines))


def in_code(tokens: Iterable[Token]) -> set[str]:
    found: set[str] = set()
    for token in tokens:
        if token.type in ("fence", "code_block", "code_inline"):
            found |= set(re.findall(COMMENT, f"{token.content} {token.info}"))
        found |= in_code(token.children or ())
    return found


@pytest.mark.parametrize("first", range(0, 800, 200))
def test_code_is_what_a_parser_takes_for_it(first: int) -> None:
    parser = MarkdownIt("commonmark").enable("table")
    for seed in range(first, first + 200):
        text = page(seed)
        spans = code_spans(text)
        assert spans == sorted(spans) and all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        found = {
            match[1]
            for match in re.finditer(COMMENT, text)
            if any(start <= match.start() < end for start, end in spans)
        }
        assert found == in_code(parser.parse(text)), text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"```x``` is code.\n\n{MARK}\n\n```bash\nls\n```\n", 1),
        (f"`a code\nspan` {MARK} `other`\n", 1),
        (f"a \\`{MARK}\\`\n", 1),
        (f"> ```\n> a\n\n{MARK}\n", 1),
        (f"1. a\n\n    {MARK}\n", 1),
        (f"- a\n\n  ```text\n  {MARK}\n  ```\n", 0),
        (f"a\n\n```text\n{MARK}\n", 0),
        (f"a\n\n    {MARK}\n", 0),
        (f"> ```text\n> {MARK}\n> ```\n", 0),
        (f"`a {MARK}\nb`\n", 0),
    ],
)
def test_marks_around_code(text: str, count: int) -> None:
    for each in (text, text.replace("\n", "\r\n")):
        assert [each[mark.start : mark.end] for mark in marks(each)] == ["1"] * count


@pytest.mark.parametrize("line", ["```x\n", "~~~\n```\n", "a `b ", "> `a\n", "<!-- a\n", "- " * 50 + "\n"])
def test_a_long_page_is_read_in_linear_time(line: str) -> None:
    """Quadratic work on these pages takes longer than the whole suite."""
    assert not list(marks(line * 20_000 + "\n<!-- -->\n"))


@pytest.mark.parametrize("text", ["<!-- analysis", "a <!-- analysis number --row x", "<!-- analysis \n" * 20_000])
def test_a_comment_without_an_end_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"^line 1: the comment has no end \(-->\)$"):
        list(marks(text))
