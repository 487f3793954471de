"""`python -m analysis plan`: seeds for a difference, against the integral that defines the power and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.statistics import FEWEST_SEEDS
from analysis.sweep.planning import Pair, power
from tests.analysis.conftest import SCORES


@pytest.mark.parametrize("degrees", [2.0, 3.3, 8.0, 60.0, 1000.0])
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, 10.0, 20.0, 40.0])
def test_the_power_is_its_integral(degrees: float, shift: float) -> None:
    """P(|z + shift| > t sqrt(x / df)) over the chi squared x, by the midpoints of its quantiles."""
    chi = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, degrees) / degrees)
    bound = stats.t.ppf(0.975, degrees) * chi
    expected = np.mean(stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift))
    assert power(shift * 0.3, 0.3, degrees) == pytest.approx(expected, abs=1e-3)


def test_the_number_of_seeds_has_the_power_and_no_smaller_one_has() -> None:
    # Without a prior and with equal spreads it is the t test of two samples: 17 each for one standard deviation.
    pair = Pair((0.5, 0.5), 0.0, 1)
    assert pair.seeds(0.5, 0.8) == 17
    generator = np.random.default_rng(2)
    ours, theirs = generator.normal(0.5, 0.5, (4000, 17)), generator.normal(0.0, 0.5, (4000, 17))
    found = (stats.ttest_ind(ours, theirs, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(pair.power(0.5, 17), abs=0.025)
    assert pair.power(0.5, 16) < 0.8 <= pair.power(0.5, 17)
    pooled = Pair((0.5, 0.5), 10.0, 20)
    assert pooled.seeds(0.5, 0.8) in (16, 17), "a prior is worth some runs"
    assert pair.seeds(100.0, 0.8) == FEWEST_SEEDS and pair.seeds(1e-4, 0.8) is None
    seeds = [pair.seeds(0.5, 0.8, 0.05 / family) for family in (1, 5, 50)]
    assert seeds == sorted(seeds) and len(set(seeds)) == 3


def lines_of(text: str) -> dict[str, list[str]]:
    """By the name of a line: spread, seeds and hours."""
    lines = [line for line in text.splitlines() if "typical spread" in line or "largest spread" in line]
    return {line.partition("  ")[0]: line.split()[-3:] for line in lines}


def test_the_command_prints_seeds_and_hours(make_ledger, capsys) -> None:
    out = make_ledger(SCORES).out
    assert main(["plan", "--source", str(out), "--difference", "0.5"]) == 0
    found = lines_of(capsys.readouterr().out)
    assert list(found) == [
        "one planned difference, typical spread", "each of 15, after Holm, typical spread",
        "each of 15, after Holm, largest spread",
    ]  # fmt: skip
    one, every, worst = (int(seeds) for _, seeds, _ in found.values())
    assert FEWEST_SEEDS <= one < every < worst
    for _, seeds, hours in found.values():  # 15 groups, and a run takes 9.5 seconds
        assert float(hours) == pytest.approx(int(seeds) * 15 * 9.5 / 3600, abs=0.006)
    assert main(["plan", "--source", str(out), "--difference", "0.5", "--power", "0.95"]) == 0
    assert int(lines_of(capsys.readouterr().out)["one planned difference, typical spread"][1]) > one


def test_a_pilot_of_one_seed_knows_no_spread(make_ledger, capsys) -> None:
    out = make_ledger({"convolution": {1: [24.0], 3: [70.0]}, "xvolution": {1: [97.0], 3: [98.0]}}).out
    assert run(["plan", "--source", str(out), "--difference", "1"], capsys) == (
        "no sweep of kernel_size has two finished runs of two rows; a pilot needs them to know the spread"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--difference", "0"], "--difference 0 must be above 0"),
        (["--difference", "nan"], "--difference nan must be above 0"),
        (["--difference", "1", "--power", "80"], "--power 80 must be between 0 and 1"),
        (["--difference", "1", "--sweep", "kernel"], "kernel"),
    ],
)
def test_mistakes_have_a_sentence(make_ledger, capsys, arguments: list[str], sentence: str) -> None:
    assert sentence in run(["plan", "--source", str(make_ledger(SCORES).out), *arguments], capsys)


def run(arguments: list[str], capsys) -> str:
    """The sentence with which a command ends."""
    from lightning_xvol.errors import UserError

    with pytest.raises(UserError) as error:
        main(arguments)
    assert not capsys.readouterr().out
    return str(error.value)


def test_hours_count_threads_and_groups_that_the_pilot_lacks(make_ledger, capsys) -> None:
    runs = make_ledger(SCORES)
    for cell in runs.cells:
        config = {"train": {"epochs": 3, "steps": None, "threads": 4, "devices": 2}}
        runs.write(cell, SCORES[cell["operator"]][cell["axes"]["kernel_size"]][cell["seed"]], config=config)
    for seed in range(3):
        runs.lose("convolution", 9, seed)
    assert main(["plan", "--source", str(runs.out), "--difference", "0.5"]) == 0
    seeds, hours = lines_of(capsys.readouterr().out)["one planned difference, typical spread"][1:]
    assert math.isclose(float(hours), int(seeds) * 15 * 8 * 9.5 / 3600, abs_tol=0.006)
