"""The verdicts for a terminal. Those that runs or printed numbers decide come first, with the evidence below each."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

from analysis import numbers
from analysis.paper.verdicts import KINDS, LEGEND, Verdict, tally
from lightning_xvol.commandline import columns
from lightning_xvol.surroundings.printing import printable

UNDECIDED = ("not judged", "not run")
"""The kinds of verdicts that are left out unless all are asked for."""
_VERDICT = 15  # characters of the column of verdicts
_LEAST = 30  # characters beside the verdict; a narrower terminal breaks lines itself


def to_text(found: Sequence[Verdict], width: int, every: bool = False, note: str = "") -> str:
    """A block for each data set, with a line for each claim and its evidence below, at most `width` characters wide.

    Args:
        found: The verdicts.
        width: The width of the terminal.
        every: Whether the claims that are not decided are shown too.
        note: A sentence on what is shown.
    """
    shown = [item for item in found if every or item.kind not in UNDECIDED]
    parts = []
    for data, kinds in tally(shown).items():
        own = sorted((item for item in shown if item.data == data), key=lambda item: KINDS.index(item.kind))
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        head = textwrap.fill(f"{data or 'no runs'}: {listed}", width)
        parts.append("\n".join([head, *_lines(own, width)]))
    notes = [note, *([] if every else [_left(found)])]
    legend = LEGEND if shown else ()
    parts += [textwrap.fill(text, width) for text in (*filter(None, notes), *legend)]
    return printable("\n\n".join(parts))


def _lines(found: Sequence[Verdict], width: int) -> list[str]:
    beside = min(_VERDICT, max(len(item.kind) for item in found))
    room = max(_LEAST, width - beside - 6)  # the number, and two blanks between columns
    rows: list[Sequence[str]] = []
    for item in found:
        texts = textwrap.wrap(f"{item.claim.claim} ({item.claim.where}; {item.claim.kinds})", room)
        for sentence in item.evidence:
            texts += textwrap.wrap(sentence, room, initial_indent="- ", subsequent_indent="  ")
        if item.more_seeds is not None:
            needed = numbers.counted(item.more_seeds, "more seed")
            texts += textwrap.wrap(f"- {needed} of each row would resolve it", room, subsequent_indent="  ")
        kind = textwrap.wrap(item.kind, _VERDICT)
        rows += itertools.zip_longest([str(item.claim.number)], kind, texts, fillvalue="")
    header, *lines = columns([["#", "verdict", "claim"], *rows], right=[0])
    return [header, "-" * max(map(len, [header, *lines])), *lines]


def _left(found: Sequence[Verdict]) -> str:
    """A sentence on how many claims are left out; empty for none."""
    left = {item.claim.number for item in found}
    left -= {item.claim.number for item in found if item.kind not in UNDECIDED}
    if not left:
        return ""
    told = f"{numbers.counted(len(left), 'claim')} {'is' if len(left) == 1 else 'are'}"
    them = "it" if len(left) == 1 else "them"
    return f"{told} not decided by these runs; --all shows {them} and what would decide {them}."
