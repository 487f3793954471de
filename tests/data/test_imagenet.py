"""ImageNet's folders, with small JPEG files that the tests write."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy
import PIL.Image
import pytest
import torch
from pytorch_lightning.plugins.precision import DoublePrecision, Precision
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import DataConfig, set_value
from lightning_xvol.data import DataError, build_data
from lightning_xvol.data.imagenet import MEAN, STD
from lightning_xvol.data.keyed import KeyedDataset, collate
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed, seed_generators

CLASSES = ("n01440764", "n01443537", "n01484850")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    generator = numpy.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40 + number, 60, 3), dtype=numpy.uint8)
                picture = PIL.Image.fromarray(pixels)
                # Some pictures of ImageNet are grey or CMYK.
                picture = picture.convert(("RGB", "L", "CMYK")[label])
                picture.save(folder / f"{name}_{number}.JPEG", quality=90)
    return root


@pytest.fixture
def root(pictures, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(pictures, tmp_path / "copy")


def build(root, limit=None, **options):
    return build_data(DataConfig(name="imagenet", limit=limit, options={"image_size": 28, **options}), root)


def test_classes_shapes_and_labels_come_from_the_folders(pictures):
    data = build(pictures)
    assert (data.num_classes, data.image_shape, data.test()) == (3, (3, 28, 28), None)
    train, validation = data.train(), data.validation()
    assert [train[i][1] for i in range(len(train))] == [0] * 4 + [1] * 4 + [2] * 4
    assert [validation[i][1] for i in range(len(validation))] == [0, 0, 1, 1, 2, 2]
    for split in (train, validation):
        for index in range(len(split)):
            image, label = split[index]
            assert image.shape == (3, 28, 28) and image.dtype == torch.float32 and isinstance(label, int)


def test_default_size_is_224(pictures):
    data = build_data(DataConfig(name="imagenet"), pictures)
    assert data.train()[0][0].shape == data.validation()[0][0].shape == data.image_shape == (3, 224, 224)


def test_evaluation_resizes_the_shorter_side_and_takes_the_centre(pictures):
    split = build(pictures).validation()
    with PIL.Image.open(split.folder / split.paths[1].decode()) as file:
        picture = file.convert("RGB")
    assert picture.size == (60, 41)
    shorter = round(28 * 256 / 224)
    resized = picture.resize((int(shorter * 60 / 41), shorter), PIL.Image.Resampling.BILINEAR)
    left, top = round((resized.width - 28) / 2), round((resized.height - 28) / 2)
    pixels = numpy.asarray(resized.crop((left, top, left + 28, top + 28)))
    expected = (torch.from_numpy(pixels / 255.0).permute(2, 0, 1) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    torch.testing.assert_close(split[1][0].double(), expected, rtol=0, atol=1e-4)


def test_training_crops_at_random_and_by_key(pictures):
    keyed = KeyedDataset(build(pictures).train(), 0)
    keys = [(epoch, index) for epoch in (0, 1) for index in range(4)]
    loaded = [
        torch.cat(
            [batch.images for batch in DataLoader(keyed, 3, sampler=keys, num_workers=workers, collate_fn=collate)]
        )
        for workers in (0, 2)
    ]
    assert torch.equal(*loaded)
    assert not torch.equal(loaded[0][:4], loaded[0][4:])


def test_training_items_are_those_of_torchvisions_reference_pipeline(pictures):
    steps = [
        transforms.RandomResizedCrop(28),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    theirs = ImageFolder(str(pictures / "train"), transforms.Compose(steps))
    ours = build(pictures).train()
    for index in range(len(ours)):
        torch.manual_seed(index)
        expected, label = theirs[index]
        torch.manual_seed(index)
        image, own_label = ours[index]
        assert torch.equal(image, expected) and own_label == label


@pytest.mark.parametrize("limit", [None, 5])
def test_pictures_stay_uint8_until_they_are_normalised_on_the_device(pictures, limit):
    split = build(pictures, limit=limit).train()
    keyed = KeyedDataset(split, 0)
    keys = [(3, index) for index in range(len(split))]
    [batch] = DataLoader(keyed, len(split), sampler=keys, collate_fn=collate)
    assert batch.images.dtype == torch.uint8
    images = []
    for _, index in keys:
        seed_generators(derive_seed("augmentation", 0, 3, index))
        images.append(split[index][0])
    assert torch.equal(keyed.normalise(batch.images), torch.stack(images))


@pytest.mark.parametrize(("plugin", "dtype"), [(Precision, "float32"), (DoublePrecision, "float64")])
def test_the_module_normalises_in_the_precision_of_the_run(pictures, plugin, dtype):
    config = RECIPES["imagenet_resnet50"].config()
    for path, value in {"data.options.image_size": 28, "data.batch_size": 4, "data.workers": 0}.items():
        config = set_value(config, path, value)
    module = ImageDataModule(resolve(config), pictures)
    batch = next(iter(module._loader(module._train, [[(0, 1), (0, 2)]])))
    module.trainer = SimpleNamespace(precision_plugin=plugin())
    finished = module.on_after_batch_transfer(batch, 0)
    assert finished.images.dtype == getattr(torch, dtype) and finished.labels.dtype == torch.int64
    assert torch.equal(finished.images.float(), module.normalise(batch).images)
    assert module.on_after_batch_transfer(finished, 0) is finished


def test_data_dir_may_be_the_folder_that_contains_imagenet(pictures, tmp_path):
    (tmp_path / "imagenet").symlink_to(pictures)
    assert len(build(tmp_path).train()) == 12


def test_limit_spreads_over_the_classes(pictures):
    data = build(pictures, limit=3)
    assert [data.train()[i][1] for i in range(3)] == [data.validation()[i][1] for i in range(3)] == [0, 1, 2]


def test_listing_opens_no_picture(pictures, monkeypatch):
    monkeypatch.setattr(PIL.Image, "open", None)
    data = build(pictures)
    assert len(data.train()) == 12 and len(data.validation()) == 6


def spoil(folder, how):
    path = sorted(folder.iterdir())[0]
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"torn": content[: len(content) // 2], "foreign": b"not a picture", "empty": b""}[how])
    return path


@pytest.mark.parametrize("how", ["torn", "foreign", "empty", "gone"])
def test_a_corrupt_picture_is_named_in_one_sentence(root, how):
    split = build(root).train()
    path = spoil(root / "train" / CLASSES[1], how)
    with pytest.raises(UserError) as caught:
        split[4]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def failure(loader):
    """The error's sentence. `pytest.raises` would keep the frames, and torch would then wait 5 s for each worker."""
    try:
        list(loader)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("workers", [0, 2])
def test_the_sentence_survives_the_loader(root, workers):
    path = spoil(root / "train" / CLASSES[1], "torn")
    keyed = KeyedDataset(build(root).train(), 0)
    loader = DataLoader(keyed, 2, sampler=[(0, i) for i in range(6)], num_workers=workers, collate_fn=collate)
    message = failure(loader)
    assert message.startswith(f"cannot read the picture {str(path)!r}") and "\n" not in message
    assert message.count(str(path)) == 1


def refused(root):
    with pytest.raises(UserError) as caught:
        build(root).train()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("missing", ["train", "val", "all"])
def test_missing_folders_are_named_with_the_expected_layout(root, missing):
    if missing == "all":
        root = Path("/nowhere")
    else:
        shutil.rmtree(root / missing)
    message = refused(root)
    assert str(root / ("train" if missing == "all" else missing)) in message
    assert f"{root}/val/<class>/*.JPEG" in message and "--data-dir" in message


def test_the_flat_validation_folder_of_the_official_archive_is_refused(root):
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    assert "no class folders" in refused(root)


def test_train_and_val_must_hold_the_same_classes(root):
    (root / "val" / CLASSES[2]).rename(root / "val" / "n99999999")
    message = refused(root)
    assert f"only in train: {CLASSES[2]}" in message
    (root / "val" / CLASSES[2]).mkdir()
    assert "only in val: n99999999" in refused(root)


def test_a_class_without_pictures_is_named(root):
    for path in (root / "train" / CLASSES[0]).iterdir():
        path.rename(path.with_suffix(".txt"))
    assert CLASSES[0] in refused(root)


def test_hidden_folders_are_not_classes(root):
    (root / "train" / ".ipynb_checkpoints").mkdir()
    assert build(root).num_classes == 3


def test_an_image_size_below_one_is_refused(pictures):
    with pytest.raises(UserError, match="image_size=0"):
        build(pictures, image_size=0)
