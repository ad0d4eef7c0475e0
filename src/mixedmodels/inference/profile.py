"""Profile likelihood: every parameter's signed root of the deviance, and the limits it gives.

    zeta(psi) = sign(psi - psi_hat) sqrt(min D at psi - min D)

(Bates, Maechler, Bolker and Walker 2015, J. Stat. Softw. 67(1), section 5.1). The inner minimum
comes from Newton steps with exact derivatives, started from its neighbours; zeta's own derivative
then is exact too, so that a limit is a root found in a few steps and not read off a spline.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ConvergenceWarning, ModelError, warn
from mixedmodels.inference import parameters
from mixedmodels.inference.conditional import Held, Path, coefficient_path, variance_path
from mixedmodels.inference.satterthwaite import uncertainty
from mixedmodels.likelihood.objective import Evaluation
from mixedmodels.likelihood.working import beta_from_working
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import check_level
from mixedmodels.optimize import descend
from mixedmodels.output.layout import Block, Table, number
from mixedmodels.output.printed import Printed
from mixedmodels.progress import replicate_bar
from mixedmodels.quantiles import two_sided
from mixedmodels.threads import one_blas_thread

# zeta at a limit is met to this, a billionth of a standard error
EXACT = 1e-9
# conditional optima that one limit may take
MOST = 60
# how much further out than before a search may look at once
GROWTH = 4.0
# a deviance lower than the fit's by more shows another optimum
LOWER = 1e-6


@dataclass(frozen=True, slots=True, order=True)
class Solution:
    """The conditional optimum at one value of one parameter.

    Attributes
    ----------
    c : float
        The parameter's coordinate.
    x : ndarray of shape (k,)
        The free coordinates.
    zeta, slope : float
        Signed root of the deviance's rise; its derivative in c.
    held : Held
    row : ndarray
        All parameters, user units.
    """

    c: float
    x: Array = field(compare=False)
    zeta: float = field(compare=False)
    slope: float = field(compare=False)
    held: Held = field(compare=False)
    row: Array = field(compare=False)


class Profiler:
    """Conditional optima of one maximum-likelihood fit, found when asked for and kept."""

    def __init__(self, fit: FittedModel) -> None:
        self.fit = fit
        self.variances = parameters.parameters(fit)
        self.names = [*(p.name for p in self.variances), *fit.term_names]
        at = fit.optimum.at
        sigma = math.sqrt(at.profile.r2 / fit.n_obs)
        self.estimates = self._row(at, sigma)
        self._least = at.profile.value
        self._errors = _standard_errors(fit, self.estimates)
        self._paths: dict[int, Path] = {}
        self._known: dict[int, list[Solution]] = {}
        self._warned: set[int] = set()

    def path(self, i: int) -> Path:
        """The path of parameter `i`."""
        if i not in self._paths:
            k = len(self.variances)
            path = (
                variance_path(self.fit, self.variances[i])
                if i < k
                else coefficient_path(self.fit, i - k)
            )
            slope = 1.0 / self._errors[i] if self._errors[i] > 0.0 else 1.0 / path.step
            first = Solution(path.held.c, path.start, 0.0, slope, path.held, self.estimates)
            self._paths[i], self._known[i] = path, [first]
        return self._paths[i]

    def solve(self, i: int, c: float) -> Solution:
        """The conditional optimum with parameter `i` at its coordinate `c`."""
        path, known = self.path(i), self._known[i]
        for old in known:
            if old.c == c:
                return old
        held = replace(path.held, c=c)
        at = descend(held, _start(known, c))
        rise = at.profile.value - self._least
        self._check(i, held, rise, at.profile.rounding)
        zeta = math.copysign(math.sqrt(max(rise, 0.0)), c - path.held.c)
        slope = held.slope(at) / (2.0 * zeta) if zeta else math.nan
        row = self._row(at, math.exp(held.point(at.theta).log_sigma))
        new = self._lidded(i, Solution(c, at.theta, zeta, slope, held, row))
        insort(known, new)
        return new

    def limit(self, i: int, side: int, z: float) -> float:
        """Where zeta of parameter `i` reaches ``side * z``, user units; nan if it does nowhere.

        A standard deviation ends at zero and a correlation at one where zeta does not get there.
        """
        try:
            return self._limit(i, side, z)
        except np.linalg.LinAlgError:
            self._warn_unbounded(i)
            return math.nan

    def _limit(self, i: int, side: int, z: float) -> float:
        path = self.path(i)
        outward = _Outward(side, path)
        if path.blurred:
            return math.nan
        lid = self._lid(i) if path.defined else None
        if not path.defined or (lid is not None and abs(lid.zeta) < z):
            return replace(path.held, c=side * outward.bound).value
        known = [s for s in self._known[i] if side * s.c >= outward.origin]
        low = max(side * s.c for s in known if side * s.zeta < z)
        high = min((side * s.c for s in known if side * s.zeta >= z), default=math.inf)
        new = min(known, key=lambda s: abs(side * s.zeta - z))
        for _ in range(MOST):
            gap, t = side * new.zeta - z, side * new.c
            if abs(gap) <= EXACT or (gap < 0.0 and t == outward.bound):
                return new.held.value
            t = outward.after(t, -gap, new.slope, low, high)
            if t in (low, high):
                return new.held.value
            new = self.solve(i, side * t)
            low, high = (t, high) if side * new.zeta < z else (low, t)
        return math.nan

    def walk(self, i: int, side: int, zeta_max: float, points: int) -> list[Solution]:
        """Conditional optima at about equal distances of zeta, outwards to `zeta_max`."""
        path = self.path(i)
        outward = _Outward(side, path)
        if path.blurred or not path.defined or side * path.held.c == outward.bound:
            return []
        new = next(s for s in self._known[i] if s.c == path.held.c)
        found: list[Solution] = []
        for k in range(1, points + 1):
            missing = k * zeta_max / points - side * new.zeta
            t = outward.after(side * new.c, missing, new.slope, side * new.c, math.inf)
            try:
                new = self.solve(i, side * t)
            except np.linalg.LinAlgError:
                self._warn_unbounded(i)
                break
            found.append(new)
            if t == outward.bound or side * new.zeta >= zeta_max:
                break
        return found

    def optimum(self, i: int) -> Solution:
        """Parameter `i` at its estimate."""
        path = self.path(i)
        return next(s for s in self._known[i] if s.c == path.held.c)

    def _check(self, i: int, held: Held, rise: float, rounding: float) -> None:
        """Say so when another optimum turns up."""
        if rise < -LOWER - 10.0 * rounding and i not in self._warned:
            self._warned.add(i)
            warn(
                f"with {self.names[i]} held at {held.value:g} the deviance is lower by "
                f"{-rise:.2g} than where the fit ended: there is another, better optimum. Fit "
                "again from other values (start=)",
                ConvergenceWarning,
            )

    def _warn_unbounded(self, i: int) -> None:
        """Say that there is no conditional optimum: sigma went to zero."""
        warn(
            f"the profile of {self.names[i]} breaks off: with it held, the likelihood grows "
            "without bound as sigma goes to zero, since fixed and random effects can fit all "
            f"{self.fit.n_obs} rows. The fit is a local maximum: use fewer terms or coarser groups",
            ConvergenceWarning,
        )

    def _lid(self, i: int) -> Solution | None:
        """What no value of a correlation lies above: one of its two columns without variance."""
        if i >= len(self.variances) or self.variances[i].kind != "cor":
            return None
        own = self.variances[i]
        deviations = [
            j
            for j, p in enumerate(self.variances)
            if p.kind == "sd" and p.group == own.group and p.row in (own.row, own.col)
        ]
        return min((self.solve(j, 0.0) for j in deviations), key=lambda s: abs(s.zeta))

    def _lidded(self, i: int, new: Solution) -> Solution:
        lid = self._lid(i)
        if lid is None or abs(lid.zeta) >= abs(new.zeta):
            return new
        row = lid.row.copy()
        row[i] = new.held.value
        return replace(new, zeta=math.copysign(lid.zeta, new.zeta), slope=0.0, row=row)

    def _row(self, at: Evaluation, sigma: float) -> Array:
        """All parameters at one evaluation, user units."""
        design, fixed = self.fit.design, self.fit.working.fixed
        factors = [factor[None] for factor in at.factors]
        beta = beta_from_working(fixed, -at.profile.coefs[:-1], design.y_centre, design.y_scale)
        own = parameters.from_factors(self.fit, factors, np.array([sigma]))
        return np.concatenate([own[0], beta])


@dataclass(frozen=True, slots=True)
class _Outward:
    """Steps away from the estimate, in the coordinate ``t = side * c``."""

    side: int
    path: Path

    @property
    def origin(self) -> float:
        return self.side * self.path.held.c

    @property
    def bound(self) -> float:
        return self.side * (self.path.high if self.side > 0 else self.path.low)

    def after(self, t: float, missing: float, slope: float, low: float, high: float) -> float:
        """Newton's step for `missing` of zeta, kept between what is known."""
        newton = t + missing / slope if slope > 0.0 else math.inf
        if math.isfinite(high):
            return newton if low < newton < high else 0.5 * (low + high)
        reached = max(t - self.origin, self.path.step)
        furthest = t + GROWTH * reached if t > self.origin or slope <= 0.0 else math.inf
        return min(newton, furthest, self.bound)


def _start(known: Sequence[Solution], c: float) -> Array:
    """Free coordinates at `c` by a straight line through the two nearest optima."""
    near = sorted(known, key=lambda s: abs(s.c - c))[:2]
    if len(near) == 1:
        return near[0].x
    move = (near[1].x - near[0].x) * ((c - near[0].c) / (near[1].c - near[0].c))
    # a line through two optima that differ much leads nowhere
    return near[0].x + move / max(1.0, float(np.abs(move).max(initial=0.0)))


def _standard_errors(fit: FittedModel, estimates: Array) -> Array:
    """Standard errors in the coordinates of the paths; nan where there are none."""
    slopes = parameters.slopes(fit)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.sqrt(np.einsum("ij,jk,ik->i", slopes, uncertainty(fit).covariance, slopes))
        for i, parameter in enumerate(parameters.parameters(fit)):
            if parameter.kind == "sd":
                error[i] *= estimates[i]
            elif parameter.kind == "cor":
                # d arcsin(rho) = sqrt(1 - rho**2) d atanh(rho)
                error[i] *= math.sqrt(max(1.0 - estimates[i] ** 2, 0.0))
    fixed = np.sqrt(np.diag(fit.vcov)) / fit.design.y_scale
    return np.concatenate([error, fixed])


@dataclass(frozen=True, repr=False)
class LikelihoodProfile(Printed):
    """Profile likelihood of some parameters of a model; see `profile`."""

    _profiler: Profiler
    _walks: dict[int, list[Solution]]

    @property
    def names(self) -> list[str]:
        """The parameters profiled."""
        return [self._profiler.names[i] for i in self._walks]

    @checked
    def frame(self) -> Any:
        """Points of the profiles, for plots.

        Returns
        -------
        frame
            parameter, value, zeta (signed root of the rise of the deviance), density (of the
            normal distribution of zeta, carried over to the parameter), and all parameters of the
            model at the conditional optimum, a column each.
        """
        rows = [(i, s) for i, walk in self._walks.items() for s in walk]
        zeta = np.array([s.zeta for _, s in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.array([s.slope for _, s in rows]) / [s.held.stretch for _, s in rows]
        columns: dict[str, Any] = {
            "parameter": [self._profiler.names[i] for i, _ in rows],
            "value": np.array([s.held.value for _, s in rows]),
            "zeta": zeta,
            "density": np.exp(-0.5 * zeta**2) / math.sqrt(2.0 * math.pi) * slope,
        }
        for j, name in enumerate(self._profiler.names):
            # a covariate may be called like one of the columns
            while name in columns:
                name += "_"
            columns[name] = np.array([s.row[j] for _, s in rows])
        return to_native(columns, self._profiler.fit.source.kind)

    @checked
    def confint(self, level: float = 0.95) -> Any:
        """Limits at which zeta reaches the normal quantile.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        frame
            term, estimate (by maximum likelihood), conf_low, conf_high.

        Raises
        ------
        ModelError
            A level outside (0, 1).
        """
        check_level(level)
        z, profiler = two_sided(level), self._profiler
        limits = np.empty((len(self._walks), 2))
        with _at_work(profiler, limits.size) as done:
            for row, i in zip(limits, self._walks, strict=True):
                for at, side in enumerate((-1, 1)):
                    row[at] = profiler.limit(i, side, z)
                    done(1)
        return to_native(
            {
                "term": self.names,
                "estimate": profiler.estimates[list(self._walks)],
                "conf_low": limits[:, 0],
                "conf_high": limits[:, 1],
            },
            profiler.fit.source.kind,
        )

    def title(self) -> str:
        """What is shown."""
        return "Profile likelihood"

    def blocks(self) -> Sequence[Block]:
        """A table of how far each parameter was followed."""
        header = ("parameter", "estimate", "lowest", "highest", "points")
        rows = []
        for i, walk in self._walks.items():
            values = [s.held.value for s in walk]
            figures = (float(self._profiler.estimates[i]), min(values), max(values))
            rows.append((self._profiler.names[i], *map(number, figures), str(len(values))))
        return [Table("Values profiled", header, tuple(rows), 1)]


@checked
def profile(
    model: FittedModel,
    parm: str | Sequence[str] | None = None,
    *,
    zeta_max: float = 3.0,
    points: int = 10,
) -> LikelihoodProfile:
    """Profile the likelihood of a model, parameter by parameter.

    Parameters
    ----------
    model : FittedModel
        A REML fit is fitted again by maximum likelihood.
    parm : str or sequence of str, optional
        Parameters to profile: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``,
        ``sigma``, names of fixed effects; ``"theta_"`` for all of the former, ``"beta_"`` for all
        of the latter. All by default.
    zeta_max : float, default 3.0
        How far the points of `LikelihoodProfile.frame` go, in standard errors of a symmetric
        profile.
    points : int, default 10
        Their number on each side of the estimate.

    Returns
    -------
    LikelihoodProfile

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        An unknown parameter; `zeta_max` or `points` not positive.

    Warns
    -----
    ConvergenceWarning
        A better optimum than the fit's turned up.

    Notes
    -----
    ``zeta = sign(psi - psi_hat) sqrt(min D at psi - min D)``, D the deviance. Prior weights count
    by their ratios only. A model without random terms has the profile of its sigma and
    coefficients, in closed form in effect.

    References
    ----------
    Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). J. Stat. Softw. 67(1), section 5.1.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    >>> pr = mm.profile(m, ["sd_Intercept|animal", "time"])
    >>> pr.confint(level=0.9).round(3)
                      term  estimate  conf_low  conf_high
    0  sd_Intercept|animal     1.433     1.242      1.669
    1                 time     0.278     0.267      0.289
    """
    if not 0.0 < zeta_max < math.inf or points < 1:
        raise ModelError("zeta_max and points must be positive and finite")
    profiler, wanted = profiled(model, parm)
    walks = {}
    with _at_work(profiler, len(wanted)) as done:
        for i in wanted:
            below = profiler.walk(i, -1, zeta_max, points)
            above = profiler.walk(i, 1, zeta_max, points)
            walks[i] = [*below[::-1], profiler.optimum(i), *above]
            done(1)
    return LikelihoodProfile(profiler, walks)


@contextmanager
def _at_work(profiler: Profiler, total: int) -> Iterator[Callable[[int], None]]:
    """One thread where more are in the way, and a bar where it takes long."""
    fit = profiler.fit
    with (
        one_blas_thread(active=fit.objective.blocks.short_steps),
        replicate_bar(total, progress=fit.options.get("progress"), what="profile") as done,
    ):
        yield done


def profiled(model: FittedModel, parm: str | Sequence[str] | None) -> tuple[Profiler, list[int]]:
    """A profiler of the model's maximum-likelihood fit, and the parameters asked for."""
    wanted = parameters.chosen(model, parm)
    fit = model.update(reml=False) if model.reml else model
    return Profiler(fit), wanted
