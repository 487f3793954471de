"""Checkpoints of small untrained networks, in the format that a cell leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import set_value, to_dict
from tests.commands import call as call
from tests.threads import one_thread as one_thread

SMALL: dict[str, Any] = {"backbone.stages": (5,), "backbone.options.blocks": (1, 1, 1, 1), "data.limit": 4}


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function of operator and fields that returns the path of a checkpoint, the same one every time."""
    made: dict[str, Path] = {}

    def make(operator: str, **fields: Any) -> Path:
        key = f"{operator} {fields}"
        if key not in made:
            config = get_recipe("match_small").config(operator)
            for path, value in {**SMALL, **fields}.items():
                config = set_value(config, path, value)
            config = resolve(config)
            torch.manual_seed(0)
            network = build_backbone(config.backbone, config.operator, num_classes=4, in_channels=1)
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
                    torch.nn.init.uniform_(module.running_var, 0.5, 2)
            run = {"config": to_dict(config), "num_classes": 4, "image_shape": (1, 32, 32), "cell_id": "0", "step": 3}
            weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
            made[key] = tmp_path_factory.mktemp(operator) / "step=00000003.ckpt"
            torch.save({"run": run, "state_dict": weights}, made[key])
        return made[key]

    return make
