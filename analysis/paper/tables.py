"""Tables 1, 2, 3, 4 and 6 in the paper's layout and rounding, with our runs and the printed numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.paper.claims import Part, Row, margin_of
from analysis.paper.judgement import answers, judge
from analysis.paper.pools import PAPER, Pool, RowKey
from analysis.paper.published import BASE_EPOCHS, WITH_POSITION, WITHOUT_POSITION, Printed, epochs_of, of_table
from analysis.paper.shown import EVERYTHING, Shown
from analysis.paper.verdicts import word
from analysis.sources.samples import NOT_COMPARED, Comparison, statistics_of
from analysis.statistics import FEWEST_SEEDS, contrast, holm
from analysis.table import Block, Table, TableCell, slug

TITLES = {
    1: "Comparison of different operators on ImageNet-1K using ResNet-34 and ResNet-50.",
    2: "Object detection results of different operators on COCO val 2017.",
    3: "Instance segmentation results of different operators on COCO val 2017.",
    4: "Effects of relative position encoding on COCO detection.",
    6: "More detection results about different operators on COCO 2017 val under the multiple settings.",
}
HEADINGS = {
    "top1": "top-1", "top5": "top-5", "box_ap": "AP bbox", "box_ap50": "AP50 bbox", "box_ap75": "AP75 bbox",
    "box_ap_s": "AP_S bbox", "box_ap_m": "AP_M bbox", "box_ap_l": "AP_L bbox", "mask_ap": "AP mask",
    "mask_ap_s": "AP_S mask", "mask_ap_m": "AP_M mask", "mask_ap_l": "AP_L mask",
}  # fmt: skip
PRIMARY = {1: "top1", 2: "box_ap", 3: "mask_ap", 4: "box_ap", 6: "box_ap"}
WITH_DELTAS = (2, 3, 6)  # Tables 1 and 4 print none
WITHOUT_BOLD = (4,)
MOST_CHANGES = 6  # in a caption
LONGEST_NAME = 150  # characters of the data in the name of a file
OTHER_METRICS = ("top1", "top5")  # shown on data that have none of the table's metrics


def paper_tables(number: int, found: Sequence[Pool], select: str = "last", shown: Shown = EVERYTHING) -> list[Table]:
    """Table `number` from each pool that has metrics for it, with the rows and metrics that are `shown`."""
    made = (_PaperTable(number, pool, metrics, select, shown) for pool in found if (metrics := _metrics(number, pool)))
    return [table.table() for table in made if table.shown_rows and table.shown_metrics]


def _printed_metrics(number: int) -> list[str]:
    return list(dict.fromkeys(metric for row in of_table(number).values() for metric in row))


def _metrics(number: int, pool: Pool) -> list[str]:
    """The printed metrics that the runs have; without any, tables of detection show metrics of classification."""
    own = [metric for metric in _printed_metrics(number) if metric in pool.metrics]
    if own and PRIMARY[number] not in own:  # the boxes of Table 3 without its masks
        return []
    return own or [metric for metric in OTHER_METRICS if metric in pool.metrics and number in (2, 4, 6)]


class _PaperTable:
    def __init__(self, number: int, pool: Pool, metrics: list[str], select: str, shown: Shown) -> None:
        self.number, self.pool, self.metrics, self.select = number, pool, metrics, select
        self.paper = pool.data == PAPER
        self.rows = _rows(number, self.paper)
        self.primary = PRIMARY[number] if PRIMARY[number] in self.metrics else self.metrics[0]
        self.compared = {metric: self._compare(metric) for metric in metrics}
        self.verdicts = self._judge()
        self.shown = shown
        self.shown_rows = {key: row for key, row in self.rows.items() if shown.has_row(key[1])}
        self.shown_metrics = [metric for metric in metrics if shown.has_metric(metric)]

    def table(self) -> Table:
        best = self._best()
        blocks: dict[str, list[tuple[str, tuple[TableCell, ...]]]] = {}
        for key, row in self.shown_rows.items():
            heading = key[0] if self.number == 1 else ""
            blocks.setdefault(heading, []).append((_label(self.number, key, row), self._cells(key, row, best)))
        name = f"table-{self.number}" + ("" if self.paper else f"-{slug(self.pool.data)[:LONGEST_NAME]}")
        return Table(
            name=name,
            title=TITLES[self.number] if self.paper else f"The rows of the paper's Table {self.number}.",
            paper_number=self.number if self.paper else None,
            caption=self._caption(),
            stub="Operator",
            spanner="",
            columns=self._columns(),
            blocks=tuple(Block(tuple(rows), heading) for heading, rows in blocks.items()),
            bold=(
                "highest mean of its column"
                + (" and backbone" if self.number == 1 and self.paper else "")
                + ", where it is resolved above the convolution"
            ),
            notes=tuple(self._notes()),
            short_notes=tuple(self._short_notes()),
            tidy=pd.DataFrame(
                [self._tidy(key, row, metric) for key, row in self.shown_rows.items() for metric in self.shown_metrics]
            ),
        )

    def _caption(self) -> str:
        """Why the table shows no printed numbers; empty where it shows them."""
        if self.paper:
            return ""
        if not self.pool.changes:
            return f"On {self.pool.data}; these data cannot reproduce the paper."
        shown = list(self.pool.changes)[:MOST_CHANGES]
        more = len(self.pool.changes) - len(shown)
        listed = ", ".join(shown) + (f" and {more} more" if more else "")
        return f"On {self.pool.data}; not the recipe's own configuration, so without printed numbers: {listed}."

    def _columns(self) -> tuple[str, ...]:
        beside = {4: ("Pos.",), 6: ("Epoch",) if self.paper else ("Schedule",)}.get(self.number, ())
        own = [(HEADINGS[metric], "printed") if self.paper else (HEADINGS[metric],) for metric in self.shown_metrics]
        others = () if self.paper else ("parameters", "printed")  # the paper has its own in Table 5
        return (*beside, *(text for texts in own for text in texts), *others, "verdict")

    def _cells(
        self, key: RowKey, row: Mapping[str, Printed], best: Mapping[tuple[str, str], str]
    ) -> tuple[TableCell, ...]:
        cells = []
        if self.number == 4:
            cells.append(TableCell("yes" if key[2] == WITH_POSITION else ""))
        if self.number == 6:
            epochs = epochs_of(key[2])
            cells.append(TableCell(str(epochs) if self.paper else f"{epochs // BASE_EPOCHS}x"))
        for metric in self.shown_metrics:
            cells.append(self._cell(key, metric, best))
            if self.paper:
                cells.append(TableCell(numbers.number(row[metric].value) if metric in row else numbers.DASH))
        if not self.paper:
            result = self.pool.results.get(self.pool.groups.get(key, ""), {})
            cells += [TableCell(numbers.count(result.get("params"))), TableCell(numbers.DASH)]
        return (*cells, TableCell(self.verdicts[key]))

    def _cell(self, key: RowKey, metric: str, best: Mapping[tuple[str, str], str]) -> TableCell:
        item = self.pool.estimate(key, metric)
        if not item.n:
            return TableCell(numbers.DASH)
        text = numbers.number(item.mean)
        compared = self.compared[metric][key]
        delta = compared.difference.mean if self.number in WITH_DELTAS else None
        remarks = () if delta is None or pd.isna(delta) else (_signed(delta),)
        bold = best.get((key[0], metric)) == text and compared.is_resolved and compared.difference.mean > 0
        return TableCell(text, remarks, bold, self.pool.groups[key])

    def _compare(self, metric: str) -> dict[RowKey, Comparison]:
        """The difference of each row to its base, with p after Holm over all of them."""
        bases = {key: _base(self.number, key) for key in self.rows}
        found = {
            key: contrast([(1.0, self.pool.estimate(key, metric)), (-1.0, self.pool.estimate(base, metric))])
            for key, base in bases.items() if base is not None
        }  # fmt: skip
        adjusted = dict(zip(found, holm([item.p for item in found.values()]), strict=True))
        return {key: Comparison(found[key], adjusted[key]) if key in found else NOT_COMPARED for key in self.rows}

    def _judge(self) -> dict[RowKey, str]:
        """The verdict on the main column's differences: by their printed size, on other data by their sign."""
        parts = {key: part for key, row in self.rows.items() if (part := self._part(key, row)) is not None}
        tried = {key: judge(part, self.pool) for key, part in parts.items()}
        found = {key: finding for key, finding in tried.items() if finding is not None}
        words = {key: "not run" if key in parts else numbers.DASH for key in self.rows}
        for key, answer in zip(found, answers(list(found.values())), strict=True):
            words[key] = word(answer, PAPER) if self.paper else _OTHER[answer]
        return words

    def _part(self, key: RowKey, row: Mapping[str, Printed]) -> Part | None:
        base = _base(self.number, key)
        if base is None:
            return None
        backbone = next(iter(row.values())).backbone if self.number == 1 else ""
        first, second = (Row(str(self.number), label, setting, backbone) for _, label, setting in (key, base))
        part = Part("M", ((1.0, first), (-1.0, second)), PRIMARY[self.number])
        if self.number in (1, 2) and key[1] == "pssa":  # claim 7 calls them equal
            return Part("E", part.terms, part.metric)
        return Part("M", part.terms, part.metric, -1) if (part.published or 1.0) < 0 else part

    def _best(self) -> dict[tuple[str, str], str]:
        """The highest mean of each backbone and metric as it is written, so that visible ties are all bold."""
        means: dict[tuple[str, str], list[float]] = {}
        for key in self.shown_rows if self.number not in WITHOUT_BOLD else ():
            for metric in self.shown_metrics:
                item = self.pool.estimate(key, metric)
                if item.n:
                    means.setdefault((key[0], metric), []).append(item.mean)
        return {key: numbers.number(max(found)) for key, found in means.items() if len(found) > 1}

    def _short_notes(self) -> list[str]:
        """A sentence on the estimator and the number of seeds, one on the data, and warnings."""
        brackets = f"; {self._brackets()}" if self._brackets() else ""
        return [f"{self._estimator()}{brackets}.", self._data(), *self._warnings()]

    def _estimator(self) -> str:
        counts = {len(self.pool.seeds(key, self.primary)) for key in self.rows} - {0}
        n = numbers.DASH.join(str(count) for count in sorted({min(counts), max(counts)})) if counts else "0"
        return f"Estimator: mean over seeds of each run's {self.select} value; n = {n}"

    def _brackets(self) -> str:
        if self.number not in WITH_DELTAS:
            return ""
        same = f" of the same {'number of epochs' if self.paper else 'schedule'}" if self.number == 6 else ""
        return f"in brackets: difference to the convolution{same}"

    def _warnings(self) -> list[str]:
        best = "Warning: each run's best evaluation, not its last; picked among many, it is too high."
        return [best] if self.select == "best" else []

    def _data(self) -> str:
        runs = pd.concat(self.pool.frames)
        done = runs[runs["state"] == "finished"].drop_duplicates("cell_id")
        commits = ", ".join(dict.fromkeys(map(numbers.short_commit, done["commit"]))) or numbers.DASH
        sweeps = dict.fromkeys(f"{sweep.name} ({sweep.origin}, {sweep.budget})" for sweep in self.pool.sweeps)
        return f"Sweeps: {', '.join(sweeps)}; data: {self.pool.sweeps[0].data}; commit: {commits}."

    def _notes(self) -> list[str]:
        notes = [
            f"{self._estimator()}; intervals are in the CSV, with variances pooled over the table; n < {FEWEST_SEEDS} "
            "decides nothing."
        ]
        notes += self._warnings()
        if self._brackets():
            notes.append(f"I{self._brackets()[1:]}.")
        cannot = "this is not the paper's protocol" if self.pool.changes else "these data cannot reproduce"
        notes.append(
            f"Verdict: on the difference in {HEADINGS[self.primary]} "
            + ("to the row without position encoding" if self.number == 4 else "to the convolution")
            + (", by the printed one" if self.paper else ", by the sign of the printed one")
            + (
                "; a refutation is adjusted by Holm over the table."
                if self.paper
                else f", refuted after Holm; {cannot}."
            )
        )
        if self.number in (1, 2):
            margin = margin_of(self.primary) or margin_of(PRIMARY[self.number])
            notes.append(f"PSSA's, which the paper calls equal: within {margin:g} by two one-sided tests.")
        if self.number == 1 and not self.paper:
            notes.append("Operators other than X-volution are in the stages of the recipe.")
        notes += [note] if (note := self.shown.note(len(self.shown_rows), len(self.rows), "rows")) else []
        return [*notes, self._data()]

    def _tidy(self, key: RowKey, row: Mapping[str, Printed], metric: str) -> dict[str, Any]:
        return {
            "table": self.number, "backbone": key[0], "operator": key[1], "setting": key[2], "metric": metric,
            **statistics_of(self.pool.estimate(key, metric), self.compared[metric][key]),
            "published": row[metric].value if self.paper and metric in row else None,
            "verdict": self.verdicts[key] if metric == self.primary else None,
            "group_id": self.pool.groups.get(key),
        }  # fmt: skip


_OTHER = {"yes": "holds", "no": "fails", "open": "not resolved"}


def _rows(number: int, paper: bool) -> dict[RowKey, dict[str, Printed]]:
    """The printed rows by their key in a pool; on other data than the paper's there is only one network."""
    rows: dict[RowKey, dict[str, Printed]] = {}
    for (backbone, label, setting), row in of_table(number).items():
        rows.setdefault((backbone if number == 1 and paper else "", label, setting), row)
    return rows


def _base(number: int, key: RowKey) -> RowKey | None:
    """The row to which differences are taken; None for that row itself."""
    block, label, setting = key
    if number == 4:
        return (block, label, WITHOUT_POSITION) if setting == WITH_POSITION else None
    base = (block, "convolution", "" if number == 1 else setting)
    return base if key != base else None


def _label(number: int, key: RowKey, row: Mapping[str, Printed]) -> str:
    operator = next(iter(row.values())).operator
    return f"{operator}, {key[2]}" if number == 1 and key[2] else operator


def _signed(value: float) -> str:
    """A difference as the paper writes it: zero is +0.0."""
    text = numbers.number(value)
    return text if text.startswith(numbers.MINUS) else f"+{text}"
