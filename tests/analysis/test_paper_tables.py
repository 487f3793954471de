"""Runs that carry the printed numbers give the paper's tables as they are printed, and other runs never do."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis import arithmetic, published, recipe_tables, verdicts
from analysis.__main__ import main
from analysis.claims import CLAIMS
from analysis.sources.collection import Collection
from lightning_xvol import recipes, record, registry
from lightning_xvol.config import RunConfig, resolve, set_value, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.pretrained import with_papers_origin

PRINTED = Path(__file__).with_name("printed_tables.txt")
ARCHITECTURE = Path(__file__).with_name("architecture.csv")
SEEDS = 3
MINUS = "\N{MINUS SIGN}"

Spread = Callable[[str, int], float]  # (row label, seed) -> what a run has beyond the printed number


def printed_tables() -> dict[int, list[list[str]]]:
    """The cells of each table as printed, row by row."""
    tables: dict[int, list[list[str]]] = {}
    for line in PRINTED.read_text().splitlines():
        if line.startswith("Table "):
            rows = tables.setdefault(int(line.split()[1]), [])
        elif "|" in line:
            rows.append(line.split("|"))
    return tables


def place(config: RunConfig, axes: Mapping[str, Any]) -> RunConfig:
    if "stages" in axes and config.operator.name != "convolution":
        config = set_value(config, "backbone.stages", axes["stages"])
    if "schedule" in axes:
        config = recipes.lengthen(config, axes["schedule"])
    return resolve(config)


def write_sweep(
    out: Path, name: str, recipe: str, rows: Sequence[tuple[str, dict[str, Any], dict[str, float]]],
    spread: Spread = lambda row, seed: 0.0, **changes: Any,
) -> None:  # fmt: skip
    """A ledger of runs whose metrics are those of `rows` (label, axes, metrics), whatever trained them."""
    cells = []
    for label, axes, metrics in rows:
        operator = label.removesuffix("_position")
        options = {"position_encoding": True} if operator != label else {}
        config = place(with_papers_origin(recipes.get_recipe(recipe).config(operator, **options)), axes)
        for path, value in changes.items():
            config = set_value(config, path.replace("__", "."), value)
        for seed in range(SEEDS):
            run = resolve(set_value(config, "seed", seed))
            cell = {
                "operator": label, "label": label, "axes": axes, "seed": seed, "cell_id": record.cell_id(run),
                "group_id": record.group_id(run),
            }  # fmt: skip
            cells.append(cell)
            values = {metric: round(value + spread(label, seed), 6) for metric, value in metrics.items()}
            folder = out / "cells" / cell["cell_id"]
            folder.mkdir(parents=True, exist_ok=True)
            result = {
                **dict.fromkeys(record.RESULT_KEYS), **{key: cell[key] for key in ("cell_id", "group_id", "seed")},
                "config": to_dict(run), "status": "finished", "schema": 1, "params": 1, "macs": 1, "wall_seconds": 1.0,
                "metrics": {key: {"last": value, "best": value, "best_epoch": 1} for key, value in values.items()},
                "environment": {"torch": "2.15.0", "device": "cpu"}, "commit": "0" * 40,
            }  # fmt: skip
            (folder / "result.json").write_text(json.dumps(result))
    metric = registry.METRICS[recipes.get_recipe(recipe).task]
    reproduces = recipes.get_recipe(recipe).reproduces
    plan = {
        "schema": 1, "sweep": name, "title": name, "recipe": recipe, "data": "the data", "budget": "the budget",
        "metric": metric.name, "metric_label": metric.label, "axes": list(rows[0][1]), "axis_labels": {},
        "baseline": None, "controls": {}, "beside": list(metric.beside.items()), "below": [], "paper": {}, "note": "",
        "smoke": False, "reproduces": reproduces, "figure": None, "cells": cells,
    }  # fmt: skip
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / name / "cells.json").write_text(json.dumps(plan))


def rows_of(table: int, backbone: str = "ResNet-50") -> list[tuple[str, str, dict[str, float]]]:
    """Label, setting and printed numbers of the rows of a table, without `analysis.published`."""
    path = Path(published.__file__).with_name("published.csv")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for line in csv.DictReader(path.open(newline="")):
        if (int(line["table"]), line["backbone"]) == (table, backbone):
            rows.setdefault((line["label"], line["setting"]), {})[line["metric"]] = float(line["value"])
    return [(*key, values) for key, values in rows.items()]


def write_paper(out: Path, spread: Spread = lambda row, seed: 0.0) -> list[str]:
    """Ledgers with a run for every row that is printed in Tables 1, 2, 3, 4 and 6; what `--source` takes."""
    for backbone, recipe in (("ResNet-34", "imagenet_resnet34"), ("ResNet-50", "imagenet_resnet50")):
        rows = rows_of(1, backbone)
        plain = [row for row in rows if not row[1] or row[1] == "stage5"]
        write_sweep(out / recipe, "operator", recipe, [(label, {}, values) for label, _, values in plain], spread)
        staged = [
            (label, {"stages": (stage,)}, values)
            for stage in (3, 4, 5) for label, setting, values in rows
            if label == "convolution" or setting == f"stage{stage}"
        ]  # fmt: skip
        write_sweep(out / recipe, "stage", recipe, staged, spread)
    faster = out / "coco_faster_rcnn"
    write_sweep(
        faster, "operator", "coco_faster_rcnn", [(label, {}, values) for label, _, values in rows_of(2)], spread
    )
    mask = [(label, {}, values) for label, _, values in rows_of(3)]
    write_sweep(out / "coco_mask_rcnn", "operator", "coco_mask_rcnn", mask, spread)
    suffixes = {"no position encoding": "", "relative position encoding": "_position"}
    position = [(label + suffixes[setting], {}, values) for label, setting, values in rows_of(4)]
    write_sweep(faster, "position_encoding", "coco_faster_rcnn", position, spread)
    schedule = [(label, {"schedule": int(setting.split()[0]) // 12}, values) for label, setting, values in rows_of(6)]
    write_sweep(faster, "schedule", "coco_faster_rcnn", schedule, spread)
    return [word for folder in sorted(out.iterdir()) for word in ("--source", str(folder))]


def grid(markdown: str) -> tuple[list[str], list[list[str]]]:
    """The columns of a table and its rows, without rule and headings of blocks."""
    lines = [line.strip("| ").split("|") for line in markdown.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return rows[0], [row for row in rows[2:] if len(row) > 1 and any(row[1:])]


def as_printed(number: int, columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Our row in the notation of `printed_tables.txt`: without what stands beside the paper's columns."""
    kept = [cell for column, cell in zip(columns, row, strict=True) if column not in ("printed", "verdict")]
    cells = [f"*{cell.replace('**', '')}" if "**" in cell else cell for cell in kept]
    if number == 4:
        cells[1] = cells[1].replace("yes", "\N{CHECK MARK}")
    return [cell.replace(MINUS, "-").replace("\\", "") for cell in cells]


def in_latex(latex: str) -> list[list[str]]:
    """The rows of a table in LaTeX, in the notation of its Markdown, without those of headings."""
    latex = re.sub(r"\\textbf\{([^}]*)\}", r"**\1**", latex).replace("$-$", MINUS)
    lines = [line.strip() for line in latex.splitlines()]
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines if line.endswith(r"\\")]
    return [row for row in rows[1:] if len(row) > 1]


_BOX = ["AP bbox", "AP50 bbox", "AP75 bbox", "AP_S bbox", "AP_M bbox", "AP_L bbox"]
COLUMNS = {
    1: ["top-1", "top-5"],
    2: _BOX,
    3: [_BOX[0], *_BOX[3:], "AP mask", "AP_S mask", "AP_M mask", "AP_L mask"],
    4: ["Pos.", _BOX[0], *_BOX[3:]],
    6: ["Epoch", *_BOX],
}


def test_published_numbers_come_out_as_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = write_paper(tmp_path / "runs")
    assert main(["tables", "--paper", "1", "2", "3", "4", "6", *sources, "--out", str(tmp_path)]) == 0
    for number, expected in printed_tables().items():
        columns, rows = grid((tmp_path / "paper" / f"table-{number}.md").read_text())
        found = [as_printed(number, columns, row) for row in rows]
        assert found == [row[1:] if number == 1 else row for row in expected]
        assert [column for column in columns if column not in ("Operator", "printed", "verdict")] == COLUMNS[number]
        # The printed value beside each of ours is the same number.
        for row in rows:
            for column, cell in enumerate(row):
                if columns[column] == "printed":
                    assert cell == row[column - 1].replace("**", "").split(" ")[0]
        latex = (tmp_path / "paper" / f"table-{number}.tex").read_text()
        assert [as_printed(number, columns, row) for row in in_latex(latex)] == found
        if number == 1:
            headings = re.findall(r"\\emph\{(.*?)\}", latex)
            assert headings == [row[0] for row in expected if row[0]] == ["ResNet-34", "ResNet-50"]
        numbers = csv.DictReader(io.StringIO((tmp_path / "paper" / f"table-{number}.csv").read_text()))
        assert all(float(line["mean"]) == pytest.approx(float(line["published"])) for line in numbers)


def test_table_1_is_joined_by_fingerprint(tmp_path: Path) -> None:
    write_paper_34 = [
        (label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")
    ]
    write_sweep(tmp_path / "a", "operator", "imagenet_resnet34", write_paper_34)
    stage = [("xvolution", {"stages": (5,)}, {"top1": 10.0, "top5": 20.0})]
    write_sweep(tmp_path / "b", "stage", "imagenet_resnet34", stage, optim__weight_decay=0.5)
    # Another configuration on other terms is other data, never the same row.
    assert main(["tables", "--paper", "1", "--source", str(tmp_path / "a"), "--source", str(tmp_path / "b")]) == 0
    ours = (tmp_path / "a" / "paper" / "table-1.md").read_text()
    assert "74.2" in ours and "10.0" not in ours
    # So is one with an operator of other options, though everything else is the paper's.
    write_sweep(tmp_path / "c", "stage", "imagenet_resnet34", stage, operator__num_heads=2)
    assert main(["tables", "--paper", "1", "--source", str(tmp_path / "c")]) == 0
    assert not (tmp_path / "c" / "paper" / "table-1.md").exists()
    # Two configurations in one place of the same data are refused.
    for folder, heads in (("d", 2), ("e", 4)):
        write_sweep(tmp_path / folder, "operator" if heads == 2 else "stage", "cifar10_resnet18", [
            ("xvolution", {} if heads == 2 else {"stages": (5,)}, {"top1": 90.0})
        ], operator__num_heads=heads)  # fmt: skip
    with pytest.raises(UserError, match=r"xvolution stage5 has two configurations"):
        main(["tables", "--paper", "1", "--source", str(tmp_path / "d"), "--source", str(tmp_path / "e")])


def test_other_data_never_get_a_printed_number(tmp_path: Path) -> None:
    rows = [(label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")]
    write_sweep(tmp_path, "operator", "cifar10_resnet18", rows)
    write_sweep(tmp_path / "short", "operator", "imagenet_resnet34", rows, train__epochs=1)
    for folder in (tmp_path, tmp_path / "short"):
        assert main(["tables", "--paper", "1", "--source", str(folder)]) == 0
        [path] = (folder / "paper").glob("*.md")
        markdown = path.read_text()
        columns, table = grid(markdown)
        assert {row[columns.index("printed")] for row in table} == {"\N{EN DASH}"}
        assert "cannot reproduce the paper" in markdown and "reproduced" not in markdown
        found = {
            item.verdict for item in verdicts.verdicts(Collection([folder])) if item.data not in ("", "printed numbers")
        }
        assert found and not found & {"reproduced", "contradicted", "not resolved"}


def test_published_values_in_a_sweeps_own_table(tmp_path: Path) -> None:
    rows = [(label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")]
    write_sweep(tmp_path, "operator", "imagenet_resnet34", rows)
    write_sweep(tmp_path / "short", "operator", "imagenet_resnet34", rows, train__epochs=1)
    main(["tables", "--source", str(tmp_path)])
    table = list(csv.DictReader((tmp_path / "operator" / "table.csv").open()))
    assert [float(row["published"]) for row in table] == [values["top1"] for _, _, values in rows]
    main(["tables", "--source", str(tmp_path / "short")])
    assert {row["published"] for row in csv.DictReader((tmp_path / "short" / "operator" / "table.csv").open())} == {""}


def by_claim(found: Sequence[verdicts.Verdict]) -> dict[int, list[str]]:
    verdict: dict[int, list[str]] = {}
    for item in found:
        verdict.setdefault(item.claim.number, []).append(item.verdict)
    return verdict


def noise(row: str, seed: int) -> float:
    """The same for every row, so that differences are exact, but for a little of each row's own."""
    return 0.3 * seed + 0.001 * ((seed * 7 + len(row)) % 5)


def test_verdicts_on_the_papers_own_numbers(tmp_path: Path) -> None:
    sources = write_paper(tmp_path, noise)[1::2]
    found = by_claim(verdicts.verdicts(Collection(sources)))
    assert sorted(found) == list(range(1, 28))
    for number in (1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 27):
        assert found[number][0] == "reproduced", number
    for number in (3, 5, 18):
        assert found[number][0] == "contradicted by its own table"
    for number in (19, 20, 21, 22, 23, 24, 25, 26):
        assert found[number] == ["not run"]


def test_a_contradicted_and_an_unresolved_claim(tmp_path: Path) -> None:
    worse = [("convolution", {}, {"top1": 73.8}), ("self_attention", {}, {"top1": 75.0}), ("pssa", {}, {"top1": 76.0})]
    write_sweep(tmp_path, "operator", "imagenet_resnet34", worse, noise)
    found = verdicts.verdicts(Collection([tmp_path]))
    assert by_claim(found)[6] == ["contradicted"] and by_claim(found)[7] == ["contradicted"]

    def loud(row: str, seed: int) -> float:
        return (2.0 if row == "convolution" else -2.0) * (-1) ** seed

    write_sweep(
        tmp_path,
        "operator",
        "imagenet_resnet34",
        [("convolution", {}, {"top1": 73.8}), ("self_attention", {}, {"top1": 73.2})],
        loud,
    )
    [claim] = [item for item in verdicts.verdicts(Collection([tmp_path])) if item.claim.number == 6]
    assert claim.verdict == "not resolved" and claim.more_seeds is not None and claim.more_seeds > 0


def test_claims_are_whole() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 28))
    for claim in CLAIMS:
        assert claim.claim and claim.where and claim.refuted_by and set(claim.kinds.split()) <= set("DMEOSXA")
        for part in claim.parts:
            on_figure = any(row.table in ("3a", "3b") for _, row in part.terms)
            static = any("static" in row.label for _, row in part.terms)
            assert (part.published is None) == (on_figure or static), part.text
    # What the notes compute by hand.
    sizes = [round(arithmetic.added_parameters(stage) / 1e6, 1) for stage in (3, 4, 5)]
    assert sizes == [1.8, 11.0, 22.0]


def test_claims_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(
        tmp_path,
        "operator",
        "cifar10_resnet18",
        [("convolution", {}, {"top1": 90.0}), ("self_attention", {}, {"top1": 89.0})],
        noise,
    )
    assert main(["claims", "--source", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    [row] = [row for row in rows if row["claim"] == "6"]
    assert row["verdict"] == "holds on the data (cifar10_resnet18, the budget)"
    assert "self_attention" in row["evidence"] and "n = 3" in row["evidence"]
    assert main(["claims", "--source", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n| ") == len(rows) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tables", "--paper", "1"], "--source is missing"),
        (["tables", "--paper", "8", "--source", "x"], "invalid choice"),
        (["claims"], "--source is missing"),
    ],
)
def test_bad_command_lines(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_a_table_without_runs(tmp_path: Path) -> None:
    write_sweep(tmp_path, "operator", "cifar10_resnet18", [("convolution", {}, {"top1": 90.0})])
    with pytest.raises(UserError, match="Table 6: the sources: no finished run of schedule"):
        main(["tables", "--paper", "6", "--source", str(tmp_path)])
    with pytest.raises(UserError, match=r"Table 3: the data .*: no finished run of operator"):
        main(["tables", "--paper", "3", "--source", str(tmp_path)])


def test_without_numbers_those_that_there_are_runs_for(tmp_path: Path, make_ledger) -> None:
    write_sweep(tmp_path / "a", "operator", "cifar10_resnet18", [("convolution", {}, {"top1": 90.0})])
    assert main(["tables", "--paper", "--source", str(tmp_path / "a")]) == 0
    names = {path.name for path in (tmp_path / "a" / "paper").glob("*.md")}
    data = "the-data-cifar10-resnet18-the-budget"
    assert names == {f"table-1-{data}.md", f"table-2-{data}.md"}
    with pytest.raises(UserError, match="no finished run of a table of the paper"):
        main(["tables", "--paper", "--source", str(make_ledger().out)])


def test_detectors_of_other_data_have_the_layout_of_tables_2_and_3(tmp_path: Path) -> None:
    for recipe, number in (("shapes_faster_rcnn", 2), ("shapes_mask_rcnn", 3)):
        folder = tmp_path / recipe
        write_sweep(folder, "operator", recipe, [(label, {}, values) for label, _, values in rows_of(number)])
        assert main(["tables", "--paper", "--source", str(folder)]) == 0
        [path] = (folder / "paper").glob("*.md")
        assert path.name == f"table-{number}-the-data-{recipe.replace('_', '-')}-the-budget.md"
        columns, rows = grid(path.read_text())
        expected = printed_tables()[number]
        assert [as_printed(number, columns, row) for row in rows] == expected
        assert {row[columns.index("printed")] for row in rows} == {"\N{EN DASH}"}
        assert {row[columns.index("verdict")] for row in rows} <= {"holds", "fails", "not resolved", "\N{EN DASH}"}
        # The sweep's own table has the other numbers beside its own, in COCO's order.
        assert main(["tables", "--source", str(folder)]) == 0
        columns, rows = grid((folder / "operator" / "table.md").read_text())
        numbers, medium = {
            2: (["box AP", "AP50 box", "AP75 box", "AP_S box", "AP_M box", "AP_L box"], "42.3"),
            3: (["mask AP", "AP_S mask", "AP_M mask", "AP_L mask", "AP box"], "38.1"),
        }[number]
        assert columns[1 : len(numbers) + 1] == numbers
        assert rows[0][1 + numbers.index("AP_M box" if number == 2 else "AP_M mask")].startswith(f"{medium} ")


def test_schedules_of_other_data_are_not_called_the_papers_epochs(tmp_path: Path) -> None:
    axes = [{"schedule": 1}, {"schedule": 6}]
    write_sweep(tmp_path, "schedule", "cifar10_resnet18", [("convolution", axis, {"top1": 90.0}) for axis in axes])
    assert main(["tables", "--paper", "6", "--source", str(tmp_path)]) == 0
    [path] = (tmp_path / "paper").glob("*.md")
    columns, rows = grid(path.read_text())
    assert columns[1] == "Schedule"
    assert [row[1] for row in rows if row[0] == "Convolution" and row[2] != "\N{EN DASH}"] == ["1x", "6x"]


def test_table_5_is_what_is_built(tmp_path: Path) -> None:
    assert main(["tables", "--paper", "5", "7", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "paper" / "table-5.csv").read_text() == ARCHITECTURE.read_text()
    seven = (tmp_path / "paper" / "table-7.md").read_text()
    _, rows = grid(seven)
    assert [row[:4] for row in rows] == [
        ["1x", "12", "90k", r"\[60k, 80k\]"], ["2x", "24", "180k", r"\[120k, 160k\]"],
        ["3x", "36", "270k", r"\[210k, 250k\]"], ["6x", "72", "540k", r"\[420k, 500k\]"],
    ]  # fmt: skip
    assert [row[4] for row in rows] == [f"coco_faster_rcnn: {row[2]}, {row[3]}" for row in rows]
    assert "slip" in seven and recipe_tables.SLIP.startswith("The paper prints [120, 160k]")
    if shutil.which("pdflatex") is not None:
        compile_tables(tmp_path, 5, 7)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_of_the_papers_tables_compiles(tmp_path: Path) -> None:
    main(["tables", "--paper", "1", "2", "3", "4", "6", *write_paper(tmp_path / "runs"), "--out", str(tmp_path)])
    compile_tables(tmp_path, 1, 2, 3, 4, 6)


def compile_tables(folder: Path, *numbers: int) -> None:
    inputs = "".join(rf"\input{{paper/table-{number}}}" for number in numbers)
    packages = r"\usepackage{booktabs}\usepackage{graphicx}"
    (folder / "d.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{inputs}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "d.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
