"""Random state as a function of names and numbers, so that a resumed run has none to restore.

torch and numpy are imported inside the functions: `ablations` derives seeds and must not load them.
"""

from __future__ import annotations

import hashlib
import operator
import random


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits that depends on `parts` alone: the same in every process, on every platform.

    Python's `hash` would do neither, because PYTHONHASHSEED changes it. 63 bits are what every torch generator takes.
    """
    texts = [f"s{part}" if isinstance(part, str) else f"i{operator.index(part)}" for part in parts]
    # The type and the length of each part stand before it, so that ("ab", "c"), ("a", "bc") and 1, "1" all differ.
    message = "".join(f"{len(text)}:{text}" for text in texts).encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") >> 1


def seed_generators(seed: int, *, devices: bool = True) -> None:
    """Seed every global generator: torch's (and, with `devices`, CUDA's where in use), numpy's legacy one and `random`.

    `torch.manual_seed` is not used: before CUDA is initialised it queues a call for each seed, for ever.
    """
    import numpy
    import torch

    torch.default_generator.manual_seed(seed)
    if devices and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    numpy.random.seed(seed & 0xFFFF_FFFF)
    random.seed(seed)
