"""The GPUs of this machine, found without any CUDA call, and those that a process gets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.programs import output_of

ANSWER_SECONDS = 60


def list_gpus() -> list[str]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` leaves, else those that `nvidia-smi` lists. A machine may have none."""
    listed = output_of(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], timeout=ANSWER_SECONDS)
    there = None if listed is None else listed.split()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there or [] if visible is None else visible_gpus(visible, None if there is None else len(there))


def visible_gpus(value: str, number: int | None = None) -> list[str]:
    """The GPUs that CUDA shows a process with `CUDA_VISIBLE_DEVICES=value`.

    CUDA reads the list up to the first entry that is no GPU: a negative number, one from `number` on (where the number
    of GPUs is known), or a text. A GPU that is named twice hides all. A list that begins with a UUID (`GPU-...`,
    `MIG-...`) holds UUIDs of this kind alone. Source: CUDA C++ Programming Guide, environment variables.
    """
    found: list[str] = []
    entries = [entry.strip() for entry in value.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if entries[0].startswith(kind)), None)
    for entry in entries:
        if kind is None:
            index = re.match(r"[+]?0*(\d+)", entry)  # as C reads a number: what follows the digits does not count
            if index is None or (number is not None and int(index[1]) >= number):
                break
            entry = index[1]
        elif not entry.startswith(kind):
            break
        if entry in found:
            return []
        found.append(entry)
    return found


class Slots:
    """Lends GPUs to cells, each GPU to `cells_per_gpu` cells at a time. Without GPUs it lends none and limits nothing.

    Raises:
        UserError: where there is no room for `jobs` cells of `devices` processes each.
    """

    def __init__(self, gpus: Sequence[str], jobs: int, devices: int, cells_per_gpu: int) -> None:
        if gpus and (devices > len(gpus) or jobs * devices > len(gpus) * cells_per_gpu):
            raise UserError(
                f"--jobs {jobs} with train.devices={devices} needs room for {jobs * devices} processes on {devices} or "
                f"more GPUs; there are {len(gpus)} GPUs here with room for {cells_per_gpu} each; change --jobs or "
                "--cells-per-gpu"
            )
        self.load = dict.fromkeys(gpus, 0)

    def take(self, devices: int) -> list[str]:
        """The `devices` GPUs with the fewest cells on them."""
        chosen = sorted(self.load, key=lambda gpu: self.load[gpu])[:devices]
        for gpu in chosen:
            self.load[gpu] += 1
        return chosen

    def give_back(self, gpus: Sequence[str]) -> None:
        for gpu in gpus:
            self.load[gpu] -= 1
