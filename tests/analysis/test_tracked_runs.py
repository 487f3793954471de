"""What tracked runs say of themselves, read back: runs of this version and of a former one, whole sweeps and one run.

`fixtures/old_wandb_runs.zip` was made at commit 1a110ea by `python -m ablations.kernel_size --smoke --seeds 2 --only
kernel_size=1,3 --only operator=convolution,xvolution` on tiny networks: the files of its offline runs, and its ledger.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from analysis.output.sweep import render
from analysis.sources.collection import Collection
from analysis.sources.wandb_runs import make_segment
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, packed, tracked

FIXTURE = Path(__file__).parent.parent / "fixtures" / "old_wandb_runs.zip"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    zipfile.ZipFile(FIXTURE).extractall(tmp_path / "old")
    return tmp_path / "old"


def csv(source: str | Path, folder: Path) -> bytes:
    found = Collection([source])
    assert found.losses == []
    render(found, "kernel_size", folder)
    return (folder / "kernel_size" / "table.csv").read_bytes()


def test_offline_runs_of_a_former_version_are_read(old: Path, tmp_path: Path) -> None:
    assert csv(old / "runs", tmp_path / "offline") == csv(old / "ledger", tmp_path / "own")
    ledger, offline = Collection([old / "ledger"]), Collection([old / "runs"])
    _, frame = ledger.load("kernel_size")
    for cell in frame.loc[frame["state"] == "finished", "cell_id"].unique():
        for name in ("train_loss", "val_top1", "top1"):
            assert ledger.curve(cell, name) == offline.curve(cell, name) != {}


def test_runs_of_a_former_version_on_a_server_are_read(wandb_server: Any, old: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    paths = sorted(map(str, (old / "runs").glob("offline-run-*")))
    sync = [sys.executable, "-m", "wandb", "sync", "--yes", "--project", "old"]
    subprocess.run([*sync, *paths], check=True, timeout=240)
    assert csv("wandb:old", tmp_path / "server") == csv(old / "ledger", tmp_path / "own")


def plan_of(rows: int, sizes: int, seeds: int) -> dict[str, Any]:
    source = random.Random(0)
    cells = [
        {
            "operator": f"row{row}", "label": f"Row {row}", "axes": {"kernel_size": 2 * size + 1}, "seed": seed,
            "cell_id": f"{source.getrandbits(48):012x}", "group_id": f"{row:06x}{size:06x}",
        }
        for row in range(rows) for size in range(sizes) for seed in range(seeds)
    ]  # fmt: skip
    return {"schema": 1, "sweep": "kernel_size", "axes": ["kernel_size"], "title": "A title", "cells": cells}


def read(texts: list[str], own: dict[int, str] | None = None, cells: dict[tuple[str, int], str] | None = None) -> Any:
    found = packed.unpack(texts, own or {}, "plan")
    for cell in found["cells"] if found else ():
        if (cell["group_id"], cell["seed"]) in (cells or {}):
            cell["cell_id"] = (cells or {})[cell["group_id"], cell["seed"]]
            del cell["begun"]
    return found


@pytest.mark.parametrize("rows", [3, 60, 90, 150, 400])
def test_a_packed_plan_is_whole_where_every_run_is_known(rows: int) -> None:
    plan = plan_of(rows, 4, 2)
    del plan["cells"][7], plan["cells"][20]
    plan["cells"][-1] |= {key: plan["cells"][3][key] for key in ("group_id", "cell_id")}  # one run in two places
    ids = {(cell["group_id"], cell["seed"]): cell["cell_id"] for cell in plan["cells"]}
    groups = list(dict.fromkeys(cell["group_id"] for cell in plan["cells"]))
    own = dict(enumerate(groups))
    texts = [packed.pack(plan, group)[0] for group in groups[:6]]
    assert [packed.pack(plan, group)[1] for group in groups[:3]] == [0, 1, 2]
    assert read(texts, {}, ids) == plan and read(texts[::-1], own, ids) == plan
    nobody = read(texts)
    assert [cell["begun"] for cell in nobody["cells"]] == [False] * len(plan["cells"])
    if rows > 50:  # one run holds a part of each id, and its own
        alone = read(texts[:1], {0: groups[0]}, ids)
        known = [cell for cell in alone["cells"] if "begun" not in cell]
        assert {cell["group_id"] for cell in known} == {groups[0]}
        others = [cell for cell in plan["cells"] if cell["group_id"] != groups[0]]
        about = ("operator", "label", "axes", "seed")
        for cell, true in zip((cell for cell in alone["cells"] if cell not in known), others, strict=True):
            assert [cell[key] for key in about] == [true[key] for key in about] and not cell["begun"]
            assert packed.agree(cell["partial_id"], true["group_id"]) and set(cell["partial_id"]) > {"_"}
        unknown = {cell["group_id"] for cell in alone["cells"]} - {groups[0]}
        assert len(unknown) == len(groups) - 1 and not any(checks.problems(group, checks.name) for group in unknown)


def test_a_packed_plan_hardly_grows_with_its_sweep() -> None:
    def size(*shape: int) -> int:
        plan = plan_of(*shape)
        return len(packed.pack(plan, plan["cells"][0]["group_id"])[0])

    assert size(3, 5, 67) < size(3, 5, 1) + 64
    assert size(10, 100, 1) < size(2, 5, 1) + 2200, "1000 configurations; a finished run of the demo has 23000 bytes"


def test_the_bytes_of_an_id_show_a_damaged_number_and_another_plan() -> None:
    plan = plan_of(400, 4, 1)
    plan["cells"][3]["group_id"], plan["cells"][9]["group_id"] = "0123456789ab", "ba9876543210"
    groups = [cell["group_id"] for cell in plan["cells"]]
    text = packed.pack(plan, groups[3])[0]
    assert [read([text], {number: groups[3]})["cells"][number]["group_id"] for number in (3, 9)] == [
        groups[3],
        "plan-9",
    ]
    other = {**plan, "cells": [{**cell, "axes": {"kernel_size": 0}} for cell in plan["cells"]]}
    texts = [packed.pack(plan if number else other, groups[number])[0] for number in range(6)]
    assert all("partial_id" in cell for cell in read(texts)["cells"]), "texts of two plans under one digest"


def test_ids_of_another_kind_are_kept_whole() -> None:
    plan = plan_of(400, 2, 1)
    for cell in plan["cells"]:
        cell["group_id"] = f"g-{cell['group_id']}"
    ids = {(cell["group_id"], cell["seed"]): cell["cell_id"] for cell in plan["cells"]}
    text, number = packed.pack(plan, "not in the plan")
    assert number is None and read([text], {}, ids) == plan


def test_a_text_of_a_former_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [[0, [1], "00000000000a", [[0, 1], [3, 3]]], [1, [1], "00000000000a", [[0, 0]]]]
    former = {"plan": {"sweep": "s", "axes": ["K"]}, "rows": [["a", "A"], ["b", "B"]], "places": places}
    text = base64.b64encode(zlib.compress(json.dumps(former).encode())).decode()
    found = read([text], {}, {("00000000000a", 0): "cell"})
    monkeypatch.setattr(packed, "SHARE", 1)
    newer, _ = packed.pack(found, "00000000000a")
    assert "partial_id" in read([newer])["cells"][0] and read([newer, text], {}, {("00000000000a", 0): "cell"}) == found
    told = [(cell["operator"], cell["axes"], cell["seed"], cell["cell_id"]) for cell in found["cells"]]
    assert told == [
        ("a", {"K": 1}, 0, "cell"), ("a", {"K": 1}, 1, "00000000000a-s1"), ("a", {"K": 1}, 3, "00000000000a-s3"),
        ("b", {"K": 1}, 0, "cell"),
    ]  # fmt: skip


GOOD: dict[str, Any] = {
    "plan": {"axes": ["K"]}, "rows": [["a", "A"]], "row": [0, 0], "axes": [[[1, 3], [0, 1]]],
    "seeds": [[[[0, 1]]], [0, 0]], "back": [0, 0], "part": [0, 1], "ids": base64.b64encode(bytes(12)).decode(),
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        zlib.compress(b"no JSON"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b'{"plan":{"axes":[]},"rows":[["a","b"]],"places":[[0,[],"g",[[0,' + b"9" * 12 + b"]]]]}"),
        zlib.compress(b'{"plan":{"axes":[]},"rows":[["a","b"]],"places":[[0,[],"g",[[0,999999],[0,9]]]]}'),
        zlib.compress(b'{"plan":{"axes":[]},"rows":[],"places":[[0,[],"g",[[0,1]]]]}'),
        zlib.compress(b'{"plan":{"axes":7},"rows":[["a","b"]],"places":[[0,[],"g",[[0,1]]]]}'),
        zlib.compress(b'{"plan":[],"rows":[["a","b"]],"places":[[0,[],["g"],[[true,1]]]]}'),
        zlib.compress(b" " * (1 << 28)),
        *(
            zlib.compress(json.dumps({**GOOD, **changes}).encode())
            for changes in (
                {"plan": 7}, {"plan": {"axes": [["K"]]}}, {"plan": {"axes": ["K", "L"]}}, {"rows": []},
                {"rows": [["a"]]}, {"row": [0]}, {"row": [0, -1]}, {"row": [0, True]}, {"axes": [[[1], [0, 1]]]},
                {"axes": [[[1], [0]]]}, {"axes": [7]}, {"seeds": [[[[0, 10**9]]], [0, 0]]}, {"seeds": [[], [0, 0]]},
                {"back": [1, 0]}, {"back": [0, 2]}, {"back": [0, -1]}, {"back": [0]}, {"back": [0, 0.5]},
                {"part": [1, 1]}, {"part": [0, 4]}, {"part": [-1, 2]}, {"part": [0]}, {"part": [0, 6]}, {"ids": "AAAA"},
                {"ids": [1, 2]}, {"ids": None}, {"ids": {}},
            )
        ),
    ],
)  # fmt: skip
def test_a_packed_plan_of_somebody_else_is_none(content: bytes) -> None:
    assert read([base64.b64encode(zlib.compress(json.dumps(GOOD).encode())).decode()]) is not None
    assert read([base64.b64encode(content).decode()]) is None


def new_run(
    make: Any, plan: dict[str, Any], cell: dict[str, Any], result: dict[str, Any], start: float = 1_700_000_000.0
) -> Any:
    about = {key: cell[key] for key in ("cell_id", "group_id", "seed")}
    text, number = packed.pack(plan, cell["group_id"])
    about |= {"sweep": plan["sweep"], "steps_per_epoch": 10, "total_steps": 30}
    about |= {"plan": tracked.digest(plan), "number": number}
    file = make().run(cell["cell_id"], {"row": cell["operator"]}, start)
    texts = {tracked.CELL: json.dumps(about), tracked.PLAN: text, tracked.RESULT: json.dumps(result)}
    return file.summary(**texts).exit(0)


def test_one_downloaded_run_makes_its_row(make_ledger: Any, wandb_file: Any, tmp_path: Path) -> None:
    runs = make_ledger()
    cell = runs.cell("xvolution", 5, 1)
    result = json.loads((runs.folder("xvolution", 5, 1) / "result.json").read_text())
    new_run(wandb_file, runs.sweep, cell, result).write(tmp_path / "one" / "run-x.wandb")
    sweep, frame = Collection([tmp_path / "one"]).load("kernel_size")
    assert sweep == Collection([runs.out]).load("kernel_size")[0]
    [row] = frame[(frame["state"] == "finished") & (frame["metric"] == "top1")].to_dict("records")
    assert (row["operator"], row["kernel_size"], row["seed"], row["last"]) == ("xvolution", 5, 1, 99.7)
    render(Collection([tmp_path / "one"]), "kernel_size", tmp_path / "table")


def test_a_run_that_another_sweep_began_is_in_the_table(make_ledger: Any, wandb_file: Any, tmp_path: Path) -> None:
    """A cell lives once. The sweep that needs it too does not run it again."""
    runs = make_ledger()
    other = {**runs.sweep, "sweep": "operator", "title": "Another"}
    for cell in runs.cells:
        path = runs.out / "cells" / cell["cell_id"] / "result.json"
        plan = other if cell["operator"] == "convolution" else runs.sweep
        file = new_run(wandb_file, plan, cell, json.loads(path.read_text()))
        file.write(tmp_path / "copied" / f"run-{cell['cell_id']}.wandb")
    assert csv(tmp_path / "copied", tmp_path / "offline") == csv(runs.out, tmp_path / "own")


def test_two_halves_of_a_sweep_are_one(make_ledger: Any, wandb_file: Any, tmp_path: Path) -> None:
    runs = make_ledger()
    for number, cell in enumerate(runs.cells):
        path = runs.out / "cells" / cell["cell_id"] / "result.json"
        file = new_run(wandb_file, runs.sweep, cell, json.loads(path.read_text()))
        file.write(tmp_path / str(number % 2) / f"run-{cell['cell_id']}.wandb")
    found = Collection([tmp_path / "0", tmp_path / "1"])
    whole = Collection([runs.out])
    assert found.load("kernel_size")[1].equals(whole.load("kernel_size")[1])


def test_a_damaged_plan_costs_the_table_and_is_one_sentence(make_ledger: Any, wandb_file: Any, tmp_path: Path) -> None:
    runs = make_ledger()
    cell = runs.cells[0]
    about = {"cell_id": cell["cell_id"], "group_id": cell["group_id"], "seed": 0, "sweep": "kernel_size"}
    file = wandb_file().run("x", {}).summary(**{tracked.CELL: json.dumps(about), tracked.PLAN: "damaged"})
    file.exit(0).write(tmp_path / "one" / "run-x.wandb")
    with pytest.raises(UserError, match="cannot read"):
        Collection([tmp_path / "one"]).load("kernel_size")


def test_names_are_for_people() -> None:
    labels = {"kernel_size": "kernel size K", "distance": "distance (pixels)", "shift_distances": "L"}
    name = tracked.cell_name("xvolution", {"kernel_size": 5, "shift_distances": [1, 3]}, labels)
    assert name == "xvolution K=5 L=1+3"
    assert tracked.cell_name("pssa", {"distance": 12, "centre": True, "limit": None}, labels) == (
        "pssa distance=12 centre=yes limit=none"
    )
    clash = tracked.cell_name("a", {"x": 1, "y": 2}, {"x": "first K", "y": "second K"})
    assert clash == "a x=1 y=2", "two axes with one symbol"
    assert tracked.run_name(name, 0) == "xvolution K=5 L=1+3 s0"
    assert tracked.group_name("xvolution K=5", "match_small", "0604309dc79b") == (
        "xvolution K=5 · match_small (0604309d)"
    )
    long = "module_of_mine." * 20
    assert len(tracked.run_name(long, 999)) <= 128 and tracked.run_name(long, 999).endswith(" s999")
    assert len(tracked.group_name(long, long, "0604309dc79b")) <= 128
    assert tracked.group_name(long, long, "0604309dc79b").endswith("(0604309d)")
    assert all(len(tag) <= 64 for tag in tracked.tag_names([long, "", "a", "a"])) and tracked.tag_names(
        ["a", "a", ""]
    ) == ["a"]


def test_odd_values_in_what_a_run_says_of_itself_raise_nothing(make_ledger: Any) -> None:
    """A run of somebody else may hold anything under our keys."""
    runs = make_ledger()
    cell = runs.cells[0]
    good = {"cell_id": cell["cell_id"], "group_id": cell["group_id"], "seed": 0, "sweep": "s", "total_steps": 3}
    good |= {"plan": "0123456789ab", "number": 0}
    plan, _ = packed.pack(runs.sweep, cell["group_id"])
    odd: list[Any] = [None, True, -1, 1.5, float("nan"), 10**400, "", "../x", [], {}, [[]], {"a": {}}, "x" * 10_000]
    for value in odd:
        for key in (*good, "table"):
            text = json.dumps({**good, key: value})
            segment = make_segment({}, {tracked.CELL: text, tracked.PLAN: plan}, 0.0)
            assert segment.cell_id in ("", cell["cell_id"], *filter(lambda name: isinstance(name, str), [value]))
            assert segment.seed >= -1 and segment.total_steps >= 0 and isinstance(segment.group_id, str)
        for key in (tracked.CELL, tracked.PLAN, tracked.RESULT, "error"):
            segment = make_segment({}, {key: value}, 0.0)
            assert segment.cell_id == "" and isinstance(segment.packed, str | None)
