"""How a cost grows with a size: a power law, fitted by least squares to the logarithms. No torch here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PowerLaw:
    """`cost = a size^p`, fitted to the points (log size, log cost).

    Attributes:
        exponent: p, the slope of the line; NaN for fewer than two sizes.
        error: the standard error of p, `sqrt(sum r_i^2 / (n - 2) / sum (x_i - mean x)^2)` with the residuals r_i of the
            logarithms; NaN for fewer than three sizes. It grows with noise, and also where no power law fits.
        r_squared: the share of the variance of log cost that the line explains; NaN for fewer than three sizes, or
            where all costs are equal.
    """

    exponent: float = math.nan
    error: float = math.nan
    r_squared: float = math.nan


def fit(costs: Mapping[int, float]) -> PowerLaw:
    """The power law of `costs`, which maps each size to its cost. All sizes and costs must be positive."""
    if len(costs) < 2:
        return PowerLaw()
    x, y = ([math.log(value) for value in values] for values in (costs.keys(), costs.values()))
    slope, intercept = statistics.linear_regression(x, y)
    if len(costs) == 2:
        return PowerLaw(slope)
    residual = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    spread_x, spread_y = (len(z) * statistics.pvariance(z) for z in (x, y))
    error = math.sqrt(residual / (len(x) - 2) / spread_x)
    return PowerLaw(slope, error, 1 - residual / spread_y if spread_y > 0 else math.nan)
