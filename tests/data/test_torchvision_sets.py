"""CIFAR and Fashion-MNIST, read from small files in torchvision's formats that the tests write."""

import pickle
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from torchvision import datasets

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import build_data, fashion_mnist
from lightning_xvol.data.base import TensorSplit
from lightning_xvol.data.keyed import KeyedDataset
from lightning_xvol.errors import UserError

generator = numpy.random.default_rng(0)
PIXELS = generator.integers(0, 256, (10, 3, 32, 32), dtype=numpy.uint8)
GREY = generator.integers(0, 256, (10, 28, 28), dtype=numpy.uint8)


def write_cifar(root, folder, files, key, meta):
    target = root / folder
    target.mkdir(parents=True)
    for file in files:
        content = {"data": PIXELS.reshape(10, -1), key: list(range(10))}
        (target / file).write_bytes(pickle.dumps(content))
    (target / meta[0]).write_bytes(pickle.dumps({meta[1]: ["a"]}))


@pytest.fixture
def root(tmp_path, monkeypatch):
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    write_cifar(tmp_path, "cifar-10-batches-py", [*batches, "test_batch"], "labels", ("batches.meta", "label_names"))
    write_cifar(tmp_path, "cifar-100-python", ["train", "test"], "fine_labels", ("meta", "fine_label_names"))
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = numpy.array([0x803, 10, 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + GREY.tobytes())
        header = numpy.array([0x801, 10], dtype=">i4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes(range(10)))
    # torchvision checks the real files by checksum, which ours do not match.
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: Path(self.root, self.base_folder).is_dir())
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)
    return tmp_path


@pytest.fixture(autouse=True)
def no_other_fashion_mnist(tmp_path, monkeypatch):
    """Neither Debian's package nor the folder that a variable names."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.delenv("LIGHTNING_XVOL_DATA", raising=False)


def build(name, root, **options):
    return build_data(DataConfig(name=name, options=options), root)


@pytest.mark.parametrize(
    ("name", "classes", "shape", "size"),
    [("cifar10", 10, (3, 32, 32), 50), ("cifar100", 100, (3, 32, 32), 10), ("fashion_mnist", 10, (1, 28, 28), 10)],
)
def test_splits_have_the_shapes_that_are_declared(root, name, classes, shape, size):
    data = build(name, root)
    assert (data.num_classes, data.image_shape, data.test()) == (classes, shape, None)
    for split, length in ((data.train(), size), (data.validation(), 10)):
        image, label = split[3]
        assert len(split) == length and image.shape == shape and image.dtype == torch.float32 and label == 3


@pytest.mark.parametrize(("name", "pixels"), [("cifar10", PIXELS), ("fashion_mnist", GREY[:, None])])
def test_images_are_normalised_by_channel(root, name, pixels):
    data = build(name, root, augment=False)
    expected = torch.from_numpy(pixels[4] / 255.0)
    for channel, (mean, std) in enumerate(zip(data.mean, data.std, strict=True)):
        torch.testing.assert_close(
            data.train()[4][0][channel].double(), (expected[channel] - mean) / std, rtol=0, atol=1e-5
        )


def test_only_unaugmented_splits_offer_whole_batches(root):
    augmented, plain = build("cifar10", root), build("cifar10", root, augment=False)
    assert not hasattr(augmented.train(), "batch")
    for split in (plain.train(), augmented.validation(), plain.validation()):
        assert isinstance(split, TensorSplit)
        assert torch.equal(split.batch([2, 5])[0][1], split[5][0])


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_augmentation_is_a_shifted_and_perhaps_mirrored_image(root, name):
    plain, keyed = build(name, root, augment=False), KeyedDataset(build(name, root).train(), 0)
    image = plain.train().images[3]
    split = plain.train()
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image, [4] * 4)
    windows = {}
    for top in range(9):
        for left in range(9):
            window = padded[:, top : top + height, left : left + width]
            windows[split.normalise(window).numpy().tobytes()] = (top, left, False)
            windows[split.normalise(window.flip(-1)).numpy().tobytes()] = (top, left, True)
    seen = [windows[keyed[(epoch, 3)][0].numpy().tobytes()] for epoch in range(300)]
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert 100 < sum(mirrored for _, _, mirrored in seen) < 200


def test_limit_keeps_the_first_images(root):
    data = build_data(DataConfig(name="cifar10", limit=4), root)
    assert [data.train()[i][1] for i in range(4)] == [0, 1, 2, 3]
    assert len(data.validation()) == 4 and hasattr(data.validation(), "batch")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python"), ("fashion_mnist", "FashionMNIST/raw")],
)
def test_missing_files_give_one_sentence_that_says_what_to_do(tmp_path, name, folder):
    with pytest.raises(UserError) as caught:
        build(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / folder) in message and "--data-dir" in message and "--download" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("fashion_mnist", "FashionMNIST/raw")]
)
def test_torn_files_give_one_sentence(tmp_path, name, folder):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "train").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot read") as caught:
        build(name, tmp_path).train()
    assert "\n" not in str(caught.value)


def test_download_happens_only_on_request_and_only_where_files_are_missing(root, tmp_path, monkeypatch):
    empty, asked = tmp_path / "empty", []

    def download(self):
        assert (empty / ".lock").exists()
        asked.append(self.root)
        shutil.copytree(root / self.base_folder, empty / self.base_folder)

    monkeypatch.setattr(datasets.CIFAR10, "download", download)
    assert len(build_data(DataConfig(name="cifar10"), root, download=True).train()) == 50
    assert asked == []
    data = build_data(DataConfig(name="cifar10"), empty, download=True)
    assert asked == []
    assert len(data.train()) == 50 and len(data.validation()) == 10
    assert asked == [str(empty)]


def test_a_failed_download_gives_one_sentence(tmp_path, monkeypatch):
    def fail(self):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(datasets.CIFAR10, "download", fail)
    with pytest.raises(UserError, match=r"cannot fetch or read CIFAR10 in .*OSError: no network"):
        build_data(DataConfig(name="cifar10"), tmp_path / "new", download=True).train()


def test_augment_must_be_true_or_false(root):
    with pytest.raises(UserError, match="augment=1"):
        build("cifar10", root, augment=1)
