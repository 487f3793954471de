"""A comparison: the rows that all its sides have, the settings in which the sides differ, and the statistics."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.compare.settings import TRAINING_ALONE, differing, names_of, text_of
from analysis.compare.sides import Side
from analysis.sources.frame import SweepLayout
from analysis.sources.samples import Comparison as Difference
from analysis.sweep import display
from analysis.sweep.summary import Measured, summarise
from lightning_xvol.config.schema import leaves, nested
from lightning_xvol.errors import UserError

Place = tuple[Any, ...]
"""A row of the sweep, and its values on the axes."""
FIRST = "0"
"""The side to which differences are taken."""
_MOST_IN_A_NAME = 3


@dataclass(frozen=True)
class Comparison:
    """A sweep with the runs of several settings, row by row. The runs under one setting are a side.

    Attributes:
        sides: The sides; differences are to the first.
        names: The name of each side in tables: the settings in which it differs, for example `lr 0.05`.
        settings: For each field in which sides differ: its name in words, and its value on each side.
        frame: A row per run and metric of the compared rows. `operator` is the number of the side, `row` the row.
        alike: The names of the rows that are left out because their settings are equal on all sides.
        apart: The names of the rows that are left out because a side lacks them.
        select, interval, only, metrics: As in `analysis.render.load_sweep`.
    """

    sides: Sequence[Side]
    names: Sequence[str]
    settings: Mapping[str, tuple[str, Sequence[str]]]
    frame: pd.DataFrame
    alike: Sequence[str]
    apart: Sequence[str]
    select: str = "last"
    interval: str = "moderated"
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metrics: Sequence[str] = ()

    @property
    def layout(self) -> SweepLayout:
        """The layout of the sweep on the first side."""
        return self.sides[0].layout

    @functools.cached_property
    def measured(self) -> Measured:
        """The statistics of all rows and sides together. Holm adjusts p over every difference of the table."""
        pairs = [(str(number), FIRST) for number in range(1, len(self.sides))]
        return Measured(self.frame, ("row", *self.layout.axes), self.layout.metric, self.select, pairs, self.interval)

    @functools.cached_property
    def whole(self) -> pd.DataFrame:
        """A row per row of the sweep and side, with the columns of `summarise`.

        `operator` and the axes name the row, `side` is the number of the side, `settings` its name, and `row` the name
        of the row in words. Differences are to the first side.
        """
        sweep = self.layout
        summary = summarise(self.measured, ("row", *sweep.axes), sweep.metric, FIRST)
        summary = summary.rename(columns={"operator": "side", "label": "settings", "row": "operator"})
        places = summary[["operator", *sweep.axes]].itertuples(index=False, name=None)
        return summary.assign(row=[_in_words(sweep, place) for place in places])

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """The rows of `whole` that are shown.

        Raises:
            UserError: where `only` names what the table does not have, or leaves nothing.
        """
        return display.shown(self.whole, self.layout.axes, self.only)

    def difference(self, group: Mapping[str, Any]) -> Difference:
        """The difference of a row of `summary` to the same row of the first side."""
        return self.measured.compare((group["side"], group["operator"], *map(group.get, self.layout.axes)), FIRST)


def compare(
    sides: Sequence[Side], select: str = "last", interval: str = "moderated",
    only: Mapping[str, Sequence[str]] | None = None, metrics: Sequence[str] = (),
) -> Comparison:  # fmt: skip
    """Compare the rows that all `sides` have.

    Args:
        sides: The sides, the reference first.
        select, interval, only, metrics: As in `analysis.render.load_sweep`.

    Raises:
        UserError: for a single side, for several metrics, and for runs that cannot be compared: of different metrics or
            data, without a common row, or with the same settings on all sides.
    """
    if len(sides) < 2:
        raise UserError(
            f"{' and '.join(side.where for side in sides) or 'no side'}: a comparison has two sides or more; name "
            "a source for each, or the settings of each"
        )
    if len(metrics) > 1:
        raise UserError(f"--metric {', '.join(metrics)}: a comparison shows one metric")
    sides = [side.with_metrics(metrics) for side in sides]
    sweep = sides[0].layout
    _check_layouts(sides)
    groups = [_groups(side) for side in sides]
    every = list(dict.fromkeys(place for own in groups for place in own))
    common = [place for place in every if all(place in own for own in groups)]
    if not common:
        rows = set.intersection(*({place[0] for place in own} for own in groups))
        apart = f"; `tables` shows values of {' and '.join(sweep.axes)} side by side" if rows and sweep.axes else ""
        raise UserError(f"{_pair(sides)} no row in common that has a finished run of each{apart}")
    differences: dict[Place, dict[str, tuple[Any, ...]]] = {}
    for place in common:
        own = [(side, group[place]) for side, group in zip(sides, groups, strict=True)]
        differences[place] = differing([side.configs[group] for side, group in own])
        _check_data(own)
    compared = [place for place in common if differences[place]]
    if not compared:
        raise UserError(
            f"{_pair(sides)} the same settings in every row that they have in common, so there is nothing to compare"
        )
    settings = _settings(len(sides), [differences[place] for place in compared])
    names = _names(sides, settings)
    order = {place: number for number, place in enumerate(compared)}
    return Comparison(
        sides, names, settings, _joined(sides, names, order), _named(sweep, common, compared),
        _named(sweep, every, common), select, interval, only or {}, metrics,
    )  # fmt: skip


def _pair(sides: Sequence[Side]) -> str:
    return f"sweep {sides[0].layout.name!r}: {' and '.join(side.where for side in sides)} have"


def _check_layouts(sides: Sequence[Side]) -> None:
    first = sides[0].layout
    for side in sides[1:]:
        for what, own, other in (
            ("metrics", first.metric_label, side.layout.metric_label),
            ("metrics", first.metric, side.layout.metric),
            ("axes", ", ".join(first.axes) or "none", ", ".join(side.layout.axes) or "none"),
            ("budgets", *("that of a smoke run" if layout.smoke else layout.budget for layout in (first, side.layout))),
        ):
            if own != other and (what != "budgets" or first.smoke != side.layout.smoke):
                raise UserError(
                    f"{_pair([sides[0], side])} different {what} ({own}; {other}), so their runs cannot be compared"
                )


def _groups(side: Side) -> dict[Place, str]:
    """The group at each place of the table that has a finished run."""
    axes = side.layout.axes
    groups = side.frame.drop_duplicates(["operator", *axes])
    places = groups[["operator", *axes]].itertuples(index=False, name=None)
    return {
        place: group for place, group in zip(places, groups["group_id"], strict=True) if group in side.records
    }  # fmt: skip


def _check_data(own: Sequence[tuple[Side, str]]) -> None:
    """Check that the runs of one row were measured on the same images."""
    (side, group), *others = own
    data, contents = _data(side, group)
    for other, other_group in others:
        other_data, other_contents = _data(other, other_group)
        different = [
            f"{path} is {text_of(data.get(path))} and {text_of(other_data.get(path))}"
            for path in {**data, **other_data}
            if data.get(path) != other_data.get(path)
        ]
        digests = [found.get("digest") for found in (contents, other_contents)]
        # The digest of generated data covers all options, also those that change only the training.
        if not different and None not in digests and len({*digests}) > 1 and contents.get("by") != "generator":
            different = [f"their digests are {' and '.join(map(str, digests))}"]
        if different:
            raise UserError(f"{_pair([side, other])} different data, so their runs cannot be compared: {different[0]}")


def _data(side: Side, group: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The fields that choose the images of a group, and what its record says of their contents."""
    values = dict(leaves({"data": nested(side.configs[group].data)}))
    chosen = {path: value for path, value in values.items() if path not in TRAINING_ALONE}
    return chosen, side.records[group].get("data") or {}


def _settings(
    sides: int, differences: Sequence[Mapping[str, tuple[Any, ...]]]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each field in which rows differ, with its name in words, and its values on each side: `0.1`, or `1/3`."""
    paths = dict.fromkeys(path for own in differences for path in own)
    names = names_of(paths)
    found = {}
    for path in paths:
        values = [own[path] for own in differences if path in own]
        texts = tuple("/".join(dict.fromkeys(text_of(value[side]) for value in values)) for side in range(sides))
        found[path] = (names[path], texts)
    return found


def _names(sides: Sequence[Side], settings: Mapping[str, tuple[str, Sequence[str]]]) -> list[str]:
    """The name of each side: `lr 0.05, batch size 32`, or the name of its source where that would be long."""
    if len(settings) > _MOST_IN_A_NAME:
        return [side.where.strip("'") for side in sides]
    return [", ".join(f"{name} {values[number]}" for name, values in settings.values()) for number in range(len(sides))]


def _named(sweep: SweepLayout, places: Sequence[Place], without: Sequence[Place]) -> list[str]:
    return [_in_words(sweep, place) for place in places if place not in without]


def _in_words(sweep: SweepLayout, place: Place) -> str:
    """`X-volution, kernel size K = 3`."""
    axes = zip(sweep.axes, place[1:], strict=True)
    return ", ".join([sweep.labels.get(place[0], place[0]), *(f"{sweep.axis_label(axis)} = {at}" for axis, at in axes)])


def _joined(sides: Sequence[Side], names: Sequence[str], order: Mapping[Place, int]) -> pd.DataFrame:
    """The frames of all sides as one, at the places in `order` and in this order."""
    axes = list(sides[0].layout.axes)
    frames = []
    for number, (side, name) in enumerate(zip(sides, names, strict=True)):
        places = side.frame[["operator", *axes]].itertuples(index=False, name=None)
        at = [order.get(place, -1) for place in places]
        own = side.frame.assign(row=side.frame["operator"], operator=str(number), label=name, at=at, side=number)
        frames.append(own[own["at"] >= 0])
    joined = pd.concat(frames, ignore_index=True).sort_values(["at", "side", "seed"], kind="stable")
    return joined.drop(columns=["at", "side"]).reset_index(drop=True)
