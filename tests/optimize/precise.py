"""The criterion of ``y ~ x + (0 + d | g)`` in 60 decimal digits, from its closed form per group.

The random column d is one (a random intercept) unless it is given; rows may have weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@dataclass(frozen=True)
class Exact:
    """Sums of one group: size, d'Wd, sum of log weights, products of d and of (1, x, y) with it."""

    size: int
    length: Decimal
    log_weights: Decimal
    totals: tuple[Decimal, ...]
    cross: tuple[tuple[Decimal, ...], ...]


def exact_groups(
    x: Sequence[float],
    y: Sequence[float],
    codes: Sequence[int],
    weights: Sequence[float] | None = None,
    column: Sequence[float] | None = None,
) -> tuple[Exact, ...]:
    """The doubles of a data set taken as exact numbers."""
    ones = [1.0] * len(x)
    rows: dict[int, list[tuple[Decimal, ...]]] = {}
    for code, *values in zip(codes, weights or ones, column or ones, ones, x, y, strict=True):
        rows.setdefault(code, []).append(tuple(Decimal(float(v)) for v in values))
    with localcontext() as context:
        context.prec = DIGITS
        return tuple(_exact_group(rows[code]) for code in sorted(rows))


def _exact_group(rows: list[tuple[Decimal, ...]]) -> Exact:
    def product(i: int, j: int) -> Decimal:
        return sum((r[0] * r[i] * r[j] for r in rows), Decimal(0))

    return Exact(
        len(rows),
        product(1, 1),
        sum((r[0].ln() for r in rows), Decimal(0)),
        tuple(product(1, j) for j in (2, 3, 4)),
        tuple(tuple(product(i, j) for j in (2, 3, 4)) for i in (2, 3, 4)),
    )


@dataclass(frozen=True)
class ExactFit:
    """What a fit reports, at a given theta."""

    criterion: Decimal
    slope: Decimal
    std_error: Decimal
    sigma: Decimal


def exact_fit(groups: Sequence[Exact], theta: Decimal | float, *, reml: bool) -> ExactFit:
    """V^-1 = W - theta**2 / (1 + theta**2 d'Wd) W d d' W in each group."""
    with localcontext() as context:
        context.prec = DIGITS
        square = Decimal(theta) ** 2
        logdet = Decimal(0)
        total = [[Decimal(0)] * 3 for _ in range(3)]
        n = sum(g.size for g in groups)
        for g in groups:
            pivot = 1 + g.length * square
            logdet += pivot.ln() - g.log_weights
            for i in range(3):
                for j in range(3):
                    total[i][j] += g.cross[i][j] - square / pivot * g.totals[i] * g.totals[j]
        (a, b, c), (_, d, e), (_, _, f) = total
        det = a * d - b * b
        slope = (a * e - b * c) / det
        constant = (d * c - b * e) / det
        r2 = f - constant * c - slope * e
        df = n - 2 if reml else n
        value = logdet + df * (1 + (2 * PI * r2 / df).ln())
        sigma = (r2 / df).sqrt()
        return ExactFit(value + det.ln() if reml else value, slope, sigma * (a / det).sqrt(), sigma)


def exact_criterion(groups: Sequence[Exact], theta: Decimal | float, *, reml: bool) -> Decimal:
    """-2 log-likelihood, of ML or REML."""
    return exact_fit(groups, theta, reml=reml).criterion


def exact_optimum(groups: Sequence[Exact], near: float, *, reml: bool) -> tuple[Decimal, Decimal]:
    """(theta, criterion) at the optimum within a factor 2 of `near`, by golden sections."""
    with localcontext() as context:
        context.prec = DIGITS
        low, high = Decimal(near) / 2, Decimal(near) * 2
        ratio = (Decimal(5).sqrt() - 1) / 2
        inner = [high - ratio * (high - low), low + ratio * (high - low)]
        values = [exact_criterion(groups, t, reml=reml) for t in inner]
        for _ in range(100):
            if values[0] < values[1]:
                high, inner[1], values[1] = inner[1], inner[0], values[0]
                inner[0] = high - ratio * (high - low)
                values[0] = exact_criterion(groups, inner[0], reml=reml)
            else:
                low, inner[0], values[0] = inner[0], inner[1], values[1]
                inner[1] = low + ratio * (high - low)
                values[1] = exact_criterion(groups, inner[1], reml=reml)
        middle = (low + high) / 2
        return middle, exact_criterion(groups, middle, reml=reml)
