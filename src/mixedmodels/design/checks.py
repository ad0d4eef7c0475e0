"""What a design reveals before any sums are taken: variances that cannot be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from mixedmodels.design.build import Design, GroupDesign, Rows
from mixedmodels.design.grouping import find_structure
from mixedmodels.errors import DataWarning, warn

# text of a missing value that became a label on its way
MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "<NA>", "NaT", "None", "null", "NULL"})
# levels of a factor in the fixed part, and share of the rows, from which they look like numbers
MANY, MOST = 20, 0.5
# the names of more levels than these would take a share of the fit's time
LOOKED_AT = 100_000


def warn_levels(design: Design, n: int) -> None:
    """Warn of levels of factors that are hardly what was meant; the model has `n` rows."""
    groups = {g.name: g.levels for g in design.groups if len(g.variables) == 1}
    fixed = {
        name: tuple(map(str, levels))
        for name, (levels, _) in design.factors.items()
        if name in design.formula.fixed_variables
    }
    for name, texts in {**groups, **fixed}.items():
        if len(texts) > LOOKED_AT:
            continue
        for odd in sorted(MISSING.intersection(texts)):
            warn(
                f"'{name}' has the level {odd!r}, which counts as any other: if it stands for "
                "missing values, replace it by None or NaN",
                DataWarning,
            )
        padded = [text for text in texts if text != text.strip()]
        bare = Counter(map(str.strip, texts)) if padded else Counter[str]()
        twin = next((text for text in padded if bare[text.strip()] > 1), None)
        if twin is not None:
            warn(
                f"levels of '{name}' differ in blanks only, such as {twin.strip()!r} and {twin!r}: "
                "if they are one, use .str.strip()",
                DataWarning,
            )
    for name, levels in fixed.items():
        _warn_size(design, name, levels, n)


def _warn_size(design: Design, name: str, levels: Sequence[str], n: int) -> None:
    """Warn of a factor of the fixed part with one level, or with a level for most rows."""
    if len(levels) == 1 and not any(column.startswith(f"{name}[") for column in design.x_names):
        warn(
            f"'{name}' has one level, {levels[0]!r}, in the rows of the model: it has no "
            "effect to estimate",
            DataWarning,
        )
    if len(levels) > max(MANY, MOST * n) and name not in design.formula.categorical:
        warn(
            f"'{name}' has {len(levels)} distinct values in {n} rows, and each has an effect of "
            f"its own: if they are numbers (such as {levels[0]!r}), convert the column",
            DataWarning,
        )


def fixed_groups(design: Design) -> list[str]:
    """Grouping factors whose levels have fixed effects too."""
    return [
        group.name
        for group in design.groups
        if any("Intercept" in term.names for term in group.terms)
        and sum(_is_level(column, group.name) for column in design.x_names) >= len(group.levels) - 1
    ]


def _is_level(column: str, factor: str) -> bool:
    return column.startswith(f"{factor}[") and column.endswith("]") and column.count("[") == 1


def warn_fixed_groups(design: Design) -> None:
    """Warn of random intercepts for which fixed effects leave nothing."""
    for name in fixed_groups(design):
        warn(
            f"'{name}' is a fixed effect too, which takes all differences between its levels: the "
            "variance of its random intercept is not identified. Keep one of them",
            DataWarning,
        )


def shared_columns(group: GroupDesign) -> list[str]:
    """Columns in two terms on one factor: only the sum of their variances is identified."""
    counts = Counter(name for term in group.terms for name in term.names)
    return sorted(name for name, count in counts.items() if count > 1)


def warn_shared_columns(design: Design) -> None:
    """Warn of columns that stand in two terms on one factor."""
    for group in design.groups:
        shared = ", ".join(f"'{name}'" for name in shared_columns(group))
        if shared:
            warn(
                f"{shared} appears in two random terms on '{group.name}': only the sum of its "
                "variances is identified. Keep one of the terms",
                DataWarning,
            )


def same_groups(design: Design, rows: Rows) -> list[tuple[str, str]]:
    """Pairs of factors that put the rows into the same groups under other names."""
    pairs = []
    # a model loaded without its rows has no codes
    placed = zip(design.groups, rows.codes, strict=False)
    for (first, first_codes), (second, second_codes) in combinations(placed, 2):
        size = len(first.levels)
        if len(second.levels) != size:
            continue
        if find_structure([first_codes, second_codes], [size, size]).nested:
            pairs.append((first.name, second.name))
    return pairs


def warn_same_groups(design: Design, rows: Rows) -> None:
    """Warn of two factors that put the rows into the same groups under other names."""
    for first, second in same_groups(design, rows):
        warn(
            f"'{first}' and '{second}' put the rows into the same groups: only the sum of their "
            "variances is identified. Keep one of them",
            DataWarning,
        )
