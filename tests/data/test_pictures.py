"""Pictures of any mode are read as RGB with 8 bits."""

from pathlib import Path

import numpy
import PIL.Image
import pytest

from lightning_xvol.data.base import DataError
from lightning_xvol.data.pictures import read_picture


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_keep_their_upper_half(tmp_path: Path, suffix: str) -> None:
    ramp = numpy.linspace(0, 65535, 256, dtype=numpy.uint16).reshape(16, 16)
    path = tmp_path / f"ramp.{suffix}"
    PIL.Image.fromarray(ramp).save(path)
    picture = numpy.asarray(read_picture(path))
    assert numpy.array_equal(picture, (ramp // 256).astype(numpy.uint8)[:, :, None].repeat(3, 2))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "1"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    PIL.Image.new("RGB", (5, 4), "white").convert(mode).save(path)
    assert numpy.array_equal(numpy.asarray(read_picture(path)), numpy.full((4, 5, 3), 255))


def test_pixels_without_a_scale_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    PIL.Image.fromarray(numpy.full((4, 4), 0.5, dtype=numpy.float32)).save(path)
    with pytest.raises(DataError, match=r"image 3 .*depth\.tiff.*mode F .* 8 or 16 bits"):
        read_picture(path, "image 3")
