"""The paper's claims as data: each claim, where it is printed, and the differences that would refute it.

A part of a claim is a weighted sum of rows of tables and figures (`analysis.paper.pools`), and has a kind. `D` claims
the sign of the sum. `M` claims its size too (on other data than the paper's, its sign alone). `E` claims that it is
zero within a margin (`margin_of`). The runs of a sweep do not decide a claim without parts; `refuted_by` names what
does. The claims that the printed numbers decide are in `analysis.paper.arithmetic`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.paper.published import BASE_EPOCHS, WITH_POSITION, WITHOUT_POSITION, epochs_of, of_table

COCO, MASK = "faster_rcnn 1x", "mask_rcnn 1x"


@dataclass(frozen=True)
class Row:
    """A row of a table or figure, by our label. `backbone` is empty where the table has one."""

    table: str
    label: str
    setting: str = ""
    backbone: str = ""

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.label, self.setting, self.backbone) if part)

    @property
    def on_other_data(self) -> str:
        """The row without what only the paper ran: its network, its detectors and its numbers of epochs."""
        if self.table in ("2", "3"):
            return self.label
        if self.table == "6":
            return f"{self.label} schedule {epochs_of(self.setting) // BASE_EPOCHS}x"
        return " ".join(part for part in (self.label, self.setting) if part)


@dataclass(frozen=True)
class Part:
    """A part of a claim.

    Attributes:
        kind: `D`, `M` or `E` (see above).
        terms: The weights and the rows of the sum.
        metric: The metric of the rows.
        sign: The sign of the sum by the claim, for `D` and `M`.
        shorter: The same question to fewer rows, for other data on which not all rows were run.
    """

    kind: str
    terms: tuple[tuple[float, Row], ...]
    metric: str
    sign: int = 1
    shorter: Part | None = None

    @property
    def published(self) -> float | None:
        """The sum of the printed numbers; None where a row has none."""
        total = 0.0
        for weight, row in self.terms:
            backbone = row.backbone or "ResNet-50"
            printed = of_table(int(row.table)) if row.table.isdigit() else {}
            number = printed.get((backbone, row.label, row.setting), {}).get(self.metric)
            if number is None:
                return None
            total += weight * number.value
        return round(total, 6)

    def text(self, paper: bool = True) -> str:
        """The part in words: with the paper's networks, or as other data have the rows."""
        names = [(weight, row.text if paper else row.on_other_data) for weight, row in self.terms]
        if [weight for weight, _ in names] == [1.0, -1.0]:
            (_, first), (_, second) = names
            return f"{first} {'≈' if self.kind == 'E' else '>' if self.sign > 0 else '<'} {second}"
        sides = [" + ".join(name for weight, name in names if weight * side > 0) for side in (1, -1)]
        return f"({sides[0]}) {'>' if self.sign > 0 else '<'} ({sides[1]})"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: Our number of the claim.
        claim: Its words, quoted or closely paraphrased.
        where: Where it is printed.
        kinds: The kinds of its parts (`verdicts.LEGEND`).
        parts: Its parts.
        refuted_by: What decides it.
        about: For a claim without parts, the operators and metrics that it is about.
    """

    number: int
    claim: str
    where: str
    kinds: str
    parts: tuple[Part, ...]
    refuted_by: str
    about: tuple[str, ...] = ()

    @property
    def subjects(self) -> set[str]:
        """The labels of the operators and the names of the metrics that it is about."""
        rows = (row.label for part in self.parts for _, row in part.terms)
        return {*self.about, *rows, *(part.metric for part in self.parts)}


@functools.cache
def margin_of(metric: str) -> float | None:
    """The largest difference that counts as equal: half of what the paper claims for X-volution on this metric.

    A smaller difference would not support the claim. None for a metric without such a claim.
    """
    claimed = {
        "top1": _table1("M", "ResNet-34", "xvolution", "convolution", "stage3"),
        "box_ap": _coco("M", "xvolution"),
        "mask_ap": _mask("M", "xvolution"),
    }
    part = claimed.get(metric)
    return None if part is None or part.published is None else round(part.published / 2, 6)


def _difference(kind: str, metric: str, first: Row, second: Row, sign: int = 0) -> Part:
    part = Part(kind, ((1.0, first), (-1.0, second)), metric)
    sign = sign or int(math.copysign(1, part.published or 1.0))
    return Part(kind, part.terms, metric, sign)


def _table1(kind: str, backbone: str, label: str, other: str, setting: str = "", metric: str = "top1") -> Part:
    return _difference(kind, metric, Row("1", label, setting, backbone), Row("1", other, "", backbone))


def _coco(kind: str, label: str, other: str = "convolution", metric: str = "box_ap", sign: int = 0) -> Part:
    return _difference(kind, metric, Row("2", label, COCO), Row("2", other, COCO), sign)


def _mask(kind: str, label: str, other: str = "convolution", metric: str = "mask_ap") -> Part:
    return _difference(kind, metric, Row("3", label, MASK), Row("3", other, MASK))


def _stages(backbone: str) -> tuple[Part, ...]:
    return tuple(
        _table1("M", backbone, "xvolution", "convolution", f"stage{stage}", metric)
        for metric in ("top1", "top5")
        for stage in (3, 4, 5)
    )


def _order(backbone: str, *stages: int) -> tuple[Part, ...]:
    rows = [Row("1", "xvolution", f"stage{stage}", backbone) for stage in stages]
    return tuple(_difference("D", "top1", better, worse, 1) for better, worse in itertools.pairwise(rows))


def _slope(label: str, epochs: Sequence[int] = (12, 24, 36, 72)) -> Part:
    """The slope of the gain against the logarithm of the number of epochs, by least squares.

    On other data without the longest schedule it is the slope over the others.
    """
    logs = [math.log2(number) for number in epochs]
    mean = math.fsum(logs) / len(logs)
    spread = math.fsum((value - mean) ** 2 for value in logs)
    terms: list[tuple[float, Row]] = []
    for number, value in zip(epochs, logs, strict=True):
        weight = (value - mean) / spread
        terms += [(weight, Row("6", label, f"{number} epochs")), (-weight, Row("6", "convolution", f"{number} epochs"))]
    return Part("D", tuple(terms), "box_ap", shorter=_slope(label, epochs[:-1]) if len(epochs) > 3 else None)


def _position(kind: str, label: str) -> Part:
    return _difference(kind, "box_ap", Row("4", label, WITH_POSITION), Row("4", label, WITHOUT_POSITION))


def _kernel(label: str, size: int, other: str, other_size: int, sign: int = 1) -> Part:
    return _difference("D", "top1", Row("3a", label, f"K={size}"), Row("3a", other, f"K={other_size}"), sign)


def _epoch(label: str, other: str, epoch: int, sign: int = 1) -> Part:
    return _difference("D", "box_ap", Row("3b", label, f"epoch {epoch}"), Row("3b", other, f"epoch {epoch}"), sign)


_GAP_SHRINKS = Part(
    "D",
    tuple((weight, Row("3a", label, f"K={size}")) for weight, label, size in (
        (1.0, "xvolution", 9), (-1.0, "convolution", 9), (-1.0, "xvolution", 3), (1.0, "convolution", 3),
    )),
    "top1",
    -1,
)  # fmt: skip
_POSITION_MATTERS_LESS = Part(
    "D",
    tuple((weight, Row("4", label, setting)) for weight, label, setting in (
        (1.0, "pssa", WITH_POSITION), (-1.0, "pssa", WITHOUT_POSITION),
        (-1.0, "xvolution", WITH_POSITION), (1.0, "xvolution", WITHOUT_POSITION),
    )),
    "box_ap",
)  # fmt: skip
R34, R50 = "ResNet-34", "ResNet-50"

CLAIMS: Sequence[Claim] = (
    Claim(1, "ResNet-34: X-volution in stage 3, 4, 5 gains 1.2, 0.5, 0.4 top-1 (0.8, 0.3, 0.1 top-5)", "Table 1", "D M",
          _stages(R34), "sweep `stage`"),
    Claim(2, "ResNet-50: X-volution in stage 3, 4, 5 gains 0.9, -0.6, 0.2 top-1 (0.8, -0.1, 0.3 top-5)", "Table 1",
          "D M", _stages(R50), "sweep `stage` on bottlenecks"),
    Claim(3, "X-volution \"leads to stable improvement for both ResNet structures\"", "4.2.1", "A", (),
          "the printed numbers", ("xvolution", "top1")),
    Claim(4, "Order of the stages: 3 > 4 > 5 (ResNet-34), 3 > 5 > 4 (ResNet-50)", "Table 1, 4.2.1", "O",
          (*_order(R34, 3, 4, 5), *_order(R50, 3, 5, 4)), "sweep `stage`"),
    Claim(5, "\"the inferior performance of the replacement in stage4 for ResNet-50 can be ascribed to the increased "
          "learnable parameters\"", "4.2.1", "A", (), "the printed numbers and Table 5", ("xvolution", "top1")),
    Claim(6, "Self-attention alone is worse than convolution: -0.6, -0.4", "Table 1, 4.2.1", "D",
          tuple(_table1("D", backbone, "self_attention", "convolution") for backbone in (R34, R50)),
          "sweep `operator`"),
    Claim(7, "PSSA is about as good as convolution: -0.2, -0.2; COCO +0.1", "Tables 1, 2", "E",
          (*(_table1("E", backbone, "pssa", "convolution") for backbone in (R34, R50)), _coco("E", "pssa")),
          "sweep `operator`"),
    Claim(8, "PSSA is better than self-attention: +0.4, +0.2; COCO +0.2", "Tables 1, 2", "D",
          (*(_table1("D", backbone, "pssa", "self_attention") for backbone in (R34, R50)),
           _coco("D", "pssa", "self_attention")), "sweep `operator`"),
    Claim(9, "COCO box AP over convolution: X-volution +1.5, (SA) +1.7, (Inv) +0.6, AA +0.8, Involution +0.2, SA -0.1, "
          "Multi-Convolution -0.2", "Table 2", "D M",
          tuple(_coco("M", label) for label in ("xvolution", "xvolution_sa", "xvolution_inv", "aa_convolution",
                                                "involution", "self_attention", "multi_convolution")),
          "sweep `operator` on detection"),
    Claim(10, "\"three versions of X-volution all surpass their self-attention counterparts\"", "4.2.2, Table 2", "D",
          (_coco("D", "xvolution", "pssa"), _coco("D", "xvolution_sa", "self_attention"),
           _coco("D", "xvolution_inv", "involution")), "sweep `operator`"),
    Claim(11, "X-volution is better than AA-convolution: +0.7 box; +0.7 box, +0.4 mask", "Tables 2, 3", "D",
          (_coco("D", "xvolution", "aa_convolution"), _mask("D", "xvolution", "aa_convolution", "box_ap"),
           _mask("D", "xvolution", "aa_convolution")), "sweep `operator`"),
    Claim(12, "X-volution is \"comparable\" with X-volution(SA), \"the approximation works well\": -0.2", "4.2.2", "E",
          (_coco("E", "xvolution", "xvolution_sa"),), "sweep `operator`, with `xvolution_static` beside it"),
    Claim(13, "Multi-branch convolution \"leads to degraded performance\": -0.2", "4.2.2, Table 2", "D",
          (_coco("D", "multi_convolution"),), "sweep `operator`"),
    Claim(14, "Masks: X-volution +1.1 (box +1.8), (SA) +1.5 (+2.0), (Inv) over Involution +0.1 (+0.3)", "Table 3",
          "D M", tuple(_mask("M", label, other, metric)
                       for label, other in (("xvolution", "convolution"), ("xvolution_sa", "convolution"),
                                            ("xvolution_inv", "involution"))
                       for metric in ("mask_ap", "box_ap")), "sweep `operator` on segmentation"),
    Claim(15, "Attention alone loses on large objects: SA -1.4, PSSA -0.9; no more so at 6x (+0.3)", "Tables 2, 6", "D",
          (_coco("D", "self_attention", metric="box_ap_l"), _coco("D", "pssa", metric="box_ap_l"),
           _difference("D", "box_ap_l", Row("6", "pssa", "72 epochs"), Row("6", "convolution", "72 epochs"))),
          "sweeps `operator`, `schedule`"),
    Claim(16, "Position encoding: +0.4 for PSSA, \"only a marginal improvement\" (+0.1) for X-volution", "Table 4",
          "D E", (_position("D", "pssa"), _position("E", "xvolution"), _POSITION_MATTERS_LESS),
          "sweep `position_encoding`"),
    Claim(17, "PSSA's gain grows with the schedule: 0.1, 0.3, 0.5, 0.7", "Table 6", "S", (_slope("pssa"),),
          "sweep `schedule`"),
    Claim(18, "\"the gain of X-volution also increases with more training epochs\": 1.5, 1.9, 2.0, 1.8", "6.2", "A S",
          (_slope("xvolution"),), "the printed numbers; sweep `schedule`"),
    Claim(19, "K = 1: the convolution decays, X-volution is still acceptable; 5 and 7 improve, 9 falls; the gain gets "
          "smaller", "4.3.1, Fig. 3 (a)", "S",
          (_kernel("convolution", 1, "convolution", 3, -1), _kernel("xvolution", 1, "convolution", 1),
           _kernel("xvolution", 5, "xvolution", 3), _kernel("xvolution", 7, "xvolution", 5),
           _kernel("xvolution", 9, "xvolution", 7, -1), _GAP_SHRINKS), "sweep `kernel_size`"),
    Claim(20, "The decay at K = 1 is \"possibly related to the feature resolution\"", "4.3.1", "D", (),
          "sweep `kernel_size` at two input sizes", ("convolution", "xvolution", "top1")),
    Claim(21, "Epoch 1: convolution > X-volution > PSSA; X-volution leads from epoch 3; PSSA behind until 9",
          "4.3.2, Fig. 3 (b)", "S",
          (_epoch("convolution", "xvolution", 1), _epoch("xvolution", "pssa", 1), _epoch("xvolution", "convolution", 3),
           _epoch("xvolution", "pssa", 3), _epoch("pssa", "convolution", 8, -1)), "sweep `schedule`, by epoch"),
    Claim(22, "Stacked PSSA approximates global self-attention", "3.3", "M", (),
          "sweep `approximation`: the share explained beyond the best static 1x1 convolution", ("pssa",)),
    Claim(23, "PSSA takes O(n) time", "3.3", "S", (), "`python -m benchmarks scaling`: time against pixels", ("pssa",)),
    Claim(24, "X-volution is \"converted into a single standard convolution\" of equal output", "abstract, 3.4.3", "X",
          (), "`python -m lightning_xvol fuse`: equal outputs, but a dynamic convolution (Eq. 9), not a standard one",
          ("xvolution",)),
    Claim(25, "The merged operator is \"more efficient and has lower memory overhead\"", "3.4.3", "D", (),
          "`python -m benchmarks operators`: fused against unfused", ("xvolution",)),
    Claim(26, "The gains come from attention", "4.2.1, 4.3.1", "D",
          (*(_difference("D", "top1", Row("1", "xvolution", f"stage{stage}", backbone),
                         Row("1", "xvolution_static", f"stage{stage}", backbone), 1)
             for backbone in (R34, R50) for stage in (3, 4, 5)),
           *(_kernel("xvolution", size, "xvolution_static", size) for size in (1, 3)),
           _coco("D", "xvolution", "xvolution_static", sign=1)),
          "the static control in `stage`, `kernel_size` and `operator`, and sweep `controls`"),
    Claim(27, "+1.2 top-1, +1.7 box AP, +1.5 mask AP", "abstract", "M",
          (_table1("M", R34, "xvolution", "convolution", "stage3"), _coco("M", "xvolution_sa"),
           _mask("M", "xvolution_sa")), "ResNet-34 alone, and X-volution(SA), not PSSA: see 1, 2, 9, 14"),
)  # fmt: skip
