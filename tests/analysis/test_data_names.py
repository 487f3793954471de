"""A printed number stands only beside data that are what they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.paper.pools import PAPER, pools
from analysis.paper.verdicts import verdicts
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError
from tests.analysis.paper_runs import rows_of, write_sweep

NOISE = {"digest": "noise", "by": "files", "classes": 3, "train": 60, "validation": 15, "test": None}


def ledger(out: Path, changes: dict[str, Any] | None, recipe: str = "imagenet_resnet34", table: int = 1) -> Path:
    """Runs of a table at the paper's full budget. `changes` replace facts of their data; None takes them all away."""
    printed = rows_of(table, "ResNet-34" if table == 1 else "ResNet-50")
    kept = [row for row in printed if table != 1 or row[1] in ("", "stage5")]
    rows: list[tuple[str, dict[str, Any], dict[str, float]]] = [(label, {}, values) for label, _, values in kept]
    write_sweep(out, "operator", recipe, rows)
    for path in out.glob("cells/*/result.json"):
        result = json.loads(path.read_text())
        if changes is None:
            del result["data"]
        else:
            result["data"] |= changes
        path.write_text(json.dumps(result))
    return out


@pytest.mark.parametrize(
    ("changes", "kept"), [({}, True), (NOISE, False), ({"validation": 49_999}, False), (None, False)]
)
def test_a_printed_number_needs_the_data_of_that_name(
    changes: dict[str, Any] | None, kept: bool, tmp_path: Path
) -> None:
    sources = Collection([ledger(tmp_path, changes)])
    [pool] = pools(sources, "1")
    assert (pool.data == PAPER) == kept
    words = {item.verdict for item in verdicts(sources)}
    assert any(word in ("reproduced", "contradicted", "not resolved", "not complete") for word in words) == kept


def test_noise_in_the_layout_of_imagenet_is_called_what_it_is(tmp_path: Path) -> None:
    sweep, _ = Collection([ledger(tmp_path, NOISE)]).load("operator")
    assert sweep.data == "3 classes, 60 + 15 images in the layout of ImageNet-1k"
    [pool] = pools(Collection([tmp_path]), "1")
    assert list(pool.changes) == ["data (3 classes, 60 + 15 images in the layout of ImageNet-1k)"]


def test_coco_needs_its_image_ids(tmp_path: Path) -> None:
    others = {"image_ids": {"train": [118_287, 1, 118_287], "validation": [5_000, 139, 581_781]}}
    [pool] = pools(Collection([ledger(tmp_path / "real", {}, "coco_faster_rcnn", 2)]), "2")
    assert pool.data == PAPER
    [pool] = pools(Collection([ledger(tmp_path / "other", others, "coco_faster_rcnn", 2)]), "2")
    assert pool.data != PAPER


def test_two_sweeps_of_a_table_must_share_their_data(tmp_path: Path) -> None:
    one = ledger(tmp_path / "one", {})
    rows = [("xvolution", {"stages": (stage,)}, {"top1": 70.0 + stage}) for stage in (3, 4)]
    write_sweep(tmp_path / "two", "stage", "imagenet_resnet34", rows)
    for path in (tmp_path / "two").glob("cells/*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "data": {**result["data"], "digest": "another"}}))
    with pytest.raises(UserError, match="Table 1 mixes data"):
        pools(Collection([one, tmp_path / "two"]), "1")
