from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.sources.collection import Collection
from analysis.statistics import (
    RESAMPLES,
    compare,
    contrast,
    difference,
    equivalence,
    estimate,
    holm,
    seeds_to_resolve,
    summarise,
)  # fmt: skip

EXACT = 1e-12


def test_estimate_by_hand() -> None:
    found = estimate([70.0, 70.4, 71.2])
    assert found.n == 3
    assert found.mean == pytest.approx(70.5333333)
    assert found.sd == pytest.approx(math.sqrt((0.5333333**2 + 0.1333333**2 + 0.6666667**2) / 2))
    # 4.3027 is the 97.5 % quantile of Student's t with two degrees of freedom.
    assert found.high - found.mean == pytest.approx(4.302653 * found.sd / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_estimate_against_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(90, 3, n)
    found = estimate(list(values))
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=EXACT)
    assert found.sd == pytest.approx(stats.tstd(values), rel=EXACT)


def test_one_seed_has_no_spread_and_no_seed_has_no_mean() -> None:
    one = estimate([98.5])
    assert (one.n, one.mean) == (1, 98.5)
    assert all(math.isnan(value) for value in (one.sd, one.low, one.high))
    none = estimate([])
    assert none.n == 0
    assert math.isnan(none.mean)


def test_difference_is_paired_where_the_seeds_match() -> None:
    ours, theirs = {0: 98.0, 1: 97.0, 2: 99.5}, {2: 71.0, 0: 69.0, 1: 70.0}
    found = difference(ours, theirs)
    seeds = (0, 1, 2)
    expected = stats.ttest_rel([ours[s] for s in seeds], [theirs[s] for s in seeds]).confidence_interval(0.95)
    assert found.method == "paired"
    assert found.mean == pytest.approx((29.0 + 27.0 + 28.5) / 3)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("theirs", [{0: 69.0, 1: 70.5}, {3: 69.0, 4: 70.5, 5: 71.0}])
def test_difference_is_welch_where_the_seeds_differ(theirs: dict[int, float]) -> None:
    ours = {0: 98.0, 1: 97.0, 2: 99.5}
    found = difference(ours, theirs)
    expected = stats.ttest_ind(list(ours.values()), list(theirs.values()), equal_var=False).confidence_interval(0.95)
    assert found.method == "welch"
    assert found.mean == pytest.approx(np.mean(list(ours.values())) - np.mean(list(theirs.values())))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_gives_a_difference_without_an_interval() -> None:
    paired = difference({0: 98.0}, {0: 70.0})
    unpaired = difference({0: 98.0, 1: 97.0}, {0: 70.0})
    assert (paired.mean, paired.method, math.isnan(paired.low)) == (28.0, "none", True)
    assert (unpaired.mean, unpaired.method, math.isnan(unpaired.low)) == (27.5, "none", True)
    assert math.isnan(difference({}, {0: 1.0}).mean)
    constant = difference({0: 5.0, 1: 5.0}, {2: 4.0, 3: 4.0})
    assert (constant.low, constant.high) == (1.0, 1.0)


def row(summary: pd.DataFrame, operator: str, size: int) -> pd.Series:
    return summary[(summary["operator"] == operator) & (summary["kernel_size"] == size)].iloc[0]


def summary_of(out, select: str = "last") -> pd.DataFrame:
    sweep, frame = Collection([out]).load("kernel_size")
    return summarise(frame, sweep.axes, sweep.metric, select, sweep.baseline)


def test_the_summary_of_a_complete_ledger(make_ledger) -> None:
    summary = summary_of(make_ledger().out)
    assert summary["operator"].drop_duplicates().tolist() == ["convolution", "xvolution", "xvolution_static"]
    assert summary["kernel_size"].tolist() == [1, 3, 5, 7, 9] * 3
    found = row(summary, "xvolution", 3)
    assert (found["n"], found["params"], found["delta_method"]) == (3, 52372, "paired")
    assert found["mean"] == pytest.approx(98.5)
    assert found["delta"] == pytest.approx(98.5 - 211.6 / 3)
    assert math.isnan(row(summary, "convolution", 3)["delta"])


def test_diverged_failed_and_missing_runs_are_counted_and_not_averaged(make_ledger) -> None:
    runs = make_ledger()
    runs.diverge("xvolution", 1, 0)
    runs.lose("xvolution", 3, 1)
    for seed in range(3):
        runs.lose("convolution", 5, seed)
    summary = summary_of(runs.out)
    diverged = row(summary, "xvolution", 1)
    assert (diverged["n"], diverged["diverged"], diverged["planned"]) == (2, 1, 3)
    assert diverged["mean"] == pytest.approx((98.4 + 99.4) / 2)
    assert diverged["delta_method"] == "welch"
    missing = row(summary, "xvolution", 3)
    assert (missing["n"], missing["diverged"]) == (2, 0)
    gone = row(summary, "convolution", 5)
    assert gone["n"] == 0
    assert gone[["mean", "sd", "ci_low", "params"]].isna().all()
    assert math.isnan(row(summary, "xvolution", 5)["delta"])


def test_compare_keys_are_axis_values(make_ledger) -> None:
    sweep, frame = Collection([make_ledger().out]).load("kernel_size")
    found = compare(frame, sweep.axes, "top1", "last", "xvolution", "xvolution_static")
    assert list(found) == [(1,), (3,), (5,), (7,), (9,)]
    assert found[3,].mean == pytest.approx(-1.0)


def test_select_best_takes_the_best_values(make_ledger) -> None:
    runs = make_ledger()
    cell = runs.cell("convolution", 3, 0)
    runs.write(cell, 0.0, metrics={"top1": {"last": 60.0, "best": 75.0, "best_epoch": 1}})
    assert row(summary_of(runs.out), "convolution", 3)["mean"] == pytest.approx((60.0 + 70.4 + 71.2) / 3)
    assert row(summary_of(runs.out, "best"), "convolution", 3)["mean"] == pytest.approx((75.0 + 70.4 + 71.2) / 3)


def samples(seed: int, paired: bool) -> tuple[dict[int, float], dict[int, float]]:
    """Two rows of normal values, over the same or over different seeds."""
    generator = np.random.default_rng(seed)
    ours = dict(enumerate(generator.normal(75.4, 0.3, 3 + seed % 5)))
    theirs = dict(
        enumerate(generator.normal(75.0, 0.2, len(ours) if paired else 2 + seed % 7), start=0 if paired else 1)
    )
    return ours, theirs


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("paired", [True, False])
def test_differences_equal_scipys(seed: int, paired: bool) -> None:
    ours, theirs = samples(seed, paired)
    found = difference(ours, theirs)
    a, b = list(ours.values()), list(theirs.values())

    def test(shift: float, alternative: str):
        shifted = [value + shift for value in b]
        if paired:
            return stats.ttest_rel(a, shifted, alternative=alternative)
        return stats.ttest_ind(a, shifted, equal_var=False, alternative=alternative)

    whole = test(0.0, "two-sided")
    expected = whole.confidence_interval(0.95)
    assert found.method == ("paired" if paired else "welch")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=EXACT, abs=EXACT)
    assert (found.p, found.degrees) == pytest.approx((whole.pvalue, whole.df), rel=EXACT, abs=EXACT)
    margin = 0.5
    one_sided = max(test(-margin, "greater").pvalue, test(margin, "less").pvalue)
    assert equivalence(found, margin) == pytest.approx(one_sided, rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("paired", [True, False])
def test_bootstrap_equals_scipys(paired: bool) -> None:
    ours, theirs = samples(4, paired)
    a, b = list(ours.values()), list(theirs.values())
    data = ([x - y for x, y in zip(a, b, strict=True)],) if paired else (a, b)

    def statistic(*parts: np.ndarray, axis: int) -> np.ndarray:
        means = [part.mean(axis=axis) for part in parts]
        return means[0] if paired else means[0] - means[1]

    expected = stats.bootstrap(
        data, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    found = difference(ours, theirs, "bootstrap")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=EXACT)
    again = difference(ours, theirs, "bootstrap")
    assert (again.low, again.high) == (found.low, found.high)
    assert found.mean == difference(ours, theirs).mean


def test_holm_by_its_definition() -> None:
    # Holm 1979: reject in ascending order while p <= alpha / (m - rank); adjusted p is the least alpha that rejects.
    p_values = [0.01, 0.04, 0.03, math.nan, 0.005, 0.9]
    adjusted = holm(p_values)
    assert math.isnan(adjusted[3])
    known = [p for p in p_values if not math.isnan(p)]
    for alpha in np.linspace(0.001, 1, 400):
        rejected, order = set(), sorted(range(len(known)), key=known.__getitem__)
        for rank, place in enumerate(order):
            if known[place] > alpha / (len(known) - rank):
                break
            rejected.add(known[place])
        for p, q in zip(p_values, adjusted, strict=True):
            if not math.isnan(p) and abs(q - alpha) > 1e-9:
                assert (q < alpha) == (p in rejected)


def test_equivalence_by_hand() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), margin 0.5: t = 0.3 / 0.0577 = 5.196, 2 df.
    found = difference({0: 1.1, 1: 2.2, 2: 3.3}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert equivalence(found, 0.5) == pytest.approx(stats.t.sf(0.3 / (0.1 / math.sqrt(3)), 2))
    assert equivalence(found, 0.1) > 0.5
    assert math.isnan(equivalence(difference({0: 1.0}, {0: 1.0}), 0.5))
    constant = difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (constant.p, equivalence(constant, 0.5)) == (1.0, 0.0)


def test_seeds_to_resolve() -> None:
    found = difference({0: 0.1, 1: 0.5, 2: 0.3}, {0: 0.0, 1: 0.0, 2: 0.0})  # 0.3, sd 0.2: needs t * 0.2 / sqrt(n) < 0.3
    more = seeds_to_resolve(found, 0.3)
    assert more is not None
    enough, fewer = 3 + more, 2 + more
    assert stats.t.ppf(0.975, enough - 1) * 0.2 / math.sqrt(enough) < 0.3
    assert stats.t.ppf(0.975, fewer - 1) * 0.2 / math.sqrt(fewer) >= 0.3
    assert seeds_to_resolve(found, 5.0) == 0
    assert seeds_to_resolve(difference({0: 1.0}, {0: 0.5}), 0.5) is None
    assert seeds_to_resolve(found, 0.0) is None


def test_a_contrast_of_four_rows_is_paired_by_seed() -> None:
    # The difference of two gains is one sample where all four rows have the same seeds.
    generator = np.random.default_rng(3)
    rows = [dict(enumerate(generator.normal(70, 1, 4))) for _ in range(4)]
    weights = (1.0, -1.0, -1.0, 1.0)
    found = contrast(list(zip(weights, rows, strict=True)))
    sample = [sum(weight * row[seed] for weight, row in zip(weights, rows, strict=True)) for seed in range(4)]
    expected = stats.ttest_1samp(sample, 0.0)
    assert (found.p, found.mean) == pytest.approx((expected.pvalue, np.mean(sample)), rel=1e-9)
    unequal = [*rows[:3], {seed + 1: value for seed, value in rows[3].items()}]
    errors = [stats.sem(list(row.values())) ** 2 for row in rows]
    welch = contrast(list(zip(weights, unequal, strict=True)))
    assert (welch.method, welch.error) == ("welch", pytest.approx(math.sqrt(sum(errors)), rel=EXACT))
    assert welch.degrees == pytest.approx(sum(errors) ** 2 / sum(error**2 / 3 for error in errors), rel=EXACT)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_a_known_effect(paired: bool) -> None:
    """Over 2,000 simulated sweeps, between 93 % and 97 % of the 95 % intervals contain the effect."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(2000):
        shared = generator.normal(70, 2, 5) if paired else np.zeros(5)
        ours = dict(enumerate(shared + generator.normal(1.2, 0.4, 5)))
        theirs = dict(enumerate(shared + generator.normal(0, 0.2, 5), start=0 if paired else 5))
        found = difference(ours, theirs)
        covered += found.low <= 1.2 <= found.high
    assert 0.93 <= covered / 2000 <= 0.97
