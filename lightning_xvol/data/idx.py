"""Files in the IDX format of MNIST and its kin, plain or compressed by gzip.

The format: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, the length of
each dimension as a big-endian number of 32 bits, then the values, the last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy

UNSIGNED_BYTES = 8


def find(folder: Path, name: str) -> Path | None:
    """The file `name` or `name`.gz in `folder`; the plain file is first."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read(path: Path) -> numpy.ndarray:
    """The values of the IDX file at `path`, uint8, in the shape that its header says.

    Raises:
        ValueError: for a file of another format or length.
        OSError, EOFError, zlib.error: for a file that cannot be read or unpacked.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise ValueError(f"{path.name} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path.name} ends within its header")
    shape = [int(length) for length in numpy.frombuffer(content[4:start], dtype=">u4")]
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path.name} holds {len(content) - start} bytes, and its header promises {math.prod(shape)}")
    return numpy.frombuffer(content, dtype=numpy.uint8, offset=start).reshape(shape)
