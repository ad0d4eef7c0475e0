"""What is measured: the cases, each a formula and a seeded data frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from benchmarks import generators

QUICK_SHRINK = 20
"""How much smaller the data are in quick mode, and for the fit that warms up."""

MIXED_PEERS = ("lme4", "lme-python", "mixedlm", "mixedlm-rs", "statsmodels", "interlace-lme")
"""The peers that fit slopes, thus all but GPBoost."""

Terms = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    Attributes
    ----------
    name, title : str
        For the command line and for the report.
    kind : {"fit", "refit", "startup", "first-use"}
        A whole fit from a data frame; a new response on a known design; a whole process; a whole
        process of ours alone with every cache of compiled code empty.
    fixed : str
        The fixed part of the formula.
    random : tuple of (str, str)
        The bar terms: (left side, grouping column).
    build : callable
        ``build(shrink)`` returns the data, with all sizes divided by ``shrink``.
    calls : int
        Timed calls in one process.
    rounds : int
        Processes for each peer; the peers take turns.
    timeout : float
        Seconds after which a process is stopped.
    on_request : tuple of str
        Peers that take part only when slow runs are asked for.
    warm_up : tuple of (str, str)
        The bar terms of the small fit before the clock starts, where its own would take too long.
    """

    name: str
    title: str
    kind: Literal["fit", "refit", "startup", "first-use"]
    fixed: str
    random: Terms
    build: generators.Build
    calls: int = 1
    rounds: int = 3
    timeout: float = 60
    on_request: tuple[str, ...] = ()
    warm_up: Terms = ()

    @property
    def formula(self) -> str:
        """The formula as lme4 writes it."""
        return written(self.fixed, self.random)

    @property
    def plain_fixed(self) -> str:
        """The fixed part for packages without ``*``: products are columns of the data."""
        return plain(self.fixed)

    @property
    def plain_random(self) -> Terms:
        """The bar terms for packages without ``*``."""
        return tuple((plain(left), group) for left, group in self.random)

    @property
    def plain_formula(self) -> str:
        """The formula for packages without ``*``."""
        return written(self.plain_fixed, self.plain_random)

    @property
    def whole_process(self) -> bool:
        """Whether the clock runs from the start of a process."""
        return self.kind in ("startup", "first-use")

    @property
    def intercepts_only(self) -> bool:
        """Whether no random term has a slope."""
        return all(left == "1" for left, _ in self.random)

    @property
    def nested(self) -> bool:
        """Whether a term is written ``a/b``."""
        return any("/" in group for _, group in self.random)

    def groups(self) -> list[str]:
        """Columns of the grouping factors; those of ``a/b`` are a and ab."""
        sides = (group.split("/") for _, group in self.random)
        return ["".join(side[: i + 1]) for side in sides for i in range(len(side))]

    def to_warm_up(self) -> Case:
        """The case that is fitted to a small frame before the clock starts."""
        return dataclasses.replace(self, random=self.warm_up or self.random)


def written(fixed: str, random: Terms) -> str:
    """A formula from its parts."""
    return " + ".join([fixed, *(f"({left} | {group})" for left, group in random)])


def plain(part: str) -> str:
    """Write a formula's only product as a sum of columns that the data have."""
    return part.replace("A*B*C", "A + B + C + AB + AC + BC + ABC")


_SLEEP = ("Reaction ~ Days", (("Days", "Subject"),), generators.sleepstudy)
_SLOPES = ("y ~ x", (("x", "g"),))
_CROSSED = ("y ~ x", (("1", "a"), ("1", "b")))
_RATINGS = ("y ~ 1", (("1", "user"), ("1", "film")))

CASES = {
    case.name: case
    for case in (
        Case("sleepstudy", "Sleepstudy, 180 rows: whole fit", "fit", *_SLEEP, calls=10, rounds=5),
        Case("refit", "Sleepstudy: a new response", "refit", *_SLEEP, calls=10, rounds=5),
        Case(
            "startup", "From the start of a process to the first printed fit (sleepstudy)",
            "startup", *_SLEEP, rounds=7,
        ),
        Case(
            "first-use", "The same on a machine that has never run the package",
            "first-use", *_SLEEP,
        ),
        Case(
            "slopes-100k", "100,000 rows, 5,000 text levels", "fit", *_SLOPES,
            generators.slopes(100_000, 5_000), rounds=5,
        ),
        Case(
            "slopes-1m", "1,000,000 rows, 50,000 text levels", "fit", *_SLOPES,
            generators.slopes(1_000_000, 50_000),
        ),
        Case(
            "slopes-10m", "10,000,000 rows, 1,000,000 text levels", "fit", *_SLOPES,
            generators.slopes(10_000_000, 1_000_000), on_request=MIXED_PEERS,
        ),
        Case(
            "nested-200k", "200,000 rows, 200 x 50 nested text levels", "fit",
            "y ~ x", (("1", "a/b"),), generators.nested(200_000, 200, 50),
        ),
        Case(
            "crossed-100k", "100,000 rows, 2,000 x 1,000 crossed text levels", "fit", *_CROSSED,
            generators.crossed(100_000, 2_000, 1_000),
        ),
        Case(
            "insteval", "InstEval: 73,421 marks, 2,972 students x 1,128 lecturers x 14 departments",
            "fit", "y ~ service", (("1", "s"), ("1", "d"), ("1", "dept")), generators.insteval,
        ),
        Case(
            "ratings-100k", "100,000 ratings, 943 users x 1,682 films", "fit", *_RATINGS,
            generators.ratings(100_000, 943, 1_682),
        ),
        Case(
            "ratings-1m", "1,000,000 ratings, 6,040 users x 3,706 films", "fit", *_RATINGS,
            generators.ratings(1_000_000, 6_040, 3_706), timeout=300,
            on_request=("lme4", "lme-python", "mixedlm", "interlace-lme"),
        ),
        Case(
            "maximal", "Maximal structure: 56 subjects x 32 items, two 8 x 8 covariances", "fit",
            "y ~ A*B*C", (("A*B*C", "subj"), ("A*B*C", "item")), generators.maximal(56, 32),
            timeout=300, on_request=("interlace-lme",), warm_up=(("A", "subj"), ("A", "item")),
        ),
    )
}  # fmt: skip
