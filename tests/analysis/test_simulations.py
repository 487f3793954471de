"""How often the statistics are right about made-up tables with a known truth (`tests.analysis.simulation`)."""

from __future__ import annotations

import math

import pytest

from tests.analysis.simulation import MIXED, TABLES, TRUTHS, Rates, Truth, simulate

SEEDS = (3, 5, 10)
FAST = TABLES // 20


def check(truth: Truth, n: int, tables: int) -> Rates:
    """Each bound may be passed by three Monte-Carlo errors, at least those of the bound itself."""
    rates = simulate(truth, n, tables)
    print(f"{truth.name}, n = {n}, {tables} tables (share, Monte-Carlo error): {rates}")

    def is_at_most(share: tuple[float, float], bound: float, count: int = 1) -> bool:
        return share[0] <= bound + 3 * max(share[1], math.sqrt(bound * (1 - bound) / tables / count))

    assert is_at_most(rates.type_one, 0.05, 10)
    assert is_at_most(rates.family, 0.05)
    if not truth.near_ceiling:  # docs/statistics.md says how often a noisier entry misleads there, and p below n = 5
        assert is_at_most(rates.noisy_resolved, 0.08)
        assert is_at_most(rates.noisy, 0.08) or n < 5
    if truth in TRUTHS:
        assert rates.cover[0] >= 0.93 - 3 * rates.cover[1]
    return rates


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
@pytest.mark.parametrize("n", SEEDS)
def test_few_tables_keep_the_bounds(truth: Truth, n: int) -> None:
    check(truth, n, FAST)


@pytest.mark.parametrize("truth", [*TRUTHS, *MIXED], ids=lambda truth: truth.name)
def test_two_runs_resolve_nothing(truth: Truth) -> None:
    rates = simulate(truth, 2, FAST)
    assert rates.resolved == rates.noisy_resolved == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [*TRUTHS, *MIXED], ids=lambda truth: truth.name)
@pytest.mark.parametrize("n", SEEDS)
def test_many_tables_keep_the_bounds(truth: Truth, n: int) -> None:
    rates = check(truth, n, TABLES)
    assert rates.type_one[0] <= 0.05
    if truth in TRUTHS:
        assert rates.cover[0] >= 0.93
        assert rates.resolved[0] > 0.1, "they find the differences that there are"
