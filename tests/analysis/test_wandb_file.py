"""The reader of `.wandb` files against files of the installed wandb: complete, damaged and unfinished ones."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.sources import wandb_file as reader

CONFIG = {
    "cell_id": "abc", "long": "x" * 70_000, "nested": {"depth": {"leaf": 1}}, "dotted.key": 2, "list": [1, None, "é"],
    "quoted": 'a "b" \n', "negative": -3,
}  # fmt: skip
ROWS = 400


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished offline run, written in a process of its own."""
    folder = tmp_path_factory.mktemp("written")
    code = f"""
import wandb
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
run = wandb.init(
    mode="offline", dir={str(folder)!r}, id="some-id", project="some-project", group="some-group", job_type="some-job",
    name="a name", tags=["one", "two"], settings=settings, config={CONFIG!r},
)
for step in range({ROWS}):
    run.log({{"trainer/global_step": step, "loss": 1 / (step + 1), "a.b": step}}, commit=False)
    run.log({{"nested": {{"inner": step}}, "text": "t"}})
run.log({{"nan": float("nan"), "infinite": -float("inf"), "n" * 200: 1.5}})
run.summary["loss"] = 0.25
run.summary["gone"] = 1
del run.summary["gone"]
run.finish(exit_code=3)
"""
    environment = {f"WANDB_{kind}_DIR": str(folder / "home") for kind in ("CACHE", "CONFIG", "DATA")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={"HOME": str(folder), **environment})
    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    return path


def rows_by_step(log: reader.Log) -> dict[int, dict[str, Any]]:
    return {int(row["_step"]): row for row in log.rows}


def test_everything_that_was_logged_comes_back(written: Path) -> None:
    log = reader.read(written)
    assert log.losses == []
    identity = (log.run_id, log.project, log.group, log.job_type, log.name, log.tags, log.exit_code)
    assert identity == ("some-id", "some-project", "some-group", "some-job", "a name", ["one", "two"], 3)
    assert log.start_time > 1.7e9
    assert {key: log.config[key] for key in CONFIG} == CONFIG
    rows = rows_by_step(log)
    assert len(rows) == ROWS + 1
    for step in range(ROWS):
        expected = {"trainer/global_step": step, "loss": 1 / (step + 1), "a.b": step, "text": "t"}
        assert {key: rows[step][key] for key in expected} == expected
        assert rows[step]["nested"] == {"inner": step}
    last = rows[ROWS]
    assert math.isnan(last["nan"]) and last["infinite"] == -math.inf and last["n" * 200] == 1.5
    assert log.summary["loss"] == 0.25 and "gone" not in log.summary


def test_wandbs_own_reader_sees_as_many_rows(written: Path) -> None:
    """An alarm for new versions of the format."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(written)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if ended.returncode and "No such command" in ended.stderr:
        pytest.skip("this wandb has no `leet inspect`")
    assert ended.returncode == 0, ended.stderr
    counted = sum(json.loads(line)["type"] == "history" for line in ended.stdout.splitlines())
    assert counted == len(reader.read(written).rows)


def damaged(content: bytes, random_: random.Random, kind: str) -> bytes:
    if kind == "cut":
        return content[: random_.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(1 if kind == "flip" else 20):
        changed[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["cut", "flip", "flips"])
def test_a_hundred_damaged_files_give_nothing_wrong(written: Path, kind: str, tmp_path: Path) -> None:
    """No exception, no wrong row, no wrong value, and every loss reported."""
    content, whole = written.read_bytes(), reader.read(written)
    rows = rows_by_step(whole)
    rows[ROWS].pop("nan")  # not equal to itself
    for number in range(100):
        path = tmp_path / "damaged.wandb"
        path.write_bytes(damaged(content, random.Random(f"{kind} {number}"), kind))
        log = reader.read(path)
        for step, row in rows_by_step(log).items():
            row.pop("nan", None)
            assert row == rows[step]
        assert all(log.config[key] == whole.config[key] for key in log.config)
        if len(log.rows) < len(whole.rows):
            assert log.losses or log.exit_code is None
        if kind == "flip":  # other blocks lose nothing
            assert log.losses and len(log.rows) >= len(rows) - 100


def test_a_run_that_is_being_written_is_read_up_to_its_end(written: Path, tmp_path: Path) -> None:
    content, rows = written.read_bytes(), reader.read(written).rows[:ROWS]  # without the row that holds a NaN
    known = 0
    for end in range(0, len(content), 2999):
        path = tmp_path / "growing.wandb"
        path.write_bytes(content[:end])
        log = reader.read(path)
        assert known <= len(log.rows) and log.rows[:ROWS] == rows[: len(log.rows)]
        assert log.exit_code is None
        known = len(log.rows)
    assert known > ROWS / 2


WRITER = """
import sys, time
import wandb
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_transaction_log_flush_interval=0.05)
run = wandb.init(mode="offline", dir=sys.argv[1], id="growing", project="p", settings=settings)
for step in range(2000):
    run.log({"trainer/global_step": step, "loss": 1 / (step + 1), "padding": "x" * 200})
    time.sleep(0.001)
run.finish()
"""


def test_a_file_can_be_read_while_wandb_writes_it(tmp_path: Path) -> None:
    """Each read sees the beginning of what the next read sees."""
    if "x_transaction_log_flush_interval" not in pytest.importorskip("wandb").Settings.model_fields:
        pytest.skip("this wandb writes every 15 s")
    home = {f"WANDB_{kind}_DIR": str(tmp_path / "home") for kind in ("CACHE", "CONFIG", "DATA")}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    reads: list[int] = []
    with subprocess.Popen(command, env={"HOME": str(tmp_path), **home}) as writer:
        ended = False
        while not ended:
            ended = writer.poll() is not None
            for path in tmp_path.glob("wandb/offline-run-*/*.wandb"):
                log = reader.read(path)
                assert [row["trainer/global_step"] for row in log.rows] == list(range(len(log.rows)))
                assert all(row["loss"] == 1 / (row["trainer/global_step"] + 1) for row in log.rows)
                assert log.losses in ([], ["the file ends within a record"], ["the file is empty"])
                reads.append(len(log.rows))
            time.sleep(0.05)
    assert writer.returncode == 0 and reads == sorted(reads) and reads[-1] == 2000
    assert len({number for number in reads if 0 < number < 2000}) >= 2, "read at least twice in between"


@pytest.mark.parametrize(
    ("content", "loss"),
    [
        (b"", "the file is empty"),
        (b":W&B", "the file ends within its header"),
        (b":W&B\xe1\xbe\x00", None),
        (b":W&B\xe1\xbe\x01", "does not begin like"),
        (b"<html>not found</html>", "does not begin like"),
        (b":W&B\xe1\xbe\x00" + bytes(40_000), "bytes 7 to 32768 are damaged"),
    ],
)
def test_content_that_is_not_a_run_is_reported(content: bytes, loss: str | None, tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    log = reader.read(path)
    assert (log.run_id, log.rows, log.config) == ("", [], {})
    assert (loss is None and log.losses == []) or loss in log.losses[0]


def test_a_record_of_another_version_is_reported(wandb_file: Callable[..., Any], tmp_path: Path) -> None:
    file = wandb_file().run("id", {"a": 1}).row(loss=0.5)
    file.records.insert(1, b"\x12\x05\x0a\xff\xff\xff\xff")  # a history record longer than it is
    file.records.insert(2, b"\x0b")  # a wire type that protobuf gave up
    log = reader.read(file.write(tmp_path / "run.wandb"))
    assert (log.config, log.rows) == ({"a": 1}, [{"loss": 0.5}])
    assert log.losses == ["a record is not as this version writes it"] * 2


def test_a_value_that_is_not_json_is_reported(wandb_file: Callable[..., Any], tmp_path: Path) -> None:
    file = wandb_file().run("id", {"a": "b"})
    file.records[0] = file.records[0].replace(b'"b"', b'"b ')
    log = reader.read(file.write(tmp_path / "run.wandb"))
    assert (log.run_id, log.config, log.losses) == ("id", {}, ["the value of a is not JSON"])
