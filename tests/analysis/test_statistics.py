"""The pure functions against SciPy, R's limma (numbers of its squeezeVar), worked examples and their properties."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    ACCURACY,
    EXPLAINED,
    FEWEST_SEEDS,
    PRECISION,
    UNBOUNDED,
    Difference,
    Estimate,
    contrast,
    equivalence,
    estimates,
    finest_share,
    fit_prior,
    holm,
    inverse_trigamma,
    magnitude,
    moderate,
    noise_to_agree,
    outside,
    paired,
    scale_of,
    seeds_to_resolve,
)  # fmt: skip

EXACT = 1e-12
ROWS = [
    (85.12, 85.40, 85.31), (86.01, 85.88, 86.20), (87.12, 87.09, 87.31), (84.50, 84.50, 84.50),
    (83.33, 83.91, 83.62), (87.02, 86.89, 87.45),
]  # fmt: skip


def rows_of(samples: Sequence[Sequence[float]] = ROWS, images: int = 10_000) -> list[Estimate]:
    return estimates(samples, ACCURACY, [images] * len(samples))[0]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Of two rows with their own spread alone."""
    found, _ = estimates([ours, theirs], interval="t")
    return contrast([(1.0, found[0]), (-1.0, found[1])])


def test_the_prior_is_that_of_limma() -> None:
    v, d = np.array([0.5, 1.3, 7.8]), np.full(3, 3.0)
    prior = fit_prior(v, d)
    assert (prior.degrees, prior.variance) == pytest.approx((2.830777, 1.676927), abs=5e-7)
    squeezed = (prior.degrees * prior.variance + d * v) / (prior.degrees + d)
    assert squeezed == pytest.approx([1.071385, 1.482994, 4.827317], abs=5e-7)


def test_the_inverse_of_trigamma() -> None:
    assert inverse_trigamma(math.pi**2 / 6) == pytest.approx(1.0, rel=EXACT)
    assert inverse_trigamma(math.pi**2 / 2) == pytest.approx(0.5, rel=EXACT)
    from scipy.special import polygamma

    for x in np.geomspace(1e-3, 1e5, 50):
        assert inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-7)
    assert inverse_trigamma(1e8) == pytest.approx(1e-4, rel=1e-3) and inverse_trigamma(1e-8) == pytest.approx(1e8)


def test_equal_variances_have_the_largest_prior() -> None:
    prior = fit_prior(np.ones(6), np.full(6, 2.0))
    assert (prior.degrees, prior.variance) == (10.0, pytest.approx(math.exp(np.euler_gamma), rel=EXACT))
    assert prior.variance == pytest.approx(1.7810724, abs=5e-8)


def test_an_interval_on_the_arcsine_scale_by_hand() -> None:
    # A row at one half with a variance of 1e-4 on the arcsine scale: sd 1 point, since the slope is 1 there.
    around = math.sqrt(3) / 2  # the sample (a, a, -a, -a) has the variance 4 a^2 / 3
    [found], _ = estimates([[50 + around, 50 + around, 50 - around, 50 - around]], PRECISION, [10**6])
    assert (found.sd_used, found.df) == (pytest.approx(1.0), 3)
    assert found.high == pytest.approx(100 * (0.5 + math.sin(0.031824463) / 2), abs=1e-7)
    assert found.low == pytest.approx(100 * (0.5 - math.sin(0.031824463) / 2), abs=1e-7)


def test_a_difference_of_two_entries_by_hand() -> None:
    first, second = (Estimate(5, mean, 1.0, 1.0, 12.0) for mean in (52.0, 50.0))
    found = contrast([(1.0, first), (-1.0, second)])
    assert (found.error, found.degrees) == pytest.approx((0.632456, 24.0), abs=5e-7)
    assert found.p == pytest.approx(0.00420732, abs=5e-9)


def test_a_table_of_six_rows_by_hand() -> None:
    found, prior = estimates(ROWS, ACCURACY, [10_000] * 6)
    assert prior is not None
    assert (prior.degrees, prior.entries) == (pytest.approx(1.3223, abs=5e-5), 6)
    assert math.sqrt(prior.variance) == pytest.approx(0.001493, abs=5e-7)
    assert all(item.df == pytest.approx(3.3223, abs=5e-5) for item in found)
    assert (found[0].low, found[0].high) == pytest.approx((85.0235, 85.5211), abs=5e-5)
    assert (found[3].low, found[3].high) == pytest.approx((84.3758, 84.6169), abs=5e-5)
    gain = contrast([(1.0, found[1]), (-1.0, found[0])])
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.7533, 0.4554, 1.0513), abs=5.1e-5)
    assert (gain.degrees, gain.method) == (pytest.approx(6.5535, abs=5e-5), "moderated")
    assert gain.p == pytest.approx(0.000656, abs=5e-7)
    assert equivalence(gain, 1.0) == pytest.approx(0.045175, abs=5e-7)
    assert magnitude(gain, 1.2) == pytest.approx(0.030428, abs=5e-7)


def test_the_noise_at_which_a_printed_number_agrees() -> None:
    found = rows_of()
    gain = contrast([(1.0, found[1]), (-1.0, found[0])])
    noise = noise_to_agree(gain, 1.2)
    error = math.sqrt(gain.error**2 + noise**2 * gain.variance / 5 + 2 * 0.1**2 / 12)
    assert 2 * stats.t.sf(abs(gain.mean - 1.2) / error, gain.degrees) == pytest.approx(0.05)
    assert noise > 1  # with noise 1 it is refuted
    assert noise_to_agree(gain, gain.mean) == 0


@pytest.mark.parametrize("seed", range(20))
def test_few_rows_have_welchs_test(seed: int) -> None:
    """With `--interval t`, and with fewer than five rows but for the slope, differences are SciPy's Welch test."""
    generator = np.random.default_rng(seed)
    ours = list(generator.normal(75.4, 0.3, 3 + seed % 5))
    theirs = list(generator.normal(75.0, 0.2, 2 + seed % 7))
    found = difference(ours, theirs)

    def test(shift: float, alternative: str):
        return stats.ttest_ind(ours, [x + shift for x in theirs], equal_var=False, alternative=alternative)

    whole = test(0.0, "two-sided")
    expected = whole.confidence_interval(0.95)
    assert found.method == "welch"
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=EXACT, abs=EXACT)
    assert (found.p, found.degrees) == pytest.approx((whole.pvalue, whole.df), rel=EXACT, abs=EXACT)
    margin = 0.5
    one_sided = max(test(-margin, "greater").pvalue, test(margin, "less").pvalue)
    assert equivalence(found, margin) == pytest.approx(one_sided, rel=EXACT, abs=EXACT)
    beyond = min(1.0, 2 * min(test(margin, "greater").pvalue, test(-margin, "less").pvalue))
    assert outside(found, margin) == pytest.approx(beyond, rel=EXACT, abs=EXACT)
    means = estimates([ours, theirs], PRECISION, [10**6, 10**6])[0]
    own = contrast([(1.0, means[0]), (-1.0, means[1])])
    assert (own.p, own.degrees, own.method) == (pytest.approx(whole.pvalue), pytest.approx(whole.df), "welch")


@pytest.mark.parametrize("n", [2, 3, 10])
def test_students_interval_is_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(90, 3, n)
    [found], _ = estimates([list(values)], interval="t")
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=EXACT)
    assert (found.sd, found.sd_used) == pytest.approx((stats.tstd(values),) * 2, rel=EXACT)


def test_evaluations_of_the_same_weights_are_paired() -> None:
    ours, theirs = [97.0, 98.0, 99.5], [70.0, 72.0, 71.0]
    found, expected = paired(ours, theirs), stats.ttest_rel(ours, theirs)
    bounds = expected.confidence_interval(0.95)
    assert (found.method, found.n) == ("paired", 3)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=EXACT)
    assert found.p == pytest.approx(expected.pvalue, rel=EXACT)
    assert paired([1.0, 2.0], [0.0, 1.0]).method == "none"


def test_one_run_has_no_spread_and_no_difference() -> None:
    (none, one, two), _ = estimates([[], [98.5], [97.0, 98.0]])
    assert (none.n, one.n, one.mean, two.n) == (0, 1, 98.5, 2)
    assert math.isnan(none.mean) and all(math.isnan(value) for value in (one.sd, one.sd_used, one.low, one.high))
    for terms in ([(1.0, two), (-1.0, one)], [(1.0, two), (-1.0, none)]):
        found = contrast(terms)
        assert math.isnan(found.mean) and math.isnan(found.p) and found.method == "none" and not found.can_decide


def test_no_spread_decides_nothing() -> None:
    found = difference([5.0, 5.0, 5.0], [4.0, 4.0, 4.0])
    assert (found.mean, found.method, found.can_decide) == (1.0, "none", False)
    assert all(math.isnan(value) for value in (found.p, found.low, equivalence(found, 1.0), magnitude(found, 1.0)))
    same = rows_of()[0]
    assert contrast([(1.0, same), (-1.0, same)]).method == "none"


def test_an_entry_in_two_terms_counts_once() -> None:
    first, second, third = rows_of()[:3]
    found = contrast([(1.0, first), (-1.0, second), (1.0, first), (-1.0, third)])
    expected = contrast([(2.0, first), (-1.0, second), (-1.0, third)])
    assert found == expected
    assert found.variance == pytest.approx(4 * first.sd_used**2 + second.sd_used**2 + third.sd_used**2)


def test_six_rows_at_the_ceiling_do_not_differ() -> None:
    found = rows_of([[100.0] * 3] * 6, 600)
    assert all(item.high == 100 and 99 < item.low < 100 for item in found)
    assert contrast([(1.0, found[0]), (-1.0, found[1])]).p == 1.0


@pytest.mark.parametrize("seed", range(40))
def test_properties_of_any_table(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count, n = int(generator.integers(1, 12)), generator.integers(2, 7, 12)
    images = int(generator.choice([10, 600, 10_000]))
    centres = generator.choice([0.0, 0.3, 0.5, 0.97, 0.999, 1.0], count)
    samples = [
        list(100 * generator.binomial(images, np.clip(c + generator.normal(0, 0.02, k), 0, 1)) / images)
        for c, k in zip(centres, n[:count], strict=True)
    ]
    for scale in (ACCURACY, PRECISION):
        found, prior = estimates(samples, scale, [images] * count)
        assert (prior is not None) == (count >= 5)
        for item, values in zip(found, samples, strict=True):
            assert 0 <= item.low <= item.mean <= item.high <= 100
            assert item.mean == pytest.approx(np.mean(values)) and item.sd == pytest.approx(np.std(values, ddof=1))
            assert item.sd_used >= item.sd * (1 - 1e-9) and item.df >= item.n - 1 and item.sd_used > 0
        order = generator.permutation(count)
        again, _ = estimates([samples[k] for k in order], scale, [images] * count)
        assert again == [found[k] for k in order], "the order of the rows changes no bit"


def test_variances_below_a_hundredth_of_the_median_are_lifted() -> None:
    v, d = np.array([1e-9, 1.0, 1.1, 0.9, 1.2]), np.full(5, 4.0)
    lifted = np.array([0.01, 1.0, 1.1, 0.9, 1.2])
    found, expected = moderate(v, d), moderate(lifted, d)
    assert (found[0] == expected[0]).all() and found[2] == expected[2]
    few = moderate(v[:4], d[:4])
    assert (few[0] == v[:4]).all() and (few[1] == 4).all() and few[2] is None
    assert moderate(np.zeros(6), np.ones(6))[2] is None


def test_degrees_of_freedom_are_those_of_the_whole_table_at_most() -> None:
    assert moderate(np.ones(5), np.ones(5))[1].tolist() == [5.0] * 5


def test_scales_of_metrics() -> None:
    assert scale_of("top1") == scale_of("val_top5") == scale_of("top1_mean_ablated") == ACCURACY
    assert scale_of("box_ap_l") == scale_of("mask_ap") == PRECISION
    assert (scale_of("explained_beyond_static"), scale_of("reach")) == (EXPLAINED, UNBOUNDED)


def test_a_metric_that_is_no_share_keeps_its_scale() -> None:
    samples = [[-20.0, -25.0, -22.0], [99.8, 99.9, 99.0], [3.0, 4.0, 5.0], [50.0, 51.0, 52.0], [7.0, 7.5, 8.0]]
    bounded, free = estimates(samples, EXPLAINED)[0], estimates(samples, UNBOUNDED)[0]
    assert bounded[0] == free[0] and bounded[0].low < -25
    assert bounded[1].high == 100 and free[1].high > 100


def test_the_last_digit_of_values_tells_their_number_of_images() -> None:
    assert [finest_share(values) for values in ([97.0, 98.0], [97.5], [85.12, 85.4], [33.3333])] == [
        100, 1000, 10_000, 10**6,
    ]  # fmt: skip
    unknown, known = estimates(ROWS)[0], rows_of()
    assert unknown == known


def test_sixty_entries_take_less_than_fifty_milliseconds() -> None:
    samples = np.random.default_rng(0).normal(90, 1, (60, 5)).tolist()
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        found, _ = estimates(samples, ACCURACY, [600] * 60)
        holm([contrast([(1.0, item), (-1.0, found[0])]).p for item in found[1:]])
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.05


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


def test_seeds_to_resolve() -> None:
    found = difference([70.1, 70.5, 70.3], [70.0, 70.2, 69.9])
    more = seeds_to_resolve(found, 0.2)
    assert more is not None and more > 0
    spread = found.error * math.sqrt(3)
    for n, is_enough in ((3 + more, True), (2 + more, False)):
        half = stats.t.ppf(0.975, found.degrees + n - 3) * spread / math.sqrt(n)
        assert (half < 0.2) == is_enough
    assert seeds_to_resolve(found, 5.0) == 0
    assert seeds_to_resolve(difference([70.0, 70.1], [75.0, 75.1]), 50.0) == FEWEST_SEEDS - 2
    assert seeds_to_resolve(difference([1.0], [0.5]), 0.5) is None
    assert seeds_to_resolve(found, 0.0) is None
