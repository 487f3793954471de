"""A few generated images in COCO's format, a small detector, and one thread for all tests here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lightning_xvol.config.detectors import PRESETS
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.data.shapes_coco import ShapesCoco
from lightning_xvol.detection.model import Detector, build_detector
from tests.threads import one_thread as one_thread

TINY = {
    "stem_width": 8, "blocks": (1, 1, 1, 3), "widths": (8, 16, 16, 32), "strides": (2, 2, 2, 2), "expansion": 2
}  # fmt: skip


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> ShapesCoco:
    return ShapesCoco(tmp_path_factory.mktemp("shapes"), train_size=8, validation_size=32, masks=True)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Detector]:
    """Builds a Mask R-CNN with a few layers, always with the same weights."""

    def make(operator: str = "convolution", options: dict[str, Any] | None = None, **changes: Any) -> Detector:
        torch.manual_seed(0)
        arguments = {"preset": PRESETS["tiny"], "num_classes": 6, "masks": True, **changes}
        stride_in_1x1 = arguments.pop("stride_in_1x1", True)
        backbone = BackboneConfig("small_resnet", (5,), stride_in_1x1, TINY)
        return build_detector(backbone, OperatorConfig(operator, options or {}), **arguments)

    return make
