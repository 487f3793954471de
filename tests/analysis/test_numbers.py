"""How numbers are written in tables and figures."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import numbers


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (-1.25, "−1.2"), (28.04, "+28.0"), (0.04, "0.0"), (float("nan"), "–")]
)
def test_signed_numbers(value: float, text: str) -> None:
    assert numbers.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(512, "512"), (44724, "44.7k"), (999_960, "1.0M"), (25_557_032, "25.6M"), (4_089_184_256, "4.1G"), (pd.NA, "–")],
)
def test_counts(value, text: str) -> None:
    assert numbers.count(value) == text


def test_lists_of_integers() -> None:
    assert numbers.integers([2, 0, 1, 1]) == "0, 1, 2"
    assert numbers.integers(range(10)) == "0–9"
    assert numbers.integers([0, 2, 4, 6, 8]) == "0, 2, 4, 6, 8"
