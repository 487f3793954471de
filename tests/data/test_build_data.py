"""`build_data` takes registered names and import paths, options and limits."""

import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import ImageData, TensorSplit, base, build_data
from lightning_xvol.errors import UserError


@pytest.mark.parametrize("name", registry.DATASETS)
def test_constructor_has_the_options_and_defaults_of_the_registry(name):
    parameters = inspect.signature(registry.load("data", name)).parameters
    options = {key: parameter.default for key, parameter in parameters.items() if key not in ("root", "download")}
    assert options == registry.DATASETS[name].options
    assert parameters["root"].default is None and parameters["download"].default is False


def test_options_reach_the_data_set():
    data = build_data(DataConfig(options={"train_size": 50, "distance": 9}))
    assert len(data.train()) == 50 and data.distance == 9
    assert (data.num_classes, data.image_shape) == (4, (1, 32, 32))


def test_unknown_names_and_options_are_refused():
    with pytest.raises(UserError, match=r"unknown data 'macth'.*did you mean 'match'"):
        build_data(DataConfig(name="macth"))
    with pytest.raises(UserError, match=r"no option 'distnace'.*did you mean 'distance'"):
        build_data(DataConfig(options={"distnace": 12}))


def test_limit_keeps_the_first_images_of_every_split_and_its_speed():
    whole, cut = build_data(DataConfig()), build_data(DataConfig(limit=20))
    for name in ("train", "validation", "test"):
        full, part = getattr(whole, name)(), getattr(cut, name)()
        assert isinstance(part, TensorSplit) and len(part) == 20
        assert torch.equal(part.images, full.images[:20])
        assert torch.equal(part.batch([3])[0], full.batch([3])[0])
    assert (cut.num_classes, cut.image_shape) == (whole.num_classes, whole.image_shape)


def test_a_limit_above_the_size_changes_nothing():
    options = {"train_size": 30, "validation_size": 30, "test_size": 30}
    assert len(build_data(DataConfig(limit=31, options=options)).train()) == 30


class Sorted(ImageData):
    """Ten images of each of three classes, sorted by class; not a tensor in memory, and without a test split."""

    num_classes = 3
    image_shape = (1, 1, 1)
    class_ordered = True

    class Split(Dataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return torch.full((1, 1, 1), float(index)), index // 10

    def train(self):
        return self.Split()

    validation = train


def test_limit_spreads_over_splits_that_are_sorted_by_class():
    data = build_data(DataConfig(name=f"{__name__}:Sorted", limit=6))
    assert [data.train()[i][1] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert data.test() is None


@pytest.fixture
def mine(tmp_path, monkeypatch, request):
    """Put a module on the path; its name is unique, since imports stay."""
    name = f"mine_{abs(hash(request.node.name))}"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return write


def test_the_example_of_the_docstring_works_by_its_import_path(mine):
    text = base.__doc__
    name = mine(textwrap.dedent(text[text.index("    import torch") : text.index("Splits return")]))
    data = build_data(DataConfig(name=f"{name}:Stripes", options={"period": 2}))
    image, label = data.train()[1]
    assert image.shape == data.image_shape and image.dtype == torch.float32 and label == 1
    assert data.test() is None
    with pytest.raises(UserError, match=r"does not take the options .*'perod': 3.*unexpected keyword argument 'perod'"):
        build_data(DataConfig(name=f"{name}:Stripes", options={"perod": 3}))


def test_a_class_of_ones_own_need_not_derive_from_ours(mine):
    name = mine(
        textwrap.dedent("""
        class Own:
            num_classes, image_shape = 2, (1, 2, 2)
            def __init__(self, root, download): self.root = root
            def train(self): return [0] * 9
            validation = train
            def test(self): return None
    """)
    )
    data = build_data(DataConfig(name=f"{name}:Own"), Path("elsewhere"))
    assert data.root == Path("elsewhere")
    assert len(build_data(DataConfig(name=f"{name}:Own", limit=4)).train()) == 4
    assert build_data(DataConfig(name=f"{name}:Own")).root == Path("data")


def test_a_class_that_is_no_data_set_is_refused(mine):
    name = mine("number = 3\nclass Half:\n    num_classes = 2\n    def __init__(self, root, download): pass\n")
    with pytest.raises(UserError, match="lacks image_shape, train, validation, test"):
        build_data(DataConfig(name=f"{name}:Half"))
    with pytest.raises(UserError, match="is not a class"):
        build_data(DataConfig(name=f"{name}:number"))
    with pytest.raises(UserError, match="cannot import data"):
        build_data(DataConfig(name=f"{name}:Absent"))


def test_a_split_in_memory_checks_its_shapes():
    with pytest.raises(ValueError, match=r"got \[3, 4, 4\] and \[3\]"):
        TensorSplit(torch.zeros(3, 4, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="mean and a std"):
        TensorSplit(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3))
