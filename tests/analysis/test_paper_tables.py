"""Runs with the printed numbers give the paper's tables as they are printed, and no other runs do."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.paper import tables_without_runs as recipe_tables
from analysis.paper import verdicts
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError
from tests.analysis.latex import read_latex
from tests.analysis.paper_runs import rows_of, write_paper, write_sweep

PRINTED = Path(__file__).with_name("printed_tables.txt")
ARCHITECTURE = Path(__file__).with_name("architecture.csv")
MINUS = "\N{MINUS SIGN}"
OURS = ("parameters", "printed", "verdict")
"""The columns that the paper does not have."""


def printed_tables() -> dict[int, list[list[str]]]:
    """The cells of each table as printed, row by row."""
    tables: dict[int, list[list[str]]] = {}
    for line in PRINTED.read_text().splitlines():
        if line.startswith("Table "):
            rows = tables.setdefault(int(line.split()[1]), [])
        elif "|" in line:
            rows.append(line.split("|"))
    return tables


def grid(markdown: str) -> tuple[list[str], list[list[str]]]:
    """The columns of a table and its rows, without rule and headings of blocks."""
    lines = [line.strip("| ").split("|") for line in markdown.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return rows[0], [row for row in rows[2:] if len(row) > 1 and any(row[1:])]


def as_printed(number: int, columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Our row in the notation of `printed_tables.txt`: without the columns that the paper does not have."""
    kept = [cell for column, cell in zip(columns, row, strict=True) if column not in OURS]
    cells = [f"*{cell.replace('**', '')}" if "**" in cell else cell for cell in kept]
    if number == 4:
        cells[1] = cells[1].replace("yes", "\N{CHECK MARK}")
    return [cell.replace(MINUS, "-").replace("\\", "") for cell in cells]


_BOX = ["AP bbox", "AP50 bbox", "AP75 bbox", "AP_S bbox", "AP_M bbox", "AP_L bbox"]
COLUMNS = {
    1: ["top-1", "top-5"],
    2: _BOX,
    3: [_BOX[0], *_BOX[3:], "AP mask", "AP_S mask", "AP_M mask", "AP_L mask"],
    4: ["Pos.", _BOX[0], *_BOX[3:]],
    6: ["Epoch", *_BOX],
}


def test_runs_with_the_printed_numbers_give_the_printed_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = write_paper(tmp_path / "runs")
    assert main(["tables", "--paper", "1", "2", "3", "4", "6", *sources, "--out", str(tmp_path)]) == 0
    for number, expected in printed_tables().items():
        columns, rows = grid((tmp_path / "paper" / f"table-{number}.md").read_text())
        found = [as_printed(number, columns, row) for row in rows]
        assert found == [row[1:] if number == 1 else row for row in expected]
        assert [column for column in columns if column not in ("Operator", *OURS)] == COLUMNS[number]
        # The printed number beside each of ours is the same.
        for row in rows:
            for column, cell in enumerate(row):
                if columns[column] == "printed":
                    assert cell == row[column - 1].replace("**", "").split(" ")[0]
        latex = (tmp_path / "paper" / f"table-{number}.tex").read_text()
        assert [as_printed(number, columns, row) for row in read_latex(latex)] == found
        if number == 1:
            headings = re.findall(r"\\emph\{(.*?)\}", latex)
            assert headings == [row[0] for row in expected if row[0]] == ["ResNet-34", "ResNet-50"]
        numbers = csv.DictReader(io.StringIO((tmp_path / "paper" / f"table-{number}.csv").read_text()))
        assert all(float(line["mean"]) == pytest.approx(float(line["published"])) for line in numbers)


def test_a_caption_in_latex_does_not_repeat_the_number_of_the_table(tmp_path: Path) -> None:
    assert main(["tables", "--paper", *"123467", *write_paper(tmp_path / "runs"), "--out", str(tmp_path)]) == 0
    other = [(label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")]
    write_sweep(tmp_path / "other", "operator", "cifar10_resnet18", other)
    main(["tables", "--paper", "1", "--source", str(tmp_path / "other"), "--out", str(tmp_path), "--notes", "short"])
    texts = {path.stem: path.read_text() for path in (tmp_path / "paper").glob("*.tex")}
    captions = {name: re.findall(r"\\caption\{(.*)\}", text)[-1] for name, text in texts.items()}
    assert len(captions) == 7 and not [text for text in captions.values() if text.startswith("Table")]
    [name] = set(captions) - {f"table-{number}" for number in "123467"}
    assert captions[name].startswith("The rows of the paper's Table 1. On ")
    markdown = (tmp_path / "paper" / f"{name}.md").read_text()
    assert markdown.count("\n- ") == 2 and "- Sweeps: operator (recipe cifar10" in markdown


def test_table_1_is_joined_by_fingerprint(tmp_path: Path) -> None:
    write_paper_34 = [
        (label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")
    ]
    write_sweep(tmp_path / "a", "operator", "imagenet_resnet34", write_paper_34)
    stage = [("xvolution", {"stages": (5,)}, {"top1": 10.0, "top5": 20.0})]
    write_sweep(tmp_path / "b", "stage", "imagenet_resnet34", stage, optim__weight_decay=0.5)
    # A configuration with another budget is other data, never the same row.
    assert main(["tables", "--paper", "1", "--source", str(tmp_path / "a"), "--source", str(tmp_path / "b")]) == 0
    ours = (tmp_path / "a" / "paper" / "table-1.md").read_text()
    assert "74.2" in ours and "10.0" not in ours
    # So is an operator with other options, even if everything else is the paper's.
    write_sweep(tmp_path / "c", "stage", "imagenet_resnet34", stage, operator__num_heads=2)
    assert main(["tables", "--paper", "1", "--source", str(tmp_path / "c")]) == 0
    assert not (tmp_path / "c" / "paper" / "table-1.md").exists()
    # Two configurations for one row of the same data are refused.
    for folder, heads in (("d", 2), ("e", 4)):
        write_sweep(tmp_path / folder, "operator" if heads == 2 else "stage", "cifar10_resnet18", [
            ("xvolution", {} if heads == 2 else {"stages": (5,)}, {"top1": 90.0})
        ], operator__num_heads=heads)  # fmt: skip
    with pytest.raises(UserError, match=r"xvolution stage5 has two configurations"):
        main(["tables", "--paper", "1", "--source", str(tmp_path / "d"), "--source", str(tmp_path / "e")])


def test_only_what_three_seeds_resolve_is_bold(tmp_path: Path) -> None:
    rows = [(label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")]
    for seeds in (1, 2, 3):
        write_sweep(tmp_path / str(seeds), "operator", "imagenet_resnet34", rows, seeds=seeds)
        assert main(["tables", "--paper", "1", "--source", str(tmp_path / str(seeds))]) == 0
        markdown = (tmp_path / str(seeds) / "paper" / "table-1.md").read_text()
        cells = "".join(cell for row in grid(markdown)[1] for cell in row[1:])
        assert ("**" in cells) == (seeds > 2)


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
        assert ("cannot reproduce the paper" in markdown) == (folder == tmp_path) and "reproduced" not in markdown
        assert ("not the recipe's own configuration" in markdown) == (folder != tmp_path)
        found = {
            item.verdict for item in verdicts.verdicts(Collection([folder])) if item.data not in ("", "printed numbers")
        }
        assert found and not found & {"reproduced", "contradicted", "not resolved"}


def test_the_table_of_a_sweep_shows_published_values(tmp_path: Path) -> None:
    rows = [(label, {}, values) for label, setting, values in rows_of(1, "ResNet-34") if setting in ("", "stage5")]
    write_sweep(tmp_path, "operator", "imagenet_resnet34", rows)
    write_sweep(tmp_path / "short", "operator", "imagenet_resnet34", rows, train__epochs=1)
    main(["tables", "--source", str(tmp_path)])
    table = list(csv.DictReader((tmp_path / "operator" / "table.csv").open()))
    assert [float(row["published"]) for row in table] == [values["top1"] for _, _, values in rows]
    main(["tables", "--source", str(tmp_path / "short")])
    assert {row["published"] for row in csv.DictReader((tmp_path / "short" / "operator" / "table.csv").open())} == {""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tables", "--paper", "1"], "--source is missing"),
        (["tables", "--paper", "8", "--source", "x"], "invalid choice"),
        (["claims"], "--source is missing"),
    ],
)
def test_mistakes_on_the_command_line_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_a_table_without_runs_is_refused(tmp_path: Path) -> None:
    write_sweep(tmp_path, "operator", "cifar10_resnet18", [("convolution", {}, {"top1": 90.0})])
    with pytest.raises(UserError, match="Table 6: the sources: no finished run of schedule"):
        main(["tables", "--paper", "6", "--source", str(tmp_path)])
    with pytest.raises(UserError, match=r"Table 3: the data .*: no finished run of operator"):
        main(["tables", "--paper", "3", "--source", str(tmp_path)])


def test_without_numbers_every_table_with_runs_is_rendered(tmp_path: Path, make_ledger) -> None:
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
        assert {row[columns.index("parameters")] for row in rows} == {"1"}
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


def test_table_5_describes_the_built_networks(tmp_path: Path) -> None:
    assert main(["tables", "--paper", "5", "7", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "paper" / "table-5.csv").read_text() == ARCHITECTURE.read_text()
    assert (tmp_path / "paper" / "table-5.md").read_text().startswith("**Table 5. Architectures for")
    caption = r"\caption{Architectures for ImageNet using ResNet-50 (Table 5 of the paper).}"
    assert caption in (tmp_path / "paper" / "table-5.tex").read_text(), "the number of the table stands there once"
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
