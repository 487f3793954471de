"""COCO's twelve numbers equal those of pycocotools, for boxes and masks, from one process or several."""

import contextlib
import copy
import io
import math

import numpy
import pytest
import torch
from pycocotools import mask as api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_xvol.data import coco_masks
from lightning_xvol.data.coco_annotations import read_annotations
from lightning_xvol.detection.evaluator import KINDS, REPORTED, STATISTICS, CocoEvaluator, evaluate, merge_results


def perfect(annotations):
    """Every object that is not a crowd as a detection."""
    results = {}
    for index in range(len(annotations)):
        image = annotations.image(index)
        results[image.id] = [
            {
                "label": item.label,
                "score": 0.9,
                "box": [item.box[0], item.box[1], item.box[0] + item.box[2], item.box[1] + item.box[3]],
                "rle": coco_masks.to_rle(item.segmentation, image.height, image.width),
            }
            for item in annotations.instances(index)
            if not item.crowd
        ]
    return results


def noisy(annotations, seed=0):
    """Detections of a mediocre detector: shifted, missing, doubled, mislabelled, inside crowds."""
    random = numpy.random.RandomState(seed)
    results = {}
    for index in range(len(annotations)):
        image = annotations.image(index)
        found = []
        for item in annotations.instances(index):
            for _ in range(random.randint(0, 4)):
                x, y, width, height = item.box
                dx, dy, grow = random.normal(0, 0.12, 3)
                shift = numpy.round([dx * width, dy * height]).astype(int)
                mask = coco_masks.to_mask(item.segmentation, (image.height, image.width), (image.height, image.width))
                mask = numpy.roll(mask, shift[::-1], axis=(0, 1))
                corner = numpy.array([x + dx * width, y + dy * height])
                size = numpy.array([width, height]) * (1 + grow)
                found.append(
                    {
                        "label": item.label if random.rand() < 0.85 else int(random.randint(1, 7)),
                        "score": float(numpy.float32(random.randint(100) / 100)),  # with ties
                        "box": torch.tensor([*corner, *(corner + size)]).float().tolist(),
                        "rle": coco_masks.encode(mask[None])[0],
                    }
                )
        results[image.id] = found
    return results


def oracle(truth, results, kind):
    """The numbers of pycocotools for the same results, converted to COCO's format."""
    found = []
    ids = sorted(category["id"] for category in truth["categories"])
    for image_id, detections in results.items():
        for item in detections:
            record = {"image_id": image_id, "category_id": ids[item["label"] - 1], "score": item["score"]}
            x1, y1, x2, y2 = item["box"]
            found.append(
                record | ({"segmentation": item["rle"]} if kind == "mask" else {"bbox": [x1, y1, x2 - x1, y2 - y1]})
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), KINDS[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.fixture(scope="module")
def annotations(shapes):
    return shapes.validation().annotations


def truth_of(annotations, kind):
    return annotations.ground_truth(masks=kind == "mask")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_all_twelve_numbers_are_those_of_pycocotools(annotations, kind, seed):
    truth, results = truth_of(annotations, kind), noisy(annotations, seed)
    assert any(item["iscrowd"] for item in truth["annotations"])
    assert {image["id"] for image in truth["images"]} != {item["image_id"] for item in truth["annotations"]}
    numbers = evaluate(truth, results, kind)
    assert tuple(numbers) == STATISTICS
    assert list(numbers.values()) == pytest.approx(100 * oracle(truth, results, kind), rel=0, abs=1e-9)
    assert 5 < numbers["ap"] < 95


@pytest.mark.parametrize("kind", KINDS)
def test_ground_truth_fed_back_gives_100(annotations, kind):
    numbers = evaluate(truth_of(annotations, kind), perfect(annotations), kind)
    # One or ten detections per image cannot find all objects, so ar1 and ar10 stay below 100.
    full = {name: round(value, 9) for name, value in numbers.items() if name not in ("ar1", "ar10")}
    assert set(REPORTED) < set(full) and set(full.values()) == {100}


def test_detections_in_a_crowd_are_neither_right_nor_wrong(annotations):
    truth, results = truth_of(annotations, "box"), perfect(annotations)
    crowd = next(item for item in truth["annotations"] if item["iscrowd"])
    x, y, width, height = crowd["bbox"]
    label = [1, 2, 4, 7, 8, 11].index(crowd["category_id"]) + 1
    inside = {"label": label, "score": 1.0, "box": [x + 1, y + 1, x + width - 1, y + height - 1]}
    results[crowd["image_id"]] = [inside, *results[crowd["image_id"]]]
    assert evaluate(truth, results, "box")["ap"] == pytest.approx(100)
    without = {**truth, "annotations": [item for item in truth["annotations"] if not item["iscrowd"]]}
    assert evaluate(without, results, "box")["ap"] < 100


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_several_processes_evaluated_count_once(annotations, kind):
    truth, results = truth_of(annotations, kind), noisy(annotations)
    ids = list(results)
    # A sampler over three processes fills up its last batches with the first images.
    shares = [[*ids, *ids[:2]][rank::3] for rank in range(3)]
    parts = [{image: copy.deepcopy(results[image]) for image in share} for share in reversed(shares)]
    merged = merge_results(parts)
    assert list(merged) == sorted(ids)
    assert evaluate(truth, merged, kind) == evaluate(truth, results, kind)
    assert list(evaluate(truth, merged, kind).values()) == pytest.approx(100 * oracle(truth, results, kind), abs=1e-9)


def test_the_evaluator_keeps_an_image_that_comes_twice_once(annotations):
    results = noisy(annotations)
    evaluator = CocoEvaluator(annotations, masks=True)
    for image_id in [*results, *list(results)[:3]]:
        evaluator.add({image_id: results[image_id]})
    metrics = evaluator.measure(merge_results([evaluator.results]))
    assert list(metrics) == [f"{kind}_{name}" for kind in KINDS for name in REPORTED]
    for kind in KINDS:
        numbers = evaluate(truth_of(annotations, kind), results, kind)
        assert all(metrics[f"{kind}_{name}"] == numbers[name] for name in REPORTED)
    evaluator.reset()
    assert not evaluator.results


def test_no_detection_at_all_gives_zero(annotations):
    results = {image: [] for image in perfect(annotations)}
    assert set(evaluate(truth_of(annotations, "mask"), results, "mask").values()) == {0.0}


def test_a_number_without_objects_of_its_size_is_missing(annotations):
    truth = truth_of(annotations, "box")
    truth["annotations"] = [item for item in truth["annotations"] if item["area"] < 96**2]
    results = perfect(annotations)
    numbers = evaluate(truth, results, "box")
    assert math.isnan(numbers["ap_l"]) and math.isnan(numbers["ar_l"])
    assert not any(math.isnan(numbers[name]) for name in STATISTICS if not name.endswith("_l"))
    truth["annotations"] = []
    assert all(math.isnan(value) for value in evaluate(truth, results, "box").values())


def test_the_area_of_the_mask_decides_the_size_of_an_object_for_boxes_too(annotations):
    truth = truth_of(annotations, "box")
    boxes = {
        **truth,
        "annotations": [{**item, "area": item["bbox"][2] * item["bbox"][3]} for item in truth["annotations"]],
    }
    results = noisy(annotations)
    assert evaluate(truth, results, "box")["ap_m"] != evaluate(boxes, results, "box")["ap_m"]


def test_lost_or_foreign_images_are_an_error(annotations):
    truth, results = truth_of(annotations, "box"), perfect(annotations)
    lost = dict(list(results.items())[2:])
    with pytest.raises(ValueError, match=r"2 images have no results, such as 1000001; 32 are"):
        evaluate(truth, lost, "box")
    with pytest.raises(ValueError, match="1 images are not of this data set, such as 7"):
        evaluate(truth, {**results, 7: []}, "box")


def test_masks_that_were_not_read_cannot_be_evaluated(annotations):
    boxes_alone = read_annotations(annotations.path, masks=False)
    with pytest.raises(ValueError, match="was read without masks"):
        CocoEvaluator(boxes_alone, masks=True).measure(perfect(annotations))


def test_ground_truth_is_not_changed(annotations):
    truth = truth_of(annotations, "mask")
    before = copy.deepcopy(truth)
    evaluate(truth, noisy(annotations), "mask")
    assert truth == before


def test_run_lengths_are_those_of_pycocotools(annotations):
    for item in annotations.instances(0):
        rle = coco_masks.to_rle(item.segmentation, 192, 192)
        mask = api.decode(rle)
        assert (
            coco_masks.encode(mask[None])[0] == api.encode(numpy.asfortranarray(mask))
            and coco_masks.area(rle) == mask.sum()
        )
