"""A few images of the final evaluation of a classifier for the tracker, with prediction and label."""

from __future__ import annotations

import logging
from typing import Any

import numpy
from torch import Tensor

from lightning_xvol.errors import first_line
from lightning_xvol.training.predictions import Columns, Kept, KeptPredictions, predictions

COUNT = 8
NAME = "predictions"

log = logging.getLogger(__name__)


class Pictures(Kept):
    """Keeps the first images of the final evaluation that this process sees, and shows them to a tracker.

    Args:
        kept: the predictions of the same run, which name its steps and classes.
    """

    def __init__(self, kept: KeptPredictions) -> None:
        super().__init__(kept.total_steps)
        self.classes = kept.classes
        self.seen: list[tuple[numpy.ndarray, str]] = []
        self.shown: list[tuple[numpy.ndarray, str]] = []

    def add(self, outputs: Tensor, batch: Any) -> None:
        left = COUNT - len(self.seen)
        if left <= 0:
            return
        try:
            columns = predictions(outputs[:left], batch.labels[:left], batch.indices[:left])
            self.seen += [(pixels(image), self._caption(columns, n)) for n, image in enumerate(batch.images[:left])]
        except Exception as error:  # pictures are for people alone: no error in them fails a run
            log.warning("cannot keep pictures for the tracker (%s)", first_line(error))

    def _caption(self, columns: Columns, number: int) -> str:
        predicted, label = (self.classes[columns[name][number]] for name in ("predicted", "label"))
        return f"predicted {predicted} ({100 * columns['score'][number]:.0f} %), label {label}"

    def finish(self, module: Any) -> None:
        self.shown, self.seen = self.seen, []

    def show(self, tracker: Any) -> None:
        """Give the images to `tracker`, whose own errors only warn."""
        if self.shown:
            images, captions = (list(values) for values in zip(*self.shown, strict=True))
            tracker.log_image(NAME, images, step=self.total_steps - 1, caption=captions)


def pixels(image: Tensor) -> numpy.ndarray:
    """An image [C, H, W] of any range as uint8, [H, W, 3] or, where it has not three channels, [H, W] of the first.

    Its darkest value becomes black and its brightest white, because images come normalised.
    """
    values = image.detach().float().cpu()
    low, high = values.min(), values.max()
    scaled = ((values - low) / (high - low).clamp_min(1e-12) * 255).round().byte()
    return (scaled.permute(1, 2, 0) if len(scaled) == 3 else scaled[0]).numpy()


def pictures_of(kept: Kept | None) -> Pictures | None:
    """The pictures of a classification; other tasks have none, or show their own."""
    return Pictures(kept) if isinstance(kept, KeptPredictions) else None
