"""What a check of a model found: verdicts, the numbers behind them, how they print."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.inference.check_statistics import Statistic
from mixedmodels.inference.collinearity import Inflation
from mixedmodels.inference.simulated import upper_ranks
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import Block, Prose, Table
from mixedmodels.output.printed import Printed

Verdict: TypeAlias = Literal["ok", "look", "problem", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One assumption and its verdict.

    Attributes
    ----------
    assumption : str
    verdict : {"ok", "look", "problem", "not checked"}
    statistic : str
        The number that speaks most against it; empty where there is none.
    value : float
    low, high : float
        Where 95 % of responses simulated from the model have it; nan where there is no limit.
    p_value : float
        Share of simulated responses that speak as much against it, all its statistics counted.
    message : str
        The verdict in words.
    advice : str
        What to do; empty where nothing is to be done.
    """

    assumption: str
    verdict: Verdict
    statistic: str = ""
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_value: float = np.nan
    message: str = ""
    advice: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class ModelCheck(Printed):
    """What `check_model` found.

    Attributes
    ----------
    fit : FittedModel
    checks : tuple of Check
        One per assumption.
    parts : tuple of Statistic
        Every number behind them.
    draws : ndarray of shape (1 + n_sim, k)
        These numbers, of the data (first row) and of simulated responses; nan where a fit failed.
    inflation : tuple of Inflation
        Variance inflation of the fixed terms.
    p_value : float
        Of all simulated checks together.
    time : str, optional
    note : str
        What was sampled or held; empty if nothing.
    """

    fit: Fit
    checks: tuple[Check, ...]
    parts: tuple[Statistic, ...]
    draws: Array
    inflation: tuple[Inflation, ...]
    p_value: float
    time: str | None
    note: str

    @property
    def ok(self) -> bool:
        """Whether no check complains."""
        return not self.complaints

    @property
    def complaints(self) -> tuple[Check, ...]:
        """The checks whose verdict is "look" or "problem"."""
        return tuple(c for c in self.checks if c.verdict in ("look", "problem"))

    @property
    def n_sim(self) -> int:
        """Number of simulated responses that were fitted."""
        return int(np.isfinite(self.draws[1:]).any(axis=1).sum())

    def __getitem__(self, assumption: str) -> Check:
        for check in self.checks:
            if check.assumption == assumption:
                return check
        raise KeyError(assumption)

    @checked
    def frame(self) -> Any:
        """One row per assumption.

        Returns
        -------
        frame
            assumption, verdict, statistic, value, low, high, p_value, message, advice.
        """
        names = Check.__slots__
        return to_native(
            {name: [getattr(check, name) for check in self.checks] for name in names},
            self.fit.source.kind,
        )

    @checked
    def statistics(self) -> Any:
        """One row per number behind the verdicts.

        Returns
        -------
        frame
            assumption, statistic, about (variable, term or factor), value, low, high (95 % of
            simulated responses lie between) and p_value, of this number alone.
        """
        low, high = usual(self.parts, self.draws)
        return to_native(
            {
                "assumption": [part.assumption for part in self.parts],
                "statistic": [part.name for part in self.parts],
                "about": [part.about for part in self.parts],
                "value": self.draws[0],
                "low": low,
                "high": high,
                "p_value": upper_ranks(against(self.parts, self.draws))[0],
            },
            self.fit.source.kind,
        )

    @checked
    def vif(self) -> Any:
        """Variance inflation of the fixed terms.

        Returns
        -------
        frame
            term, df (its columns), vif (``GVIF**(1/df)``), vif_foreign (without terms that share
            a variable with it).
        """
        columns = ("term", "df", "vif", "foreign")
        out: dict[str, Any] = {
            name: [getattr(term, name) for term in self.inflation] for name in columns
        }
        out["vif_foreign"] = out.pop("foreign")
        return to_native(out, self.fit.source.kind)

    @checked
    def plot(self) -> Any:
        """The page of plots; see `mixedmodels.plot.check`."""
        # the plots stand above this floor: they are loaded when they are asked for
        return importlib.import_module("mixedmodels.plot.check_page").check(self)

    def title(self) -> str:
        """How many checks complain, and about which model."""
        done = sum(check.verdict != "not checked" for check in self.checks)
        bad = len(self.complaints)
        said = "no check complains" if not bad else f"{bad} of {done} checks complain"
        return f"Check of {self.fit.formula}: {said}"

    def blocks(self) -> Sequence[Block]:
        """The table, what was found, what to do."""
        rows = tuple(
            (c.assumption, c.verdict, _cell(c.value), _usual_text(c), _p(c)) for c in self.checks
        )
        header = ("check", "verdict", "value", "usual", "p")
        values = tuple((c.assumption, c.statistic) for c in self.checks if c.statistic)
        complaints = [
            Prose(check.assumption, (f"{check.message}.", f"To do: {check.advice}."))
            for check in self.complaints
        ]
        about = Prose("About these checks", (self._about(),))
        meaning = [Table("Values", ("check", "statistic"), values, 2)] if values else []
        return [Table("", header, rows, 2), *complaints, *meaning, about]

    def _about(self) -> str:
        text = (
            f"p: share of {self.n_sim} responses simulated from the model that speak as much "
            "against the assumption. Of models that are right, one in twenty gets 'look' in each "
            "simulated check"
        )
        if np.isfinite(self.p_value):
            text += f"; all of them together have p = {self.p_value:.3f}"
        return f"{text}. {self.note[:1].upper()}{self.note[1:]}." if self.note else f"{text}."


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"


def _usual_text(check: Check) -> str:
    if np.isnan(check.high):
        return ""
    if np.isnan(check.low):
        return f"up to {_cell(check.high)}"
    return f"[{_cell(check.low)}, {_cell(check.high)}]"


def _p(check: Check) -> str:
    return "" if np.isnan(check.p_value) else f"{check.p_value:.3f}"


def against(parts: Sequence[Statistic], draws: Array) -> Array:
    """The numbers so turned that large ones speak against the assumption."""
    out = draws.copy()
    for column, part in enumerate(parts):
        if part.two_sided:
            out[:, column] = np.abs(out[:, column] - np.nanmedian(out[:, column]))
    return out


def usual(parts: Sequence[Statistic], draws: Array) -> tuple[Array, Array]:
    """Limits that hold 95 % of the simulated numbers."""
    low, high = np.full(len(parts), np.nan), np.full(len(parts), np.nan)
    for column, part in enumerate(parts):
        values = draws[1:, column]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        if part.two_sided:
            low[column], high[column] = np.quantile(values, (0.025, 0.975))
        else:
            high[column] = np.quantile(values, 0.95)
    return low, high
