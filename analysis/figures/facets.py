"""A metric over an axis in small panels, for more rows than one panel can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import common, legend, text, view
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.lines import shown, trace
from analysis.figures.style import Size
from lightning_xvol.config import registry

_STATIC = "_static"
_ACROSS = 3  # panels of a page
_FAMILIES = 5  # panels side by side on a page, if each row of panels is a value of a further axis


def facets(chart: Chart, axes: Any = None) -> Axes:
    """Draw `lines` in panels: a panel for each row that has controls, with these controls and the other rows.

    Without any controls, each row has a panel beside the first, which is the baseline. Values of further axes have
    panels of their own. The panels share their axes. The title of a panel names its row, which has the look of its
    operator. `axes` is an array of at least as many axes as panels. Returns the first panel.
    """
    summary = common.with_finished_runs(chart)
    grid = _Grid.of(summary, chart)
    size = chart.sized(PAGE)
    down, across = grid.shape(size)
    positions, room = common.positions_along(summary[chart.x], size, across), common.points_across(size, across)
    size = size.with_height(
        (1.5 if down > 1 else 1.9) * down + 0.75 + legend.LINE * legend.lines(grid.labels(summary), size)
    )
    with common.drawing_panels(size, axes, down, across, sharex=True, sharey=True) as array:
        panels = common.first_panels(array, len(grid.places))
        for place, (ax, (value, family)) in enumerate(zip(panels, grid.places, strict=True)):
            view.show_metric(ax, chart, summary)
            trace(ax, grid.points(summary, value, family), str(chart.x), positions, room)
            common.label_values(ax, positions, common.gap(positions, room), size)
            ax.set_title(_title(grid, value, family, across, room, size), loc="left")
            if grid.is_crossed(across) and place % across == 0:
                ax.set_ylabel(value)
            ax.label_outer()
            if place + across >= len(panels):
                ax.tick_params(labelbottom=True)
                ax.set_xlabel(chart.x_label)
            common.grid(ax, "y")
        common.around(panels, chart, size, common.interval_note(summary, shown(summary, chart.x)))
    return panels[0]


@dataclass(frozen=True)
class _Grid:
    """The panels of a figure.

    Attributes:
        families: The rows that have a panel, with their controls.
        references: The rows in every panel.
        values: The values of further axes, as text.
        names: The name of each row without further axes.
        places: The value and the family of each panel; a family has none at a value where it has no runs.
    """

    families: Mapping[str, Sequence[str]]
    references: tuple[str, ...]
    values: tuple[str, ...]
    names: Mapping[str, str]
    places: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, summary: pd.DataFrame, chart: Chart) -> _Grid:
        operators = summary["operator"].drop_duplicates().tolist()
        known = chart.controls or {name: (name + _STATIC,) for name in operators if name + _STATIC in operators}
        families = {row: [name for name in known[row] if name in operators] for row in operators if row in known}
        beside = {name for controls in families.values() for name in controls}
        if not any(families.values()):
            families, beside = {row: [] for row in operators[1:] or operators}, set()
        references = tuple(row for row in operators if row not in families and row not in beside)
        values = tuple(others(summary).drop_duplicates())
        names = dict(zip(summary["operator"], short_names(summary), strict=True))
        known_at = set(zip(others(summary), summary["operator"], strict=True))
        every = tuple((value, family) for value in values for family in families)
        places = tuple(
            (value, family) for value, family in every
            if any((value, row) in known_at for row in (family, *families[family]))
        )  # fmt: skip
        return cls(families, references, values, names, places or every)

    def shape(self, size: Size) -> tuple[int, int]:
        most = 2 if size.width <= COLUMN.width else _ACROSS
        if len(self.values) > 1 and most < len(self.families) <= _FAMILIES and size.width > COLUMN.width:
            most = len(self.families)
        across = min(len(self.places), most) if not size.exact else common.panels_across(size, len(self.places), most)
        return -(-len(self.places) // across), across

    def is_crossed(self, across: int) -> bool:
        """Whether a row of panels has one value of the further axes, and a panel for each family."""
        full = len(self.places) == len(self.values) * len(self.families)
        return full and len(self.values) > 1 and len(self.families) == across > 1

    def points(self, summary: pd.DataFrame, value: str, family: str) -> pd.DataFrame:
        """The means of one panel, with the looks and the names that the common legend has."""
        here = summary[others(summary) == value]
        own = [family, *self.families[family]]
        names = [row for row in (*self.references, *own) if row in set(here["operator"])]
        parts = [here[here["operator"] == row] for row in names]
        several = len(self.families) > 1
        named = [
            _as_its_operator(part, row) if several and row in own else part.assign(row=self.names[row])
            for row, part in zip(names, parts, strict=True)
        ]
        return pd.concat(named) if named else here[:0]

    def labels(self, summary: pd.DataFrame) -> list[str]:
        """The rows of the legend."""
        found: dict[str, None] = {}
        for value, family in self.places:
            found |= dict.fromkeys(self.points(summary, value, family)["row"])
        return list(found)


def _title(grid: _Grid, value: str, family: str, across: int, room: float, size: Size) -> str:
    parts = [] if len(grid.values) == 1 or grid.is_crossed(across) else [value]
    if len(grid.families) > 1 or not parts:
        parts.append(grid.names[family])
    font = size.rc()["axes.titlesize"]
    return "\n".join(text.wrapped(part, room, font, size.style) for part in parts)


def others(summary: pd.DataFrame) -> pd.Series:
    """The part of each row's name behind the label of its operator: `softmax = yes`, or nothing."""
    pairs = zip(summary["row"], summary["label"], strict=True)
    found = [row.removeprefix(f"{label}, ") if row.startswith(f"{label}, ") else "" for row, label in pairs]
    return pd.Series(found, index=summary.index, dtype="str")


def short_names(summary: pd.DataFrame) -> list[str]:
    """The name of each row without the values of further axes."""
    values = others(summary)
    return [row.removesuffix(f", {value}") for row, value in zip(summary["row"], values, strict=True)]


def _as_its_operator(points: pd.DataFrame, operator: str) -> pd.DataFrame:
    """The points of a row with the look and the name of its registered operator."""
    static = operator.endswith(_STATIC)
    known = [name for name in registry.OPERATORS if f"{operator}_".startswith(f"{name}_")]
    registered = max(known, key=len, default=operator.removesuffix(_STATIC))
    label = registry.label("operator", registered) if known else registered
    return points.assign(operator=registered + _STATIC * static, row=label + (", static" if static else ""))
