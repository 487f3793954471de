"""The GPUs of this machine, found without any CUDA call, and those that a process gets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from lightning_xvol.errors import UserError


def list_gpus() -> list[str]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` names, else those that `nvidia-smi` lists. A machine may have none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


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
