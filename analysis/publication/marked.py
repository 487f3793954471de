"""Marks in a Markdown page. A mark is a pair of comments, and what stands between them is rendered from records.

    <!-- analysis defaults --source results/match_small.jsonl.gz -->

    <!-- analysis table --sweep kernel_size -->
    ... replaced ...
    <!-- /analysis -->

    X-volution has <!-- analysis number --sweep operator --row xvolution -->98.4 ± 1.9<!-- /analysis --> %.

The first comment names a kind and its flags, as on a command line. A mark that begins a line holds a block of lines. A
mark within a line holds a few words. Comments in code are plain text and no marks. `defaults` gives flags to all marks
after it, up to the next `defaults`.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analysis.publication.code import code_spans
from lightning_xvol.errors import UserError

DEFAULTS = "defaults"
WIDTH = 120
_MARK_OF_UTF_8 = "\ufeff"  # some editors write it at the start of a file
_COMMENT = re.compile(r"<!--\s*(?:analysis(?=\s|-->|\Z)|(?P<end>/analysis)\s*-->)")
_BEFORE_A_BLOCK = re.compile(rf"[{_MARK_OF_UTF_8} \t]*")
_STARTS_A_BLOCK = re.compile(r" (?=(?:[-+*#>]+|\d+[.)]) )")


@dataclass(frozen=True)
class Mark:
    """A mark.

    Attributes:
        words: The kind and its flags.
        defaults: The flags of the last `defaults` before it.
        line: The number of the line with its first comment.
        start, end: The first character of its content in the page, and the one after the last.
        is_block: Whether it begins a line.
    """

    words: tuple[str, ...]
    defaults: tuple[str, ...]
    line: int
    start: int
    end: int
    is_block: bool


@dataclass(frozen=True)
class _Comment:
    """A comment of a mark; `words` is what follows `analysis`, and None at the end of a mark."""

    words: str | None
    line: int
    start: int
    end: int
    begins_line: bool


def _comments(text: str) -> Iterator[_Comment]:
    code = code_spans(text)
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    at = 0
    while match := _COMMENT.search(text, at):
        start, at = match.span()
        around = bisect_right(code, (start, len(text))) - 1
        if around >= 0 and start < code[around][1]:
            continue
        line = bisect_right(lines, start)
        before = _BEFORE_A_BLOCK.match(text, lines[line - 1], start)
        begins_line = before is not None and before.end() == start
        if match["end"]:
            yield _Comment(None, line, start, at, begins_line)
            continue
        end = text.find("-->", at)
        if end < 0:
            raise UserError(f"line {line}: the comment has no end (-->)")
        words, at = text[at:end], end + len("-->")
        yield _Comment(words, line, start, at, begins_line)


def marks(text: str) -> Iterator[Mark]:
    """The marks of a page, from its top to its bottom.

    Raises:
        UserError: for a comment without an end, an end without a beginning, or flags that no shell can read.
    """
    defaults: tuple[str, ...] = ()
    opened: tuple[tuple[str, ...], _Comment] | None = None
    for comment in _comments(text):
        line = comment.line
        if comment.words is None:
            if opened is None:
                raise UserError(f"line {line}: <!-- /analysis --> has no beginning, such as <!-- analysis table -->")
            words, first = opened
            yield Mark(words, defaults, first.line, first.end, comment.start, first.begins_line)
            opened = None
            continue
        if opened is not None:
            raise UserError(f"line {opened[1].line}: no <!-- /analysis --> before the next mark in line {line}")
        try:
            words = tuple(shlex.split(comment.words))
        except ValueError as error:
            raise UserError(f"line {line}: the comment cannot be read as a command ({error})") from error
        if not words:
            raise UserError(f"line {line}: the comment names no kind, for example <!-- analysis table --sweep NAME -->")
        if words[0] == DEFAULTS:
            defaults = words[1:]
        else:
            opened = words, comment
    if opened is not None:
        raise UserError(f"line {opened[1].line}: no <!-- /analysis --> after it")


def replaced(text: str, render: Callable[[Mark], str]) -> tuple[str, list[int]]:
    """The page `text` with `render(mark)` as the content of each mark, and the lines of the marks that change.

    New lines end like those of the page, with `\\r\\n` or with `\\n`.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    parts: list[str] = []
    changed: list[int] = []
    last = 0
    for mark in marks(text):
        # Python-Markdown, which makes the site of docs/, would show a backslash before this character.
        new = render(mark).replace("\\<", "&lt;")
        new = f"\n\n{wrapped(new)}\n\n" if mark.is_block else new
        new = new.replace("\n", end)
        parts += [text[last : mark.start], new]
        if new != text[mark.start : mark.end]:
            changed.append(mark.line)
        last = mark.end
    return "".join([*parts, text[last:]]), changed


def wrapped(markdown: str) -> str:
    """`markdown` with lines of at most `WIDTH` characters; rows of tables stay whole."""
    return "\n".join(map(_wrapped_line, markdown.strip().split("\n")))


def _wrapped_line(line: str) -> str:
    if line.startswith(("|", "!")) or len(line) <= WIDTH:
        return line
    # No line may begin with what Markdown takes for a list or a heading.
    held = _STARTS_A_BLOCK.sub("\0", line[2:]) if line.startswith("- ") else _STARTS_A_BLOCK.sub("\0", line)
    first, later = ("- ", "  ") if line.startswith("- ") else ("", "")
    filled = textwrap.fill(
        held, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return filled.replace("\0", " ")
