"""`--metric`, and `--only` in the report, the claims and the paper's tables: they choose what is shown alone."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from analysis import draw_figure, load_sweep, render_table
from analysis.__main__ import main
from analysis.paper.verdicts import KINDS
from lightning_xvol.errors import UserError
from tests.analysis.conftest import SCORES
from tests.analysis.paper_runs import rows_of, write_sweep

COSTS = ("params", "macs", "wall_seconds", "added_params")


def lines_of(results) -> list[dict[str, str]]:
    return list(csv.DictReader(render_table(results, "csv").splitlines()))


@pytest.mark.parametrize("lost", [(), (("xvolution", 3, 0), ("convolution", 5, 2))])
def test_a_metric_has_the_numbers_that_it_has_as_the_own_metric_of_a_sweep(make_ledger, lost) -> None:
    runs = make_ledger(SCORES)
    for place in lost:
        runs.lose(*place)
    asked = lines_of(load_sweep(runs.out, "kernel_size", metrics=["val_top1"]))
    runs.sweep["metric"] = "val_top1"
    runs.write_sweep()
    own = lines_of(load_sweep(runs.out, "kernel_size"))
    assert asked == [line for line in own if line["metric"] == "val_top1"] and len(asked) == 15
    assert {line["planned"] for line in asked} == {"3"}


def test_a_run_without_the_metric_counts_as_missing(make_ledger) -> None:
    runs = make_ledger(SCORES)
    runs.write(runs.cell("xvolution", 3, 1), 98.5, metrics={"top1": {"last": 98.5, "best": 98.5, "best_epoch": 1}})
    sweep = load_sweep(runs.out, "kernel_size", metrics=["val_top1"])
    [line] = [line for line in lines_of(sweep) if (line["operator"], line["kernel_size"]) == ("xvolution", "3")]
    assert (line["planned"], line["n"]) == ("3", "2") and [*sweep.summary["operator"].unique()] == [*SCORES]


def test_the_table_shows_the_metrics_alone_and_says_so(make_ledger) -> None:
    runs = make_ledger(SCORES)
    text = render_table(load_sweep(runs.out, "kernel_size", metrics=["val_top1", "top1"], only={"kernel_size": [3, 5]}))
    assert "Validation top-1 accuracy (%), mean ± standard deviation." in text and "| *Top-1 accuracy (%)*" in text
    assert "Parameters" not in text
    assert "Shown: 6 of 15 groups (--only kernel_size=3,5); only --metric val_top1,top1; intervals" in text
    assert "Parameters" in render_table(load_sweep(runs.out, "kernel_size"))
    runs.sweep["axes"], runs.sweep["figure"] = [], None
    runs.sweep["cells"] = [cell for cell in runs.cells if cell["axes"]["kernel_size"] == 3]
    runs.write_sweep()
    head = render_table(load_sweep(runs.out, "kernel_size", metrics=["val_top1"])).splitlines()[2]
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["Operator", "validation top-1 accuracy (%)"]


def test_figures_show_the_metric(make_ledger) -> None:
    sweep = load_sweep(make_ledger(SCORES).out, "kernel_size", metrics=["val_top1"])
    for kind in ("figure", "seeds"):
        assert draw_figure(sweep, None if kind == "figure" else kind).get_ylabel() == "validation top-1 accuracy (%)"


@pytest.mark.parametrize("command", ["tables", "figures", "report", "claims"])
def test_an_unknown_metric_is_one_sentence(make_ledger, tmp_path: Path, command: str) -> None:
    words = [command, "--source", str(make_ledger(SCORES).out), "--metric", "tpo1"]
    with pytest.raises(UserError, match=r"--metric tpo1: .*|--metric tpo1 selects nothing") as raised:
        main([*words, *([] if command == "claims" else ["--out", str(tmp_path / "out")])])
    assert "'top1'" in str(raised.value) and not (tmp_path / "out" / "report.html").exists()


def test_the_report_shows_what_is_asked_for_and_every_link_leads_somewhere(make_ledger, tmp_path: Path) -> None:
    runs = make_ledger(SCORES)
    words = ["--source", str(runs.out), "--out", str(tmp_path), "--only", "operator=xvolution", "--metric", "val_top1"]
    assert main(["report", *words, "--only", "kernel_size=1,3"]) == 0
    page = (tmp_path / "report.html").read_text()
    rows = re.findall(r'<th scope="row">(.*?)</th>', page)
    assert "X-volution" in rows and not {"Convolution", "X-volution (static)"} & {*rows}
    assert "<dt>Only</dt><dd>operator: xvolution; kernel_size: 1, 3; metric: val_top1</dd>" in page
    assert {*re.findall(r'href="#([^"]+)"', page)} <= {*re.findall(r'\bid="([^"]+)"', page)}
    assert "to Convolution, resolved" in page, "the difference to a hidden row stays"


# The claims


@pytest.fixture
def paper(tmp_path: Path) -> list[str]:
    """Runs with the numbers of Table 2."""
    rows = [(label, {}, values) for label, _, values in rows_of(2)]
    write_sweep(tmp_path / "runs", "operator", "coco_faster_rcnn", rows, lambda row, seed: 0.01 * seed)
    return ["--source", str(tmp_path / "runs")]


def claims(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["claims", *words]) == 0
    return capsys.readouterr().out


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(rf"^ *(\d+)  (?:{'|'.join(KINDS)})", text, re.MULTILINE)]


@pytest.mark.parametrize("columns", ["60", "100", "240"])
def test_claims_fit_the_terminal_with_the_decided_ones_first(paper, capsys, monkeypatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text, every = claims(capsys, *paper), claims(capsys, *paper, "--all")
    assert max(map(len, every.splitlines())) <= min(int(columns), 100)
    assert not re.search(r"^ *\d+  not run", text, re.MULTILINE)
    assert set(numbers_in(every)) == set(range(1, 28)) > set(numbers_in(text))
    left = len(set(range(1, 28)) - set(numbers_in(text)))
    told = " ".join(text.split())
    assert f"{left} claims are not decided by these runs; --all shows them" in told
    assert "--all shows" not in every and "Decided by: sweep" in " ".join(every.split())
    blocks = [re.findall(rf"^ *\d+  ({'|'.join(KINDS)})", block, re.MULTILINE) for block in every.split("\n\n")]
    for kinds in blocks:
        assert kinds == sorted(kinds, key=KINDS.index)
    assert [kinds[0] for kinds in blocks if kinds][-1] == "not run"


def test_claims_have_the_same_verdicts_in_every_format(paper, capsys) -> None:
    rows = list(csv.DictReader(io.StringIO(claims(capsys, *paper, "--format", "csv"))))
    markdown = claims(capsys, *paper, "--format", "md")
    assert markdown == claims(capsys, *paper, "--format", "markdown")
    assert markdown.count("\n| ") == len(rows) + 1
    text = claims(capsys, *paper, "--all")
    assert sorted(numbers_in(text)) == sorted(int(row["claim"]) for row in rows)


def test_claims_of_an_operator_or_a_metric(paper, capsys) -> None:
    every = {row["claim"]: row for row in csv.DictReader(io.StringIO(claims(capsys, *paper, "--format", "csv")))}
    for only, expected in (
        (["--only", "operator=involution"], {"9", "10", "14"}),
        (["--only", "operator=lightning_xvol.operators.involution:Involution"], {"9", "10", "14"}),
        (["--metric", "mask_ap"], {"11", "14", "27"}),
        (["--only", "operator=aa_convolution", "--metric", "mask_ap"], {"11"}),
    ):
        shown = list(csv.DictReader(io.StringIO(claims(capsys, *paper, *only, "--format", "csv"))))
        assert {row["claim"] for row in shown} == expected
        assert all(row in every.values() or row["claim"] in every for row in shown)
        assert [row["verdict"] for row in shown] == [every[row["claim"]]["verdict"] for row in shown]
        assert f"Shown: {len(expected)} of 27 claims" in claims(capsys, *paper, *only)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "operator=involutoin"], "did you mean 'involution'"),
        (["--only", "kernel_size=3"], "only operator can be chosen"),
        (["--metric", "box_pa"], "did you mean 'box_ap'"),
        (["--metric", ""], "must name a metric"),
    ],
)
def test_mistakes_have_a_sentence(paper, tmp_path: Path, words: list[str], sentence: str) -> None:
    for command in (["claims"], ["tables", "--paper", "--out", str(tmp_path / "out")]):
        with pytest.raises(UserError, match=sentence):
            main([*command, *paper, *words])
    assert not (tmp_path / "out").exists()


def test_a_table_of_the_paper_shows_some_rows_and_metrics(paper, tmp_path: Path, capsys) -> None:
    def lines(*words: str) -> list[dict[str, str]]:
        assert main(["tables", "--paper", "2", *paper, *words, "--out", str(tmp_path / "out")]) == 0
        [path] = (tmp_path / "out" / "paper").glob("*.csv")
        return list(csv.DictReader(path.read_text().splitlines()))

    every = lines()
    shown = lines("--only", "operator=pssa,xvolution", "--metric", "box_ap")
    assert shown == [line for line in every if line["operator"] in ("pssa", "xvolution") and line["metric"] == "box_ap"]
    assert "Shown: 2 of 9 rows (operator pssa, xvolution; metric box_ap)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="nothing of what is asked for"):
        lines("--metric", "mask_ap")
