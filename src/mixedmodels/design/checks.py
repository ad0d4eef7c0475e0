"""What a design reveals before any sums are taken: variances that cannot be told apart."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from mixedmodels.design.build import Design, GroupDesign, Rows
from mixedmodels.design.grouping import find_structure
from mixedmodels.errors import DataWarning, warn


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
