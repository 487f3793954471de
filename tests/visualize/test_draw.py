"""Panels take arrays and optional axes, draw into the axes and return them."""

from __future__ import annotations

import numpy
import pytest

from lightning_xvol.kernels.spec import DIRECTIONS
from lightning_xvol.visualize import draw, style

pytest.importorskip("matplotlib")


def test_every_panel_draws_alone_and_into_axes() -> None:
    ax = draw.receptive_field(numpy.eye(5), (2, 2), 3, title="field")
    assert ax.get_title() == "field" and len(ax.patches) == 1
    assert draw.receptive_field(numpy.zeros((5, 5)), (2, 2), ax=ax) is ax
    assert draw.image(numpy.random.rand(3, 6, 5), [(1, 2)]).texts[0].get_text() == "1"
    assert draw.image(numpy.zeros((1, 6, 5))).images[0].get_array().shape == (6, 5)
    window = numpy.full((3, 3), numpy.nan)
    window[1, 1] = 2.0
    drawn = draw.kernel(window, 4.0).images[0]
    assert drawn.get_clim() == (0, 4)
    assert drawn.to_rgba(drawn.get_array())[0, 0, :3].tolist() == pytest.approx([float(style.NO_TAP)] * 3, abs=0.01)


def test_a_rose_has_every_weight_in_its_direction() -> None:
    rings = numpy.zeros((3, 8))
    rings[2, DIRECTIONS.index((-1, 0))] = 1.0  # far above
    rings[0, DIRECTIONS.index((0, 1))] = -1.0  # near right
    ax = draw.rose(rings, None, 1.0, signed=True)
    [mesh] = ax.collections
    values = mesh.get_array().reshape(3, 8)
    corners = mesh.get_coordinates()  # [4, 9, (angle, radius)]
    for ring, direction, angle in [(2, values[2].argmax(), 90), (0, values[0].argmin(), 0)]:
        middle = numpy.degrees((corners[ring, direction, 0] + corners[ring, direction + 1, 0]) / 2)
        assert middle == pytest.approx(angle)
        assert corners[ring, direction, 1] == ring + 1
    assert len(draw.rose(rings, 0.5, 1.0, signed=False).collections) == 2
