"""Pictures of any mode are read as RGB with 8 bits."""

import os
from pathlib import Path

import numpy
import PIL.Image
import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import build_data
from lightning_xvol.data.base import DataError
from lightning_xvol.data.imagenet import cut_ends
from lightning_xvol.data.pictures import find_pictures, read_picture
from tests.data import picture_files


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


TURNS = {  # EXIF: what to do with the stored rows and columns to see the picture upright
    2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1], 5: lambda x: x.T,
    6: lambda x: numpy.rot90(x, -1), 7: lambda x: x[::-1, ::-1].T, 8: lambda x: numpy.rot90(x),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("orientation", range(10))
def test_only_the_orientation_of_exif_counts(tmp_path: Path, orientation: int, broken: bool, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    exif = picture_files.orientation_exif(orientation, broken=broken and suffix != "tiff")
    options = {"lossless": True} if suffix == "webp" else {}
    PIL.Image.fromarray(picture_files.pixels()).convert("RGB").save(path, exif=exif, **options)
    upright = TURNS.get(orientation, lambda stored: stored)(picture_files.pixels())
    assert numpy.array_equal(numpy.asarray(read_picture(path, upright=True))[:, :, 0], upright)


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    stored = picture_files.pixels().astype(numpy.uint16) * 256
    PIL.Image.fromarray(stored).save(tmp_path / "a.png", exif=picture_files.orientation_exif(6))
    read = numpy.asarray(read_picture(tmp_path / "a.png", upright=True))[:, :, 0]
    assert numpy.array_equal(read, numpy.rot90(picture_files.pixels(), -1))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0rubbish", b"II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*"])
def test_an_unreadable_exif_block_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    PIL.Image.new("RGB", (5, 4), "red").save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png", upright=True).size == (5, 4)


def test_the_content_tells_the_format_and_an_animation_is_its_first_picture(tmp_path: Path) -> None:
    first = PIL.Image.fromarray(picture_files.pixels())
    first.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    first.save(tmp_path / "b.gif", save_all=True, append_images=[first.rotate(180)])
    for name in ("a.jpg", "b.gif"):
        assert numpy.array_equal(numpy.asarray(read_picture(tmp_path / name))[:, :, 1], picture_files.pixels())


def test_transparency_is_ignored_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    palette = PIL.Image.new("P", (5, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "a.png", transparency=bytes([0, 10]))
    assert read_picture(tmp_path / "a.png").getpixel((0, 0)) == (0, 255, 0) and not recwarn.list


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", EPS])
def test_a_file_that_is_no_whole_picture_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    refuses(path)


def refuses(path: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_picture(path, upright=True)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and all(part in message for part in parts)


def test_bombs_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    picture_files.bomb(tmp_path / "bomb.png")
    refuses(tmp_path / "bomb.png")
    picture_files.bomb(tmp_path / "large.png", 12_000, 12_000)  # Pillow alone would only warn
    refuses(tmp_path / "large.png", "12000 x 12000", "120,000,000")
    os.mkfifo(tmp_path / "pipe.png")
    refuses(tmp_path / "pipe.png", "not a regular file")
    refuses(tmp_path)


def test_pictures_are_found_at_any_depth_in_the_order_of_torchvision(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPEG", "a/x/1.png", "a/x.png", "a-b/1.webp", "a/1.txt"):
        touch(tmp_path / "class" / name)
    expected = [path for path, _ in make_dataset(tmp_path, {"class": 0}, extensions=IMG_EXTENSIONS)]
    assert find_pictures(tmp_path / "class") == (expected, 0)
    for name in ("b/.ipynb_checkpoints/1.png", "a/x/@eaDir/1.png/THUMB.jpg", "a/x/._1.png", "a/.x.txt", ".DS_Store"):
        touch(tmp_path / "class" / name)
    assert find_pictures(tmp_path / "class") == (expected, 3)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        touch(tmp_path / name / "1.png")
        for number in range(3):
            (tmp_path / name / f"link{number}").symlink_to(tmp_path)
    assert len(find_pictures(tmp_path).paths) == 2


@pytest.mark.parametrize("divided", [False, True])
def test_a_data_set_skips_hidden_folders_and_says_so_once(
    tmp_path: Path, divided: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for part in ("train", "val") if divided else (".",):
        for label in ("cat", "dog", ".ipynb_checkpoints", "@eaDir"):
            for name in ("1.png", "2.png", "3.png", "@eaDir/1.png", "._1.png"):
                touch(tmp_path / part / label / name)
    for _ in range(2):
        data = build_data(DataConfig("folder"), tmp_path)
        sizes = [len(data.train()), len(data.validation())]  # type: ignore[arg-type]
        assert data.num_classes == 2 and sum(sizes) == (12 if divided else 6)
    [message] = caplog.messages
    assert message.startswith(f"skipped {12 if divided else 6} hidden pictures and folders in {str(tmp_path)!r}")


def test_a_very_long_picture_is_cut_before_it_is_resized() -> None:
    wide = numpy.zeros((1, 65_535, 3), dtype=numpy.uint8)
    wide[:, 65_535 // 2] = 255
    middle = numpy.asarray(cut_ends(PIL.Image.fromarray(wide)))
    assert middle.shape[1] in (50, 51) and middle[0, middle.shape[1] // 2, 0] == 255
    usual = PIL.Image.new("RGB", (500, 10))
    assert cut_ends(usual) is usual
