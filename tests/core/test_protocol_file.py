"""The machine-readable part of a protocol, and how later versions of the file are known."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from lightning_xvol.errors import UserError
from lightning_xvol.ledger.protocol import as_text, read_protocol

TEXT = """# A protocol

Words for people, with a block of another kind:

```yaml
recipe: none
```

```yaml protocol
recipe: fashion_small
sweeps:
  kernel_size:
    rows: [convolution, xvolution]
    axes: {kernel_size: [1, 3]}
    seeds: 0-2, 7
    contrasts: [xvolution - convolution]
  stage: {seeds: 5, axes: {stages: [[3, 4], all]}}
```

More words.

```yaml protocol
recipe: match_small
sweeps: {kernel_size: {seeds: [0, 4]}}
```
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "docs" / "protocol.md"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def test_blocks_say_what_is_planned(path: Path) -> None:
    protocol = read_protocol(path)
    assert protocol.file == "docs/protocol.md"
    assert protocol.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    here = "fashion_small", "kernel_size"
    for seed in range(9):
        assert protocol.covers(*here, "xvolution", {"kernel_size": 3}, seed) == (seed in (0, 1, 2, 7))
    assert not protocol.covers(*here, "xvolution", {"kernel_size": 5}, 0)
    assert not protocol.covers(*here, "pssa", {"kernel_size": 3}, 0)
    assert not protocol.covers("fashion_small", "operator", "convolution", {}, 0)
    assert protocol.covers("match_small", "kernel_size", "anything", {"kernel_size": 9}, 4)
    for stages in ((3, 4), [3, 4], "3+4", "all"):
        assert protocol.covers("fashion_small", "stage", "xvolution", {"stages": stages}, 5)
    [planned] = protocol.of(*here)
    assert planned.contrasts == (("xvolution", "convolution"),)


@pytest.mark.parametrize(("one", "other"), [(True, "yes"), (False, "no"), (1, 1.0), (None, "none"), ((1, 3), "1+3")])
def test_values_of_axes_are_equal_in_plans_tables_and_protocols(one: object, other: object) -> None:
    assert as_text(one) == as_text(other)


def test_a_file_that_was_appended_to_is_a_later_version_and_any_other_edit_is_not(path: Path) -> None:
    before = read_protocol(path)
    record = {"protocol": before.stamp}
    for added in (
        "",
        "x",
        "\nA note.\n",
        "\r\nA note",
        "\n```yaml protocol\nrecipe: r\nsweeps: {s: {seeds: 1}}\n```\n",
    ):
        path.write_text(TEXT + added)
        assert read_protocol(path).stamped(record)
    path.write_text(TEXT.rstrip("\n"))
    bare = {"protocol": read_protocol(path).stamp}
    path.write_text(TEXT + "more")
    assert read_protocol(path).stamped(bare)
    for changed in (TEXT.replace("0-2", "0-3"), " " + TEXT, TEXT[:-20] + "\n"):
        path.write_text(changed)
        assert not read_protocol(path).stamped(record)
    for stamp in (None, {}, {"sha256": before.sha256}, {"file": 3, "sha256": before.sha256}, "text"):
        assert not before.stamped({"protocol": stamp}) and not before.stamped({})


def test_a_path_elsewhere_is_known_by_its_name_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent / "..")
    (path.parents[1] / "below").mkdir()
    monkeypatch.chdir(path.parents[1] / "below")
    assert read_protocol(path).file == "protocol.md"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("recipe: [", "has a block that is not YAML"),
        ("3", "a block must name recipe, sweeps, not 3"),
        ("recipe: a", "a block needs `recipe`"),
        ("recipe: a\nsweeps: {}", "a block needs `recipe`"),
        ("recipe: a\nsweep: {b: {seeds: 1}}", r"a block has 'sweep' \(did you mean 'sweeps'"),
        ("recipe: a\nsweeps: {b: {seed: 1}}", r"sweep 'b' has 'seed' \(did you mean 'seeds'"),
        ("recipe: a\nsweeps: {b: 3}", "sweep 'b' must name rows, axes, seeds, contrasts"),
        ("recipe: a\nsweeps: {b: {rows: x, seeds: 1}}", "rows='x' must be a list"),
        ("recipe: a\nsweeps: {b: {axes: {k: 3}, seeds: 1}}", "must name a list of values"),
        ("recipe: a\nsweeps: {b: {}}", "seeds=None must be seeds such as"),
        ("recipe: a\nsweeps: {b: {seeds: 4-2}}", "seeds='4-2' must be seeds"),
        ("recipe: a\nsweeps: {b: {seeds: 0-99999999999}}", "must be seeds such as"),
        ("recipe: a\nsweeps: {b: {seeds: 1, contrasts: [x-y]}}", "contrast 'x-y' must be two rows"),
        ("recipe: a\nsweeps: {b: {seeds: 1, contrasts: x - y}}", "must be a list of differences"),
    ],
)
def test_a_block_that_says_something_else_is_one_sentence(path: Path, block: str, message: str) -> None:
    path.write_text(f"```yaml protocol\n{block}\n```\n")
    with pytest.raises(UserError, match=message) as caught:
        read_protocol(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_block_or_no_file_is_one_sentence(path: Path) -> None:
    path.write_text(TEXT.replace("```yaml protocol", "```yaml"))
    with pytest.raises(UserError, match="has no block that begins with"):
        read_protocol(path)
    with pytest.raises(UserError, match="cannot read the protocol"):
        read_protocol(path.parent)


def test_the_example_of_the_documents_is_a_protocol(path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```text\n(recipe:.*?)^```$", text, re.DOTALL | re.MULTILINE)
    path.write_text(f"```yaml protocol\n{example}```\n")
    assert read_protocol(path).covers("fashion_small", "kernel_size", "xvolution", {"kernel_size": 5}, 7)
