"""The sweep `product`: controls without the product, of the same taps and of no fewer parameters."""

from __future__ import annotations

import pytest
import torch

from ablations.product import SWEEP
from ablations.sweep import Selection, make_cells
from lightning_xvol.backbones import build_backbone, count_parameters
from lightning_xvol.recipes import get_recipe


@pytest.mark.parametrize("recipe", SWEEP.recipes)
def test_controls_differ_in_the_product_and_the_wide_ones_in_width(recipe: str) -> None:
    configs = {cell.row: cell.config for cell in make_cells(SWEEP, get_recipe(recipe), Selection(1))}
    params = {}
    for row, config in configs.items():
        with torch.device("meta"):
            params[row] = count_parameters(build_backbone(config.backbone, config.operator, 4, in_channels=1))
    for row in ("pssa", "xvolution"):
        full, static, wide = (configs[name] for name in (row, f"{row}_static", f"wide_{row}_static"))
        assert {**full.operator.options, "form": "static"} == static.operator.options == wide.operator.options
        assert full.backbone == static.backbone
        assert (full.data, full.train, full.optim) == (wide.data, wide.train, wide.optim)
        assert params[f"{row}_static"] < params[row] <= params[f"wide_{row}_static"] < 1.06 * params[row]
