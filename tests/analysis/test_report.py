"""The report shows what is in the ledger, escapes every name, and needs no other file."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report.page import html
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

NASTY = "_%&#$x${}~^\\\"' <script>alert(1)</script> {{7*7}}"
SMALL = {"convolution": {1: [24.4, 24.7], 3: [70.0, 70.4]}, "xvolution": {1: [96.8, 98.4], 3: [97.9, 98.5]}}
VOID = {"meta", "link", "input", "br"}


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.walk() if element.tag == tag]

    def by_id(self, name: str) -> Element:
        return next(element for element in self.walk() if element.attributes.get("id") == name)

    @property
    def text(self) -> str:
        joined = " ".join(child if isinstance(child, str) else child.text for child in self.children)
        return " ".join(joined.split())


class Tree(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(page)
        assert self._open == [self.root], "an element is not closed"

    def handle_starttag(self, tag, attrs) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data) -> None:
        self._open[-1].children.append(data)


def page_of(out: Path, **options) -> Element:
    return Tree(html(Collection([out]), "python -m analysis report", **options)).root


def test_every_number_links_to_its_runs(make_ledger) -> None:
    runs = make_ledger()
    page = page_of(runs.out)
    table = page.by_id("sweep-1").all("table")[0]
    rows = {row.all("th")[0].text: row for row in table.all("tbody")[0].all("tr")}
    for label, operator in {"Convolution": "convolution", "X-volution": "xvolution"}.items():
        for size, cell in zip([1, 3, 5, 7, 9], rows[label].all("td"), strict=True):
            results = [json.loads((runs.folder(operator, size, seed) / "result.json").read_text()) for seed in range(3)]
            values = [result["metrics"]["top1"]["last"] for result in results]
            (link,) = cell.all("a")
            assert link.text.startswith(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}")
            group = page.by_id(link.attributes["href"].removeprefix("#"))
            listed = group.all("table")[0].all("tbody")[0].all("tr")
            for result, value, run in zip(results, values, listed, strict=True):
                texts = [item.text for item in run.children if isinstance(item, Element)]
                assert texts[:2] == [str(result["seed"]), f"{value:g}"]
                assert texts[3:] == [
                    "finished", "10 s", result["cell_id"], "0123456789", "torch 2.15.0, cpu",
                    str(runs.folder(operator, size, result["seed"]) / "result.json"),
                ]  # fmt: skip
            assert "train: {epochs: 3, steps: null}" in group.text
    parameters = table.all("tbody")[1].all("a")
    assert len(parameters) == 15
    assert all("#runs-" in link.attributes["href"] for link in parameters)


def test_every_link_has_a_target_and_ids_are_unique(make_ledger) -> None:
    runs = make_ledger()
    runs.sweep |= {"sweep": "other", "figure": {"kind": "bars", "x": "kernel_size"}}
    runs.write_sweep()
    page = page_of(runs.out)
    ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = [link for link in page.walk() for name in link.attributes if name.endswith("href")]
    targets = {link.attributes.get("href", link.attributes.get("xlink:href", "")) for link in links}
    assert {target.removeprefix("#") for target in targets if target.startswith("#")} <= set(ids)
    assert len(page.all("svg")) == 4  # each sweep has its own figure and that of every run; there are no curves
    claim = next(item for item in page.by_id("verdicts").all("li") if item.text.startswith("19 "))
    rows = {"convolution": (1, 3, 9), "xvolution": (1, 3, 5, 7, 9)}
    assert {link.text for link in claim.all("a")} == {
        f"{row} K={size}" for row, sizes in rows.items() for size in sizes
    }


def test_captions_of_curves_name_the_metric(make_ledger) -> None:
    runs = make_ledger(SMALL, figure={"kind": "curves", "x": "kernel_size"})
    runs.write_curves()
    captions = [caption.text for caption in page_of(runs.out).by_id("sweep-1").all("figcaption")]
    shown = (
        "Validation top-1 accuracy (%) by epoch",
        "Top-1 accuracy (%) of every",
        "Validation top-1 accuracy (%) after",
    )
    assert [any(caption.startswith(text) for caption in captions) for text in shown] == [True] * 3, captions


def test_a_row_lists_its_seeds_of_all_sweeps(make_ledger) -> None:
    runs = make_ledger(SMALL)
    runs.sweep["sweep"] = "more"
    group = runs.cell("xvolution", 3, 0)["group_id"]
    extra = runs.cell("xvolution", 3, 0) | {"seed": 2, "cell_id": "extra"}
    runs.cells.append(extra)
    runs.write_sweep()
    runs.write(extra, 97.3)
    listed = page_of(runs.out).by_id(f"runs-{group}").all("tbody")[0].all("tr")
    assert [row.all("th")[0].text + " " + row.all("td")[0].text for row in listed] == ["0 97.9", "1 98.5", "2 97.3"]


def test_the_page_loads_nothing_and_links_only_runs_on_a_server(make_ledger, monkeypatch) -> None:
    outcome = Collection.outcome
    url = "https://wandb.ai/group/project/runs/1"
    monkeypatch.setattr(
        Collection, "outcome", lambda self, cell: dataclasses.replace(outcome(self, cell), where=url)
    )  # fmt: skip
    runs = make_ledger(SMALL)
    source = html(Collection([runs.out]), "python -m analysis report")
    assert "@import" not in source and "default-src 'none'" in source
    for element in Tree(source).root.walk():
        for name, value in element.attributes.items():
            if "url(" in value:
                assert "url(#" in value
            if name.endswith("href") and element.tag == "a" and value.startswith("https:"):
                assert (value, element.attributes["rel"]) == (url, "noreferrer")
            elif name.endswith(("href", "src", "action", "data", "poster", "srcset")):
                assert value.startswith(("#", "data:"))


@pytest.mark.parametrize("name", [NASTY, "{% raw %}"])
def test_names_are_never_markup(make_ledger, name: str) -> None:
    runs = make_ledger(SMALL, figure={"kind": "dots", "x": "kernel_size"})
    runs.write(runs.cell("xvolution", 3, 1), 0.0)
    harmless = page_of(runs.out)
    for cell in runs.cells:
        cell["label"] = {"xvolution": f"X {name}"}.get(cell["operator"], cell["label"])
    for key in ("title", "data", "budget", "metric_label", "note", "recipe"):
        runs.sweep[key] = name
    runs.sweep["axis_labels"] = {"kernel_size": name}
    runs.write_sweep()
    page = page_of(runs.out)

    def outline(root: Element) -> list[str]:
        drawn = {id(element) for svg in root.all("svg") for element in svg.walk()}
        return [element.tag for element in root.walk() if id(element) not in drawn and element.tag != "code"]

    note = ["li"]  # the harmless sweep has no note
    assert sorted(outline(page)) == sorted(outline(harmless) + note)
    assert len(page.all("script")) == 1
    spaced = " ".join(f"X {name}".split())
    table = page.by_id("sweep-1").all("table")[0]
    assert spaced in [header.text for header in table.all("th")]
    assert any(spaced in text.text for text in page.all("svg")[0].all("text"))


def test_failures_are_at_the_top(make_ledger) -> None:
    runs = make_ledger()
    runs.lose("convolution", 1, 0)
    runs.lose("xvolution", 1, 0)
    (runs.folder("xvolution", 1, 0) / "failure.json").write_text(json.dumps({"error": "out of <memory>"}))
    runs.diverge("xvolution", 3, 1)
    runs.write(runs.cell("convolution", 3, 0), 70.0, commit="f" * 40)
    page = page_of(runs.out)
    warnings = page.by_id("warnings").text
    failed = runs.cell("xvolution", 1, 0)["cell_id"]
    for text in (
        "1 of 45 cells missing",
        "1 of 45 cells diverged and not averaged",
        f"1 failed cell: {failed} (out of <memory>)",
        "mixed commits: 0123456789, ffffffffff",
        "3 of 15 table cells have fewer than 3 finished seeds",
        "match-to-sample: these data cannot reproduce the paper",
    ):
        assert text in warnings
    listed = page.by_id(f"runs-{runs.cell('xvolution', 1, 0)['group_id']}").text
    assert "seed 0: failed, seed 1: 98.4, seed 2: 99.4" in listed
    assert "failed: out of <memory>" in listed
    listed = page.by_id(f"runs-{runs.cell('xvolution', 3, 1)['group_id']}").text
    assert "seed 0: 97.9, seed 1: diverged, seed 2: 99.1" in listed


def test_a_sweep_with_an_unknown_figure_is_shown_without_it(make_ledger) -> None:
    page = page_of(make_ledger(SMALL, figure={"kind": "pie"}).out)
    assert "asks for a figure 'pie'; known kinds: lines" in page.by_id("warnings").text
    assert not page.all("svg")
    assert page.by_id("sweep-1").all("table")


def test_a_damaged_sweep_is_left_out_with_a_sentence(make_ledger) -> None:
    runs = make_ledger(SMALL)
    other = runs.out / "shift_distance"
    other.mkdir()
    (other / "cells.json").write_text('{"schema": 1, "cel')
    warnings = page_of(runs.out).by_id("warnings").text
    assert f"left out: cannot read '{other}/cells.json' as JSON" in warnings


@pytest.mark.parametrize("command", ["report", "summary"])
def test_without_a_sweep_there_is_one_sentence_and_no_page(make_ledger, tmp_path: Path, command: str) -> None:
    runs = make_ledger(SMALL)
    (runs.out / "kernel_size" / "cells.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*cells\.json"):
        main([command, "--source", str(runs.out)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds neither a ledger"):
        main([command, "--source", str(tmp_path / "empty")])
    assert not list(tmp_path.rglob("report.html"))


def test_the_same_runs_give_the_same_page_and_it_names_its_command(make_ledger, tmp_path: Path, capsys) -> None:
    runs = make_ledger(SMALL)
    arguments = ["report", "--source", str(runs.out), "--select", "best", "--out", str(tmp_path / "a folder")]
    assert main(arguments) == 0
    path = tmp_path / "a folder" / "report.html"
    assert capsys.readouterr().out == f"report: {path}\n"
    first = path.read_bytes()
    assert main(arguments) == 0
    assert path.read_bytes() == first
    page = Tree(first.decode()).root
    assert page.all("footer")[0].text == (
        f"Made by python -m analysis report --source {runs.out} --select best --out '{tmp_path / 'a folder'}'"
    )
    assert "each run's best evaluation (select = best)" in page.by_id("warnings").text
