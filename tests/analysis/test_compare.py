"""`python -m analysis compare`: rows under several settings, against the statistics of their values alone."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import analysis
from analysis.__main__ import build_parser, main
from analysis.commands.arguments import only_of
from analysis.compare.table import comparison_table
from analysis.statistics import contrast, estimates, holm
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.errors import UserError
from tests.analysis import mutations
from tests.analysis.compared_runs import Scores, write_runs

MINE: Scores = {
    ("convolution", 1): [90.1, 90.4, 90.9], ("convolution", 3): [92.2, 92.3, 92.0],
    ("xvolution", 1): [93.1, 93.9, 93.4], ("xvolution", 3): [95.1, 95.2, 95.8],
}  # fmt: skip
YOURS: Scores = {
    ("convolution", 1): [91.3, 91.5, 91.1], ("convolution", 3): [92.4, 92.0, 92.2],
    ("xvolution", 1): [94.8, 94.2, 94.4], ("xvolution", 3): [95.2, 95.9, 95.0],
}  # fmt: skip
TWO = ["--set", "optim.lr=0.1", "--set", "optim.lr=0.05"]


def compare(*words: str) -> tuple[list[dict[str, str]], str]:
    """The rows of the CSV, and the Markdown, that the command writes for `kernel_size`. It draws nothing."""
    parsed = build_parser().parse_args(["compare", *words])
    settings = [dict(group) for group in parsed.groups]
    table = comparison_table(analysis.load_comparison(parsed.source, "kernel_size", settings, only=only_of(parsed)))
    return list(csv.DictReader(table.to_csv().splitlines())), table.to_markdown()


@pytest.fixture
def one_ledger(tmp_path: Path) -> list[str]:
    """One ledger with two learning rates; the plan is that of the second."""
    write_runs(tmp_path / "runs", MINE)
    write_runs(tmp_path / "runs", YOURS, ("optim.lr", 0.05))
    return ["--source", str(tmp_path / "runs"), *TWO]


@pytest.fixture
def two_ledgers(tmp_path: Path) -> list[str]:
    write_runs(tmp_path / "mine", MINE)
    write_runs(tmp_path / "yours", YOURS, ("optim.lr", 0.05))
    return ["--source", str(tmp_path / "mine"), "--source", str(tmp_path / "yours")]


def test_numbers_are_those_of_all_rows_and_settings_together(tmp_path: Path, one_ledger, two_ledgers) -> None:
    every = [list(scores[place]) for place in MINE for scores in (MINE, YOURS)]
    found, _ = estimates(every, images=[1000] * len(every))
    differences = [contrast([(1, found[at + 1]), (-1, found[at])]) for at in range(0, len(every), 2)]
    adjusted = holm([item.p for item in differences])
    lines, _ = compare(*one_ledger)
    assert [(line["operator"], int(line["kernel_size"]), line["settings"]) for line in lines] == [
        (*place, lr) for place in MINE for lr in ("lr 0.1", "lr 0.05")
    ]
    for line, item in zip(lines, found, strict=True):
        assert (float(line["mean"]), float(line["ci_low"]), float(line["df"])) == (item.mean, item.low, item.df)
    for number, line in enumerate(lines):
        if number % 2 == 0:
            assert line["delta"] == line["resolved"] == ""
            continue
        item, p = differences[number // 2], adjusted[number // 2]
        assert [float(line[key]) for key in ("delta", "delta_low", "delta_high", "delta_p", "delta_p_holm")] == [
            item.mean, item.low, item.high, item.p, p,
        ]  # fmt: skip
        assert line["resolved"] == str(p < 0.05)
    assert {line["resolved"] for line in lines[1::2]} == {"True", "False"}, "the numbers show both"
    others, _ = compare(*two_ledgers)
    assert others == lines, "one ledger or two"


def test_the_table_and_the_figures_name_the_settings_in_words(tmp_path: Path, two_ledgers, capsys) -> None:
    assert main(["compare", *two_ledgers, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "out" / "compare" / "kernel_size"
    markdown = (folder / "table.md").read_text()
    assert (compare(*two_ledgers)[1]) == markdown
    assert "**Kernel size: lr 0.1 against lr 0.05 (recipe match\\_small).**" in markdown.replace("_", "\\_")
    head = next(line for line in markdown.splitlines() if line.startswith("| Operator"))
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["Operator", "lr 0.1", "lr 0.05", "difference"]
    assert "| *kernel size K = 3* |" in " ".join(markdown.split())
    assert "+1.00 \\[" in markdown and "\\]†" in markdown
    assert "They differ in optim.lr 0.1 / 0.05, and in no other setting." in markdown
    assert "after Holm over the 4 differences of the table" in markdown
    assert max(map(len, printed.split("table: ")[0].splitlines())) <= 100
    names = {f"{stem}.{kind}" for stem in ("figure", "differences") for kind in ("png", "pdf", "svg")}
    assert {path.name for path in folder.iterdir()} == names | {"table.md", "table.tex", "table.csv"}


def test_the_first_side_is_the_one_that_differences_are_taken_to(tmp_path: Path, one_ledger) -> None:
    lines, _ = compare(*one_ledger)
    turned, _ = compare(*one_ledger[:2], *TWO[2:], *TWO[:2])
    assert [line["settings"] for line in turned[:2]] == ["lr 0.05", "lr 0.1"]
    assert [float(line["delta"]) for line in turned[1::2]] == pytest.approx(
        [-float(line["delta"]) for line in lines[1::2]]
    )


def test_a_value_has_many_spellings_and_sources_are_merged(tmp_path: Path, one_ledger) -> None:
    lines, _ = compare(*one_ledger)
    write_runs(tmp_path / "a", MINE)
    write_runs(tmp_path / "b", YOURS, ("optim.lr", 0.05))
    apart = ["--source", str(tmp_path / "a"), "--source", str(tmp_path / "b")]
    assert compare(*apart, "--set", "optim.lr=1e-1", "--set", "optim.lr=5e-2")[0] == lines


def test_a_side_may_have_several_settings(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    write_runs(out, MINE)
    write_runs(out, YOURS, ("optim.lr", 0.05))
    write_runs(out, YOURS, ("optim.lr", 0.05), ("data.batch_size", 32))
    sides = ["--set", "optim.lr=0.1", "data.batch_size=64", "--set", "optim.lr=0.05", "data.batch_size=32"]
    lines, _ = compare("--source", str(out), *sides)
    assert {line["settings"] for line in lines} == {"batch size 64, lr 0.1", "batch size 32, lr 0.05"}


def test_there_may_be_more_than_two_sides(tmp_path: Path, one_ledger) -> None:
    write_runs(tmp_path / "runs", MINE, ("optim.lr", 0.2))
    lines, markdown = compare(*one_ledger, "--set", "optim.lr=0.2")
    assert len(lines) == 12 and "| lr 0.2: difference" in markdown
    assert "over the 8 differences" in markdown
    assert all(abs(float(line["delta"])) < 1e-9 for line in lines[2::3])


def test_a_sweep_that_has_only_begun_with_a_third_setting_hides_no_row(tmp_path: Path, one_ledger) -> None:
    """The plan of the ledger is that of the last command, whose runs may all be missing."""
    lines, _ = compare(*one_ledger)
    write_runs(tmp_path / "runs", MINE, ("optim.lr", 0.02), lost=list(MINE))
    assert compare(*one_ledger)[0] == lines
    write_runs(tmp_path / "runs", MINE, ("optim.momentum", 0.8), lost=list(MINE))
    with pytest.raises(UserError, match="no finished run"):  # the plan asks for another momentum
        compare(*one_ledger)
    momentum = ["--set", "optim.lr=0.1", "optim.momentum=0.9", "--set", "optim.lr=0.05", "optim.momentum=0.9"]
    assert compare(*one_ledger[:2], *momentum)[0] == lines


def test_rows_that_a_side_lacks_or_that_do_not_differ_are_left_out_and_named(tmp_path: Path) -> None:
    write_runs(tmp_path / "mine", MINE | {("pssa", 3): [80.0, 80.5, 81.0]})
    write_runs(tmp_path / "yours", YOURS, ("operator.num_heads", 2), lost=[("xvolution", 1)])
    lines, markdown = compare("--source", str(tmp_path / "mine"), "--source", str(tmp_path / "yours"))
    assert {(line["operator"], line["kernel_size"]) for line in lines} == {("xvolution", "3")}
    assert {line["settings"] for line in lines} == {"num heads 4", "num heads 2"}
    assert "the settings are equal: Convolution, kernel size K = 1; Convolution, kernel size K = 3" in markdown
    assert "not every side has a finished run: X-volution, kernel size K = 1; PSSA" in markdown


def test_hidden_rows_change_no_number(tmp_path: Path, one_ledger) -> None:
    lines, _ = compare(*one_ledger)
    only = ["--only", "operator=lightning_xvol.operators.xvolution:XVolution", "--only", "kernel_size=3"]
    shown, markdown = compare(*one_ledger, *only)
    assert shown == lines[6:] and "Shown: 2 of 8 groups" in markdown


def test_few_seeds_decide_nothing(tmp_path: Path) -> None:
    few = [{place: values[:2] for place, values in scores.items()} for scores in (MINE, YOURS)]
    write_runs(tmp_path / "runs", few[0])
    write_runs(tmp_path / "runs", few[1], ("optim.lr", 0.05))
    lines, markdown = compare("--source", str(tmp_path / "runs"), *TWO)
    assert {line["resolved"] for line in lines[1::2]} == {"False"} and "+1.15" in markdown
    assert "there is no difference" not in markdown
    write_runs(tmp_path / "one", {place: values[:1] for place, values in MINE.items()}, ("optim.lr", 0.2))
    _, markdown = compare("--source", str(tmp_path / "runs"), "--source", str(tmp_path / "one"))
    assert "- –: there is no difference, because a side has fewer than two runs." in markdown
    assert "[" not in markdown.split("- Sides")[0].replace("\\", ""), "an interval of two runs is in the CSV alone"


def write_two(out: Path, first: dict[str, Any], second: dict[str, Any], *settings: tuple[str, Any]) -> list[str]:
    write_runs(out / "a", MINE, **first)
    write_runs(out / "b", YOURS, *settings, **second)
    return ["--source", str(out / "a"), "--source", str(out / "b")]


LR = ("optim.lr", 0.05)
REFUSED: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "other data": (
        lambda out: write_two(out, {}, {}, ("data.limit", 99)), "different data, .*: data.limit is none and 99",
    ),
    "other contents": (lambda out: write_two(out, {}, {"digest": "other"}, LR), "digests are d and other"),
    "another data set": (lambda out: write_two(out, {}, {"recipe": "fashion_small"}), "different data"),
    "another metric": (
        lambda out: write_two(out, {}, {"metric": "box_ap", "metric_label": "box AP"}, LR),
        r"different metrics \(top-1 accuracy \(%\); box AP\)",
    ),
    "other axes": (lambda out: write_two(out, {}, {"axes": ["kernel_size", "depth"]}, LR), "different axes"),
    "a smoke run": (lambda out: write_two(out, {}, {"smoke": True}, LR), "different budgets .*smoke run"),
    "the same settings": (lambda out: write_two(out, {}, {}), "the same settings in every row"),
    "no common row": (
        lambda out: [
            write_two(out, {}, {}), shutil.rmtree(out / "b"), write_runs(out / "b", {("pssa", 3): [1.0]}, LR),
        ][0],
        "no row in common",
    ),
    "another sweep": (lambda out: write_two(out, {}, {"sweep": "stage"}, LR), "no sweep|damaged|stage"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mix_that_cannot_be_compared_is_one_sentence(tmp_path: Path, case: str, capsys) -> None:
    write, sentence = REFUSED[case]
    words = write(tmp_path)
    if case == "another sweep":
        (tmp_path / "b" / "kernel_size").rename(tmp_path / "b" / "stage")
    with pytest.raises(UserError, match=sentence) as raised:
        main(["compare", *words, "--out", str(tmp_path / "out")])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists() and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "is one side; name a second --source, or settings"),
        (TWO[:2], "names one side; give it once for each side"),
        ([*TWO[:2], "--set", "optim.lr=0.3"], "no finished run .* has --set optim.lr=0.3; .* optim.lr = 0.05, 0.1"),
        (["--set", "optim.lr=0.1", "optim.lr=0.05", *TWO[2:]], "one side has optim.lr twice"),
        (["--set", "optim.lr=0.1", "--set", "optim.lr=1e-1"], "the same settings in every row"),
        (["--set", "optim.rl=0.1", "--set", "optim.rl=0.05"], "no field 'optim.rl'; optim has: lr"),
        (["--set", "optim.lr=0.1,data.batch_size=64", *TWO[2:]], "a space separates"),
        (["--set", "seed=0", "--set", "seed=1"], "cannot be compared"),
        (["--set", "operator.name=pssa", "--set", "operator.name=xvolution"], "cannot be compared"),
        ([*TWO, "--sweep", "kernel_sise"], "did you mean 'kernel_size'"),
        ([*TWO, "--only", "operator=pssa"], "selects nothing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_flags_are_one_sentence(tmp_path: Path, one_ledger, words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        main(["compare", *one_ledger[:2], *words, "--out", str(tmp_path / "out")])
    assert "\n" not in str(raised.value)


def test_a_row_with_two_configurations_on_a_side_names_what_tells_them_apart(tmp_path: Path, one_ledger) -> None:
    write_runs(tmp_path / "runs", MINE, ("train.threads", 2))
    write_runs(tmp_path / "runs", YOURS, ("optim.lr", 0.05))
    with pytest.raises(UserError, match=r"two configurations with .*; add one to it: train\.threads="):
        main(["compare", *one_ledger])
    one = [f"{words}" for words in (*TWO[:2], "train.threads=1", *TWO[2:])]
    lines, _ = compare(*one_ledger[:2], *one)
    assert {line["settings"] for line in lines} == {"lr 0.1", "lr 0.05"}


def test_other_commands_tell_two_settings_apart_as_before(tmp_path: Path, two_ledgers) -> None:
    with pytest.raises(UserError, match=r"differ in settings.* or compare them"):
        main(["tables", *two_ledgers, "--out", str(tmp_path / "out")])


def test_the_budget_of_a_side_is_its_own(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", MINE)
    write_runs(tmp_path / "runs", YOURS, ("train.epochs", 6))
    _, markdown = compare("--source", str(tmp_path / "runs"), "--set", "train.epochs=3", "--set", "train.epochs=6")
    assert "epochs 3 against epochs 6" in markdown and "budget: 3 epochs and 6 epochs;" in markdown


def test_a_setting_that_an_axis_varies_is_one_for_the_table(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", {place: values for place, values in MINE.items() if place[1] == 1})
    write_runs(tmp_path / "b", {place: values for place, values in YOURS.items() if place[1] == 3})
    with pytest.raises(UserError, match=r"no row in common .*; `tables` shows values of kernel_size side by side"):
        compare("--source", str(tmp_path / "a"), "--source", str(tmp_path / "b"))


def test_many_settings_are_called_by_their_source_and_listed_below(tmp_path: Path) -> None:
    many = (("optim.lr", 0.05), ("optim.momentum", 0.8), ("data.batch_size", 32), ("train.threads", 2))
    lines, markdown = compare(*write_two(tmp_path, {}, {}, *many))
    assert {line["settings"] for line in lines} == {str(tmp_path / "a"), str(tmp_path / "b")}
    for text in ("optim.lr 0.1 / 0.05", "optim.momentum 0.9 / 0.8", "data.batch_size 64 / 32", "train.threads 1 / 2"):
        assert text in markdown.replace("\\", "")


def test_the_augmentation_is_a_setting_and_what_is_measured_is_not(tmp_path: Path) -> None:
    other = ("data.augment", not get_recipe("fashion_small").config().data.options["augment"])
    write_runs(tmp_path / "a", MINE, recipe="fashion_small")
    write_runs(tmp_path / "b", YOURS, other, recipe="fashion_small")
    lines, _ = compare("--source", str(tmp_path / "a"), "--source", str(tmp_path / "b"))
    assert {line["settings"] for line in lines} == {"augment yes", "augment no"}


def test_runs_of_every_kind_of_source_can_be_compared(tmp_path: Path, start_run, one_ledger) -> None:
    """W&B runs of both settings in one folder hold both plans; an archive holds those of one ledger."""
    lines, _ = compare(*one_ledger)
    for number, (scores, settings) in enumerate(((MINE, ()), (YOURS, (("optim.lr", 0.05),)))):
        out = tmp_path / str(number)
        cells = write_runs(out, scores, *settings)
        plan = json.loads((out / "kernel_size" / "cells.json").read_text())
        for cell in cells:
            result = (out / "cells" / cell["cell_id"] / "result.json").read_text()
            start_run(plan, cell).summary(result_json=result).exit(0).write(
                tmp_path / "w" / cell["cell_id"] / "r.wandb"
            )
        assert main(["archive", "--source", str(out), "--out", str(tmp_path / f"{number}.jsonl.gz")]) == 0
    assert compare("--source", str(tmp_path / "w"), *TWO)[0] == lines
    archives = ["--source", str(tmp_path / "0.jsonl.gz"), "--source", str(tmp_path / "1.jsonl.gz")]
    assert compare(*archives)[0] == compare(*archives, *TWO)[0] == lines


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_damaged_files_end_in_a_table_or_in_one_sentence(tmp_path: Path, one_ledger, first: int) -> None:
    paths = [tmp_path / "runs" / "kernel_size" / "cells.json", *(tmp_path / "runs").glob("cells/*/result.json")]
    for number in range(first, first + 20):
        draw = random.Random(number)
        path = paths[0] if number % 3 == 0 else draw.choice(paths)
        before = path.read_text()
        path.write_text(json.dumps(mutations.changed(json.loads(before), draw)))
        with contextlib.suppress(UserError):  # any other error fails
            compare(*one_ledger)
        path.write_text(before)


def test_the_command_ends_with_exit_code_2(tmp_path: Path) -> None:
    words = write_two(tmp_path, {}, {})
    done = subprocess.run([sys.executable, "-m", "analysis", "compare", *words], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and "the same settings" in done.stderr


def test_python_renders_and_draws_what_the_command_writes(tmp_path: Path, one_ledger, two_ledgers) -> None:
    settings = [{"optim.lr": 0.1}, {"optim.lr": 0.05}]
    both = [
        (two_ledgers, analysis.load_comparison(two_ledgers[1::2], "kernel_size", interval="t")),
        (one_ledger, analysis.load_comparison(one_ledger[1], "kernel_size", settings, interval="t")),
    ]
    for number, (words, compared) in enumerate(both):
        out = tmp_path / str(number)
        assert main(["compare", *words, "--interval", "t", "--out", str(out)]) == 0
        folder = out / "compare" / "kernel_size"
        for form, suffix in {"markdown": "md", "latex": "tex", "csv": "csv"}.items():
            assert analysis.render_table(compared, form) == (folder / f"table.{suffix}").read_text()
        for kind, name in {None: "figure", "differences": "differences"}.items():
            figure = analysis.draw_figure(compared, kind).figure
            shown = [f"{inches:.4f}" for inches in figure.get_size_inches()]
            [box] = re.findall(rb"/MediaBox \[ 0 0 ([0-9. ]+) \]", (folder / f"{name}.pdf").read_bytes())
            assert shown == [f"{float(points) / 72:.4f}" for points in box.split()]


def test_a_figure_of_a_comparison_has_the_size_and_the_axes_that_python_asks_for(one_ledger) -> None:
    settings = [{"optim.lr": 0.1}, {"optim.lr": 0.05}]
    compared = analysis.load_comparison(one_ledger[1], "kernel_size", settings, only={"kernel_size": [3]})
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    assert analysis.draw_figure(compared, ax=left) is left
    assert analysis.draw_figure(compared, "differences", ax=right) is right
    gains = compared.summary.set_index(["operator", "side"])["delta"]
    assert sorted(x for line in right.get_lines() for x in line.get_xdata() if line.get_marker() == "s") == sorted(
        gains.dropna()
    )
    for kind in (None, "differences"):
        ax = analysis.draw_figure(compared, kind, size=(5, 3), style="serif", caption=False)
        assert tuple(ax.figure.get_size_inches()) == (5, 3)
        assert ax.get_xticklabels()[0].get_fontfamily()[0].startswith("STIX")


def test_mistakes_from_python_are_one_sentence(tmp_path: Path, one_ledger) -> None:
    runs = one_ledger[1]
    compared = analysis.load_comparison(runs, "kernel_size", [{"optim.lr": 0.1}, {"optim.lr": 0.05}])
    mistakes: dict[str, Callable[[], object]] = {
        "a comparison has two sides or more": lambda: analysis.load_comparison(runs, "kernel_size"),
        "runs': a comparison has two": lambda: analysis.load_comparison([runs], "kernel_size"),
        "lr=0.1: a comparison has two": lambda: analysis.load_comparison(runs, "kernel_size", [{"optim.lr": 0.1}]),
        "no side: a comparison": lambda: analysis.load_comparison([], "kernel_size"),
        "a mapping for each side": lambda: analysis.load_comparison(runs, "kernel_size", {"optim.lr": 0.1}),
        "seed cannot be compared": lambda: analysis.load_comparison(runs, "kernel_size", [{"seed": 0}, {"seed": 1}]),
        "shows one metric": lambda: analysis.load_comparison([runs, runs], "kernel_size", metrics=["a", "b"]),
        "select='lats' must be one of": lambda: analysis.load_comparison([runs, runs], "kernel_size", select="lats"),
        "no such folder": lambda: analysis.load_comparison([runs, tmp_path / "none"], "kernel_size"),
        r"no kind of figure 'diferences' \(did you mean 'differences'": lambda: analysis.draw_figure(
            compared, "diferences"
        ),
    }
    for message, call in mistakes.items():
        with pytest.raises(UserError, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)
