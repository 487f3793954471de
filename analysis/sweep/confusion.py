"""What the runs of a sweep predict: per-class accuracy and confusion matrices, mean over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import numbers
from analysis.figures.chart import Chart
from analysis.sources.frame import SweepLayout
from analysis.sources.predictions import Predictions
from analysis.statistics import ACCURACY, FEWEST_SEEDS, Estimate, estimates
from analysis.sweep import footnotes
from analysis.sweep.results import SweepResults
from analysis.table import Block, Table, TableCell, slug
from lightning_xvol.commandline import row_named
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.errors import UserError, nearest

MOST_COLUMNS = 20
"""A table shows the matrix of up to so many classes, and the largest confusions of more."""
MOST_CONFUSIONS = 20


@dataclass(frozen=True)
class Confusion:
    """The confusion matrices of the runs of one group, which differ in their seed alone.

    Attributes:
        sweep: The results that the group belongs to.
        group: Its row of the summary.
        classes: The names of the C classes.
        seeds: The n seeds.
        counts: The images of each true class by predicted class, `[n, C, C]`.
        lacking: The number of its finished runs that hold no predictions.
    """

    sweep: SweepResults
    group: Mapping[str, Any]
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: np.ndarray
    lacking: int = 0

    @property
    def name(self) -> str:
        """The name of the group in headings: its row, and its value of the axis that runs across."""
        layout = self.sweep.layout
        axis = layout.column_axis
        return self.group["row"] + (f", {layout.place(axis, self.group[axis])}" if axis else "")

    @property
    def stem(self) -> str:
        """The name in file names."""
        return stem_of(self.sweep.layout, self.group)

    @property
    def mean(self) -> np.ndarray:
        """The images of each true class by predicted class, mean over seeds, `[C, C]`."""
        return self.counts.mean(axis=0)

    @property
    def accuracy(self) -> Estimate:
        """Trace over total, in percent."""
        totals = self.counts.sum(axis=(1, 2))
        return _estimate((100 * self.counts.trace(axis1=1, axis2=2) / totals).tolist(), int(totals[0]))

    @property
    def keys(self) -> dict[str, Any]:
        return {key: self.group[key] for key in ("operator", *self.sweep.layout.axes)}

    def by_class(self) -> list[Estimate]:
        """The accuracy on the images of each class in percent; n = 0 for a class without images."""
        found = []
        for number in range(len(self.classes)):
            images = self.counts[:, number].sum(axis=1)
            right = self.counts[:, number, number]
            shares = [100 * a / b for a, b in zip(right.tolist(), images.tolist(), strict=True) if b]
            found.append(_estimate(shares, int(images[0])))
        return found


def stem_of(layout: SweepLayout, group: Mapping[str, Any]) -> str:
    """The name of a row of the summary in file names."""
    return slug("-".join(str(group[key]) for key in ("operator", *layout.axes)))


def _estimate(shares: Sequence[float], images: int) -> Estimate:
    """The mean of runs on so many images, from their own spread alone: classes are no rows that spread alike."""
    [found], _ = estimates([list(shares)], ACCURACY, [images])
    return found


def chosen(results: SweepResults, only: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The groups of the summary that `only` leaves: pairs of a key and its values, `("kernel_size", "3,5")`.

    Raises:
        UserError: for an unknown key, or where nothing is left.
    """
    summary, keys = results.summary, ("operator", *results.layout.axes)
    for key, text in only:
        if key not in keys:
            raise UserError(f"--only {key}={text}: no key {key!r}{nearest(key, keys)}; known: {', '.join(keys)}")
        wanted = {value.strip() for value in text.split(",")}
        if key == "operator":
            named = (row_named(value, set(summary[key])) for value in wanted)
            wanted |= {row for row in named if row is not None}
        kept = summary[key].map(str).isin(wanted) | (summary["label"].isin(wanted) if key == "operator" else False)
        if not kept.any():
            known = ", ".join(map(str, summary[key].drop_duplicates()))
            raise UserError(f"--only {key}={text} leaves no row of the sweep {results.layout.name!r}; known: {known}")
        summary = summary[kept]
    return summary


def confusions(results: SweepResults, groups: pd.DataFrame, notes: list[str]) -> Iterator[Confusion]:
    """The confusion matrices of `groups` that hold predictions, one by one, because many classes take much memory.

    A sentence for each file that cannot be used goes to `notes`. Its run then counts as one without predictions.

    Raises:
        UserError: where the runs of a group have other classes or images.
    """
    layout, frame = results.layout, results.frame
    finished = frame[(frame["metric"] == layout.metric) & (frame["state"] == "finished")]
    for group in groups.to_dict("records"):
        cells = finished[finished["group_id"] == group["group_id"]].drop_duplicates("cell_id")
        found: dict[int, Predictions] = {}
        for seed, cell in zip(cells["seed"], cells["cell_id"], strict=True):
            try:
                predictions = results.sources.predictions(cell)
            except UserError as error:
                notes.append(str(error))
                continue
            if predictions is not None:
                found[int(seed)] = predictions
        if found:
            first = next(iter(found.values()))
            for seed, predictions in found.items():
                if predictions.classes != first.classes or not np.array_equal(predictions.label, first.label):
                    raise UserError(
                        f"sweep {layout.name!r}, {group['row']}: the runs of seeds {next(iter(found))} and {seed} "
                        "predict other images or classes; keep runs on other data in another ledger"
                    )
            counts = np.stack([predictions.confusion() for predictions in found.values()])
            yield Confusion(results, group, first.classes, tuple(found), counts, len(cells) - len(found))


def none_found(results: SweepResults) -> str:
    """The sentence for a sweep whose runs hold no predictions."""
    return (
        f"{results.layout.name}: no finished run holds predictions; classifications leave them in their ledger, those "
        "of older versions, W&B and archives have none, and --force runs the cells of a sweep again"
    )


def matrix_table(confusion: Confusion) -> Table:
    """The confusion matrix as a table. Of many classes, it lists the largest confusions instead; the CSV has all."""
    mean, classes = confusion.mean, confusion.classes
    if len(classes) <= MOST_COLUMNS:
        rows = tuple(
            (name, tuple(TableCell(_count(value, confusion)) for value in mean[number]))
            for number, name in enumerate(classes)
        )
        shape = ("true / predicted class", classes)
        what = "Images of each true class (rows) by predicted class (columns)"
    else:
        rows = tuple(_largest(confusion))
        shape = ("true class", ("predicted class", "images", "share of the true class (%)"))
        what = f"The {len(rows)} largest confusions of {len(classes)} classes"
    stub, columns = shape
    return Table(
        name=f"{confusion.sweep.layout.name}-confusion-{confusion.stem}",
        title=_title(confusion.sweep, f"Confusion matrix of {confusion.name}"),
        caption=f"{what}{_over_seeds([confusion])}.",
        stub=stub, spanner="", columns=tuple(columns), blocks=(Block(rows),), bold="",
        notes=(_accuracy(confusion), *_notes(confusion.sweep, [confusion])),
        short_notes=(
            _accuracy(confusion), _data(confusion.sweep.layout), *_warnings(confusion.sweep, [confusion]),
        ),
        tidy=_tidy_matrix(confusion),
    )  # fmt: skip


def _largest(confusion: Confusion) -> Iterator[tuple[str, tuple[TableCell, ...]]]:
    mean, classes = confusion.mean, confusion.classes
    wrong = mean.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    for true, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        count = wrong[true, predicted]
        if count:
            cells = (classes[predicted], _count(count, confusion), numbers.number(100 * count / mean[true].sum()))
            yield classes[true], tuple(map(TableCell, cells))


def _count(value: float, confusion: Confusion) -> str:
    return f"{value:.0f}" if len(confusion.seeds) == 1 else numbers.number(float(value))


def _tidy_matrix(confusion: Confusion) -> pd.DataFrame:
    """A row for each pair of classes that occurs, and for each class with itself."""
    mean, classes = confusion.mean, confusion.classes
    true, predicted = np.nonzero((mean > 0) | np.eye(len(classes), dtype=bool))
    images = mean.sum(axis=1)[true]
    counts = mean[true, predicted]
    return pd.DataFrame(
        {
            **confusion.keys,
            "label": true, "true_class": [classes[number] for number in true],
            "predicted": predicted, "predicted_class": [classes[number] for number in predicted],
            "n": len(confusion.seeds), "images": counts,
            "share": 100 * np.divide(counts, images, out=np.full_like(counts, np.nan), where=images > 0),
        }
    )  # fmt: skip


@dataclass(frozen=True)
class ByClass:
    """The accuracy of one group on the images of each class. It is what a table needs of a `Confusion`."""

    name: str
    keys: Mapping[str, Any]
    classes: tuple[str, ...]
    images: tuple[int, ...]
    seeds: tuple[int, ...]
    lacking: int
    estimates: tuple[Estimate, ...]
    accuracy: Estimate

    @classmethod
    def of(cls, confusion: Confusion) -> ByClass:
        images = tuple(confusion.counts[0].sum(axis=1).tolist())
        return cls(
            confusion.name, confusion.keys, confusion.classes, images, confusion.seeds, confusion.lacking,
            tuple(confusion.by_class()), confusion.accuracy,
        )  # fmt: skip


def class_table(results: SweepResults, found: Sequence[ByClass]) -> Table:
    """The accuracy on each class (rows) of each group (columns).

    Raises:
        UserError: where the groups have other classes.
    """
    first = found[0]
    for other in found:
        if other.classes != first.classes:
            raise UserError(
                f"sweep {results.layout.name!r}: {first.name!r} and {other.name!r} have other classes; "
                "choose rows of the same classes with --only"
            )
    rows = [
        (name, tuple(TableCell(_spread(group.estimates[number])) for group in found))
        for number, name in enumerate(first.classes)
    ]
    total = [("all images", tuple(TableCell(_spread(group.accuracy)) for group in found))]
    return Table(
        name=f"{results.layout.name}-classes",
        title=_title(results, "Accuracy by class"),
        caption=f"Share of the images of each class that are classified correctly (%){_over_seeds(found)}.",
        stub="class", spanner="", columns=tuple(group.name for group in found),
        blocks=(Block(tuple(rows)), Block(tuple(total))), bold="",
        notes=tuple(_notes(results, found)),
        short_notes=(f"{_predictions(results, found)}.", _data(results.layout), *_warnings(results, found)),
        tidy=_tidy_classes(found),
    )  # fmt: skip


def _tidy_classes(found: Sequence[ByClass]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **group.keys, "label": number, "class": name, "images": group.images[number], "n": found_here.n,
                "mean": found_here.mean, "sd": found_here.sd, "ci_low": found_here.low, "ci_high": found_here.high,
            }
            for group in found
            for number, (name, found_here) in enumerate(zip(group.classes, group.estimates, strict=True))
        ]
    )  # fmt: skip


def chart(confusion: Confusion, style: str, caption: bool) -> Chart:
    """The figure of a confusion matrix (`analysis.figures.confusion`). `draw_figure` explains `style` and `caption`."""
    data = pd.DataFrame(confusion.mean, index=list(confusion.classes), columns=list(confusion.classes))
    count = len(confusion.seeds)
    over = f", mean over {count} seeds" if count > 1 else ""
    label = f"{confusion.name}: {numbers.number(confusion.accuracy.mean)} % correct{over}"
    return Chart(data, None, label, "true class", confusion.sweep.layout.smoke, style=style, caption=caption)


def _title(results: SweepResults, what: str) -> str:
    layout = results.layout
    return f"{'SMOKE: ' if layout.smoke else ''}{what} ({layout.title}, {layout.origin})."


def _over_seeds(found: Sequence[Confusion | ByClass]) -> str:
    """`, mean over 3 seeds`: what the numbers are, where there are several seeds."""
    counts = sorted({len(group.seeds) for group in found})
    if counts == [1]:
        return ", one seed"
    if isinstance(found[0], ByClass) and counts[-1] < FEWEST_SEEDS:
        return ", the run of each seed"
    spread = f" {numbers.PLUS_MINUS} standard deviation" if isinstance(found[0], ByClass) else ""
    return f", mean{spread} over {numbers.DASH.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds"


def _spread(found: Estimate) -> str:
    if found.n < 2:
        return numbers.number(found.mean)
    if found.n < FEWEST_SEEDS:
        return f"{numbers.number(found.lowest)}, {numbers.number(found.highest)}"
    return f"{numbers.number(found.mean)} {numbers.PLUS_MINUS} {numbers.number(found.sd)}"


def _accuracy(confusion: Confusion) -> str:
    total = int(confusion.counts[0].sum())
    return f"Correct: {_spread(confusion.accuracy)} % of {total} images (diagonal over matrix)."


def _data(layout: SweepLayout) -> str:
    return f"Data: {layout.data}; budget: {layout.budget}{layout.changes}."


def _warnings(results: SweepResults, found: Sequence[Confusion | ByClass]) -> Iterator[str]:
    lacking = sum(group.lacking for group in found)
    if lacking:
        yield f"Warning: {numbers.counted(lacking, 'finished run')} without predictions left out."
    frame = results.frame
    for mix in footnotes.mixes(frame[(frame["metric"] == results.layout.metric) & frame["state"].isin(["finished"])]):
        yield f"Warning: {mix}."


def _predictions(results: SweepResults, found: Sequence[Confusion | ByClass]) -> str:
    tested = (results.frame["metric"] == validation_name(results.layout.metric)).any()
    seeds = sorted({seed for group in found for seed in group.seeds})
    return (
        f"Predictions of the last weights of each run on the {'test' if tested else 'validation'} split; seed"
        f"{'s' if len(seeds) > 1 else ''} {numbers.integers(seeds)}"
    )


def _notes(results: SweepResults, found: Sequence[Confusion | ByClass]) -> Iterator[str]:
    layout = results.layout
    yield f"{_predictions(results, found)}."
    yield from _warnings(results, found)
    yield _data(layout)
    if layout.smoke:
        yield "SMOKE: a budget of a few steps shows that everything runs; the numbers mean nothing."
