"""Random state as a function of names and numbers, so that a resumed run has no random state to restore.

The functions import torch and numpy themselves, because `ablations` derives seeds and must not load either.
"""

from __future__ import annotations

import hashlib
import operator
import random


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits that depends on `parts` alone, in every process and on every platform.

    Python's `hash` depends on PYTHONHASHSEED. Every torch generator takes 63 bits.
    """
    texts = [f"s{part}" if isinstance(part, str) else f"i{operator.index(part)}" for part in parts]
    # Each part follows its type and length, so that ("ab", "c") and ("a", "bc") differ, and 1 and "1" too.
    message = "".join(f"{len(text)}:{text}" for text in texts).encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") >> 1


def seed_generators(seed: int, *, devices: bool = True) -> None:
    """Seed the global generators of torch, numpy and `random`, and with `devices` those of CUDA if it is in use.

    `torch.manual_seed` is not used: until CUDA is initialised, it queues one more call for each seed.
    """
    import numpy
    import torch

    torch.default_generator.manual_seed(seed)
    if devices and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    numpy.random.seed(seed & 0xFFFF_FFFF)
    random.seed(seed)
