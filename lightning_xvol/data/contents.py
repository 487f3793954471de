"""The contents of the data that a run sees (`lightning_xvol.ledger.contents`), computed from its splits.

| split | what is digested |
| --- | --- |
| in memory (`TensorSplit`, `MapSplit`) | the stored pixels and labels, so that packed and unpacked files agree |
| `FolderSplit` | class, path and size of every picture; a picture that changes at equal size is not seen |
| `CocoSplit` | the annotation file, and id, name and size of every picture |
| any other | the number of items alone |

A data set with a method `digest()` says itself what it is, by any text: scikit-learn's digits and a class of the user's
own may do so. If the method returns None, the splits are digested.

Nothing is cached on disk: the time of change of a folder does not tell that a file in it was written anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.utils.data import Subset

from lightning_xvol.data import Limited
from lightning_xvol.data.base import MapSplit, TensorSplit
from lightning_xvol.data.coco import CocoSplit
from lightning_xvol.data.imagenet import FolderSplit
from lightning_xvol.data.torchvision_sets import CropFlip, TorchvisionData
from lightning_xvol.ledger.contents import DIGEST_LENGTH, SPLITS
from lightning_xvol.ledger.files import open_bytes


def contents_of(data: Any, splits: dict[str, Any]) -> dict[str, Any]:
    """The contents of `splits`, the splits of the data set `data` by name, where some may be None.

    Raises:
        UserError: for a picture whose size cannot be read.
    """
    data = data.data if isinstance(data, Limited) else data
    digest = hashlib.sha256()
    kinds: set[str] = set()
    say = getattr(data, "digest", None)
    own = say() if callable(say) else None
    if own is not None:
        kinds.add("own")
        digest.update(str(own).encode())
    found: dict[str, Any] = {"classes": data.num_classes}
    for name in SPLITS:
        split = splits.get(name)
        found[name] = None if split is None else len(split)
        if split is not None:
            digest.update(f"{name} {len(split)}\0".encode())
        if split is not None and own is None:
            for kind, part in _parts(split):
                kinds.add(kind)
                digest.update(part)
    # The digests of torchvision's sets are older than the names of their classes; their labels are digested anyway.
    names = () if isinstance(data, TorchvisionData) else tuple(getattr(data, "classes", ()))
    digest.update(repr((data.num_classes, names)).encode())
    if isinstance(splits["train"], CocoSplit):
        found["image_ids"] = {name: _ids(splits[name]) for name in ("train", "validation")}
    drawn_from = getattr(data, "drawn_from", None)
    if drawn_from is not None:
        found["drawn_from"] = drawn_from
    in_files = "files" in kinds or isinstance(data, TorchvisionData)
    root = getattr(data, "found_in", getattr(data, "root", None))
    where = {"folder": os.fspath(Path(root).absolute())} if in_files and root is not None else {}
    return {"digest": digest.hexdigest()[:DIGEST_LENGTH], "by": "+".join(sorted(kinds)), **found, **where}


def _parts(split: Any) -> Iterator[tuple[str, Any]]:
    """What of `split` goes into the digest, each part with the kind of it."""
    if isinstance(split, Subset):
        yield "items", numpy.asarray(split.indices, dtype=numpy.int64).tobytes()
        yield from _parts(split.dataset)
    elif isinstance(split, CropFlip):
        yield from _parts(split.split)
    elif isinstance(split, TensorSplit):
        yield from (("pixels", part) for tensor in (split.images, split.labels) for part in _tensor(tensor))
    elif isinstance(split, MapSplit):
        yield from (("pixels", part) for tensor in (split.inputs, split.targets) for part in _tensor(tensor))
    elif isinstance(split, FolderSplit):
        yield "files", split.labels.tobytes()
        yield from (("files", part) for part in _files(split.folder, split.paths))
    elif isinstance(split, CocoSplit):
        with open_bytes(split.annotations.path) as file:
            yield "files", hashlib.file_digest(file, "sha256").digest()
        chosen = split.annotations.chosen
        yield "files", split.annotations.images[chosen].tobytes()
        yield from (("files", part) for part in _files(split.folder, split.annotations.names[chosen]))
    else:
        yield "items", b""


def _tensor(tensor: Tensor) -> Iterator[Any]:
    yield f"{tensor.dtype} {tuple(tensor.shape)}\0".encode()
    yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _files(folder: Path, names: numpy.ndarray) -> Iterator[bytes]:
    """Name and size of each file; -1 for a file that is not there, which the run reports when it reads it."""
    # Relative to a descriptor: the kernel does not walk the folder's own path a million times.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for name in names:
            try:
                size = os.stat(name, dir_fd=descriptor).st_size
            except OSError:
                size = -1
            yield b"%s\0%d\0" % (name, size)
    finally:
        os.close(descriptor)


def _ids(split: CocoSplit) -> list[int]:
    numbers = split.annotations.images[:, 0]
    return [len(numbers), int(numbers[0]), int(numbers[-1])] if len(numbers) else [0, 0, 0]
