"""pycocotools reads the generated data set; it is complete or absent, and the same every time."""

import json
import multiprocessing
from collections import Counter

import pytest
from pycocotools import mask as api
from pycocotools.coco import COCO

from lightning_xvol.data.coco import SPLITS
from lightning_xvol.data.shapes_coco import FIRST_IMAGE, ShapesCoco, write_shapes
from lightning_xvol.errors import UserError

SIZES = {"train": 34, "validation": 16}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return ShapesCoco(tmp_path_factory.mktemp("data"), train_size=34, validation_size=16, masks=True)


@pytest.fixture(scope="module", params=list(SPLITS))
def theirs(request, shapes):
    return COCO(str(shapes.root / "annotations" / f"instances_{SPLITS[request.param]}.json"))


def test_masks_boxes_and_areas_agree(theirs):
    for number, item in theirs.anns.items():
        mask = theirs.annToMask(item)
        assert mask.sum() == item["area"] > 0
        assert api.toBbox(theirs.annToRLE(item)).tolist() == item["bbox"], number


def test_every_size_and_every_form_of_segmentation_occurs(theirs):
    items = theirs.anns.values()
    sizes = Counter((item["area"] >= 32**2) + (item["area"] >= 96**2) for item in items if not item["iscrowd"])
    assert min(sizes[size] for size in range(3)) >= 3
    assert set(theirs.cats) == {1, 2, 4, 7, 8, 11} == {item["category_id"] for item in items}
    forms = Counter(type(item["segmentation"]).__name__ for item in items if not item["iscrowd"])
    assert forms["list"] > 5 and forms["dict"] > 5
    assert any(len(item["segmentation"]) == 2 for item in items if isinstance(item["segmentation"], list))
    crowds = [item for item in items if item["iscrowd"]]
    assert crowds and all(isinstance(item["segmentation"]["counts"], list) for item in crowds)


def test_no_pixel_belongs_to_two_masks(theirs):
    for image in theirs.imgs:
        objects = theirs.loadAnns(theirs.getAnnIds(imgIds=[image]))
        assert not objects or sum(theirs.annToMask(item).astype(int) for item in objects).max() == 1


def test_splits_share_no_image(shapes):
    names = {}
    for split, folder in SPLITS.items():
        content = json.loads((shapes.root / "annotations" / f"instances_{folder}.json").read_text())
        names[split] = {image["id"] for image in content["images"]}
        assert min(names[split]) == FIRST_IMAGE[split] and len(names[split]) == SIZES[split]
    assert not names["train"] & names["validation"]
    pictures = [{path.read_bytes() for path in (shapes.root / folder).iterdir()} for folder in SPLITS.values()]
    assert len(pictures[0] | pictures[1]) == sum(SIZES.values())


def test_the_loader_reads_it(shapes):
    train, validation = shapes.train(), shapes.validation()
    assert shapes.num_classes == 6 and shapes.classes[5] == "ring"
    assert len(train) == 34 - 2 and len(validation) == 16  # image 15 has only a crowd, 31 has nothing
    picture, target = train[0]
    assert picture.shape == (3, 192, 192) == shapes.image_shape and target["masks"].shape[1:] == (192, 192)
    assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"]) > 0


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def small(root, train=3, **options):
    return ShapesCoco(root, image_size=64, train_size=train, validation_size=1, **options)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    first, second = content(small(tmp_path / "a").root), content(small(tmp_path / "b").root)
    assert first == second and len(first) == 3 + 1 + 2
    other = content(small(tmp_path / "a", draw=1).root)
    assert not set(first.values()) & set(other.values())
    larger = content(small(tmp_path / "a", train=4).root)
    assert {path: larger[path] for path in first if path.suffix == ".jpg"} == {
        path: first[path] for path in first if path.suffix == ".jpg"
    }


def test_the_folder_of_a_killed_process_is_written_again(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_xvol.data.shapes_coco.files.write_text", die)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    [rest] = [path for path in (tmp_path / "shapes_coco").iterdir() if path.is_dir()]
    assert rest.suffix == ".tmp" and len(list(rest.rglob("*.jpg"))) == 3
    monkeypatch.undo()
    whole = small(tmp_path)
    assert len(content(whole.root)) == 6 and not rest.exists()


def test_an_existing_folder_is_not_written_again(tmp_path, monkeypatch):
    small(tmp_path)
    monkeypatch.setattr("lightning_xvol.data.shapes_coco.draw_image", None)
    assert len(small(tmp_path).validation()) == 1


def test_several_processes_may_begin_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=small, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    assert len(content(small(tmp_path).root)) == 6


def test_pictures_of_several_aspect_ratios(tmp_path):
    split = small(tmp_path, aspect_ratios=(1.0, 1.5, 0.5)).train()
    assert [tuple(split[i][0].shape[1:]) for i in range(3)] == [(64, 64), (64, 96), (128, 64)]
    assert split.annotations.landscape.tolist() == [False, True, False]


@pytest.mark.parametrize("options", [{}, {"aspect_ratios": (1.0, 0.5)}, {"image_size": 64, "test_short_side": 96}])
def test_the_size_is_declared_without_any_file(tmp_path, options):
    defaults = {"image_size": 192, "aspect_ratios": (1.0,), "test_short_side": None}
    declared = ShapesCoco.declared(**{**defaults, **options})
    data = ShapesCoco(tmp_path, train_size=1, validation_size=1, **options)
    assert declared == (data.num_classes, data.image_shape)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "shapes_coco").write_text("")
    with pytest.raises(UserError, match=r"cannot write shapes to .*--data-dir"):
        small(tmp_path)


@pytest.mark.parametrize(
    "options", [{"image_size": 32}, {"draw": -1}, {"aspect_ratios": (9.0,)}, {"aspect_ratios": 1.0}]
)
def test_options_out_of_range_are_refused(tmp_path, options):
    [name] = options
    with pytest.raises(UserError, match=f"data.options.{name}="):
        ShapesCoco(tmp_path, **options)
    assert not (tmp_path / "shapes_coco").exists()


def test_write_shapes_names_the_folder_after_all_that_it_depends_on(shapes):
    assert shapes.root.name == "v1-192px-1-34-16-draw0"
    assert write_shapes(shapes.root.parents[1], shapes.shapes, shapes.sizes) == shapes.root
