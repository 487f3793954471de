"""Pages whose marked places are rendered from records: in place, whole, and with the numbers of the other commands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

import analysis
from analysis.__main__ import main
from analysis.paper import verdicts
from analysis.publication.marked import WIDTH, wrapped
from analysis.sources.collection import Collection
from analysis.statistics import holm
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.protocol import read_protocol
from tests.analysis.conftest import PARAMS, SCORES

END = "<!-- /analysis -->"
TEXTS = f"""# A page

<!-- analysis defaults --source runs -->

Text <!-- analysis number --sweep kernel_size --row xvolution --at kernel_size=3 -->{END}, and more.

<!-- analysis table --sweep kernel_size --csv data/table.csv -->
{END}
<!-- analysis table --sweep kernel_size --only operator=convolution,xvolution --only kernel_size=1,3 -->
{END}

<!-- analysis verdicts -->{END}

<!-- analysis tally -->{END}

<!-- analysis gains --sweep kernel_size -->{END}

<!-- analysis cost -->{END}

Claim 19 is <!-- analysis verdict --claims 19 -->{END}, in <!-- analysis hours --of clock -->{END}.
"""
"""Every kind but `protocol`, `paper` and `figure`."""
FIGURES = f"""
<!-- analysis figure --source runs --sweep kernel_size --to data/figure.png -->
{END}

<!-- analysis figure --source runs --sweep kernel_size --figure seeds --to seeds.png --size column --alt "every run" -->
{END}
"""


def inline(fill: Callable[..., str], words: str) -> str:
    """What stands at a mark within a line."""
    page = fill(f"A <!-- analysis {words} --source runs -->{END}.")
    return page.partition("-->")[2].partition("<!--")[0]


def block(fill: Callable[..., str], words: str) -> str:
    page = fill(f"<!-- analysis {words} --source runs -->\n{END}\n")
    return page.partition("-->")[2].partition("<!--")[0].strip()


def test_the_means_alone_and_tables_with_fewer_notes(fill) -> None:
    means = block(fill, "scores --sweep kernel_size --only kernel_size=1,3").splitlines()
    assert [line.replace(" ", "").replace("*", "") for line in means if ":-" not in line] == [
        "|kernelsizeK|1|3|", "|Convolution|24.7±0.3|70.5±0.6|", "|X-volution|98.2±1.3|98.5±0.6|",
        "|X-volution(static)|98.4±1.7|99.5±0.2|",
    ]  # fmt: skip
    table = "table --sweep kernel_size --csv table.csv --notes"
    notes = [block(fill, f"{table} {kind}").partition("|\n\n")[2].split("\n- ") for kind in ("none", "short", "full")]
    assert notes[0] == ["- [The numbers](table.csv) in full precision."] and len(notes[1]) < len(notes[2])


def test_filling_again_changes_nothing_and_the_check_agrees(fill, capsys) -> None:
    page = fill(TEXTS + FIGURES)
    assert page.count(END) == 11 and "Text <!-- analysis number" in page and "-->98.5 ± 0.6<!--" in page
    before = {path: path.read_bytes() for path in Path().glob("**/*") if path.is_file()}
    assert {"data/table.csv", "data/figure.csv", "data/figure.png", "seeds.csv", "seeds.png"} <= set(map(str, before))
    assert fill(page) == page
    assert main(["fill", "--check", "page.md"]) == 0
    assert "1 page checked: 0 differences" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_the_check_names_each_place_and_file_that_differs_and_writes_nothing(fill, make_ledger, capsys) -> None:
    page = fill(TEXTS + FIGURES)
    Path("page.md").write_text(page.replace("98.5 ± 0.6<!--", "98.6 ± 0.6<!--"))
    Path("data/table.csv").write_text("edited")
    Path("seeds.png").unlink()
    capsys.readouterr()
    assert main(["fill", "page.md", "--check"]) == 1
    printed = capsys.readouterr().out.splitlines()
    line = page[: page.index("<!-- analysis number")].count("\n") + 1
    assert printed == [
        f"page.md, line {line}: not what its records give", "data/table.csv: not what its records give",
        "seeds.png: missing", "1 page checked: 3 differences",
    ]  # fmt: skip
    assert "98.6 ± 0.6<!--" in Path("page.md").read_text() and not Path("seeds.png").exists()
    main(["fill", "page.md"])
    ledger = make_ledger()
    ledger.write(ledger.cell("xvolution", 9, 0), 98.7)
    assert main(["fill", "page.md", "--check"]) == 1
    printed = capsys.readouterr().out
    assert "data/figure.csv: not" in printed and "data/figure.png" not in printed, "a figure is compared by its numbers"


def test_tables_are_those_of_the_command(fill) -> None:
    page = fill(TEXTS)
    assert main(["tables", "--source", "runs", "--out", "tables"]) == 0
    written = Path("tables/kernel_size/table.md").read_text()
    grid = "\n".join(line for line in written.splitlines() if line.startswith("|"))
    assert grid in page
    text = " ".join(page.split()).replace("&lt;", "\\<")
    assert " ".join(written.split()) in text, "caption and footnotes too, whatever the line breaks"
    assert Path("data/table.csv").read_bytes() == Path("tables/kernel_size/table.csv").read_bytes()


def test_figures_have_the_means_of_their_runs_beside_them(fill) -> None:
    fill(FIGURES)
    drawn = pd.read_csv("data/figure.csv").set_index(["operator", "kernel_size"])["mean"]
    means = {(row, size): np.mean(runs) for row, sizes in SCORES.items() for size, runs in sizes.items()}
    assert drawn.to_dict() == pytest.approx(means)
    runs = pd.read_csv("seeds.csv")
    assert sorted(runs["value"]) == sorted(run for sizes in SCORES.values() for runs in sizes.values() for run in runs)
    assert Path("seeds.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", f"{np.mean(SCORES['xvolution'][3]):.1f} ± {np.std(SCORES['xvolution'][3], ddof=1):.1f}"),
        ("--decimals 2", f"{np.mean(SCORES['xvolution'][3]):.2f} ± {np.std(SCORES['xvolution'][3], ddof=1):.2f}"),
        ("--show n", "3"),
        ("--show params", f"{PARAMS['xvolution'][3] / 1e3:.1f}k"),
        ("--minus convolution --show n", "3"),
        ("--minus convolution --show verdict", "resolved"),
        ("--minus xvolution_static --show verdict", "not resolved"),
    ],
)
def test_a_number(fill, words: str, expected: str) -> None:
    assert inline(fill, f"number --sweep kernel_size --row xvolution --at kernel_size=3 {words}") == expected


def test_a_difference_and_its_largest_gain_are_those_of_the_table(fill) -> None:
    sweep = analysis.load_sweep("runs", "kernel_size")
    [row] = sweep.summary.query("operator == 'xvolution' and kernel_size == 5").to_dict("records")
    number = "number --sweep kernel_size --row xvolution --at kernel_size=5 --minus convolution"
    low, high = row["delta_low"], row["delta_high"]
    assert inline(fill, number) == f"{row['delta']:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert inline(fill, f"{number} --show gain") == f"{high:+.2f}"
    [line] = [line for line in block(fill, "gains --sweep kernel_size").splitlines() if re.search(r"\| 5 +\|", line)]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    static = sweep.measured.compare(("xvolution", 5), "xvolution_static").difference
    assert cells[:3] == ["X-volution − X-volution (static)", "5", "3"]
    assert cells[3:5] == [
        f"{static.mean:+.2f} \\[{static.low:+.2f}, {static.high:+.2f}\\]".replace("-", "−"),
        f"{max(static.high, 0):+.2f}",
    ]


def test_every_claim_with_runs_has_a_line_with_the_numbers_of_claims(fill) -> None:
    """Each part stands with runs, interval, equality at three margins, control and parameters."""
    text = block(fill, "verdicts").replace("\\", "")
    found = [item for item in verdicts.verdicts(Collection(["runs"])) if item.findings]
    assert found and {item.claim.number for item in found} == {19, 26}
    overview, parts, _ = text.split("\n\n")
    for item in found:
        [line] = [line for line in overview.splitlines() if re.match(rf"\| +{item.claim.number} \|", line)]
        assert item.claim.claim in line and item.data in line and line.rstrip("| ").endswith(item.kind)
        for evidence in item.evidence[: len(item.findings)]:
            interval = re.search(r"[+−]?\d+\.\d+ \[.*?\]", evidence)
            assert interval and interval[0] in parts, evidence
    [line] = [line for line in parts.splitlines() if "| X-volution − Convolution, K=1 " in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == ["X-volution − Convolution, K=1", "3", "above 0"]
    assert cells[5] == "±0.3 no, ±0.6 no, ±1.2 no" and cells[6].startswith("X-volution: −0.20 [")
    assert cells[7:] == ["X-volution 33.9k; Convolution 26.3k", "holds"]


def test_claims_are_chosen_by_number_also_those_that_no_run_decides(fill) -> None:
    text = block(fill, "verdicts --claims 3,7")
    assert re.findall(r"^\| +(\d+) \|.* \| ([\w ]+?) +\|$", text, re.M) == [
        ("3", "contradicted by its own table"), ("7", "not run"),
    ]  # fmt: skip
    assert inline(fill, "verdict --claims 7") == "not run"
    with pytest.raises(UserError, match=r"page.md, line 1: no claim 28; the paper's claims here are 1 to 27"):
        inline(fill, "verdict --claims 28")


def test_cost_counts_each_run_once_and_tells_what_is_missing(fill, make_ledger) -> None:
    ledger = make_ledger()
    for number, cell in enumerate(ledger.cells):
        ledger.write(cell, 50.0 + number, cpu_seconds=10.0)
    ledger.lose("convolution", 1, 0)
    ledger.diverge("xvolution", 9, 2)  # its record has no CPU time
    lines = block(fill, "cost").splitlines()
    last = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert last == ["all, each run once", "43", "1", "0", "1", "7 min 10 s", "6 min 58 s"]
    assert "1 record of older versions hold no CPU time" in " ".join(lines)
    assert inline(fill, "hours --of runs") == "44" and inline(fill, "hours --of clock") == "6 min 58 s"
    with pytest.raises(UserError, match="1 records hold no CPU time; use --of clock"):
        inline(fill, "hours")


def test_the_protocol_stands_with_its_hash_and_what_is_exploratory(fill, make_ledger, tmp_path) -> None:
    path = Path("protocol.md")
    path.write_text(
        "```yaml protocol\nrecipe: match_small\nsweeps:\n  kernel_size: {rows: [convolution], seeds: 0-2, "
        "contrasts: [xvolution - convolution]}\n```\n"
    )
    ledger = make_ledger()
    for cell in ledger.cells:
        ledger.write(cell, 50.0 + cell["seed"], protocol=read_protocol(path).stamp)
    text = " ".join(block(fill, "protocol --protocol protocol.md").split())
    assert f"protocol.md, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()} (45 of 45 runs)" in text
    assert "Exploratory, as not in the protocol: X-volution, kernel size K = 1 (seeds 0, 1, 2)" in text
    assert "Convolution, kernel" not in text
    beside = " ".join(block(fill, "table --sweep kernel_size --protocol protocol.md").split())
    assert "- Primary contrasts: X-volution − Convolution. Others are secondary. - Exploratory, as not in" in beside
    marked = block(fill, "verdicts --protocol protocol.md")
    assert set(re.findall(r"\| ([^|]*?) \(primary\)", marked)) == {"X-volution − Convolution, K=1"}
    assert "The other differences are secondary" in marked
    with pytest.raises(UserError, match=r"page\.md, line 1: cannot read the protocol 'other\.md'"):
        block(fill, "protocol --protocol other.md")


def test_primary_contrasts_are_judged_with_all_differences_of_their_table(fill, make_ledger) -> None:
    """A contrast that the table does not tell adds to Holm's family; one that it tells does not."""
    Path("protocol.md").write_text(
        "```yaml protocol\nrecipe: match_small\nsweeps:\n  kernel_size: {axes: {kernel_size: [1, 3]}, seeds: 0-2, "
        "contrasts: [xvolution - convolution, xvolution - xvolution_static]}\n```\n"
    )
    make_ledger(controls={})
    measured = analysis.load_sweep("runs", "kernel_size").measured
    told = [measured.compare((row, size), "convolution") for row in list(SCORES)[1:] for size in SCORES[row]]
    added = [measured.compare(("xvolution", size), "xvolution_static") for size in (1, 3)]
    adjusted = holm([item.difference.p for item in (*told, *added)])
    lines = block(fill, "contrasts --sweep kernel_size --protocol protocol.md").splitlines()[2:6]
    rows = [[cell.strip() for cell in line.strip("|").replace("&lt;", "<").split("|")] for line in lines]
    assert [row[:3] for row in rows] == [
        ["X-volution − Convolution", "1", "3"], ["X-volution − Convolution", "3", "3"],
        ["X-volution − X-volution (static)", "1", "3"], ["X-volution − X-volution (static)", "3", "3"],
    ]  # fmt: skip
    for row, p, item in zip(rows, [*adjusted[:2], *adjusted[-2:]], [*told[:2], *added], strict=True):
        assert row[4] == ("< 0.001" if p < 0.001 else f"{p:.3f}")
        assert row[7] == ("not resolved" if p >= 0.05 else "above 0" if item.difference.mean > 0 else "below 0")
    assert rows[2][6] == "33.9k; 28.4k" and {row[7] for row in rows} == {"above 0", "not resolved"}
    with pytest.raises(UserError, match="--protocol is missing"):
        block(fill, "contrasts --sweep kernel_size")


def test_own_flags_replace_the_defaults_and_later_defaults_the_earlier_ones(fill, make_ledger) -> None:
    Path("runs").rename("first")
    make_ledger({"convolution": {1: [50.0, 50.1, 50.2]}})
    number = f"number --sweep kernel_size --row convolution --at kernel_size=1 -->{END}"
    page = fill(
        f"A <!-- analysis defaults --source first -->\nB <!-- analysis {number}\nC <!-- analysis number --source runs "
        f"{number.removeprefix('number ')}\nD <!-- analysis defaults --source runs -->\nE <!-- analysis {number}\n"
    )
    assert re.findall(r"-->([\d.]+) ±", page) == ["24.7", "50.1", "50.1"]


def test_marks_in_code_are_text(fill) -> None:
    text = (
        "A `<!-- analysis table -->` b ``<!-- analysis x` -->``.\n\n```text\n<!-- analysis table -->\n```\n\n~~~\n"
        + (f"{END}\n~~~\n")
    )
    assert fill(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n<!-- analysis cost -->\n", "line 2: no <!-- /analysis --> after it"),
        (f"a\n\n{END}", "line 3: <!-- /analysis --> has no beginning"),
        (
            f"<!-- analysis cost -->\n\n<!-- analysis cost -->{END}",
            "line 1: no <!-- /analysis --> before the next mark",
        ),
        (f"<!-- analysis -->{END}", "line 1: the comment names no kind"),
        (f"<!-- analysis cost 'a -->{END}", "line 1: the comment cannot be read as a command"),
        (f"<!-- analysis costs -->{END}", "line 1: no kind 'costs' (did you mean 'cost'?); known kinds: table"),
        (f"<!-- analysis cost --sweep a -->{END}", "unrecognized arguments: --sweep a; it takes --source, --protocol"),
        (f"<!-- analysis table -->{END}", "line 1: table: the following arguments are required: --sweep"),
        (f"a <!-- analysis cost -->{END}", "line 1: a mark of the kind 'cost' must begin a line"),
        (f"<!-- analysis hours -->{END}", "a mark of the kind 'hours' must stand within a line, after a word"),
        (f"<!-- analysis defaults --sweep a -->\n<!-- analysis cost -->{END}", "line 2: defaults: unrecognized"),
        (f"<!-- analysis cost -->{END}", "line 1: --source is missing, both here and in <!-- analysis defaults -->"),
        (f"<!-- analysis cost --source none -->{END}", "line 1: no runs at 'none'"),
        (f"<!-- analysis table --source runs --sweep stage -->{END}", "line 1: no sweep 'stage'"),
        (f"<!-- analysis table --source runs --sweep kernel_size --csv ../a.csv -->{END}", "'../a.csv' must be a file"),
        (f"<!-- analysis table --source runs --sweep kernel_size --csv /a.csv -->{END}", "below the page's folder"),
        (f"<!-- analysis figure --source runs --sweep kernel_size --to a.pdf -->{END}", "that ends in .png"),
        (f"<!-- analysis paper --source runs --table 1 -->{END}", "line 1: --table 1: the source has no finished run"),
        (f"<!-- analysis protocol --source runs -->{END}", "line 1: the runs name no protocol that can be found here"),
        *(
            (f"a <!-- analysis number --source runs --sweep kernel_size {words} -->{END}", message)
            for words, message in (
                ("--row xvolutio", "no row 'xvolutio' (did you mean 'xvolution'?)"),
                ("--row xvolution", "row 'xvolution' has several values of kernel_size; choose with --at"),
                ("--row xvolution --at size=3", "--at size: no such axis"),
                ("--row xvolution --at kernel_size=4", "--at kernel_size=4 must be one of 1, 3, 5, 7, 9"),
                ("--row xvolution --at kernel_size=3 --metric top5", "no metric 'top5' (did you mean 'top1'?)"),
                ("--row xvolution --at kernel_size=3 --show gain", "--show gain needs --minus ROW"),
                ("--row xvolution --at kernel_size=3 --minus pssa", "no row 'pssa'"),
                ("--row xvolution --at kernel_size=3 --minus convolution --show macs", "takes no --minus"),
            )
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_page_and_line_and_nothing_is_written(fill, text: str, message: str) -> None:
    Path("page.md").write_text(text)
    before = sorted(Path().iterdir())
    with pytest.raises(UserError) as error:
        main(["fill", "page.md"])
    assert str(error.value).startswith("page.md, line ") and message in str(error.value)
    assert Path("page.md").read_text() == text and sorted(Path().iterdir()) == before


def test_a_page_that_is_not_there(fill) -> None:
    with pytest.raises(UserError, match=r"the page 'none\.md' cannot be read"):
        main(["fill", "none.md"])


@pytest.mark.parametrize("shift", range(40))
def test_wrapping_changes_no_meaning(shift: int) -> None:
    """No line begins with what would become a list or a heading, and rendered pages are equal."""
    words = "1. one - dash * star + plus # number > more 10) ten −0.15; [−1.16, +0.86] †: resolved ±0.6 " * 4
    for start in ("", "- "):
        text = start + "x" * shift + " " + words.strip() + "\n\n| a | b |\n| - | - |\n| " + "long " * 40 + "| c |"
        made = wrapped(text)
        assert all(len(line) <= WIDTH or line.startswith("|") for line in made.splitlines())
        html = [MarkdownIt("commonmark").enable("table").render(each) for each in (text, made)]
        assert html[0].split() == html[1].split()


def test_the_records_of_an_archive_give_the_same_page(fill) -> None:
    page = fill(TEXTS)
    assert main(["archive", "--source", "runs", "--out", "match.jsonl.gz"]) == 0
    again = fill(TEXTS.replace("--source runs", "--source match.jsonl.gz"))
    assert again.replace("--source match.jsonl.gz", "--source runs") == page


def test_a_damaged_line_of_records_is_told(fill, capsys) -> None:
    assert main(["archive", "--source", "runs", "--out", "match.jsonl"]) == 0
    Path("match.jsonl").write_text(Path("match.jsonl").read_text() + "{}\n")
    page = fill(
        f"<!-- analysis cost --source match.jsonl -->{END}\n\n<!-- analysis tally --source match.jsonl -->{END}"
    )
    assert "| 45" in page.replace("  ", "")
    assert capsys.readouterr().err.count("note: match.jsonl: line 46 is not a finished cell and is left out\n") == 1


def test_a_tally_counts_the_claims_that_it_is_given(fill) -> None:
    whole, chosen = block(fill, "tally"), block(fill, "tally --claims 19,3")
    counts = [sum(map(int, re.findall(r"(\d+) (?:holds|fails|not|contradicted)", text))) for text in (whole, chosen)]
    assert counts[0] > counts[1] == 2, f"claims 19 and 3: {chosen}"


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_stands_around_the_marks_keeps_its_bytes(fill, start: str, end: str) -> None:
    """Line ends of Windows and the mark of UTF-8 stay, also where the page is a link."""
    written = f"<!-- analysis tally --source runs -->\n{END}\n\n```text\n<!-- analysis none -->\n```\nÄ\u2028b\t \n"
    Path("texts").mkdir()
    Path("texts/page.md").write_bytes(f"{start}{written}".replace("\n", end).encode())
    Path("link.md").symlink_to("texts/page.md")
    assert main(["fill", "link.md"]) == 0 and main(["fill", "--check", "link.md"]) == 0
    assert Path("link.md").is_symlink()
    text = Path("texts/page.md").read_bytes().decode()
    assert text.startswith(f"{start}<!--") and text.endswith(written[written.index(END) :].replace("\n", end))
    assert "not run" in text and text.count("\n") == text.count(end)


def test_a_page_in_another_encoding_stays_as_it_is(fill) -> None:
    content = f"Größe <!-- analysis hours --source runs --of clock -->{END}\n".encode("latin-1")
    Path("page.md").write_bytes(content)
    with pytest.raises(UserError, match=r"the page 'page\.md' is not UTF-8 from byte 2 on"):
        main(["fill", "page.md"])
    assert Path("page.md").read_bytes() == content
