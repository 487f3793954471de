"""Our ImageNet loader against torchvision's reference pipeline, on the same pictures with as many workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.measure import alternate, ratio, spread
from benchmarks.operators import Effort, Row
from benchmarks.pictures import make_pictures
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import set_value
from lightning_xvol.data.imagenet import MEAN, STD
from lightning_xvol.data.keyed import KeyedBatch
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.seeding import derive_seed

RECIPE = "imagenet_resnet50"
OURS, REFERENCE = "lightning_xvol", "torchvision"

COLUMNS = ("pipeline", "workers", "batch", "images", "image_kb", "images_per_second", "q1", "q3", "over_torchvision")


def measure(images: int, workers: int, batch: int, device: torch.device, effort: Effort) -> list[Row]:
    """Normalised float32 images on `device` per second: epochs over `images` generated pictures take turns.

    Raises:
        UserError: where not even one batch fills.
    """
    with tempfile.TemporaryDirectory(prefix="lightning-xvol-pictures-") as folder:
        size = make_pictures(Path(folder), images, effort.seed)
        epochs = {
            OURS: _ours(Path(folder), workers, batch, device),
            REFERENCE: _reference(Path(folder), workers, batch, device),
        }
        whole = images // batch * batch
        seed = derive_seed(effort.seed, "order", "loaders")
        samples = alternate(epochs, device, effort.rounds, seconds=0, seed=seed)
        del epochs  # ends the workers before their files go
    rows = []
    for name, seconds in samples.items():
        found = spread([whole / value for value in seconds])
        rows.append(
            {
                "pipeline": name,
                "workers": workers,
                "batch": batch,
                "images": images,
                "image_kb": size / 1000,
                "images_per_second": found.median,
                "q1": found.low,
                "q3": found.high,
                "over_torchvision": ratio(samples[REFERENCE], seconds),
            }
        )
    return rows


def _ours(folder: Path, workers: int, batch: int, device: torch.device) -> Callable[[], None]:
    config = get_recipe(RECIPE).config()
    for path, value in {"data.batch_size": batch, "data.workers": workers}.items():
        config = set_value(config, path, value)
    data = ImageDataModule(resolve(config), folder)
    epochs = iter(range(config.train.epochs))

    def epoch() -> None:
        _consume((data.normalise(_to(batch, device)).images for batch in data.loader_of_epoch(next(epochs))), device)

    return epoch


def _to(batch: KeyedBatch, device: torch.device) -> KeyedBatch:
    return KeyedBatch(*(part.to(device, non_blocking=True) for part in batch))


def _reference(folder: Path, workers: int, batch: int, device: torch.device) -> Callable[[], None]:
    """The training pipeline of torchvision's reference scripts (and of every tutorial)."""
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    dataset = datasets.ImageFolder(str(folder / "train"), transforms.Compose(steps))
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )

    def epoch() -> None:
        batches = ([part.to(device, non_blocking=True) for part in batch] for batch in loader)
        _consume((images for images, _ in batches), device)

    return epoch


def _consume(batches: Iterable[Tensor], device: torch.device) -> None:
    for _ in batches:
        pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)
