"""`python -m analysis archive`: the finished cells of sweeps as one file, for others to read and check."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from analysis.commands.arguments import add_source, open_sources
from lightning_xvol.errors import ExitCode, UserError, nearest


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "archive", help="write the finished cells of a recipe as one file, results/<recipe>.jsonl.gz",
        allow_abbrev=False,
    )  # fmt: skip
    add_source(parser, select=False)
    parser.add_argument("--recipe", metavar="NAME", help="keep only the sweeps on this recipe")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="the file, whose name ends in .jsonl.gz; a folder gets <recipe>.jsonl.gz for each recipe",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    sources = open_sources(parsed.source)
    from analysis.sources.archive import ToArchive, is_archive
    from lightning_xvol.ledger import files

    recipes = sorted({plan.content["recipe"] for plan in sources.whole_plans()})
    if parsed.recipe is not None:
        if parsed.recipe not in recipes:
            known = ", ".join(recipes) or "none"
            raise UserError(
                f"no sweep on recipe {parsed.recipe!r}{nearest(parsed.recipe, recipes)}; recipes here: {known}"
            )
        recipes = [parsed.recipe]
    if not recipes:
        raise UserError("no sweep to archive: the runs belong to no sweep, and single runs make no table")
    in_folder = parsed.out.is_dir()
    if not in_folder and not is_archive(parsed.out):
        raise UserError(f"--out {str(parsed.out)!r} must end in .jsonl.gz, or be a folder that is there")
    if not in_folder and len(recipes) > 1:
        raise UserError(
            f"these sources hold several recipes ({', '.join(recipes)}), and a file holds one: choose with --recipe, "
            "or name a folder with --out"
        )
    files.make_folder(parsed.out if in_folder else parsed.out.parent)
    for recipe in recipes:
        archive = ToArchive(sources, recipe)
        path = parsed.out / f"{recipe}.jsonl.gz" if in_folder else parsed.out
        if not archive.lines:
            raise UserError(f"no finished cell on recipe {recipe!r} to archive")
        archive.write(path)
        print(f"archive: {path}, {len(archive.lines)} cells of {', '.join(archive.sweeps)}")
        if archive.missing:
            print(f"note: {len(archive.missing)} planned cells have no result and are left out")
    return ExitCode.SUCCESS
