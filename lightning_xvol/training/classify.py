"""What a trained classifier says about pictures: the best classes of each, with their scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_xvol.data.inputs import to_input
from lightning_xvol.data.pictures import read_picture
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.weights import Trained

COLUMNS = ("picture", "rank", "label", "class", "score")


@dataclass(frozen=True)
class Guess:
    """One of the best classes of a picture.

    Attributes:
        label: the number of the class, from 0.
        name: of the class.
        score: its softmax, from 0 to 1.
    """

    label: int
    name: str
    score: float


@torch.no_grad()
def classify(trained: Trained, path: Path, count: int) -> list[Guess]:
    """The `count` best classes of the picture at `path`, the best first; of equal scores the smaller label first.

    Raises:
        UserError: for a file that is no picture, or a network that takes no pictures.
    """
    picture = read_picture(path, upright=True)  # cameras store photographs on their side
    image = to_input(picture, trained.config.data, trained.image_shape)
    scores = trained.network(image[None])[0].double().softmax(0)  # [classes]
    if not scores.isfinite().all():
        raise UserError(f"the scores of {str(path)!r} are not finite: these weights come from a run that diverged")
    best = scores.argsort(descending=True, stable=True)[:count].tolist()
    names = class_names(trained)
    return [Guess(label, names[label], float(scores[label])) for label in best]


def class_names(trained: Trained) -> Sequence[str]:
    """The names of the labels. Older checkpoints hold none: then `class 0`, `class 1`, ..."""
    names = trained.run.get("classes") or ()
    if len(names) == trained.num_classes:
        return [str(name) for name in names]
    return [f"class {label}" for label in range(trained.num_classes)]


def csv_text(guesses: Iterable[tuple[str, Sequence[Guess]]]) -> str:
    """A row for each class of each picture, as a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for picture, best in guesses:
        for rank, guess in enumerate(best, start=1):
            writer.writerow([picture, rank, guess.label, guess.name, f"{guess.score:.6f}"])
    return text.getvalue()
