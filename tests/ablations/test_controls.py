"""The sweep of controls: the cells that it shares, and the parameters of its rows."""

from __future__ import annotations

import pytest
import torch

from ablations import controls, kernel_size
from ablations.engine.cells import make_cells
from ablations.engine.sweep import recipes_for
from lightning_xvol.backbones import build_backbone
from lightning_xvol.backbones.cost import count_parameters
from lightning_xvol.config.recipes import get_recipe


@pytest.mark.parametrize("recipe", recipes_for(controls.SWEEP))
def test_it_shares_the_cells_of_the_kernel_size_sweep(recipe: str) -> None:
    cells = make_cells(controls.SWEEP, get_recipe(recipe), seeds=2)
    others = make_cells(kernel_size.SWEEP, get_recipe(recipe), seeds=2)
    shared = {cell.id for cell in cells} & {cell.id for cell in others}
    assert {cell.row for cell in cells if cell.id in shared} == {"convolution", "xvolution", "xvolution_static"}
    assert len(shared) == 6 and len({cell.id for cell in cells}) == len(cells) == 22


def test_rows_with_equal_parameters_have_them_in_the_embedded_network() -> None:
    params = {}
    for cell in make_cells(controls.SWEEP, get_recipe("match_small"), seeds=1):
        with torch.device("meta"):
            network = build_backbone(cell.config.backbone, cell.config.operator, num_classes=4, in_channels=1)
        params[cell.row] = count_parameters(network)
    equal = ("wide_convolution", "xvolution_pointwise", "xvolution_softmax", "xvolution_frozen", "xvolution_linear")
    for row in equal:
        assert params[row] == pytest.approx(params["xvolution"], rel=0.006), row
    assert params["convolution"] < params["se_convolution"] < params["xvolution_static"] < params["xvolution"]
