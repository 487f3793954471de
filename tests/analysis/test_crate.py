"""The RO-Crate lists what lies in a folder of records, and Croissant describes the data sets that code generates."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.publication import crate, croissant
from lightning_xvol.config import registry
from lightning_xvol.data.match import Match
from lightning_xvol.data.shapes import CATEGORIES
from lightning_xvol.data.shapes_coco import ShapesCoco
from lightning_xvol.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CRATE = ["crate", "--folder", "results"]
CITATION = """cff-version: 1.2.0
title: "A suite"
license: Apache-2.0
version: 3.1.4
authors:
  - {family-names: Doe, given-names: Jo}
  - name: The others
references:
  - type: article
    title: "The paper"
    authors: [{family-names: Roe, given-names: R.}]
    year: 2020
    identifiers: [{type: other, value: "arXiv:2001.00001"}]
"""


@pytest.fixture
def results(make_ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive, a file of another kind in a folder, and a hidden file."""
    ledger = make_ledger()
    ledger.lose("convolution", 1, 0)
    monkeypatch.chdir(tmp_path)
    Path("CITATION.cff").write_text(CITATION)
    assert main(["archive", "--source", str(ledger.out), "--out", "results/match_small.jsonl.gz"]) == 0
    for name in ("results/a folder/notes.md", "results/.hidden", "results/.cache/x"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("text")
    return tmp_path / "results"


def entities(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "ro-crate-metadata.json").read_text())
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    found = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(found) == len(content["@graph"]), "ids are unique"
    return found


def references(node: Any) -> Iterator[str]:
    """The ids that an entity refers to, at any depth."""
    if isinstance(node, dict) and set(node) == {"@id"}:
        yield node["@id"]
    elif isinstance(node, (dict, list)):
        for value in node.values() if isinstance(node, dict) else node:
            yield from references(value)


def test_the_crate_has_what_the_specification_requires(results) -> None:
    assert main([*CRATE, "--date", "2026-12-24"]) == 0
    found = entities(results)
    about = found["ro-crate-metadata.json"]
    assert (about["@type"], about["about"]) == ("CreativeWork", {"@id": "./"})
    assert about["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = found["./"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"]
    assert (root["datePublished"], root["version"]) == ("2026-12-24", "3.1.4")
    assert found[root["license"]["@id"]] == {
        "@id": "https://spdx.org/licenses/Apache-2.0", "@type": "CreativeWork", "name": "Apache-2.0",
    }  # fmt: skip
    authors = [(found[author["@id"]]["@type"], found[author["@id"]]["name"]) for author in root["author"]]
    assert authors == [("Person", "Jo Doe"), ("Organization", "The others")]
    paper = found["https://arxiv.org/abs/2001.00001"]
    assert (paper["@type"], paper["name"], paper["author"]) == ("ScholarlyArticle", "The paper", ["R. Roe"])
    outside = {"https://w3id.org/ro/crate/1.1", "http://mlcommons.org/croissant/1.0"}
    assert set(references(list(found.values()))) - set(found) == outside, "all that is named is described"


def test_every_file_is_listed_with_its_size_and_hash(results) -> None:
    assert main(CRATE) == 0
    found = entities(results)
    listed = {part["@id"] for part in found["./"]["hasPart"]}
    assert listed == {
        "match_small.jsonl.gz", "a%20folder/notes.md", "match.croissant.json", "shapes_coco.croissant.json",
    }  # fmt: skip
    for name in listed:
        content = (results / name.replace("%20", " ")).read_bytes()
        entity = found[name]
        assert entity["@type"] == "File" and entity["contentSize"] == str(len(content))
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["match_small.jsonl.gz"]["description"] == (
        "44 runs on recipe match_small; sweeps: kernel_size; commits: 0123456789."
    )
    assert {name: found[name]["encodingFormat"] for name in listed} == {
        "match_small.jsonl.gz": "application/gzip", "a%20folder/notes.md": "text/markdown",
        "match.croissant.json": "application/json", "shapes_coco.croissant.json": "application/json",
    }  # fmt: skip


def test_the_same_folder_gives_the_same_bytes_and_the_check_sees_a_change(results, capsys) -> None:
    assert main([*CRATE, "--date", "2026-12-24"]) == 0
    before = {path: path.read_bytes() for path in results.glob("*.json")}
    assert main(CRATE) == 0 and main([*CRATE, "--check"]) == 0
    assert {path: path.read_bytes() for path in before} == before, "the date stays"
    (results / "a folder/notes.md").write_text("changed")
    capsys.readouterr()
    assert main([*CRATE, "--check"]) == 1
    assert capsys.readouterr().out == "results/ro-crate-metadata.json: missing or out of date\n"
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (lambda folder: folder.rename("other"), [], "no folder 'results'"),
        (lambda folder: (folder / "match_small.jsonl.gz").unlink(), [], "no records (.jsonl.gz) in 'results'"),
        (lambda folder: (folder / "match_small.jsonl.gz").write_text("{}"), [], "line 1 is not a finished cell"),
        (lambda folder: (folder / "b.jsonl").write_bytes(b""), [], "no sweep at"),
        (lambda folder: None, ["--date", "24.12.2026"], "--date '24.12.2026' must be a date such as 2026-11-29"),
        (lambda folder: None, ["--date", ""], "--date '' must be a date such as 2026-11-29"),
        (lambda folder: None, ["--date", "20261129"], "--date '20261129' must be a date such as 2026-11-29"),
        (lambda folder: None, ["--citation", "none.cff"], "cannot read 'none.cff' (No such file or directory); name"),
        (lambda folder: Path("CITATION.cff").write_text("title: a"), [], "'CITATION.cff' is no CITATION.cff that this"),
        (lambda folder: Path("CITATION.cff").write_text("[]"), [], "'CITATION.cff' is no CITATION.cff that this"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(results, damage, arguments, message) -> None:
    damage(results)
    with pytest.raises(UserError) as error:
        main([*CRATE, *arguments])
    assert message in str(error.value)
    assert not list(Path().glob("**/ro-crate-metadata.json"))


def test_a_damaged_line_of_records_is_no_crate(results) -> None:
    path = results / "more.jsonl"
    main(["archive", "--source", "results/match_small.jsonl.gz", "--out", str(path)])
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UserError, match=r"line 45 is not a finished cell .*; the records to describe must be whole"):
        main(CRATE)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title: "A suite"', "title: " + "[" * 600, "maximum recursion depth"),
        ("year: 2020", "year: 2020\n    url: [1]", "url [1] must be a text"),
        ("Apache-2.0", "../a b", "license '../a b' must be a name of SPDX, such as MIT"),
        ("  - {family-names: Doe, given-names: Jo}\n  - name: The others", "  []", "no author"),
    ],
)
def test_a_citation_that_cannot_be_used_is_one_sentence(results, old: str, new: str, message: str) -> None:
    Path("CITATION.cff").write_text(CITATION.replace(old, new))
    with pytest.raises(UserError, match=f"'CITATION.cff' is no CITATION.cff that .*{re.escape(message)}"):
        main(CRATE)


def test_a_title_may_look_like_a_date_and_a_name_may_be_no_utf_8(results) -> None:
    text = CITATION.replace('"The paper"', "2001-01-01").replace('"A suite"', r'"A \ud800 suite"')
    Path("CITATION.cff").write_text(text)
    (results / os.fsdecode(b"n\xff.md")).write_text("text")
    assert main(CRATE) == 0 and main([*CRATE, "--check"]) == 0
    found = entities(results)
    assert found["https://arxiv.org/abs/2001.00001"]["name"] == "2001-01-01"
    assert found["n%FF.md"]["name"] == "n\ufffd.md"


def test_a_date_that_is_none_is_not_kept(results) -> None:
    assert main([*CRATE, "--date", "2026-12-24"]) == 0
    path = results / "ro-crate-metadata.json"
    path.write_text(path.read_text().replace("2026-12-24", "garbage <x>"))
    assert main([*CRATE, "--check"]) == 1
    assert main(CRATE) == 0 and "garbage" not in path.read_text()


def test_sweeps_and_links_that_are_left_out_are_told(results, tmp_path: Path, capsys) -> None:
    path = results / "more.jsonl"
    main(["archive", "--source", "results/match_small.jsonl.gz", "--out", str(path)])
    cells = [json.loads(line) for line in path.read_text().splitlines()]
    for cell in cells:
        [sweep] = cell["sweeps"]
        cell["sweeps"] = [sweep, {**sweep, "plan": {**sweep["plan"], "schema": 2, "sweep": "stage"}}]
    path.write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    (tmp_path / "outside.md").write_text("text")
    (results / "link.md").symlink_to(tmp_path / "outside.md")
    (results / "inside.md").symlink_to(results / "a folder/notes.md")
    capsys.readouterr()
    for arguments in (CRATE, [*CRATE, "--check"]):
        assert main(arguments) == 1
        told = capsys.readouterr().err.splitlines()
        assert told == [
            "note: left out: results/link.md is a link to a file outside 'results'",
            "note: left out: results/more.jsonl: 'results/more.jsonl, sweep stage' has schema 2, this version reads 1",
        ]
    found = entities(results)
    assert "link.md" not in found and "inside.md" in found
    assert found["more.jsonl"]["description"].startswith("44 runs on recipe match_small; sweeps: kernel_size;")


@pytest.mark.parametrize("name", croissant.SETS)
def test_a_croissant_description_is_complete_and_says_what_the_code_makes(name: str) -> None:
    citation = crate.read_citation(ROOT / "CITATION.cff")
    found = croissant.description(name, ROOT / "results", citation, "2026-12-24")
    required = "@context @type conformsTo name description license url creator datePublished distribution recordSet"
    assert set(required.split()) <= set(found)
    assert (found["@type"], found["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert found["version"] == f"{registry.DATASETS[name].generator}.0.0"
    for file in found["distribution"]:
        code = (ROOT / "results" / file["contentUrl"]).resolve()
        assert code.is_relative_to(ROOT) and file["@type"] == "cr:FileObject"
        assert file["sha256"] == hashlib.sha256(code.read_bytes()).hexdigest()
    sets = {each["@id"]: each for each in found["recordSet"]}
    assert set(sets) == {"splits", "labels", "images"}
    fields = [field["@id"] for each in sets.values() for field in each["field"]]
    ids = [*sets, *fields, *(file["@id"] for file in found["distribution"])]
    assert len(set(ids)) == len(ids) and set(references(found["recordSet"])) <= set(ids)
    for each in (sets["splits"], sets["labels"]):
        assert all(list(row) == [field["@id"] for field in each["field"]] for row in each["data"])
    defaults = {key: each.default for key, each in inspect.signature(made(name).__init__).parameters.items()}
    sizes = {row["splits/name"]: row["splits/images"] for row in sets["splits"]["data"]}
    assert sizes == {key.removesuffix("_size"): size for key, size in defaults.items() if key in SIZES}
    classes = {row["labels/label"]: row["labels/name"] for row in sets["labels"]["data"]}
    assert classes == (dict(enumerate(Match.classes)) if name == "match" else CATEGORIES)
    assert str(ROOT) not in json.dumps(found)


@pytest.mark.parametrize("name", croissant.SETS)
def test_the_reference_implementation_reads_a_croissant_description(name: str, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    path = tmp_path / "croissant.json"
    path.write_text(
        json.dumps(croissant.description(name, tmp_path, crate.read_citation(ROOT / "CITATION.cff"), "2026"))
    )
    dataset = mlcroissant.Dataset(jsonld=str(path))
    assert not dataset.metadata.ctx.issues.report()
    assert [row["labels/name"] for row in dataset.records("labels")] == list(croissant.SETS[name].classes.values())


SIZES = ("train_size", "validation_size", "test_size")


def made(name: str) -> type:
    return {"match": Match, "shapes_coco": ShapesCoco}[name]


def test_the_call_in_a_description_makes_the_data(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(croissant.SETS["match"].call, names)
    image, label = names["split"][0]
    assert f"The pixels {list(image.shape)}" in json.dumps(croissant.SETS["match"].fields) and 0 <= int(label) < 4
    assert len(names["split"]) == 6000
    call = ast.parse(croissant.SETS["shapes_coco"].call).body  # writing 400 pictures takes seconds
    assert "import ShapesCoco" in ast.unparse(call[1]) and ast.unparse(call[2].value).startswith(
        "ShapesCoco(Path('data'))"
    )


def test_our_citation_names_the_paper_by_its_arxiv_id() -> None:
    [paper] = crate.read_citation(ROOT / "CITATION.cff").papers
    assert (
        paper["@id"] == "https://arxiv.org/abs/2106.02253" and "arXiv:2106.02253" in (ROOT / "CITATION.cff").read_text()
    )
