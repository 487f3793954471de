"""`python -m analysis archive`: the finished cells of sweeps as one file, for others to read and check."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis.commands.arguments import add_source, open_sources, tell_left_out
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
    """Write the archives and say what is missing.

    Returns:
        0 if they hold every finished cell of the sweeps, 1 if a source is damaged, or a sweep cannot be read.

    Raises:
        UserError: where nothing can be archived, or a source would be replaced by less than it may hold.
    """
    sources = open_sources(parsed.source)
    from analysis.sources.archive import ToArchive, is_archive
    from lightning_xvol.ledger import files

    recipes = sorted({plan.content["recipe"] for plan in sources.whole_plans()})
    left_out = sources.left_out(recipe=parsed.recipe)
    if not recipes and left_out:
        tell_left_out(left_out[1:])
        raise left_out[0]
    if parsed.recipe is not None:
        if parsed.recipe not in recipes:
            tell_left_out(left_out)
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
    paths = {recipe: _file_of(recipe, parsed.out) if in_folder else parsed.out for recipe in recipes}
    if left_out or sources.losses:
        _check_no_source(paths.values(), parsed.source)
    files.make_folder(parsed.out if in_folder else parsed.out.parent)
    for recipe, path in paths.items():
        archive = ToArchive(sources, recipe)
        if not archive.lines:
            raise UserError(f"no finished cell on recipe {recipe!r} to archive")
        archive.write(path)
        print(f"archive: {path}, {len(archive.lines)} cells of {', '.join(archive.sweeps)}")
        if archive.missing:
            print(f"note: {len(archive.missing)} planned cells have no result and are left out")
    tell_left_out(left_out)
    return ExitCode.FAILURE if left_out or sources.losses else ExitCode.SUCCESS


def _file_of(recipe: str, folder: Path) -> Path:
    """`<recipe>.jsonl.gz`. The name of the recipe may come from a file of someone else."""
    from lightning_xvol.ledger import checks

    if checks.problems(recipe, checks.name):
        raise UserError(
            f"the name of the recipe {checks.shown(recipe)} cannot name a file; choose with --recipe, and name a file "
            "with --out"
        )
    return folder / f"{recipe}.jsonl.gz"


def _check_no_source(paths: Iterable[Path], sources: Iterable[str]) -> None:
    """Refuse to replace a source, of which a part cannot be read."""
    real = {os.path.realpath(source) for source in sources}
    for path in paths:
        if os.path.realpath(path) in real:
            raise UserError(
                f"--out {str(path)!r} is a source, and a part of the sources cannot be archived; name another file, "
                "so that nothing is lost"
            )
