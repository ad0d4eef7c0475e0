"""The criterion of ``y ~ x + (1 | g)`` in 60 decimal digits, from its closed form per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@dataclass(frozen=True)
class Exact:
    """Sums of one group: its size and cross-products of (1, x, y)."""

    size: int
    totals: tuple[Decimal, ...]
    cross: tuple[tuple[Decimal, ...], ...]


def exact_groups(x: Sequence[float], y: Sequence[float], codes: Sequence[int]) -> tuple[Exact, ...]:
    """The doubles of a data set taken as exact numbers."""
    with localcontext() as context:
        context.prec = DIGITS
        groups = []
        for code in sorted(set(codes)):
            rows = [
                (Decimal(1), Decimal(float(a)), Decimal(float(b)))
                for a, b, c in zip(x, y, codes, strict=True)
                if c == code
            ]
            cross = tuple(
                tuple(sum((r[i] * r[j] for r in rows), Decimal(0)) for j in range(3))
                for i in range(3)
            )
            groups.append(Exact(len(rows), cross[0], cross))
        return tuple(groups)


def exact_criterion(groups: Sequence[Exact], theta: Decimal | float, *, reml: bool) -> Decimal:
    """V^-1 = I - theta**2 / (1 + m theta**2) J in each group of m rows."""
    with localcontext() as context:
        context.prec = DIGITS
        square = Decimal(theta) ** 2
        logdet = Decimal(0)
        total = [[Decimal(0)] * 3 for _ in range(3)]
        n = sum(g.size for g in groups)
        for g in groups:
            pivot = 1 + g.size * square
            logdet += pivot.ln()
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
        return value + det.ln() if reml else value


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
