"""Tables 5 and 7, which need no runs: Table 5 describes the built networks, Table 7 the schedules of the recipes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.paper.published import printed
from analysis.table import Block, Table, TableCell
from lightning_xvol import errors
from lightning_xvol.config.recipes import RECIPES, get_recipe, lengthen
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files, record
from lightning_xvol.surroundings.programs import run_program
from lightning_xvol.surroundings.variables import cache_folder

NETWORK, OURS = "convolution", "xvolution"
BACKBONE_RECIPE = "imagenet_resnet50"
SLIP = "The paper prints [120, 160k] for 2x, a slip for [120k, 160k]."


def describe(recipe: str, operator: str) -> dict[str, Any]:
    """The description of a network by `python -m lightning_xvol describe`, cached until the code changes.

    Raises:
        UserError: where the network cannot be built.
    """
    group = record.group_id(get_recipe(recipe).config(operator))
    folder = cache_folder()
    path = None if folder is None else folder / f"describe-{group}-{_code()}.json"
    kept = None if path is None else files.read_json(path)
    if isinstance(kept, dict):
        return kept
    arguments = ["describe", "--recipe", recipe, "--operator", operator, "--format", "json"]
    done = run_program([sys.executable, "-m", "lightning_xvol", *arguments])
    if done.returncode:
        raise UserError(f"cannot describe {recipe!r} with {operator!r}: {done.stderr.strip()[-300:]}")
    description = json.loads(done.stdout)
    if path is not None:
        with contextlib.suppress(OSError):  # the cache is a convenience
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, description)
    return dict(description)


def _code() -> str:
    """A text that changes with every source file of the package."""
    package = Path(errors.__file__).parent
    stats = {path: path.stat() for path in sorted(package.rglob("*.py"))}
    facts = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def table_5() -> Table:
    """The architecture of ResNet-50 and of our network, as they are built."""
    plain, ours = (describe(BACKBONE_RECIPE, operator) for operator in (NETWORK, OURS))
    rows = []
    for stage, other in zip(plain["stages"], ours["stages"], strict=True):
        size = numbers.TIMES.join(map(str, stage["output"]))
        rows.append((stage["name"], tuple(map(TableCell, (size, _body(stage), _body(other))))))
    tidy = [
        {
            "stage": stage["name"], "output": "x".join(map(str, stage["output"])), "resnet50": stage["summary"],
            "blocks": stage["blocks"], "ours": other["summary"],
        }
        for stage, other in zip(plain["stages"], ours["stages"], strict=True)
    ]  # fmt: skip
    return Table(
        name="table-5",
        paper_number=5,
        title="Architectures for ImageNet using ResNet-50.",
        caption="",
        stub="stage",
        spanner="",
        columns=("output", "ResNet-50", "Ours"),
        blocks=(Block(tuple(rows)),),
        bold="",
        notes=(
            f"From the networks that the recipe {BACKBONE_RECIPE} builds; "
            f"{plain['params'] / 1e6:.2f} M and {ours['params'] / 1e6:.2f} M parameters, "
            f"{plain['macs'] / 1e9:.2f} G and {ours['macs'] / 1e9:.2f} G MACs an image.",
        ),
        tidy=pd.DataFrame(tidy),
    )


def _body(stage: Mapping[str, Any]) -> str:
    return re.sub(r"(?<=\d)x(?=\d)", numbers.TIMES, stage["summary"]) + (
        f" {numbers.TIMES} {stage['blocks']}" if stage["blocks"] > 1 else ""
    )


def table_7() -> Table:
    """The printed schedules, and beside each the schedule of the recipe that reproduces it, if there is one."""
    settings: dict[str, dict[str, int]] = {}
    for number in printed():
        if number.table == 7:
            settings.setdefault(number.setting, {})[number.metric] = int(number.value)
    recipes = _schedules(settings)
    rows = []
    for setting, values in settings.items():
        decays = f"[{_thousands(values['decay1'])}, {_thousands(values['decay2'])}]"
        texts = (str(values["epochs"]), _thousands(values["steps"]), decays, recipes.get(setting, numbers.DASH))
        rows.append((setting, tuple(map(TableCell, texts))))
    return Table(
        name="table-7",
        paper_number=7,
        title="Learning rate schedules for the 1x, 2x, 3x and 6x settings.",
        caption="",
        stub="Setting",
        spanner="",
        columns=("Epochs", "Training Steps", "Learning Rate Schedule", "our recipe"),
        blocks=(Block(tuple(rows)),),
        bold="",
        notes=(SLIP,),
        tidy=pd.DataFrame([{"setting": setting, **values} for setting, values in settings.items()]),
    )


def _schedules(settings: Iterable[str]) -> dict[str, str]:
    """The schedule of Table 2's recipe for each setting (1x, ...), lengthened as the sweep `schedule` does it."""
    found = {}
    for recipe in RECIPES.values():
        if recipe.reproduces is None or recipe.reproduces[0] != "2":
            continue
        for setting in settings:
            config = lengthen(recipe.config(), int(setting.removesuffix("x")))
            steps = config.train.steps or 0
            decays = ", ".join(_thousands(round(milestone * steps)) for milestone in config.optim.milestones)
            found[setting] = f"{recipe.name}: {_thousands(steps)}, [{decays}]"
    return found


def _thousands(steps: int) -> str:
    return f"{steps / 1000:g}k"
