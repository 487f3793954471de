"""The argument that every kind of figure takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from analysis.figures.style import SANS, Size
from lightning_xvol.surroundings.printing import printable


@dataclass(frozen=True)
class Chart:
    """The numbers of a figure, their labels and the size of the figure.

    Attributes:
        data: A row per mean with `row`, `operator`, `n`, `mean`, `ci_low` and `ci_high`. `seeds` takes a row per run
            with `row`, `operator`, `seed` and `value` instead, and `learning` a row per run and `epoch`. `confusion`
            takes a matrix of classes.
        x: The column of `data` along the x axis. In `learning`, each value of this column has a panel. `dots`, `seeds`
            and `learning` need no column.
        x_label: The name of `x`.
        y_label: The name of the metric with its unit.
        smoke: Whether the figure is marked SMOKE, because its runs had the smoke budget.
        size: The size of the figure. By default, each kind chooses one column of a paper or both.
        style: The font, one of `analysis.figures.style.FONTS`.
        caption: Whether the figure has the grey caption that explains its dots and bars.
        controls: The controls of a row, by names in `operator`. `facets` shows them beside the row.
    """

    data: pd.DataFrame
    x: str | None
    x_label: str
    y_label: str
    smoke: bool = False
    size: Size | None = None
    style: str = SANS
    caption: bool = True
    controls: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make every text safe: the names of rows and axes come from files."""
        texts = {name: self.data[name].map(_safe) for name in self.data.columns if self.data[name].dtype.kind in "OUT"}
        for name, value in (
            ("data", self.data.assign(**texts).rename(columns=_safe)),
            ("x", _safe(self.x)),
            ("x_label", _safe(self.x_label)),
            ("y_label", _safe(self.y_label)),
        ):
            object.__setattr__(self, name, value)

    def sized(self, default: Size) -> Size:
        """The size of the figure, or else `default`, in the font of the figure."""
        return replace(self.size or default, style=self.style)

    @property
    def is_in_percent(self) -> bool:
        return "%" in self.y_label


def _safe(value: Any) -> Any:
    return printable(value).replace("\n", " ") if isinstance(value, str) else value
