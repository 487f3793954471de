"""Mode `data`: our ImageNet loader against torchvision's reference pipeline, on the same pictures and workers."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import report
from benchmarks.measure import Effort, Row, alternate, ratio, spread
from benchmarks.pictures import make_pictures
from benchmarks.session import Session
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import set_value
from lightning_xvol.data.imagenet import MEAN, STD
from lightning_xvol.data.keyed import KeyedBatch
from lightning_xvol.data.module import ImageDataModule

RECIPE = "imagenet_resnet50"
OURS, REFERENCE = "lightning_xvol", "torchvision"

COLUMNS = ("pipeline", "workers", "batch", "images", "image_kb", "images_per_second", "q1", "q3", "over_torchvision")

NOTES = (
    "Training pictures, cropped, flipped and normalised, as float32 on the device: median [quartiles] of the rounds, "
    "one epoch per round. The pictures are generated JPEGs in ImageNet's folders. torchvision is its reference "
    "pipeline (ImageFolder, RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize).",
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure both loaders."""
    images = parsed.images or (16 if parsed.smoke else 512)
    batch = parsed.batch_size or (8 if parsed.smoke else 32)
    rows = measure(images, parsed.workers, batch, session.machine.device, session.effort)
    text = table(rows)
    print(text)
    print(session.write("loaders", "Loaders", NOTES, text, COLUMNS, rows))


def measure(images: int, workers: int, batch: int, device: torch.device, effort: Effort) -> list[Row]:
    """Normalised float32 images on `device` per second, a row per loader.

    Epochs of both loaders over the same `images` generated pictures take turns.

    Raises:
        UserError: if the images do not fill one batch.
    """
    with tempfile.TemporaryDirectory(prefix="lightning-xvol-pictures-") as folder:
        size = make_pictures(Path(folder), images, effort.seed)
        epochs = {
            OURS: _ours(Path(folder), workers, batch, device),
            REFERENCE: _reference(Path(folder), workers, batch, device),
        }
        whole = images // batch * batch
        samples = alternate(epochs, device, dataclasses.replace(effort, seconds=0), "loaders")
        del epochs  # ends the workers before their files are removed
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
    """The training pipeline of torchvision's reference scripts."""
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


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        [
            row["pipeline"],
            str(row["workers"]),
            report.interval(row["images_per_second"], row["q1"], row["q3"]),
            report.times(row["over_torchvision"]),
        ]
        for row in rows
    ]
    return report.markdown(["pipeline", "workers", "images/s", "to torchvision"], lines)
