"""`predict` with a classifier: the scores are those of evaluation, for a picture and for a folder, as text and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest
import torch

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import set_value, to_dict
from lightning_xvol.data import build_data
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.errors import ExitCode, UserError

CLASSES = ("bark", "leaf", "moss", "rock", "sand", "snow")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve noisy pictures of six classes, of several sizes, as a data set in folders."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = numpy.random.RandomState(0)
    for split in ("train", "val"):
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            pixels = generator.randint(0, 256, (40 + 5 * number, 60, 3)).astype("uint8")
            PIL.Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """The checkpoint of a classifier with random weights, its network, and its configuration."""
    config = get_recipe("match_small").config("pssa")
    fields = {"data.name": "folder", "data.image_size": 32, "backbone.stages": (5,), "data.batch_size": 2}
    for path, value in fields.items():
        config = set_value(config, path, value)
    config = resolve(config)
    torch.manual_seed(0)
    network = build_backbone(config.backbone, config.operator, num_classes=6)
    torch.nn.init.normal_(network.fc.weight, std=3)
    data = ImageDataModule(config, pictures)
    assert data.classes == CLASSES
    run = {"config": to_dict(config), "num_classes": 6, "image_shape": [3, 32, 32], "classes": list(data.classes)}
    path = tmp_path_factory.mktemp("run") / "step=00000001.ckpt"
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"run": run, "state_dict": weights}, path)
    return path, network.eval(), config


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_gets_the_scores_of_evaluation(
    call: Callable[..., int], trained: tuple[Path, Any, Any], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, network, config = trained
    assert call("predict", "--checkpoint", checkpoint, "--image", pictures / "val") == 0
    printed = capsys.readouterr().out
    rows = read(pictures / "val" / "classes.csv")
    split: Any = build_data(config.data, pictures).validation()
    assert len(rows) == 5 * len(split) == 30
    for index in range(len(split)):
        image, label = split[index]
        with torch.no_grad():
            scores = network(image[None])[0].softmax(0)
        mine = [row for row in rows if row["picture"] == f"{CLASSES[label]}/{label}.png"]
        assert [row["rank"] for row in mine] == list("12345")
        assert [int(row["label"]) for row in mine] == scores.argsort(descending=True)[:5].tolist()
        for row in mine:
            assert row["class"] == CLASSES[int(row["label"])]
            assert float(row["score"]) == pytest.approx(scores[int(row["label"])].item(), abs=2e-6)
        assert f"{CLASSES[label]}/{label}.png\n  {float(mine[0]['score']):.3f}  {mine[0]['class']}\n" in printed
    assert printed.endswith(f"6 pictures classified; wrote {pictures / 'val' / 'classes.csv'}\n")


def test_one_picture_and_the_number_of_classes(
    call: Callable[..., int], trained: tuple[Path, Any, Any], pictures: Path, tmp_path: Path
) -> None:
    given = ("predict", "--checkpoint", trained[0], "--image", pictures / "val" / "leaf" / "1.png")
    assert call(*given, "--top", "2", "--out", tmp_path / "out.csv") == 0
    assert [row["rank"] for row in read(tmp_path / "out.csv")] == ["1", "2"]
    assert call(*given, "--top", "99") == 0
    rows = read(pictures / "val" / "leaf" / "1.classes.csv")
    assert len(rows) == 6 and sum(float(row["score"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_what_is_no_picture_is_left_out_and_what_is_torn_is_told(
    call: Callable[..., int], trained: tuple[Path, Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "deep/b.PNG", ".hidden.png", "@eaDir/c.png", "deep/.ipynb_checkpoints/d.png", "._a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "torn.png").write_bytes((tmp_path / "deep/b.PNG").read_bytes()[:40])
    code = call("predict", "--checkpoint", trained[0], "--image", tmp_path, "--out", tmp_path / "o.csv", "--top", "1")
    output = capsys.readouterr()
    assert code == ExitCode.FAILURE
    assert [row["picture"] for row in read(tmp_path / "o.csv")] == ["a.jpg", "deep/b.PNG"]
    assert "2 pictures classified; 4 hidden files or folders are no pictures" in output.out
    first, last = output.err.splitlines()
    assert first.startswith("error: cannot read the picture") and "torn.png" in first
    assert last == "1 of 3 pictures could not be read"


def test_a_photograph_on_its_side_is_turned(
    call: Callable[..., int], trained: tuple[Path, Any, Any], pictures: Path, tmp_path: Path
) -> None:
    upright = PIL.Image.open(pictures / "val" / "rock" / "3.png")
    upright.save(tmp_path / "up.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    for name in ("up", "side"):
        assert call("predict", "--checkpoint", trained[0], "--image", tmp_path / f"{name}.png") == 0
    one, other = (read(tmp_path / f"{name}.classes.csv") for name in ("up", "side"))
    assert [row["score"] for row in one] == [row["score"] for row in other]


def test_an_old_checkpoint_has_numbers_for_names(
    call: Callable[..., int], make_checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.new("L", (40, 40), 7).save(tmp_path / "own.png")
    assert call("predict", "--checkpoint", make_checkpoint("convolution"), "--image", tmp_path / "own.png") == 0
    assert sorted(row["class"] for row in read(tmp_path / "own.classes.csv")) == [f"class {n}" for n in range(4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "missing"], "no picture at 'missing'"),
        (["--image", "empty"], "no pictures in 'empty'; expected files such as"),
        (["--image", "torn.png"], r"cannot read the picture 'torn\.png'"),
        (["--image", "own.png", "--out", "own.png"], r"must end in \.csv"),
        (["--image", "own.png", "--out", "none/x.csv"], "there is no folder 'none'"),
        (["--image", "own.png", "--score", "0.5"], "--score is for detectors"),
        (["--image", "own.png", "--top", "0"], "must be a whole number of at least 1"),
        (["--image", "own.png", "--checkpoint", "none.ckpt"], "no checkpoint at"),
        (["--image", "own.png", "--checkpoint", "maps.ckpt"], "holds a network for regression"),
        (["--image", "own.png", "--checkpoint", "wide.ckpt"], "this network takes 4"),
    ],
)
def test_wrong_arguments_give_one_sentence(
    arguments: list[str],
    message: str,
    call: Callable[..., int],
    trained: tuple[Path, Any, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    PIL.Image.new("RGB", (64, 64)).save("own.png")
    Path("torn.png").write_bytes(Path("own.png").read_bytes()[:60])
    Path("empty").mkdir()
    config = to_dict(set_value(get_recipe("match_small").config(), "data.name", "attention_maps"))
    torch.save({"run": {"config": config}, "state_dict": {}}, "maps.ckpt")
    config = resolve(get_recipe("match_small").config())
    network = build_backbone(config.backbone, config.operator, 4, in_channels=4)
    run = {"config": to_dict(config), "num_classes": 4, "image_shape": [4, 32, 32]}
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"run": run, "state_dict": weights}, "wide.ckpt")
    given = arguments if "--checkpoint" in arguments else ["--checkpoint", str(trained[0]), *arguments]
    with pytest.raises(UserError, match=message):
        call("predict", *given)
    assert not list(tmp_path.glob("*.csv"))
