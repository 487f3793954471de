"""`python -m analysis fill`: render the marked tables, figures and numbers of Markdown pages from their records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lightning_xvol.errors import ExitCode
from lightning_xvol.surroundings.printing import in_one_line


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "fill", help="render the marked tables, figures and numbers of Markdown pages from their records",
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "pages", nargs="+", type=Path, metavar="PAGE",
        help="a Markdown file with marks, such as <!-- analysis table --sweep NAME --> and <!-- /analysis -->",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="write nothing; name each place that differs from the records, and exit with code 1 if there is one or "
        "if records are left out",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    from analysis import numbers
    from analysis.publication.pages import pages

    found = pages(parsed.pages)
    notes = dict.fromkeys(note for page in found for note in page.place.notes)
    for note in notes:
        print(f"note: {in_one_line(note)}", file=sys.stderr)
    if parsed.check:
        different = [text for page in found for text in page.differences()]
        for text in different:
            print(text)
        lost = "; some records are left out" if notes else ""
        print(f"{numbers.counted(len(found), 'page')} checked: {numbers.counted(len(different), 'difference')}{lost}")
        return ExitCode.FAILURE if different or notes else ExitCode.SUCCESS
    for page in found:
        page.write()
        print(f"page: {page.path}, {numbers.counted(len(page.stale), 'place')} changed")
    return ExitCode.SUCCESS
