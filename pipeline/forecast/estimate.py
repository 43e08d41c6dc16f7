"""A number that is not known yet: its least, likely and greatest value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A likely value in an interval of 95 %. All values are 0 or more."""

    low: float
    middle: float
    high: float

    def __mul__(self, other: Estimate | float) -> Estimate:
        """Return the product; the ends of intervals are multiplied, so that the result is rather too wide."""
        by = other if isinstance(other, Estimate) else Estimate(other, other, other)
        return Estimate(self.low * by.low, self.middle * by.middle, self.high * by.high)

    def __contains__(self, value: float) -> bool:
        """Return whether a value is in the interval, with a rounding error."""
        return self.low - 1e-6 - 1e-6 * abs(value) <= value <= self.high + 1e-6 + 1e-6 * abs(value)

    def at_least(self, other: Estimate) -> Estimate:
        """Return the greater of both, value by value."""
        return Estimate(*(max(pair) for pair in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, float, float]:
        """Return low, middle and high."""
        return self.low, self.middle, self.high


def total(estimates: Iterable[Estimate]) -> Estimate:
    """Return the sum; ends of intervals are added, so that it is rather too wide."""
    values = [each.values() for each in estimates]
    return Estimate(*(sum(column) for column in zip(*values, strict=True))) if values else Estimate(0.0, 0.0, 0.0)


def student(freedom: int) -> float:
    """Return the quantile of Student's distribution for 95 %, with `freedom` >= 1 degrees of freedom.

    The expansion of Abramowitz and Stegun, 26.7.5; it is 0.01 too small at 4 degrees of freedom and 5 too small at 1.
    """
    free = max(1, freedom)
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / free + second / free**2 + third / free**3


def total_of_sample(values: list[float], population: int) -> Estimate:
    """Estimate the sum over a population from a sample without replacement; exact if the sample is the population."""
    count = len(values)
    if not count:
        return Estimate(0.0, 0.0, 0.0)
    mean = sum(values) / count
    spread = sum((value - mean) ** 2 for value in values) / max(1, count - 1)
    half = Z * sqrt(spread / count * (1 - count / population)) * population
    known = sum(values)
    return Estimate(max(known, mean * population - half), mean * population, mean * population + half)


def ratio_estimate(amounts: Sequence[float], bases: Sequence[float], factor: float = 1.0) -> Estimate:
    """Estimate amount / base from clusters (videos). factor: by which both ends of the interval are moved apart.

    The interval is that of the ratio estimator: residuals of the clusters over the sum of their bases. It is at least
    as wide as Wilson's of a share that no cluster has missed: eight videos that all have sound do not prove that all
    others have it. The residuals' spread is estimated from the same few clusters, so its quantile is Student's.
    """
    count, base = len(bases), sum(bases)
    ratio = sum(amounts) / base if base else 0.0
    residuals = sum((amount - ratio * one) ** 2 for amount, one in zip(amounts, bases, strict=True))
    half = student(count - 1) * sqrt(residuals * count / max(1, count - 1)) / base if base else 0.0
    half = max(half, ratio * Z * Z / (count + Z * Z))
    return Estimate(max(0.0, ratio - half) / factor, ratio, (ratio + half) * factor)
