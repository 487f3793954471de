"""Where a Markdown page holds code: fences, indented lines and spans in a paragraph. A comment there is plain text.

The rules are those of CommonMark for quotes, lists, paragraphs and comments. Other HTML counts as a paragraph.

Source: CommonMark Spec 0.31.2, sections 4.4, 4.5, 5 and 6.1 (https://spec.commonmark.org/0.31.2).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

_QUOTE = re.compile(r" {0,3}> ?")
_ITEM = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)])(?= |$)")
_ITEM_AFTER_TEXT = re.compile(r" {0,3}(?:[-+*]|1[.)])(?= +\S)")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}(?=[^`]*$)|~{3,})")
_COMMENT = re.compile(r" {0,3}<!--")
_RULE = re.compile(r" {0,3}(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$")
# A heading, a row of a table, the line under a heading, a rule.
_ALONE = re.compile(rf" {{0,3}}(?:#{{1,6}}(?: |$)|\||(?:=+|-+) *$)|{_RULE.pattern}")
_RUN = re.compile(r"`+")
_TOKEN = re.compile(r"\\.|`+|<!--")
_CODE_INDENT = 4


def code_spans(text: str) -> list[tuple[int, int]]:
    """The first character of each piece of code in `text` and the one after its last, from the top to the bottom."""
    page = _Page()
    start = 0
    for line in text.split("\n"):
        page.add(line.rstrip("\r").expandtabs(4), start, start + len(line))
        start += len(line) + 1
    page.end_paragraph()
    return sorted(page.code + [span for first, last in page.paragraphs for span in _spans(text, first, last)])


@dataclass
class _Page:
    """A page that is read line by line.

    Attributes:
        code: The lines of code.
        paragraphs: The first character of each paragraph and the one after its last.
        containers: The quotes and list items around the last line: 0 for a quote, and the indent of a list item.
        fence: The fence that is open.
        in_comment: Whether a comment is open that began a line.
        paragraph: The paragraph that is open.
    """

    code: list[tuple[int, int]] = field(default_factory=list)
    paragraphs: list[tuple[int, int]] = field(default_factory=list)
    containers: list[int] = field(default_factory=list)
    fence: str = ""
    in_comment: bool = False
    paragraph: tuple[int, int] | None = None

    def add(self, line: str, start: int, end: int) -> None:
        depth, rest = self._inside(line)
        if depth < len(self.containers):
            if self.paragraph is not None and rest.strip() and not _begins_a_block(rest):
                self.paragraph = self.paragraph[0], end  # without its `>` or indent, the line goes on all the same
                return
            del self.containers[depth:]
            self.fence, self.in_comment = "", False
            self.end_paragraph()
        if self.fence:
            self.code.append((start, end))
            closing = rest.strip()
            if closing.startswith(self.fence) and not closing.strip(self.fence[0]) and _indent(rest) < _CODE_INDENT:
                self.fence = ""
        elif self.in_comment:
            self.in_comment = "-->" not in rest
        else:
            self._add_block(self._into_containers(rest), start, end)

    def _inside(self, line: str) -> tuple[int, str]:
        """How many of the containers go on in `line`, and what stands within them."""
        for depth, indent in enumerate(self.containers):
            quote = _QUOTE.match(line)
            if indent:
                if line.strip() and _indent(line) < indent:
                    return depth, line
                line = line[indent:]
            elif quote is None:
                return depth, line
            else:
                line = line[quote.end() :]
        return len(self.containers), line

    def _into_containers(self, rest: str) -> str:
        """What stands within the quotes and list items that begin here."""
        while found := _QUOTE.match(rest) or (_ITEM if self.paragraph is None else _ITEM_AFTER_TEXT).match(rest):
            if _RULE.match(rest):
                break
            self.end_paragraph()
            after = rest[found.end() :]
            if found[0].strip() == ">":
                self.containers.append(0)
            else:
                gap = _indent(after) if after.strip() else 1
                gap = gap if gap <= _CODE_INDENT else 1  # more than that is code within the item
                self.containers.append(found.end() + gap)
                after = after[gap:]
            rest = after
        return rest

    def _add_block(self, rest: str, start: int, end: int) -> None:
        if not rest.strip():
            self.end_paragraph()
        elif self.paragraph is None and _indent(rest) >= _CODE_INDENT:
            self.code.append((start, end))
        elif found := _FENCE.match(rest):
            self.end_paragraph()
            self.fence = found["fence"]
            self.code.append((start, end))
        elif _COMMENT.match(rest):
            self.end_paragraph()
            self.in_comment = "-->" not in rest
        elif _ALONE.match(rest):
            self.end_paragraph()
            self.paragraphs.append((start, end))
        else:
            self.paragraph = start if self.paragraph is None else self.paragraph[0], end

    def end_paragraph(self) -> None:
        if self.paragraph is not None:
            self.paragraphs.append(self.paragraph)
        self.paragraph = None


def _begins_a_block(rest: str) -> bool:
    return any(kind.match(rest) for kind in (_QUOTE, _ITEM_AFTER_TEXT, _FENCE, _COMMENT, _ALONE))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The spans of code in a paragraph: from a run of backticks to the next one of its length."""
    runs: dict[int, list[int]] = defaultdict(list)
    for run in _RUN.finditer(text, start, end):
        runs[len(run[0])].append(run.start())
    last = text.rfind("-->", start, end)
    at = start
    while token := _TOKEN.search(text, at, end):
        at = token.end()
        if token[0] == "<!--" and at <= last:
            at = text.index("-->", at) + 3
        elif token[0].startswith("`"):
            same = runs[len(token[0])]
            closing = bisect_left(same, at)
            if closing < len(same):
                at = same[closing] + len(token[0])
                yield token.start(), at
