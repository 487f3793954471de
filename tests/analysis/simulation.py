"""Made-up tables with a known truth, and how often the statistics of `analysis.statistics` are right about them.

`python -m tests.analysis.simulation` prints the numbers of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.sources.samples import Comparison
from analysis.statistics import ACCURACY, ALPHA, PRECISION, Estimate, Scale, contrast, estimates, holm

ENTRIES = 20
TABLES = 400
NOISIER = 5.0
FAILING = [2, 3]  # neither the first entry, to which differences are, nor the noisier one


@dataclass(frozen=True)
class Truth:
    """A kind of table.

    Attributes:
        name: Its name.
        scale: The scale of its metric.
        images: The number of test images.
        lowest, highest: The range of the means, in points.
        spread: The standard deviation of a run: in points in the middle of the range, and everywhere the same on the
            arcsine scale, so that it shrinks near 100 points.
        mixed: Each entry has a spread of its own, between `spread` / `mixed` and `spread` * `mixed`.
        failing: The number of entries that fall to chance in a quarter of their runs.
    """

    name: str
    scale: Scale
    images: int
    lowest: float
    highest: float
    spread: float
    mixed: float = 1.0
    failing: int = 0

    @property
    def near_ceiling(self) -> bool:
        return self.highest > 99


TRUTHS = (
    Truth("near the ceiling (match)", ACCURACY, 600, 90.0, 99.8, 1.5),
    Truth("accuracy (Fashion-MNIST)", ACCURACY, 10_000, 80.0, 89.0, 0.3),
    Truth("average precision (COCO)", PRECISION, 5000, 20.0, 40.0, 0.7),
)
MIXED = (
    Truth("match, two rows fail at times", ACCURACY, 600, 90.0, 99.8, 1.5, failing=2),
    Truth("Fashion-MNIST, mixed spreads", ACCURACY, 10_000, 80.0, 89.0, 0.25, mixed=2.5),
    Truth("COCO, mixed spreads", PRECISION, 5000, 20.0, 40.0, 0.5, mixed=2.5),
)


@dataclass(frozen=True)
class Rates:
    """Shares over tables, each with its Monte-Carlo error.

    Attributes:
        cover: Of the intervals that hold the true mean.
        type_one: Of pairs of equal entries with p below 5 %.
        family: Of tables of equal entries in which any difference to the first has Holm's p below 5 %.
        noisy: Of pairs of an entry `NOISIER` times as noisy as the others and one of these with p below 5 %.
        noisy_resolved: Of differences of the noisier entry to the first that are resolved after Holm.
        resolved: Of all differences to the first, equal or not, that are resolved after Holm.
    """

    cover: tuple[float, float]
    type_one: tuple[float, float]
    family: tuple[float, float]
    noisy: tuple[float, float]
    noisy_resolved: tuple[float, float]
    resolved: tuple[float, float]


def simulate(truth: Truth, n: int, tables: int = TABLES, seed: int = 0) -> Rates:
    """The rates over `tables` tables of `ENTRIES` entries with `n` runs each."""
    generator = np.random.default_rng([seed, n, *truth.name.encode()])
    rates = np.array([_table(truth, n, generator) for _ in range(tables)])
    errors = rates.std(axis=0, ddof=1) / np.sqrt(tables)
    return Rates(*zip(rates.mean(axis=0).tolist(), errors.tolist(), strict=True))


def _table(truth: Truth, n: int, generator: np.random.Generator) -> tuple[float, ...]:
    """The shares of three tables: entries in equal pairs, all entries equal, and these with one that is noisier."""
    centres = np.repeat(generator.uniform(truth.lowest, truth.highest, ENTRIES // 2), 2)
    spreads = truth.spread * np.repeat(truth.mixed ** generator.uniform(-1, 1, ENTRIES // 2), 2)
    found, means = _estimated(truth, centres, spreads, n, generator)
    cover = np.mean([item.low <= mean <= item.high for item, mean in zip(found, means, strict=True)])
    type_one = np.mean([_p(found[k], found[k + 1]) < ALPHA for k in range(0, ENTRIES, 2)])
    resolved = np.mean(_resolved(found))

    equal = np.full(ENTRIES, centres[0])
    found, _ = _estimated(truth, equal, spreads, n, generator)
    family = min(holm([_p(found[0], item) for item in found[1:]])) < ALPHA

    spreads[-1] = NOISIER * truth.spread
    found, means = _estimated(truth, equal, spreads, n, generator)
    # Near the ceiling a noisier entry has a lower mean.
    noisy = [_p(found[-1], item, means[-1] - mean) < ALPHA for item, mean in zip(found[:-1], means[:-1], strict=True)]
    last = _resolved(found, means)[-1]
    return tuple(map(float, (cover, type_one, family, np.mean(noisy), last, resolved)))


def _p(one: Estimate, other: Estimate, truth: float = 0.0) -> float:
    """The two-sided p of the hypothesis that the difference is `truth`."""
    found = contrast([(1.0, one), (-1.0, other)])
    return min(1.0, 2 * min(found.below(truth), found.above(truth)))


def _resolved(found: Sequence[Estimate], means: np.ndarray | None = None) -> list[bool]:
    """Whether the difference of each entry to the first is resolved; with `means`, from its true value."""
    truths = np.zeros(len(found)) if means is None else means - means[0]
    adjusted = holm([_p(item, found[0], truth) for item, truth in zip(found[1:], truths[1:], strict=True)])
    differences = [contrast([(1.0, item), (-1.0, found[0])]) for item in found[1:]]
    return [Comparison(item, p).is_resolved for item, p in zip(differences, adjusted, strict=True)]


def _estimated(
    truth: Truth, centres: np.ndarray, spreads: np.ndarray, n: int, generator: np.random.Generator
) -> tuple[list[Estimate], np.ndarray]:
    drawn, means = _draw(truth, centres, spreads, n, generator)
    return estimates(drawn, truth.scale, [truth.images] * ENTRIES)[0], means


def _draw(
    truth: Truth, centres: np.ndarray, spreads: np.ndarray, n: int, generator: np.random.Generator
) -> tuple[Sequence[Sequence[float]], np.ndarray]:
    """The runs of each entry in points, and the true means."""
    middle = (truth.lowest + truth.highest) / 200
    angles = np.arcsin(np.sqrt(centres / 100))
    sigma = spreads / 100 / (2 * np.sqrt(middle * (1 - middle)))
    shares = np.sin(angles[:, None] + sigma[:, None] * generator.standard_normal((len(centres), n))) ** 2
    means = (1 - np.exp(-2 * sigma**2) * np.cos(2 * angles)) / 2  # the mean of sin^2 of a normal angle
    if truth.failing:
        fails = generator.random((len(centres), n)) < 0.25
        fails[[k for k in range(len(centres)) if k not in FAILING[: truth.failing]]] = False
        shares = np.where(fails, 0.5, shares)
        means[FAILING[: truth.failing]] = 0.75 * means[FAILING[: truth.failing]] + 0.125
    if truth.scale.counts:
        shares = np.round(shares * truth.images) / truth.images
    return (100 * shares).tolist(), 100 * means


def main() -> int:
    """Print a row for each kind of table and number of runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.analysis.simulation", description=main.__doc__)
    parser.add_argument("--tables", type=int, default=TABLES, help="tables of each row (default: %(default)s)")
    tables = parser.parse_args().tables
    heads = ("table", "n", "cover of means", "type I", "family-wise error", "noisy pairs", "noisy pairs, resolved")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for truth in (*TRUTHS, *MIXED):
        for n in (2, 3, 5, 10):
            rates = simulate(truth, n, tables)
            shown = (rates.cover, rates.type_one, rates.family, rates.noisy, rates.noisy_resolved)
            texts = [f"{rate:.3f} ± {error:.3f}" for rate, error in shown]
            print(f"| {' | '.join([truth.name, str(n), *texts])} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
