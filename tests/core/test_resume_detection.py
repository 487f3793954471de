"""Exact resume of detectors, which evaluate image by image and whose loaders group images by aspect ratio."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from core_tools import Death, outcome, result_of, tiny

from lightning_xvol.config.schema import RunConfig

MODULE = "lightning_xvol.modules.detection:DetectionModule"
WRITE = "lightning_xvol.ledger.checkpoints:torch.save"
RECORD = "lightning_xvol.training.run:write_result"


def small(recipe: str) -> RunConfig:
    """7 steps, with 4 or 5 in an epoch, and a checkpoint every 2 steps, at the end of an epoch after its evaluation."""
    return tiny(
        "xvolution",
        recipe,
        optim__lr=1e-3,
        data__limit=None,
        data__image_size=96,
        data__aspect_ratios=(1.0, 1.5),
        data__train_size=20,
        data__validation_size=5,
        data__batch_size=4,
        train__steps=7,
        train__checkpoint_every=2,
    )


@pytest.fixture(scope="module")
def uninterrupted(run: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an uninterrupted run of a recipe, made once, with its data beside it."""
    root = tmp_path_factory.mktemp("uninterrupted")

    def get(recipe: str) -> Path:
        if not (root / recipe).exists():
            run(small(recipe), root / recipe, data_dir=root / "data")
        return root / recipe

    return get


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "death", "start"),
    [
        pytest.param("shapes_mask_rcnn", Death(f"{MODULE}._detect", 3, kill=True), 2, id="in-an-evaluation"),
        pytest.param("shapes_mask_rcnn", Death(f"{MODULE}._measure", kill=True), 2, id="detected-but-not-measured"),
        pytest.param("shapes_mask_rcnn", Death(WRITE, 2, after=True, kill=True), 2, id="while-a-checkpoint-is-written"),
        pytest.param("shapes_mask_rcnn", Death(f"{MODULE}.test_step", 2, kill=True), 7, id="in-the-last-evaluation"),
        pytest.param("shapes_mask_rcnn", Death(RECORD, kill=True), 7, id="evaluated-but-not-recorded"),
        pytest.param("shapes_faster_rcnn", Death(f"{MODULE}.training_step", 6, kill=True), 4, id="faster-rcnn"),
    ],
)
def test_a_killed_detector_ends_as_the_uninterrupted_one(
    recipe: str,
    death: Death,
    start: int,
    run: Callable[..., int],
    uninterrupted: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    expected, folder = uninterrupted(recipe), tmp_path / "cell"
    data_dir = expected.with_name("data")
    run(small(recipe), folder, death=death, expect=-signal.SIGKILL, data_dir=data_dir)
    assert not (folder / "result.json").exists()
    run(small(recipe), folder, data_dir=data_dir)
    assert outcome(folder) == outcome(expected)
    segments = result_of(folder)["segments"]
    assert [segment["start_step"] for segment in segments] == [0, start]
