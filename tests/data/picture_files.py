"""Writes small pictures as people really have them, good and broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy
import PIL.Image

HEIGHT, WIDTH = 12, 16


def pixels() -> numpy.ndarray:
    """Grey levels [H, W] of which no turn or mirror image looks like another."""
    return numpy.arange(HEIGHT * WIDTH, dtype=numpy.uint8).reshape(HEIGHT, WIDTH)


def orientation_exif(orientation: int, *, broken: bool = False) -> bytes:
    """An EXIF block with an orientation. If `broken`, a text stands where a number belongs (YResolution, as ASCII)."""
    entries = [struct.pack("<HHII", 0x0112, 3, 1, orientation)]
    if broken:
        entries.append(struct.pack("<HHI4s", 0x011B, 2, 4, b"abc\0"))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(entries) + struct.pack("<I", 0)


def bomb(path: Path, width: int = 30_000, height: int = 30_000) -> None:
    """A PNG that claims a size; its pixels are missing."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def write_all(folder: Path) -> list[Path]:
    """Ten small pictures of as many kinds."""
    grey = PIL.Image.fromarray(pixels())
    colour = PIL.Image.merge("RGB", [grey, grey.transpose(PIL.Image.Transpose.ROTATE_180), grey])
    palette = colour.quantize(8)
    files = {
        "colour.jpg": (colour, {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "turned.jpg": (colour, {"exif": orientation_exif(6, broken=True)}),
        "sixteen.png": (PIL.Image.fromarray(pixels().astype(numpy.uint16) * 257), {}),
        "palette.png": (palette, {"transparency": bytes([0, 128, 255])}),
        "animated.gif": (palette, {"save_all": True, "append_images": [palette.rotate(180)]}),
        "colour.bmp": (colour, {}),
        "lzw.tiff": (colour, {"compression": "tiff_lzw"}),
        "lossless.webp": (colour.convert("RGBA"), {"lossless": True}),
        "grey.pgm": (grey, {}),
    }
    for name, (picture, options) in files.items():
        picture.save(folder / name, **options)
    return [folder / name for name in files]
