"""Marks: whole numbers in a state dict that say how a module was built. They are no weights.

A mark is a buffer, because metadata of a state dict do not survive every way of storing weights (safetensors). It is an
integer, like a batch norm's counter: averaging weights subtracts buffers, which does not work for bool.

A model from `torch.device("meta")` has no content until it gets weights, and `to_empty` gives it whatever is in memory.
The module still knows its own mark, so it writes the buffer again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_xvol.errors import UserError


def write_mark(buffer: Tensor, value: int) -> None:
    """Write `value` into the buffer of a mark, in place. A buffer on the meta device has no content to write."""
    if not buffer.is_meta:
        with torch.inference_mode(buffer.is_inference()), torch.no_grad():
            buffer.fill_(value)


def read_mark(state_dict: Mapping[str, Any], key: str, known: Iterable[int], own: int) -> int | None:
    """The mark that weights carry. None where they carry none, or one without content (meta device).

    Raises:
        UserError: for a number that is no mark.
    """
    mark = state_dict.get(key)
    if mark is None or mark.is_meta:
        return None
    values = mark.flatten().tolist()
    if len(values) != 1 or values[0] not in known:
        raise UserError(
            f"{key}={values[0] if len(values) == 1 else values} is no mark that this package writes (expected one of "
            f"{', '.join(map(str, known))}): the weights may come from a model that was on the meta device; if they "
            f"fit this model, set it to {own} in the weights and load them again"
        )
    return int(values[0])
