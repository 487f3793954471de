"""What a run leaves of its final evaluation, image by image: the predictions of a classifier, or detections.

The evaluation is the one whose metrics the record reports as `last`: of the last weights, on the test split, or on the
validation split where there is no test split.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_xvol.data.coco_annotations import CocoAnnotations
from lightning_xvol.detection.evaluator import Results, as_coco, merge_results
from lightning_xvol.ledger import files
from lightning_xvol.ledger.record import DETECTIONS, PREDICTIONS
from lightning_xvol.modules.base import gather

Columns = dict[str, numpy.ndarray]


class Kept(Callback):
    """Keeps the outputs of the final evaluation, of all processes of a run, until they are written.

    Attributes:
        total_steps: the steps of the run; a validation before the last step is not the final one.
        complete: whether it has seen the final evaluation.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps, self.complete = total_steps, False

    def write(self, folder: Path) -> None:
        """Write the files of this kind into `folder`."""
        raise NotImplementedError

    def add(self, outputs: Any, batch: Any) -> None:
        """Keep the outputs of one batch of this process."""

    def finish(self, module: Any) -> None:
        """Join the outputs of all processes at the end of an evaluation of `module`."""
        raise NotImplementedError

    def _end(self, module: LightningModule) -> None:
        self.finish(module)
        self.complete = True

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if trainer.global_step == self.total_steps:
            self.add(outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == self.total_steps:
            self._end(pl_module)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.add(outputs, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(pl_module)


class KeptPredictions(Kept):
    """Keeps the predictions of a classifier: `lightning_xvol.ledger.record.PREDICTIONS`.

    Args:
        total_steps: the steps of the run.
        classes: the name of each label.
    """

    def __init__(self, total_steps: int, classes: Sequence[str]) -> None:
        super().__init__(total_steps)
        self.classes = classes
        self.parts: list[Columns] = []
        self.columns: Columns = {}

    def add(self, outputs: Tensor, batch: Any) -> None:
        self.parts.append(predictions(outputs, batch.labels, batch.indices))

    def finish(self, module: Any) -> None:
        parts, self.parts = self.parts, []
        self.columns = merge([part for process in gather(parts) for part in process])

    def write(self, folder: Path) -> None:
        files.write_bytes(
            folder / PREDICTIONS, archive({**self.columns, "classes": numpy.array(self.classes, dtype="<U")})
        )


class KeptDetections(Kept):
    """Keeps the detections of a detector as files of results in COCO's format, one for boxes and one for masks.

    COCO takes the area of an object from its box where a result has both, so that a mask would count as too large.
    """

    def __init__(self, total_steps: int, annotations: CocoAnnotations, *, masks: bool) -> None:
        super().__init__(total_steps)
        self.annotations = annotations
        self.kinds = ("box", "mask") if masks else ("box",)
        self.results: Results = {}

    def finish(self, module: Any) -> None:
        # The module's own hook comes after this one, and empties its evaluator.
        self.results = merge_results(gather(module.evaluator.results))

    def write(self, folder: Path) -> None:
        categories = [{"id": number} for number in self.annotations.categories]
        for kind in self.kinds:
            found = as_coco(categories, self.results, kind)
            files.write_text(folder / DETECTIONS[kind], json.dumps(found, default=bytes.decode) + "\n")


def predictions(logits: Tensor, labels: Tensor, indices: Tensor) -> Columns:
    """The columns of a batch: `logits` [B, num_classes] of images with `labels` [B] at `indices` [B] of their split."""
    predicted = logits.argmax(1)
    score = logits.float().softmax(1).gather(1, predicted[:, None])[:, 0]
    whole = {"index": indices, "label": labels, "predicted": predicted}
    columns = {name: _array(values, "<i4") for name, values in whole.items()}
    return {**columns, "score": _array(score, "<f4")}


def _array(values: Tensor, kind: str) -> numpy.ndarray:
    return values.detach().to("cpu", torch.float32 if kind == "<f4" else torch.int32).numpy().astype(kind)


def merge(parts: Iterable[Columns]) -> Columns:
    """One row for each index, in the order of the indices. A sampler that fills up its last batch repeats some."""
    parts = list(parts)
    columns = {name: numpy.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, first = numpy.unique(columns["index"], return_index=True)
    return {name: values[first] for name, values in columns.items()}


def label_names(classes: Sequence[str], num_classes: int) -> list[str]:
    """The name of each label, or its number where the data set has no name for each."""
    return list(map(str, classes if len(classes) == num_classes else range(num_classes)))


def archive(arrays: Mapping[str, numpy.ndarray]) -> bytes:
    """`arrays` as an `.npz` file, which is the same for the same arrays.

    `numpy.savez` promises no such thing. The arrays are not compressed, because versions of zlib compress differently.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            entry = io.BytesIO()
            numpy.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, entry.getvalue())
    return content.getvalue()
