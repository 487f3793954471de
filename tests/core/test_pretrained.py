"""Which classification run a detector starts from: the configurations decide."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ablations.engine.catalogue import sweeps
from ablations.engine.options import read_options
from ablations.engine.selection import cells_of
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, from_dict, set_value, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import origins as pretrained
from lightning_xvol.ledger.origins import backbone_from, with_origin, with_papers_origin
from lightning_xvol.ledger.record import RESULT_KEYS, cell_id, group_id, optimisation_id


@pytest.fixture(autouse=True)
def no_memory() -> None:
    pretrained._runs.cache_clear()


def finish(ledger: Path, config: RunConfig, checkpoint: bool = True, status: str = "finished") -> Path:
    """Write a record of `config`, with an empty file as its checkpoint."""
    config = resolve(config)
    folder = ledger / "cells" / cell_id(config)
    (folder / "checkpoints").mkdir(parents=True)
    if checkpoint:
        (folder / "checkpoints" / "step=00000007.ckpt").touch()
    about = {"cell_id": cell_id(config), "group_id": group_id(config), "config": to_dict(config), "status": status}
    (folder / "result.json").write_text(json.dumps({**dict.fromkeys(RESULT_KEYS), **about}))
    return folder


def classifier(operator: str, seed: int = 0, **options: object) -> RunConfig:
    return set_value(get_recipe("imagenet_resnet50").config(operator, **options), "seed", seed)


def detector(operator: str, seed: int = 0, **options: object) -> RunConfig:
    return set_value(get_recipe("coco_faster_rcnn").config(operator, **options), "seed", seed)


def test_other_weights_have_another_origin(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.pth", "two.pth")]
    for file in files:
        file.write_bytes(file.name.encode())
    fresh = [with_origin(set_value(detector("pssa"), "detector.weights", str(file)), None) for file in files]
    assert cell_id(fresh[0]) != cell_id(fresh[1])
    changed = set_value(from_dict(to_dict(fresh[0])), "detector.weights", str(files[1]))
    assert cell_id(with_origin(changed, None)) == cell_id(fresh[1])
    without = set_value(set_value(fresh[0], "detector.weights", None), "detector.pretraining", "random")
    assert without.detector.origin is None
    known = with_papers_origin(detector("pssa"))
    assert known.detector.origin_optimisation is not None
    assert set_value(known, "detector.origin", "0123456789ab").detector.origin_optimisation is None
    assert from_dict(json.loads(json.dumps(to_dict(known), sort_keys=True))) == known
    # The order of keys in a file plays no part.
    assert from_dict(json.loads(json.dumps(to_dict(fresh[0]), sort_keys=True))) == fresh[0]


def test_a_detector_starts_from_the_run_of_the_same_operator_options_and_seed(tmp_path: Path) -> None:
    folders = {}
    for name, options in (("convolution", {}), ("pssa", {}), ("pssa", {"position_encoding": True})):
        for seed in (0, 1):
            made = classifier(name, seed, **options)
            folders[name, bool(options), seed] = finish(tmp_path, made)
    for (name, positions, seed), folder in folders.items():
        options = {"position_encoding": True} if positions else {}
        found = backbone_from(detector(name, seed, **options), tmp_path)
        assert found.detector.weights == str(folder / "checkpoints" / "step=00000007.ckpt")
        assert found.detector.pretraining == "own"
    # The run counts, not the place of its file, and all seeds are one group.
    one, other = (backbone_from(detector("pssa", seed), tmp_path) for seed in (0, 1))
    assert group_id(one) == group_id(other) == group_id(with_papers_origin(detector("pssa")))
    assert group_id(one) != group_id(detector("pssa"))
    assert one.detector.origin_optimisation == optimisation_id(classifier("pssa"))
    moved = dataclasses.replace(one, detector=dataclasses.replace(one.detector, weights="elsewhere.ckpt"))
    assert cell_id(moved) == cell_id(one)


def test_a_missing_classification_run_is_named(tmp_path: Path) -> None:
    finish(tmp_path, classifier("pssa"))
    finish(tmp_path, classifier("involution"), checkpoint=False)
    finish(tmp_path, classifier("xvolution"), status="diverged")
    finish(tmp_path, get_recipe("match_small").config("self_attention"))
    for config, message in (
        (
            detector("pssa", seed=1),
            r"no finished classification run of pssa \(.*\) in resnet50, stages \(5,\), seed 1 on images of 3 channels",
        ),
        (detector("pssa", num_heads=2), r"no finished classification run of pssa \(.*num_heads=2.*\) in resnet50"),
        (detector("xvolution"), "no finished classification run of xvolution"),
        (detector("self_attention"), "first, for example by python -m ablations.operator --recipe imagenet_resnet50"),
        (
            set_value(detector("pssa"), "backbone.stages", (3, 4)),
            r"stages \(3, 4\), .* --recipe imagenet_resnet50 .* --set backbone\.stages=3,4$",
        ),
        (detector("involution"), "has no checkpoint; train it again with --force"),
        (classifier("pssa"), "data 'imagenet' is not for detection"),
    ):
        with pytest.raises(UserError, match=message):
            backbone_from(config, tmp_path)


def test_of_several_runs_the_one_by_the_papers_protocol_is_taken(tmp_path: Path) -> None:
    for epochs in (1, 2):
        finish(tmp_path, set_value(classifier("pssa"), "train.epochs", epochs))
    with pytest.raises(UserError, match=r"are all pssa \(.*\) in resnet50"):
        backbone_from(detector("pssa"), tmp_path)
    pretrained._runs.cache_clear()
    folder = finish(tmp_path, classifier("pssa"))
    found = backbone_from(detector("pssa"), tmp_path)
    assert found.detector.weights == str(folder / "checkpoints" / "step=00000007.ckpt")
    assert group_id(found) == group_id(with_papers_origin(detector("pssa")))


def test_tables_of_positions_may_have_another_size(tmp_path: Path) -> None:
    options = {"position_encoding": True}
    larger = detector("self_attention", **options, position_size=42)
    folder = finish(tmp_path, classifier("self_attention", **options))
    assert backbone_from(larger, tmp_path).detector.weights == str(folder / "checkpoints" / "step=00000007.ckpt")
    with pytest.raises(UserError, match="no finished classification run of self_attention"):
        backbone_from(detector("self_attention"), tmp_path)
    # A run with the same size comes first.
    pretrained._runs.cache_clear()
    same = finish(tmp_path, classifier("self_attention", **options, position_size=42))
    for config, expected in ((larger, same), (detector("self_attention", **options), folder)):
        assert backbone_from(config, tmp_path).detector.weights == str(expected / "checkpoints" / "step=00000007.ckpt")


def test_a_classifier_of_grey_images_does_not_fit(tmp_path: Path) -> None:
    shapes = get_recipe("shapes_faster_rcnn").config("pssa")
    for recipe in ("match_small", "cifar10_resnet18"):
        finish(
            tmp_path / recipe,
            dataclasses.replace(get_recipe(recipe).config("pssa", num_heads=4), backbone=shapes.backbone),
        )
    message = (
        r"no finished classification run of pssa \(.*\) in small_resnet \(blocks=\(1, 1, 1, 3\), widths=\(16, 32, 64, "
        r"128\), .*stem_pool=True\), stages \(5,\), seed 0 on images of 3 channels; train it there first, for example "
        r"by python -m lightning_xvol fit --recipe cifar10_resnet18"
    )
    with pytest.raises(UserError, match=message):
        backbone_from(shapes, tmp_path / "match_small")
    assert backbone_from(shapes, tmp_path / "cifar10_resnet18").detector.pretraining == "own"


def test_a_file_is_told_apart_by_its_content(tmp_path: Path) -> None:
    cells = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        config = set_value(detector("pssa"), "detector.weights", str(tmp_path / name))
        cells.append(cell_id(with_origin(set_value(config, "detector.pretraining", "torchvision"), None)))
    assert cells[0] == cells[1] != cells[2]
    with pytest.raises(UserError, match=r"cannot read detector\.weights='.*none\.pth': No such file"):
        with_origin(set_value(detector("pssa"), "detector.weights", str(tmp_path / "none.pth")), None)


def test_a_sweep_needs_the_runs_of_the_cells_that_it_runs(tmp_path: Path) -> None:
    ledger = tmp_path / "classified"
    for name in ("convolution", "pssa"):
        finish(ledger, classifier(name))
    sweep = sweeps()["operator"]
    common = {"recipe": "coco_faster_rcnn", "seeds": 1, "backbone_from": ledger, "out": tmp_path}
    found = cells_of(sweep, read_options({**common, "only": {"operator": ["convolution", "pssa"]}}))
    assert [cell.row for cell in found] == ["convolution", "pssa"]
    assert all(cell.config.detector.origin is not None for cell in found)
    with pytest.raises(UserError, match="no finished classification run of multi_convolution"):
        cells_of(sweep, read_options(common))
    with pytest.raises(UserError, match="no finished classification run of xvolution "):
        cells_of(sweep, read_options({**common, "only": {"operator": ["convolution", "xvolution"]}}))
    # A task of a cluster runs one cell, and need not know of those that its sweep leaves out.
    task = read_options({**common, "cell": found[0].id})
    assert [cell.id for cell in cells_of(sweep, task)] == [cell.id for cell in found]
    for classified, count in ((ledger, 2), (tmp_path / "empty", 0)):
        other = read_options({**common, "cell": "none", "backbone_from": classified})
        message = f"--cell 'none' names none of the {count} cells .*: no finished classification run"
        with pytest.raises(UserError, match=message):
            cells_of(sweep, other)
