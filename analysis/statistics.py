"""Means, spreads and differences over two to ten seeds: pure functions over arrays. `docs/statistics.md` explains them.

The seed is the unit of replication. The spread of a row is its own or, where that is smaller, one pooled with the other
rows of its table: moderated variances (Smyth 2004) on the arcsine scale, on which the spread of an accuracy depends
less on its mean. Differences between trainings are not paired by seed. Nothing is decided below `FEWEST_SEEDS` runs.

Values are in points (percent): 97.5 is a share of 0.975.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import polygamma, psi, stdtr, stdtrit  # scipy.stats would take a second to import

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
FEWEST_SEEDS = 3
"""Two runs agree by chance too often: with fewer on either side, no difference is resolved."""
FEWEST_ENTRIES = 5
"""A prior of fewer variances would say nothing: below, every entry has its own."""
MOST_PRIOR_DEGREES = 10.0
SMALLEST_SHARE = 0.01  # of the median variance: a variance below it is zero by chance
PAPER_RUNS = 5  # the number of runs behind a printed mean
PRINTED_STEP = 0.1  # of a printed number, in points
MOST_SEEDS = 1000
NAN = math.nan


@dataclass(frozen=True)
class Scale:
    """The scale on which a metric has its variances pooled.

    Attributes:
        arcsine: Whether it is a share, whose scale is the arcsine of its square root; others stay as they are.
        counts: Whether a share counts images, so that it is one of 0/N ... N/N.
        highest: The largest possible value in points.
    """

    arcsine: bool = True
    counts: bool = True
    highest: float = 100.0


ACCURACY, PRECISION = Scale(), Scale(counts=False)
EXPLAINED, UNBOUNDED = Scale(False, False), Scale(False, False, math.inf)


def scale_of(metric: str) -> Scale:
    """The scale of a metric by its name in records, for example `top1`, `val_top1` or `box_ap_mean_ablated`."""
    name = metric.removeprefix("val_")
    if name.startswith(("box_ap", "mask_ap")):
        return PRECISION
    if name.startswith("top"):
        return ACCURACY
    return EXPLAINED if name.startswith("explained") else UNBOUNDED


@dataclass(frozen=True)
class Prior:
    """What the variances of a table have in common.

    Attributes:
        degrees: Its weight d0, in degrees of freedom, at most `MOST_PRIOR_DEGREES`.
        variance: The typical variance s0^2.
        entries: The number of entries.
    """

    degrees: float
    variance: float
    entries: int


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` runs, in points. A value that so few runs do not allow is NaN.

    Attributes:
        n, mean, sd: The number of runs, their mean and their own standard deviation (ddof 1).
        sd_used, df: The standard deviation that intervals and differences use, and its degrees of freedom.
        lowest, highest: The extreme runs.
        low, high: The 95 % interval of the mean.
        moderated: Whether `sd_used` is pooled with other entries.
    """

    n: int
    mean: float = NAN
    sd: float = NAN
    sd_used: float = NAN
    df: float = NAN
    lowest: float = NAN
    highest: float = NAN
    low: float = NAN
    high: float = NAN
    moderated: bool = False


@dataclass(frozen=True)
class Difference:
    """A weighted sum of means, in points, with its 95 % interval.

    Attributes:
        mean: The sum.
        low, high: The bounds of its interval.
        method: `moderated`, `welch`, `paired`, or `none` where there are too few runs or no spread at all.
        error: Its standard error.
        degrees: The degrees of freedom of `error`.
        n: The smallest number of runs among the terms.
        variance: The sum of w^2 s^2: the variance of the sum if each term were one run.
        weights: The sum of w^2.
    """

    mean: float
    low: float = NAN
    high: float = NAN
    method: str = "none"
    error: float = NAN
    degrees: float = NAN
    n: int = 0
    variance: float = NAN
    weights: float = NAN

    @property
    def is_tested(self) -> bool:
        """Whether it has an error, and so a p."""
        return self.method != "none"

    @property
    def can_decide(self) -> bool:
        """Whether it may decide anything."""
        return self.is_tested and self.n >= FEWEST_SEEDS

    @property
    def p(self) -> float:
        """The two-sided p of a t test of no difference; NaN without an error."""
        return min(1.0, 2 * min(self.below(0.0), self.above(0.0))) if self.is_tested else NAN

    def below(self, bound: float) -> float:
        """p of the hypothesis that the difference is at most `bound`; the alternative is that it is larger."""
        return float(stdtr(self.degrees, (bound - self.mean) / self.error)) if self.is_tested else NAN

    def above(self, bound: float) -> float:
        """p of the hypothesis that the difference is at least `bound`; the alternative is that it is smaller."""
        return float(stdtr(self.degrees, (self.mean - bound) / self.error)) if self.is_tested else NAN


NO_DIFFERENCE = Difference(NAN)


def inverse_trigamma(value: float) -> float:
    """The x with psi'(x) = `value` > 0, by Newton's method on 1 / psi' (Smyth 2004, appendix)."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-12:
            break
    return x


def fit_prior(variances: Sequence[float] | np.ndarray, degrees: Sequence[float] | np.ndarray) -> Prior:
    """The prior of positive `variances` with `degrees` of freedom, by the moments of their logarithms (Smyth 2004).

    s^2 / s0^2 follows F(d, d0): e = ln v - psi(d/2) + ln(d/2) has the variance psi'(d/2) + psi'(d0/2).
    """
    v, d = np.asarray(variances, float), np.asarray(degrees, float)
    e = np.log(v) - psi(d / 2) + np.log(d / 2)
    mean = math.fsum(e) / len(e)  # exact sums: the order of the rows changes no bit
    excess = math.fsum((e - mean) ** 2) / (len(e) - 1) - math.fsum(polygamma(1, d / 2)) / len(e)
    if excess <= 0:
        return Prior(MOST_PRIOR_DEGREES, math.exp(mean), len(e))
    d0 = 2 * inverse_trigamma(excess)
    variance = math.exp(mean + float(psi(d0 / 2)) - math.log(d0 / 2))
    return Prior(min(MOST_PRIOR_DEGREES, d0), variance, len(e))


def moderate(
    variances: Sequence[float] | np.ndarray, degrees: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, Prior | None]:
    """The moderated variances of entries, their degrees of freedom and the prior; as given where there is no prior.

    v~ = max(v, (d0 s0^2 + d v) / (d0 + d)): no entry's variance falls below its own.
    """
    v, d = np.asarray(variances, float), np.asarray(degrees, float)
    if len(v) < FEWEST_ENTRIES or not (v > 0).any():
        return v, d, None
    v = np.maximum(v, SMALLEST_SHARE * np.median(v[v > 0]))
    prior = fit_prior(v, d)
    pooled = (prior.degrees * prior.variance + d * v) / (prior.degrees + d)
    return np.maximum(v, pooled), np.minimum(prior.degrees + d, d.sum()), prior


def finest_share(values: Sequence[float]) -> int:
    """The N for which 1/N is the last digit of `values`, in points with up to four decimals: 1,000 for 97.5."""
    decimals = next((k for k in range(4) if all(abs(round(x, k) - x) < 1e-9 for x in values)), 4)
    return int(100 * 10**decimals)


def estimates(
    samples: Sequence[Sequence[float]],
    scale: Scale = ACCURACY,
    images: Sequence[int | None] | None = None,
    interval: str = "moderated",
) -> tuple[list[Estimate], Prior | None]:
    """The mean of each of `samples`, the runs of one entry each, and the prior that they share.

    Args:
        samples: The entries of one table and metric, in points. An entry must stand only once.
        scale: The scale of the metric.
        images: The number of test images N of each entry; where it is not known, the last digit of the values tells it.
        interval: `moderated`, or `t`: Student's t, which uses a row's own spread alone.
    """
    plain = [_plain(values) for values in samples]
    several = [number for number, item in enumerate(plain) if item.n > 1]
    if interval == "t":
        return [_student(item) for item in plain], None
    if not several:
        return plain, None
    known = images or [None] * len(samples)
    finest = finest_share([value for values in samples for value in values])
    count = np.array([known[number] or finest for number in several], float)
    mean = np.array([plain[number].mean for number in several]) / 100
    own = np.array([plain[number].sd for number in several]) / 100
    centre = _centre(mean, count, scale)
    slope = 2 * np.sqrt(centre * (1 - centre)) if scale.arcsine else np.ones_like(centre)
    variances = np.maximum(own**2, 1 / (12 * count**2)) / slope**2
    degrees = np.array([plain[number].n - 1 for number in several], float)
    moderated, df, prior = moderate(variances, degrees)
    found = list(plain)
    for place, number in enumerate(several):
        item = plain[number]
        half = float(stdtrit(df[place], 0.5 + CONFIDENCE / 2)) * math.sqrt(moderated[place] / item.n)
        low, high = _mean_interval(item.mean, float(centre[place]), half, scale)
        found[number] = Estimate(
            item.n, item.mean, item.sd, 100 * float(slope[place]) * math.sqrt(moderated[place]), float(df[place]),
            item.lowest, item.highest, low, high, prior is not None,
        )  # fmt: skip
    return found, prior


def _plain(values: Sequence[float]) -> Estimate:
    n = len(values)
    if n == 0:
        return Estimate(0)
    mean = math.fsum(values) / n
    sd = float(np.std(values, ddof=1)) if n > 1 else NAN
    return Estimate(n, mean, sd, lowest=min(values), highest=max(values))


def _student(item: Estimate) -> Estimate:
    if item.n < 2:
        return item
    half = float(stdtrit(item.n - 1, 0.5 + CONFIDENCE / 2)) * item.sd / math.sqrt(item.n)
    return Estimate(
        item.n, item.mean, item.sd, item.sd, item.n - 1, item.lowest, item.highest, item.mean - half, item.mean + half
    )


def _centre(mean: np.ndarray, count: np.ndarray, scale: Scale) -> np.ndarray:
    """The shares at which the slope is taken: never 0 or 1, where it would be zero."""
    if not scale.arcsine:
        return mean
    if scale.counts:
        return (count * mean + 0.5) / (count + 1)
    edge = 0.5 / (count + 1)
    return np.clip(mean, edge, 1 - edge)


def _mean_interval(mean: float, centre: float, half: float, scale: Scale) -> tuple[float, float]:
    """The interval in points of a mean in points; `half` is half its width on the scale."""
    if not scale.arcsine:
        return mean - 100 * half, max(mean, min(scale.highest, mean + 100 * half))
    angle = math.asin(math.sqrt(centre))
    low, high = max(0.0, angle - half), min(math.pi / 2, angle + half)
    return min(mean, 100 * math.sin(low) ** 2), max(mean, 100 * math.sin(high) ** 2)


def contrast(terms: Sequence[tuple[float, Estimate]]) -> Difference:
    """The weighted sum of means of different trainings, with Welch's error and Satterthwaite's degrees of freedom.

    An entry that stands in several terms counts once, with the sum of its weights. Terms are told apart by identity.
    Without two runs of each there is no difference.
    """
    merged: dict[int, tuple[float, Estimate]] = {}
    for weight, item in terms:
        merged[id(item)] = (merged.get(id(item), (0.0, item))[0] + weight, item)
    parts = [(weight, item) for weight, item in merged.values() if weight]
    n = min(item.n for _, item in terms)
    if n < 2:
        return Difference(NAN, n=n)
    mean = math.fsum(weight * item.mean for weight, item in parts)
    variances = [weight**2 * item.sd_used**2 for weight, item in parts]
    errors = [variance / item.n for variance, (_, item) in zip(variances, parts, strict=True)]
    total = math.fsum(errors)
    if not total > 0:
        return Difference(mean, n=n)
    degrees = total**2 / math.fsum(error**2 / item.df for error, (_, item) in zip(errors, parts, strict=True))
    moderated = all(item.moderated for _, item in parts)
    return _with_interval(
        mean, math.sqrt(total), degrees, "moderated" if moderated else "welch", n, math.fsum(variances),
        math.fsum(weight**2 for weight, _ in parts),
    )  # fmt: skip


def paired(values: Sequence[float], others: Sequence[float]) -> Difference:
    """The mean of `values` minus `others`, two evaluations of the same trained weights in the same order."""
    item = _plain([value - other for value, other in zip(values, others, strict=True)])
    if item.n < 2 or not item.sd > 0:
        return Difference(item.mean if item.n > 1 else NAN, n=item.n)
    return _with_interval(item.mean, item.sd / math.sqrt(item.n), item.n - 1, "paired", item.n, item.sd**2, 1.0)


def _with_interval(
    mean: float, error: float, degrees: float, method: str, n: int, variance: float, weights: float
) -> Difference:
    half = float(stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * error
    return Difference(mean, mean - half, mean + half, method, error, degrees, n, variance, weights)


def equivalence(found: Difference, margin: float) -> float:
    """p of two one-sided t tests (Schuirmann 1987); it is small where the difference lies within +-`margin`."""
    return max(found.below(-margin), found.above(margin)) if found.is_tested else NAN


def outside(found: Difference, margin: float) -> float:
    """p of the hypothesis that the difference lies within +-`margin`; two-sided."""
    return min(1.0, 2 * min(found.below(margin), found.above(-margin))) if found.is_tested else NAN


def magnitude(found: Difference, printed: float) -> float:
    """The two-sided p of the hypothesis that `printed` has the same expectation as `found`.

    The paper's means are of five runs, which spread as ours do, and each printed number is rounded:
    (D - printed) / sqrt(sum w^2 s~^2 (1/n + 1/5) + sum w^2 0.1^2 / 12).
    """
    if not found.is_tested:
        return NAN
    error = math.sqrt(found.error**2 + found.variance / PAPER_RUNS + found.weights * PRINTED_STEP**2 / 12)
    return float(2 * stdtr(found.degrees, -abs(found.mean - printed) / error))


def noise_to_agree(found: Difference, printed: float, alpha: float = ALPHA) -> float:
    """How many times noisier than ours the paper's runs would have to be for `magnitude` to reach `alpha`."""
    quantile = -float(stdtrit(found.degrees, alpha / 2))
    needed = ((found.mean - printed) / quantile) ** 2 - found.error**2 - found.weights * PRINTED_STEP**2 / 12
    return math.sqrt(max(0.0, needed) * PAPER_RUNS / found.variance)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's (1979) adjustment for their number; a NaN is no comparison and stays NaN."""
    adjusted = list(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=p_values.__getitem__)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def seeds_to_resolve(found: Difference, distance: float, confidence: float = CONFIDENCE) -> int | None:
    """The number of further runs per row that brings half the interval below `distance`, if mean and spread stay.

    None where the spread is unknown, or where the row would need more than `MOST_SEEDS`.
    """
    if not found.is_tested or distance <= 0:
        return None
    spread = found.error * math.sqrt(found.n)  # the standard deviation of one run's difference
    for n in range(max(found.n, FEWEST_SEEDS), MOST_SEEDS + 1):
        degrees = found.degrees + n - found.n
        if float(stdtrit(degrees, 0.5 + confidence / 2)) * spread / math.sqrt(n) < distance:
            return n - found.n
    return None
