"""COCO's folder: what training and evaluation read from it, in which pixels, and which files are refused."""

import json

import numpy
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO
from torch.utils.data import DataLoader

from lightning_xvol.data import Limited
from lightning_xvol.data.base import DataError
from lightning_xvol.data.coco import Coco, Geometry, collate_detections
from lightning_xvol.data.coco_annotations import read_annotations
from lightning_xvol.data.coco_masks import to_mask
from lightning_xvol.data.keyed import KeyedDataset
from lightning_xvol.errors import UserError
from tests.data import coco_files

SMALL = {"short_sides": (40,), "test_short_side": 40, "long_side": 60}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return coco_files.write(tmp_path_factory.mktemp("coco"))


def build(folder, **options):
    return Coco(folder, **{"masks": True, "flip": 0.0, **SMALL, **options})


def by_image(split):
    return {int(target["image_id"]): (picture, target) for picture, target in (split[i] for i in range(len(split)))}


def test_categories_with_gaps_become_labels_in_the_order_of_their_ids(folder):
    data = build(folder)
    assert data.num_classes == 3 and data.classes == ("person", "dog", "toothbrush")
    assert by_image(data.train())[7][1]["labels"].tolist() == [2, 3]


def test_training_leaves_out_crowds_and_images_of_crowds_or_nothing_and_evaluation_keeps_all(folder):
    data = build(folder)
    assert sorted(by_image(data.train())) == [7, 9]
    assert list(by_image(data.validation())) == [3, 5, 7, 9]
    truth = data.validation().annotations.ground_truth(masks=False)
    assert len(truth["annotations"]) == 7 and sum(item["iscrowd"] for item in truth["annotations"]) == 2
    assert min(item["id"] for item in truth["annotations"]) == 1


def test_masks_are_those_of_pycocotools(folder, capsys):
    theirs = COCO(str(folder / "annotations" / "instances_train2017.json"))
    masks = by_image(build(folder).train())[7][1]["masks"]
    assert masks.dtype == torch.uint8
    for mask, number in zip(masks, (101, 102), strict=True):
        assert torch.equal(mask, torch.from_numpy(theirs.annToMask(theirs.anns[number])))


def test_boxes_are_cut_at_the_border_and_empty_ones_left_out(folder):
    boxes = by_image(build(folder, masks=False).train())[9][1]["boxes"]  # 40 wide, 60 high; the box of 106 is empty
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 10.0, 28.01, 60.0], [5.0, 5.0, 25.0, 35.0]]))


def test_objects_without_a_valid_segmentation_train_boxes_but_no_masks(folder):
    target = by_image(build(folder).train())[9][1]
    assert target["labels"].tolist() == [2] and target["masks"].shape == (1, 60, 40)
    truth = build(folder).validation().annotations.ground_truth(masks=True)
    assert [len(item["segmentation"]) for item in truth["annotations"] if item["image_id"] == 9] == [1]


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [  # from Detectron2's ResizeShortestEdge
        ((480, 640), 800, (800, 1067)),
        ((427, 640), 640, (640, 959)),
        ((300, 640), 800, (625, 1333)),
        ((640, 300), 800, (1333, 625)),
        ((1000, 1000), 672, (672, 672)),
        ((1, 4000), 800, (1, 1333)),  # Detectron2 would leave no row
    ],
)
def test_pictures_are_resized_to_the_sizes_of_detectron2(size, short_side, expected):
    assert Geometry().size(*size, short_side) == expected


def test_boxes_and_masks_follow_the_resized_picture(folder):
    plain = by_image(build(folder).train())[7]
    picture, target = by_image(build(folder, short_sides=(100,), test_short_side=100, long_side=200).train())[7]
    assert picture.shape == (3, 100, 150) and picture.dtype == torch.uint8
    torch.testing.assert_close(target["boxes"], plain[1]["boxes"] * 2.5)
    assert target["size"].tolist() == [40, 60]
    for mask, box in zip(target["masks"], target["boxes"], strict=True):
        rows, columns = mask.nonzero().T
        edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (edges - box).abs().max() <= 1
    areas = target["masks"].sum((1, 2)) / plain[1]["masks"].sum((1, 2))
    torch.testing.assert_close(areas, torch.full((2,), 2.5**2), rtol=0.03, atol=0)


def test_run_lengths_follow_the_resized_picture(folder):
    [crowd] = read_annotations(folder / "annotations/instances_val2017.json", masks=True).instances(0)
    mask = to_mask(crowd.segmentation, (40, 60), (80, 120))
    assert numpy.array_equal(mask, coco_files.heap().repeat(2, 0).repeat(2, 1))


def test_a_mirrored_picture_has_mirrored_boxes_and_masks(folder):
    picture, target = by_image(build(folder).train())[7]
    mirrored, other = by_image(build(folder, flip=1.0).train())[7]
    assert torch.equal(mirrored, picture.flip(-1)) and torch.equal(other["masks"], target["masks"].flip(-1))
    boxes = target["boxes"]
    torch.testing.assert_close(
        other["boxes"], torch.stack([60 - boxes[:, 2], boxes[:, 1], 60 - boxes[:, 0], boxes[:, 3]], 1)
    )


def test_size_and_mirroring_are_functions_of_the_key(folder):
    split = build(folder, short_sides=(20, 30, 40), flip=0.5).train()
    keys = [(epoch, index) for epoch in range(6) for index in range(2)]
    loaded = []
    for workers in (0, 2):
        keyed = KeyedDataset(split, seed=1)
        loader = DataLoader(keyed, 3, sampler=keys, num_workers=workers, collate_fn=collate_detections)
        batches = list(loader)
        assert [len(batch.images) for batch in batches] == [3] * 4
        assert batches[0].indices.tolist() == [0, 1, 0]
        loaded.append([picture for batch in batches for picture in batch.images])
    assert all(torch.equal(first, second) for first, second in zip(*loaded, strict=True))
    assert {min(picture.shape[1:]) for picture in loaded[0]} == {20, 30, 40}


def test_a_limit_cuts_annotations_too(folder):
    split = Limited(build(folder), 3).validation()
    assert len(split) == 3 and [item["id"] for item in split.annotations.ground_truth()["images"]] == [3, 5, 7]


def test_coco_declares_its_size_without_any_file():
    assert Coco.declared(test_short_side=800, long_side=1333) == (80, (3, 800, 1333))


def test_the_folder_that_contains_coco_is_found_too(folder, tmp_path):
    (tmp_path / "coco").symlink_to(folder)
    assert len(build(tmp_path).validation()) == 4


def refused(call, *parts):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


@pytest.mark.parametrize("missing", ["annotations/instances_train2017.json", "val2017"])
def test_a_missing_file_is_named(folder, tmp_path, missing):
    root = coco_files.write(tmp_path / "copy")
    (root / missing).rename(root / "gone")
    refused(lambda: build(root), root / missing, "--data-dir")


def test_a_torn_annotation_file_is_named(tmp_path):
    root = coco_files.write(tmp_path / "copy")
    path = root / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes()[:-100])
    refused(lambda: build(root), path, "fetch the file again")


def test_another_json_file_is_refused(tmp_path):
    root = coco_files.write(tmp_path / "copy", validation={"images": [], "captions": []})
    refused(lambda: build(root), "no list 'annotations'", "instances_val2017.json")


def spoiled(what, index, **changes):
    found = coco_files.content()
    found[what][index].update(changes)
    return found


RLE = {"size": [40, 60], "counts": "zz~~zz"}


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        (spoiled("annotations", 1, image_id=8), ["annotation 102", "image 8"]),
        (spoiled("annotations", 1, category_id=2), ["annotation 102", "category 2", "1, 18, 90"]),
        (spoiled("annotations", 1, bbox=[1, 2, 3]), ["annotation 102", "bbox=[1, 2, 3]"]),
        (spoiled("annotations", 1, bbox=[1, 2, 3, float("nan")]), ["annotation 102", "nan"]),
        (spoiled("annotations", 1, area=None), ["annotation 102", "area=None"]),
        (spoiled("annotations", 1, id=101), ["annotation 101", "twice"]),
        (spoiled("annotations", 1, id="x"), ["annotation x", "id='x'"]),
        (spoiled("annotations", 1, segmentation=[["a"] * 6]), ["annotation 102", "polygon"]),
        (spoiled("annotations", 1, segmentation={"size": [60, 40], "counts": [2400]}), ["annotation 102", "[40, 60]"]),
        (
            spoiled("annotations", 1, segmentation={"size": [40, 60], "counts": [2399]}),
            ["annotation 102", "do not fill"],
        ),
        (spoiled("annotations", 1, segmentation=RLE), ["annotation 102", "do not fill"]),
        (spoiled("images", 1, id=7), ["image 7", "twice"]),
        (spoiled("images", 1, height=None), ["image 3", "height=None"]),
        (spoiled("images", 1, file_name=""), ["image 3", "file_name=''"]),
        (spoiled("images", 1, file_name="\ud83d.jpg"), ["image 3", "\\ud83d.jpg"]),
        (spoiled("annotations", 1, area=10**400), ["annotation 102", "expected a number of pixels"]),
        (spoiled("annotations", 1, bbox=[1, 2, 3, 10**400]), ["annotation 102", "four numbers"]),
        (spoiled("annotations", 1, iscrowd="0"), ["annotation 102", "iscrowd='0'", "0 or 1"]),
        (
            spoiled("annotations", 1, segmentation={"size": [40, 60], "counts": [2399.5, 0.5]}),
            ["annotation 102", "do not fill"],
        ),
    ],
)
def test_a_mistake_in_the_annotations_is_named_with_path_and_id(tmp_path, found, parts):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(found))
    refused(lambda: read_annotations(path, masks=True), path, *parts)


def test_run_lengths_may_be_written_as_floats(tmp_path):
    whole = coco_files.runs(coco_files.heap())
    masks = []
    for counts in (whole, [float(count) for count in whole]):
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(spoiled("annotations", 1, segmentation={"size": [40.0, 60], "counts": counts})))
        annotations = read_annotations(path, masks=True)
        item = annotations.instances(annotations.images[:, 0].tolist().index(7))[1]
        masks.append(to_mask(item.segmentation, (40, 60), (40, 60)))
    assert numpy.array_equal(masks[0], coco_files.heap()) and numpy.array_equal(*masks)


def test_a_picture_lying_on_its_side_is_turned_as_its_camera_says(tmp_path):
    """As in Detectron2, whose annotations are for the upright picture. `predict` does the same."""
    root = coco_files.write(tmp_path / "copy")
    path = root / "val2017" / "000000000009.png"  # 40 wide, 60 high
    with PIL.Image.open(path) as picture:
        upright = picture.convert("RGB")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(path, exif=exif)
    picture, _ = by_image(build(root).validation())[9]
    assert torch.equal(picture, torch.from_numpy(numpy.array(upright)).permute(2, 0, 1))
    upright.save(path, exif=exif)  # now the annotations are for the picture on its side
    with pytest.raises(DataError, match=r"60 x 40 pixels, upright as its EXIF orientation says, .* for 40 x 60"):
        by_image(build(root).validation())


def test_the_splits_must_list_the_same_categories(tmp_path):
    train = spoiled("categories", 0, name="comb")
    refused(lambda: build(coco_files.write(tmp_path / "copy", train=train)).train(), "same categories")


@pytest.mark.parametrize("how", ["gone", "torn", "another size"])
def test_a_bad_picture_is_named_with_its_id(tmp_path, how):
    root = coco_files.write(tmp_path / "copy")
    path = root / "val2017" / "000000000009.png"
    if how == "gone":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:200])
    else:
        PIL.Image.new("RGB", (50, 50)).save(path)
    with pytest.raises(DataError) as caught:
        by_image(build(root).validation())
    assert str(path) in str(caught.value) and "image 9" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"masks": 1}, {"flip": 2.0}, {"short_sides": ()}, {"short_sides": 800}, {"long_side": 30}]
)
def test_options_out_of_range_are_refused(folder, options):
    [(name, value)] = options.items()
    refused(lambda: build(folder, **options), f"data.options.{name}={value}")
