"""The ids of COCO's files: whole numbers of 64 bits, exact from the file to the average precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_xvol.data.coco import Coco
from lightning_xvol.data.coco_annotations import read_annotations
from lightning_xvol.detection.evaluator import STATISTICS, evaluate
from lightning_xvol.errors import UserError
from tests.data import coco_files

IDS = [2**63 - 1, 2**63 - 2, 2**53 + 1, 2**53 + 2, 2**53, 0, -1, -(2**53) - 1, -(2**63) + 1]


def write(path: Path, ids: list[int], categories: list[int]) -> dict[str, Any]:
    """An image for each id; each has one object, whose place tells the image, of one of the categories."""
    found = {
        "images": [{"id": id_, "file_name": f"{id_}.jpg", "height": 100, "width": 900} for id_ in ids],
        "categories": [{"id": id_, "name": str(id_)} for id_ in categories],
        "annotations": [
            coco_files.annotation(place + 1, id_, categories[place % len(categories)], [80 * place + 1, 5, 40, 40], [])
            for place, id_ in enumerate(ids)
        ],
    }
    path.write_text(json.dumps(found))
    return found


@pytest.mark.parametrize("categories", [[1, 2], [2**53 + 1, 2**53 + 2, 2**53], [-5, 2**63 - 1]])
def test_neighbouring_large_ids_are_told_apart_as_by_pycocotools(
    tmp_path: Path, categories: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "instances.json"
    found = write(path, IDS, categories)
    annotations = read_annotations(path, masks=False)
    assert [annotations.image(i).id for i in range(len(annotations))] == sorted(IDS)
    results, theirs = {}, []
    for index in range(len(annotations)):
        [item] = annotations.instances(index)
        x, y, width, height = item.box
        id_, box = annotations.image(index).id, [x, y, x + width, y + height]
        results[id_] = [{"label": item.label, "score": 0.5, "box": box}]
    truth = COCO(str(path))
    for one in found["annotations"]:
        theirs.append({**one, "score": 0.5})
    oracle = COCOeval(truth, truth.loadRes(theirs), "bbox")
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    ours = evaluate(annotations.ground_truth(), results, "box")
    assert ours["ap"] == pytest.approx(100) and 100 * oracle.stats[0] == pytest.approx(100)
    for name, value in zip(STATISTICS, oracle.stats, strict=True):
        assert ours[name] == pytest.approx(100 * value) or value < 0


KEYS = [("images", "id"), ("categories", "id"), ("annotations", "id"), ("annotations", "image_id")]
KEYS.append(("annotations", "category_id"))
BAD = [2**63, 2**64, -(2**63), 10**400, 1e300, 2.0**53, 7.5, True, False, "7", "", None, [], {}, float("nan")]


@pytest.mark.parametrize(("part", "key"), KEYS)
@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:12])
def test_any_other_id_is_refused_when_read(tmp_path: Path, part: str, key: str, value: Any) -> None:
    found = coco_files.content()
    found[part][0][key] = value
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(found))
    with pytest.raises(UserError) as caught:
        read_annotations(path, masks=False)
    message = str(caught.value)
    assert str(path) in message and key in message and "\n" not in message and len(message) < 300 + len(str(path))


def test_a_number_in_scientific_notation_is_that_number(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    write(path, [1000, 2000], [3000, 4000])
    plain = read_annotations(path, masks=False).ground_truth()
    path.write_text(path.read_text().replace("000,", "e3,").replace("000}", "e3}"))
    assert ": 1e3," in path.read_text() and read_annotations(path, masks=False).ground_truth() == plain


@pytest.mark.parametrize("crowd", [None, "0", 2, -1, 0.5, [], 2**64])
def test_a_crowd_is_0_or_1(tmp_path: Path, crowd: Any) -> None:
    found = coco_files.content()
    found["annotations"][0]["iscrowd"] = crowd
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"annotation 101 in .*iscrowd=.*expected 0 or 1"):
        read_annotations(path, masks=False)


def test_the_target_of_a_picture_has_the_exact_id(tmp_path: Path) -> None:
    found = coco_files.content()
    for record in (found["images"][0], *(item for item in found["annotations"] if item["image_id"] == 7)):
        record["id" if "file_name" in record else "image_id"] = 2**63 - 1
    root = coco_files.write(tmp_path / "coco", validation=found)
    data = Coco(root, short_sides=(40,), test_short_side=40, long_side=60)
    _, target = data.validation()[3]
    assert target["image_id"].dtype == torch.int64 and target["image_id"].item() == 2**63 - 1


@pytest.mark.parametrize("part", ["images", "categories"])
def test_a_file_without_images_or_categories_is_refused(tmp_path: Path, part: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({**coco_files.content(), "annotations": [], part: []}))
    with pytest.raises(UserError, match=f"list no {part}"):
        read_annotations(path, masks=False)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"file_name": "a\0b.jpg"}, "file_name"),
        ("images", {"file_name": "a" * 5000}, "file_name"),
        ("images", {"height": 10**6, "width": 10**6}, "1000000 x 1000000 pixels"),
        ("annotations", {"segmentation": [[1, 1, 1e9, 1, 5, 1e9]]}, "far outside its image"),
        ("annotations", {"bbox": [1, 2, 1e300, 5]}, "far outside its image"),
        ("annotations", {"id": "two\nlines\ud800"}, r"annotation two lines\\ud800 in"),
    ],
)
def test_what_would_take_gigabytes_or_tear_a_line_is_refused(
    tmp_path: Path, part: str, change: dict[str, Any], message: str
) -> None:
    found = coco_files.content()
    found[part][0].update(change)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(path, masks=True)
    assert "\n" not in str(caught.value) and str(caught.value).encode()
