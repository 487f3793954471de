"""A folder of the user's own pictures: with train/<class>/ and val/<class>/, or <class>/ alone, split by a seed.

Pictures are cropped, mirrored and normalised as in `lightning_xvol.data.imagenet`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
from torch.utils.data import Dataset

from lightning_xvol.data.base import Item, require_whole
from lightning_xvol.data.imagenet import FolderSplit, ImageNet, list_classes
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed


class Folder(ImageNet):
    """Pictures in class folders, images [3, image_size, image_size]; the sorted folders are the classes.

    A folder without `train` and `val` is split: in each class, `validation_part` of the pictures, but at least one,
    are for validation. The split depends on the names of the pictures, on `validation_part` and on `draw`, and on no
    seed of a run.

    Args:
        root: the folder itself (`--data-dir`).
        download: not possible.
        label: what captions call the data.
        image_size: side of the crop; the resize of evaluation keeps the ratio 256 / 224.
        validation_part: the part of each class that is for validation, if the folder is split; from 0 to 1.
        draw: another number gives another split.

    Raises:
        UserError: for a folder without classes, or a class with too few pictures to split.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        label: str = "",
        image_size: int = 224,
        validation_part: float = 0.2,
        draw: int = 0,
    ) -> None:
        if not isinstance(label, str):
            raise UserError(f"data.options.label={label} must be a word for captions, such as flowers")
        if isinstance(validation_part, bool) or not 0 < validation_part < 1:
            raise UserError(f"data.options.validation_part={validation_part} must be above 0 and below 1, such as 0.2")
        self.label, self.validation_part = label, validation_part
        self.draw = require_whole("draw", draw, 0)
        super().__init__(root, download=download, image_size=image_size)

    @classmethod
    def declared(cls, **options: Any) -> None:  # type: ignore[override]
        """Only the files tell the number of classes."""

    def train(self) -> Dataset[Item]:
        return super().train() if self.is_divided else self._part("train", self._augmented())

    def validation(self) -> Dataset[Item]:
        return super().validation() if self.is_divided else self._part("val", self._central())

    def _locate(self) -> None:
        found = list_classes(self.root)
        # One of them beside other folders is a class of that name.
        self.is_divided = {"train", "val"} <= set(found) or found in (["train"], ["val"])

    def _class_folders(self, split: str) -> list[str]:
        if self.is_divided:
            return super()._class_folders(split)
        classes = list_classes(self.root)
        if not classes:
            raise UserError(
                f"no class folders in {str(self.root)!r}; expected <class>/*.jpg, or train/<class>/*.jpg and "
                "val/<class>/*.jpg: name the folder that holds them with --data-dir"
            )
        return classes

    def _part(self, split: str, transform: Any) -> FolderSplit:
        if split not in self._splits:
            whole = FolderSplit(self.root, self.classes, transform)
            for_validation = self._for_validation(whole)
            chosen = numpy.flatnonzero(for_validation if split == "val" else ~for_validation)
            self._keep(split, whole.take(chosen.tolist()))
        return self._splits[split]

    def _for_validation(self, whole: FolderSplit) -> numpy.ndarray:
        """Which pictures are for validation: in each class those with the smallest numbers, bool [N]."""
        keys = numpy.array([derive_seed("folder", self.draw, path.decode(errors="replace")) for path in whole.paths])
        chosen = numpy.zeros(len(whole), dtype=bool)
        for label, name in enumerate(self.classes):
            members = numpy.flatnonzero(whole.labels == label)
            count = max(1, round(len(members) * self.validation_part))
            if count >= len(members):
                raise UserError(
                    f"class {name!r} in {str(self.root)!r} has {len(members)} pictures, too few to keep "
                    f"data.validation_part={self.validation_part} of them for validation; add pictures or lower it"
                )
            chosen[members[numpy.argsort(keys[members], kind="stable")[:count]]] = True
        return chosen
