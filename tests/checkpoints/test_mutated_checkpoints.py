"""Checkpoints and fused weights with random damage are read as before or refused in one sentence."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from lightning_xvol.detection.predict import read_detector
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.walk import fuse
from lightning_xvol.fusion.weights import load_fused, read_trained, save_fused
from lightning_xvol.ledger.checkpoints import newest_intact
from tests.analysis import mutations

LONGEST = 10.0  # seconds


def check(load: Callable[[], Any], what: str) -> None:
    begun = time.monotonic()
    with contextlib.suppress(UserError):
        load()
    assert time.monotonic() - begun < LONGEST, what


def damage(source: Path, target: Path, number: int) -> None:
    """Write `source`, a checkpoint, with one change to what it says of the run, to its weights or to its bytes."""
    random_ = random.Random(number)
    content = torch.load(source, weights_only=True)
    if number % 4 == 3:
        target.write_bytes(mutations.damaged(source.read_bytes(), random_))
        return
    if number % 4 == 2:
        name = random_.choice(list(content["state_dict"]))
        odd = (None, 5, "x", [1], torch.zeros(0), torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
        content["state_dict"][random_.choice([name, "network.x", 5])] = random_.choice(odd)
        torch.save(content, target)
        return
    about = json.loads(json.dumps(content.pop("run")))
    changed = mutations.changed({"run": about, "state_dict": {}}, random_)
    torch.save({"state_dict": copy.copy(content["state_dict"]), **{"run": None, **changed}} | (
        {"state_dict": content["state_dict"]} if changed.get("state_dict") == {} else {}
    ), target)  # fmt: skip


def check_checkpoint(source: Path, folder: Path, number: int) -> None:
    path = folder / "step=00000003.ckpt"
    damage(source, path, number)
    check(lambda: read_trained(path, data_dir=folder), f"read_trained of damage {number}")
    check(lambda: read_detector(path), f"read_detector of damage {number}")
    check(lambda: newest_intact(folder, "0"), f"newest_intact of damage {number}")


def check_fused(source: Path, folder: Path, number: int) -> None:
    """As above, for the values in the header of a file of fused weights, and for its bytes."""
    random_, path = random.Random(number), folder / "fused.safetensors"
    if number % 4 == 3:
        path.write_bytes(mutations.damaged(source.read_bytes(), random_))
    else:
        with safetensors.safe_open(source, "pt") as file:
            header = {key: json.loads(value) for key, value in file.metadata().items() if key != "format"}
        changed = mutations.changed(header, random_)
        texts = {key.replace("\x1b", "e") or "empty": json.dumps(value) for key, value in changed.items()}
        safetensors.torch.save_file(safetensors.torch.load_file(source), path, {"format": "pt", **texts})
    check(lambda: load_fused(path), f"load_fused of damage {number}")


@pytest.fixture
def fused(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    trained = read_trained(make_checkpoint("xvolution"))
    save_fused(tmp_path / "whole.safetensors", fuse(trained.network), trained, block_norms=False)
    return tmp_path / "whole.safetensors"


def test_sixteen_damaged_checkpoints(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(16):
        check_checkpoint(make_checkpoint("xvolution"), tmp_path, number)


def test_eight_damaged_files_of_fused_weights(fused: Path, tmp_path: Path) -> None:
    for number in range(8):
        check_fused(fused, tmp_path, number)


@pytest.mark.slow
def test_two_hundred_damaged_checkpoints_and_fused_weights(
    make_checkpoint: Callable[..., Path], fused: Path, tmp_path: Path
) -> None:
    for number in range(16, 156):
        check_checkpoint(make_checkpoint("xvolution"), tmp_path, number)
    for number in range(8, 68):
        check_fused(fused, tmp_path, number)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("num_classes", "x", "num_classes='x' (expected a whole number from 1 to 1000000)"),
        ("num_classes", 10**12, "num_classes=1000000000000 (expected a whole number from 1 to 1000000)"),
        ("image_shape", [3, 2**40, 32], "image_shape=1099511627776 (expected a whole number from 1 to 16384)"),
        ("image_shape", 5, "image_shape=5 (expected channels, height and width)"),
        ("config", {"operator": "x"}, "config.operator='x' (expected named values)"),
        ("config", {"operator": {"options": {"width": 10**7}}}, "config.operator.options.width=10000000 (expected at"),
    ],
)
def test_an_odd_value_is_named(
    make_checkpoint: Callable[..., Path], tmp_path: Path, key: str, value: object, told: str
) -> None:
    content = torch.load(make_checkpoint("xvolution"), weights_only=True)
    content["run"][key] = value
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(UserError) as refused:
        read_trained(tmp_path / "odd.ckpt")
    assert told in str(refused.value) and "odd.ckpt' has missing or unfit values" in str(refused.value)
