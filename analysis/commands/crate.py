"""`python -m analysis crate`: describe a folder of open records as an RO-Crate, and the generated data sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from analysis.commands.arguments import tell_left_out
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "crate", help="describe a folder of open records as an RO-Crate, and the generated data sets",
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, required=True, metavar="DIR",
        help="the folder with the records; ro-crate-metadata.json and *.croissant.json are written into it",
    )  # fmt: skip
    parser.add_argument(
        "--citation", type=Path, default=Path("CITATION.cff"), metavar="FILE",
        help="the file that names the licence, the authors and the paper (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--date", metavar="YYYY-MM-DD",
        help="the date of publication (default: the date in the existing ro-crate-metadata.json, else today)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="write nothing; name the files that are missing or out of date, and exit with code 1 if there are any",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    from analysis.publication import crate
    from lightning_xvol.ledger import files

    texts, left_out = crate.descriptions(parsed.folder, crate.read_citation(parsed.citation), parsed.date)
    tell_left_out(left_out)
    if not parsed.check:
        for path, text in texts.items():
            files.write_text(path, text)
            print(f"description: {path}")
        return ExitCode.FAILURE if left_out else ExitCode.SUCCESS
    contents = {path: files.text_bytes(text) for path, text in texts.items()}
    stale = [path for path, content in contents.items() if not path.is_file() or files.read_bytes(path) != content]
    for path in stale:
        print(f"{path}: missing or out of date")
    return ExitCode.FAILURE if stale or left_out else ExitCode.SUCCESS
