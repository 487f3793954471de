"""Fashion-MNIST: where its files are looked for, and splits that a seed draws from the official images."""

import dataclasses
import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import DataConfig, set_value, to_dict
from lightning_xvol.data import build_data, fashion_mnist
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents

COUNTS = {"train": 60, "t10k": 20}
REAL = fashion_mnist.SYSTEM_FOLDER / "fashion-mnist"


def make_files(folder: Path, packed: bool, first_label: int = 0) -> Path:
    """Small files in the format of the data set. Image k of a part has all pixels k, and the label k modulo 10."""
    folder.mkdir(parents=True)
    for part, count in COUNTS.items():
        pixels = numpy.arange(count, dtype=numpy.uint8)[:, None, None] * numpy.ones((1, 28, 28), numpy.uint8)
        labels = ((numpy.arange(count) + first_label) % 10).astype(numpy.uint8)
        for name, header, values in (
            ("images-idx3-ubyte", [0x803, count, 28, 28], pixels),
            ("labels-idx1-ubyte", [0x801, count], labels),
        ):
            content = numpy.array(header, dtype=">i4").tobytes() + values.tobytes()
            path = folder / f"{part}-{name}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    """The folder in which Debian's package would be; it is empty at first, and no variable names another."""
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.delenv("LIGHTNING_XVOL_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "system"


def build(root=None, seed=0, **options):
    return build_data(DataConfig("fashion_mnist", options={"augment": False, **options}), root, seed=seed)


def drawn(root=None, seed=0, train_size=40, validation_size=15, **options):
    sizes = {"train_size": train_size, "validation_size": validation_size}
    return build(root, seed, split="by_seed", **sizes, **options)


def numbers(split):
    """Which official images a split holds: their pixels say it."""
    return split.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["FashionMNIST/raw", "fashion-mnist", "."])
def test_plain_and_packed_files_are_read_wherever_they_are_and_are_the_same_data(tmp_path, place, packed):
    make_files(tmp_path / "own" / place, packed)
    digests = set()
    for root in (tmp_path / "own", tmp_path / "reference"):
        if root.name == "reference":
            make_files(root / "FashionMNIST/raw", packed=False)
        data = build(root)
        assert numbers(data.train()) == list(range(60)) and numbers(data.validation()) == list(range(20))
        assert data.train().labels.tolist() == [k % 10 for k in range(60)] and data.test() is None
        official = dataclasses.replace(MINE, data=DataConfig("fashion_mnist", 4, options={"augment": False}))
        module = ImageDataModule(official, root)
        digests.add(module.contents["digest"])
    assert len(digests) == 1


def test_the_folder_of_the_user_comes_before_the_variable_and_the_variable_before_the_package(
    tmp_path, system, monkeypatch
):
    folders = {"package": system, "variable": tmp_path / "named", "flag": tmp_path / "flag"}
    for number, (who, folder) in enumerate(folders.items(), start=1):
        make_files(folder / "fashion-mnist", packed=True, first_label=number)
        if who == "variable":
            monkeypatch.setenv("LIGHTNING_XVOL_DATA", str(folder))
        data = build(folder if who == "flag" else None)
        assert data.train().labels[0] == number and data.found_in == folder
    assert build(tmp_path / "nothing").train().labels[0] == 2, "a folder without the files does not hide the others"


def test_without_any_files_one_sentence_names_the_package_and_the_flag(tmp_path):
    code = (
        f"import runpy, sys; from pathlib import Path; sys.path.insert(0, {str(ROOT)!r});"
        "from lightning_xvol.data import fashion_mnist; fashion_mnist.SYSTEM_FOLDER = Path('nowhere');"
        "sys.argv[1:] = ['--recipe', 'fashion_small', '--seeds', '1', '--only', 'kernel_size=3'];"
        "runpy.run_module('ablations.kernel_size', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: no FashionMNIST in 'data'") and "dataset-fashion-mnist" in line
    assert "--download" in line and "--data-dir" in line
    assert not (tmp_path / "runs" / "cells").exists()


ROOT = Path(__file__).resolve().parents[2]
MINE = resolve(
    set_value(
        set_value(get_recipe("fashion_small").config("convolution"), "data.train_size", 40), "data.validation_size", 15
    )
)
MINE = set_value(MINE, "data.batch_size", 4)


@pytest.mark.parametrize("damage", ["cut", "not_gzip", "other_format", "missing", "other_count"])
def test_damaged_files_give_one_sentence_and_no_other_files_are_taken(tmp_path, system, damage):
    make_files(system / "fashion-mnist", packed=True)
    folder = make_files(tmp_path / "own" / "fashion-mnist", packed=True)
    path = folder / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "cut": path.read_bytes()[:-9],
                "not_gzip": content,
                "other_format": gzip.compress(b"\x00\x00\x0d\x03" + content[4:]),
                "other_count": gzip.compress(content[:4] + numpy.array([59], ">i4").tobytes() + content[8:]),
            }[damage]
        )
    with pytest.raises(UserError, match=r"cannot read FashionMNIST in .*own") as caught:
        build(tmp_path / "own").train()
    assert "\n" not in str(caught.value)


def test_a_draw_is_disjoint_repeatable_and_another_with_each_seed(system):
    make_files(system / "fashion-mnist", packed=True)
    seen = set()
    for seed in range(5):
        data, again = drawn(seed=seed), drawn(seed=seed)
        train, validation = numbers(data.train()), numbers(data.validation())
        assert len(set(train)) == 40 and len(set(validation)) == 15 and not set(train) & set(validation)
        assert (numbers(again.train()), numbers(again.validation())) == (train, validation)
        assert data.train().labels.tolist() == [k % 10 for k in train]
        assert numbers(data.test()) == list(range(20))
        seen |= {tuple(train), tuple(validation)}
    assert len(seen) == 10


def test_larger_splits_begin_with_the_smaller_ones(system):
    make_files(system / "fashion-mnist", packed=True)
    small, large = drawn(train_size=10, validation_size=5), drawn(train_size=45, validation_size=15)
    assert numbers(large.train())[:10] == numbers(small.train())
    assert numbers(large.validation())[:5] == numbers(small.validation())


def test_every_image_is_drawn_equally_often():
    counts = numpy.zeros(60)
    for seed in range(300):
        counts[fashion_mnist.random_order(60, "fashion_mnist", seed)[:30]] += 1
    # 300 draws of one half: 150 with a standard deviation of 8.7.
    assert abs(counts - 150).max() < 40


def test_the_digest_is_that_of_the_files_not_of_the_draw(system, tmp_path):
    make_files(system / "fashion-mnist", packed=True)
    first, second = (ImageDataModule(dataclasses.replace(MINE, seed=seed)).contents for seed in (0, 1))
    assert first == second and first["drawn_from"] == {"train": 60, "validation": 20}
    assert (first["train"], first["validation"], first["test"]) == (40, 15, 20)
    make_files(tmp_path / "other" / "fashion-mnist", packed=True, first_label=1)
    assert ImageDataModule(MINE, tmp_path / "other").contents["digest"] != first["digest"]
    assert contents.label(to_dict(MINE)["data"], first).startswith("10 classes, 40 + 15 + 20 images")
    real = {**first, "drawn_from": {"train": 60_000, "validation": 10_000}}
    for limit in (None, 9):
        assert contents.label({**to_dict(MINE)["data"], "limit": limit}, real) == "Fashion-MNIST"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "random"}, "split=random must be one of official, by_seed"),
        ({"train_size": 40}, "train_size=40 needs data.split=by_seed"),
        ({"split": "by_seed"}, "needs data.train_size and data.validation_size"),
        ({"split": "by_seed", "train_size": 40}, "needs data.validation_size"),
        ({"split": "by_seed", "train_size": 0, "validation_size": 5}, "train_size=0 must be a whole number"),
        ({"split": "by_seed", "train_size": True, "validation_size": 5}, "train_size=True must be a whole number"),
        ({"split": "by_seed", "train_size": 50, "validation_size": 11}, "more than the 60 official"),
    ],
)
def test_impossible_splits_are_one_sentence(system, options, message):
    make_files(system / "fashion-mnist", packed=True)
    with pytest.raises(UserError, match=message):
        build(**options).train()


def test_augmentation_concerns_the_drawn_training_images_alone(system):
    make_files(system / "fashion-mnist", packed=True)
    data = drawn(augment=True)
    assert not hasattr(data.train(), "batch") and hasattr(data.validation(), "batch") and len(data.train()) == 40


def test_official_runs_keep_their_ids():
    options = {"augment": True}
    config = dataclasses.replace(get_recipe("digits_small").config(), data=DataConfig("fashion_mnist", options=options))
    assert resolve(config).cell_id == OFFICIAL_ID
    legacy = registry.DATASETS["fashion_mnist"].legacy_values
    explicit = dataclasses.replace(config, data=DataConfig("fashion_mnist", options={**options, **legacy}))
    assert resolve(explicit).cell_id == OFFICIAL_ID
    assert resolve(set_value(config, "data.split", "by_seed")).cell_id != OFFICIAL_ID


OFFICIAL_ID = "fc6f7a13bc25"


@pytest.mark.skipif(not REAL.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_package_holds_the_real_images(monkeypatch):
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", REAL.parent)
    data = drawn(train_size=50_000, validation_size=10_000)
    assert data.drawn_from == {"train": 60_000, "validation": 10_000}
    official = build()
    pixels = official.train().images.float() / 255
    assert round(pixels.mean().item(), 4) == data.mean[0] and round(pixels.std().item(), 4) == data.std[0]
    assert torch.bincount(official.train().labels).tolist() == [6_000] * 10
    order = sorted(hashlib.md5(image.numpy().tobytes()).hexdigest() for image in official.train().images)
    splits = [data.train().images, data.validation().images]
    assert sorted(hashlib.md5(image.numpy().tobytes()).hexdigest() for part in splits for image in part) == order
