"""Mistakes of a user: one sentence that names the value and the way out, code 2, and nothing written."""

from __future__ import annotations

import pytest

FIT = ("fit", "--wandb", "disabled")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["COMMAND", "--help"]),
        (["train"], ["train", "fit", "--help"]),
        ([*FIT, "--operator", "xvolutoin"], ["xvolutoin", "did you mean 'xvolution'", "package.module:Class"]),
        ([*FIT, "--operator", "no_such_module:Class"], ["no_such_module", "Python path"]),
        ([*FIT, "--operator", "core_plugins:NoSuchClass"], ["core_plugins:NoSuchClass", "Python path"]),
        ([*FIT, "--operator", "core_plugins:DropoutConvolution", "--set", "operator.rte=1"], ["rte"]),
        ([*FIT, "--set", "operator.kernel_size=4"], ["kernel_size", "4", "odd"]),
        ([*FIT, "--set", "operator.kernel_size=none"], ["kernel_size"]),
        ([*FIT, "--operator", "pssa", "--set", "operator.num_heads=5"], ["num_heads", "5", "16"]),
        ([*FIT, "--operator", "pssa", "--set", "operator.form=dott"], ["dott", "dot"]),
        ([*FIT, "--recipe", "match_smal"], ["match_smal", "did you mean 'match_small'"]),
        ([*FIT, "--set", "optim.lrr=0.1"], ["optim.lrr", "did you mean 'lr'"]),
        ([*FIT, "--set", "optim.lr"], ["optim.lr", "PATH=VALUE"]),
        ([*FIT, "--set", "optim.lr=fast"], ["optim.lr=fast", "number"]),
        ([*FIT, "--set", "optim.lr=1e400"], ["optim.lr=1e400", "finite"]),
        ([*FIT, "--set", "optim.momentum=-1"], ["optim.momentum=-1", "negative"]),
        ([*FIT, "--set", "train.precision=half"], ["train.precision=half", "bf16-mixed"]),
        ([*FIT, "--set", "data.batch_size=9999"], ["9999", "6000 training images"]),
        ([*FIT, "--set", "data.distance=99"], ["distance=99", "8"]),
        ([*FIT, "--set", "data.name=core_plugins:NoData"], ["NoData"]),
        ([*FIT, "--set", "backbone.name=resnet19"], ["resnet19", "did you mean 'resnet18'"]),
        ([*FIT, "--set", "backbone.blocks=1,2"], ["blocks", "four"]),
        ([*FIT, "--set", "backbone.stages=7"], ["backbone.stages=(7,)", "2, 3, 4, 5"]),
        ([*FIT, "--seed", "-3"], ["--seed", "-3"]),
        ([*FIT, "--wandb", "sometimes"], ["sometimes", "offline", "--help"]),
        ([*FIT, "--smoke-signals"], ["--smoke-signals", "--help"]),
        ([*FIT, "--recipe", "imagenet_resnet50", "--data-dir", "nowhere"], ["nowhere"]),
        ([*FIT, "--recipe", "cifar10_resnet18", "--data-dir", "nowhere"], ["nowhere", "--download"]),
        (["describe", "--recipe", "imagenet_resnet5"], ["imagenet_resnet5", "did you mean 'imagenet_resnet50'"]),
        (["describe", "--operator", "core_plugins:NoSuchClass"], ["core_plugins:NoSuchClass", "Python path"]),
        (["describe", "--set", "operator.kernel_size=4"], ["kernel_size", "4", "odd"]),
        (["describe", "--format", "yaml"], ["yaml", "json", "--help"]),
        (["describe", "--set", "data.name=core_plugins:NoData"], ["NoData"]),
        (["benchmark"], ["python -m benchmarks operators"]),
        (["benchmark", "--core", "--smoke"], ["python -m benchmarks core"]),
        (["benchmark", "--batch-size", "9", "--data"], ["python -m benchmarks data"]),
    ],
    ids=lambda value: " ".join(value)[-60:] if value and value[0] in ("fit", "describe", "benchmark") else "",
)
def test_a_mistake_is_one_sentence_and_writes_nothing(arguments, parts, command, tmp_path):
    done = command(*arguments)
    check(done, parts)
    assert not list((tmp_path / "work").iterdir())


def check(done, parts):
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert 1 <= len(lines) <= 2 and lines[0].startswith("error: "), done.stderr
    assert len(done.stderr) < 600 and done.stdout == ""
    for part in parts:
        assert part in done.stderr


def test_an_out_folder_that_cannot_be_made(command, tmp_path):
    (tmp_path / "work" / "file").write_text("in the way")
    check(command(*FIT, "--out", "file", "--set", "train.steps=1"), ["file/cells", "--out"])
    check(command(*FIT, "--out", "/proc/nowhere", "--set", "train.steps=1"), ["/proc/nowhere", "--out"])
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["config.yaml", "No such file"]),
        (b"optim: {lr: ", ["config.yaml", "not YAML"]),
        (b"a: b: c\n\td", ["config.yaml", "not YAML"]),
        (b"\x80\x81", ["config.yaml", "not YAML"]),
        (b"", ["config.yaml", "sections"]),
        (b"- optim\n- lr\n", ["config.yaml", "sections", "list"]),
        (b"optim: {lrr: 0.1}", ["optim.lrr", "did you mean 'lr'"]),
        (b"optim: {lr: [1]}", ["optim.lr"]),
        (b"optim: {lr: .inf}", ["optim.lr", "finite"]),
        (b"optim: 3", ["optim"]),
        (b"seed: {a: 1}", ["seed"]),
        (b"1: 2", ["1"]),
        (b"operator: {name: 3}", ["unknown operator '3'"]),
    ],
)
def test_a_bad_file(content, parts, command, tmp_path):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    check(command(*FIT, "--config", str(path)), parts)
    check(command(*FIT, "--config", str(path), "--dry-run"), parts)
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_as_a_file(command, tmp_path):
    check(command(*FIT, "--config", str(tmp_path)), ["Is a directory"])


def test_a_cell_held_by_another_process(command, tmp_path):
    from lightning_xvol.config.recipes import RECIPES
    from lightning_xvol.ledger.locking import locked
    from lightning_xvol.ledger.record import cell_folder, cell_id

    folder = cell_folder(tmp_path / "work" / "runs", cell_id(RECIPES["match_small"].config()))
    folder.mkdir(parents=True)
    with locked(folder):
        check(command(*FIT), [folder.name, "another process"])
    assert not (folder / "config.yaml").exists()


@pytest.mark.parametrize("split", [(), ("train", "val")], ids=["one folder", "train and val"])
def test_one_class_is_nothing_to_classify(split, command, tmp_path):
    import PIL.Image

    for part in split or ("",):
        folder = tmp_path / "pictures" / part / "cats"
        folder.mkdir(parents=True)
        for number in range(12):
            PIL.Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    data = ["--set", "data.name=folder", "--set", "data.batch_size=2", "--data-dir", str(tmp_path / "pictures")]
    check(command(*FIT, *data), ["'folder'", "1 class", "at least 2", "--data-dir"])
    assert not list((tmp_path / "work").iterdir())
