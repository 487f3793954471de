"""Marks that lose something: edits, files of other marks, options without an effect, records that are left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.publication.pages import pages
from lightning_xvol.errors import UserError

END = "<!-- /analysis -->"
SOURCE = "--source runs --sweep kernel_size"
TABLE = f"<!-- analysis table {SOURCE} --csv n.csv -->\n{END}\n"
OTHER = f"<!-- analysis table {SOURCE} --only kernel_size=1 --csv n.csv -->\n{END}\n"
FIGURE = f"<!-- analysis figure {SOURCE} --to n.png -->\n{END}\n"
NUMBER = f"number {SOURCE} --row xvolution --at kernel_size=3"


def files_here() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(text: str, message: str) -> None:
    """`fill` refuses the page `text` with `message`, in one sentence, and writes nothing."""
    Path("page.md").write_text(text)
    before = files_here()
    with pytest.raises(UserError) as error:
        main(["fill", "page.md"])
    assert message in str(error.value) and str(error.value).startswith("page.md, line ")
    assert files_here() == before


def test_an_edit_that_is_made_meanwhile_is_kept(fill) -> None:
    Path("page.md").write_text(TABLE)
    [page] = pages([Path("page.md")])
    Path("page.md").write_text(TABLE + "my new paragraph\n")
    before = files_here()
    with pytest.raises(UserError, match=r"the page 'page\.md' has changed since it was read; run fill again"):
        page.write()
    assert files_here() == before
    assert fill(TABLE + "my new paragraph\n").endswith(f"{END}\nmy new paragraph\n")


def test_only_what_changes_is_written_and_the_page_keeps_its_mode(fill) -> None:
    Path("page.md").write_text(TABLE + FIGURE.replace("n.png", "drawn.png"))
    Path("page.md").chmod(0o640)
    assert main(["fill", "page.md"]) == 0
    assert Path("page.md").stat().st_mode & 0o777 == 0o640
    names = ["page.md", "n.csv", "drawn.csv", "drawn.png"]
    before = {name: Path(name).stat().st_ino for name in names}
    Path("page.md").chmod(0o400)
    assert main(["fill", "page.md", "./page.md"]) == 0
    assert {name: Path(name).stat().st_ino for name in names} == before
    stale = Path("page.md").read_text().replace("98.5", "98.6")
    Path("page.md").chmod(0o600)
    Path("page.md").write_text(stale)
    Path("page.md").chmod(0o400)
    with pytest.raises(UserError, match=r"the page 'page\.md' is read-only; make it writable"):
        main(["fill", "page.md"])
    assert Path("page.md").read_text() == stale


@pytest.mark.parametrize(
    "text",
    [
        TABLE + OTHER,
        FIGURE + FIGURE.replace("figure --", "figure --size slide --", 1),
        FIGURE + TABLE,
        TABLE + OTHER.replace("n.csv", "./n.csv"),
        TABLE + OTHER.replace("n.csv", "link/n.csv"),
    ],
)
def test_two_marks_write_one_file_only_where_they_agree(fill, text: str) -> None:
    Path("link").symlink_to(".")
    refused(text, "another mark writes other content into")


def test_two_pages_write_one_file_only_where_they_agree(fill) -> None:
    Path("a.md").write_text(TABLE + TABLE)
    Path("b.md").write_text(TABLE)
    assert main(["fill", "a.md", "b.md"]) == 0
    Path("b.md").write_text(OTHER)
    with pytest.raises(UserError, match=r"b\.md, line 1: another mark writes other content into 'n\.csv'"):
        main(["fill", "--check", "a.md", "b.md"])


def test_only_may_be_repeated(fill) -> None:
    scores = f"<!-- analysis scores {SOURCE} --only kernel_size=3 --only"
    one = fill(f"{scores} operator=convolution,xvolution -->\n{END}\n").partition("-->")[2]
    two = fill(f"{scores} operator=convolution --only operator=xvolution -->\n{END}\n").partition("-->")[2]
    assert one == two and "| Convolution " in two and "| X-volution " in two
    refused(f"{scores} operator -->\n{END}", "--only 'operator' must be KEY=V1,V2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{NUMBER} --minus convolution --decimals 3", "--decimals is for a mean alone, without --minus and --show"),
        (f"{NUMBER} --show n --decimals 1", "--decimals is for a mean alone, without --minus and --show"),
        (f"{NUMBER} --show params --decimals 0", "--decimals is for a mean alone, without --minus and --show"),
        (f"{NUMBER} --interval t", "--interval t is for a difference and needs --minus ROW"),
        (f"{NUMBER} --show params --metric top1", "--show params is the same for each metric and takes no --metric"),
        (f"{NUMBER} --at kernel_size=5", "--at kernel_size is given twice"),
        (f"{NUMBER} --row=convolution", "number: --row is given twice"),
        ("verdict --source runs", "--claims is missing; it names the claim"),
        ("verdict --source runs --claims 6,", "'6,' must be the numbers of claims, such as 6,7"),
    ],
)
def test_an_option_without_an_effect_is_a_mistake(fill, words: str, message: str) -> None:
    refused(f"A <!-- analysis {words} -->{END}.", message)


@pytest.mark.parametrize(("link", "name"), [("out", "out/n.csv"), ("n.csv", "n.csv")])
def test_no_file_is_written_outside_the_folder_of_the_page(fill, link: str, name: str) -> None:
    Path("pages").mkdir()
    Path("outside").mkdir()
    Path("pages", link).symlink_to(f"../outside/{link}" if link.endswith(".csv") else "../outside")
    Path("pages/page.md").write_text(TABLE.replace("n.csv", name))
    with pytest.raises(UserError, match="which is not below the page's folder"):
        main(["fill", "pages/page.md"])
    assert not list(Path("outside").iterdir())


def circle(name: str) -> None:
    Path(name).symlink_to(name)


@pytest.mark.parametrize(
    ("make", "text", "message"),
    [
        (None, TABLE.replace("n.csv", "'n\0.csv'"), r"'n\x00.csv' must be a file below the page's folder"),
        (None, TABLE.replace("--csv", "--protocol 'a\0' --csv"), "a name cannot hold a null character"),
        (os.mkfifo, TABLE.replace("--csv", "--protocol x --csv"), "cannot read the protocol 'x': not a regular file"),
        (circle, TABLE.replace("n.csv", "x/n.csv"), "'x/n.csv' leads to no file: Too many levels of symbolic links"),
    ],
)
def test_a_name_that_leads_to_no_file(fill, make: Callable[[str], None] | None, text: str, message: str) -> None:
    if make is not None:
        make("x")
    refused(text, message)


@pytest.mark.parametrize("make", [circle, os.mkfifo])
def test_a_page_that_is_no_file(fill, make: Callable[[str], None]) -> None:
    make("page.md")
    with pytest.raises(UserError, match=r"the page 'page\.md' cannot be read: (Too many|not a regular file)"):
        main(["fill", "page.md"])


def test_a_sweep_that_is_left_out_is_told_by_marks_that_count_all_sweeps(fill, capsys) -> None:
    Path("runs/other").mkdir()
    Path("runs/other/cells.json").write_text('{"schema": 9}')
    fill(TABLE)
    assert "note" not in capsys.readouterr().err and main(["fill", "--check", "page.md"]) == 0
    for words in ("cost", "tally", "verdicts"):
        fill(f"<!-- analysis {words} --source runs -->\n{END}\n")
        assert capsys.readouterr().err.startswith("note: left out: ")
        assert main(["fill", "--check", "page.md"]) == 1
        told = capsys.readouterr()
        assert told.err.startswith("note: left out: ")
        assert told.out == "1 page checked: 0 differences; some records are left out\n"


def test_a_damaged_line_of_records_fails_the_check(fill) -> None:
    assert main(["archive", "--source", "runs", "--out", "match.jsonl"]) == 0
    Path("match.jsonl").write_text(Path("match.jsonl").read_text() + "{}\n")
    fill(TABLE.replace("runs", "match.jsonl"))
    assert main(["fill", "--check", "page.md"]) == 1
