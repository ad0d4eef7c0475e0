"""`FittedModel`: the public face of a fit; every method hands over to a function on the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.inference.bootstrap import Bootstrap, bootstrap
from mixedmodels.inference.convergence import ConvergenceCheck, check_convergence
from mixedmodels.inference.pca import RandomEffectsPCA, pca
from mixedmodels.model import frames
from mixedmodels.model.fit import fit_model, refit, update
from mixedmodels.model.predict import (
    Interval,
    NewLevels,
    predict,
    residuals,
    simulate,
)
from mixedmodels.model.record import Fit
from mixedmodels.output.text import Summary, one_line


class FittedModel(Fit):
    """A fitted linear (mixed) model. It never changes; `refit` and `update` give new ones."""

    @classmethod
    def of(cls, fit: Fit) -> FittedModel:
        """The public face of a record."""
        return cls(*(getattr(fit, field.name) for field in fields(Fit)))

    @checked
    def fixef(self) -> Any:
        """Fixed effects.

        Returns
        -------
        frame
            term, estimate (units of y per unit of the column).

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.fixef().round(3)
                term  estimate
        0  Intercept     7.360
        1       time     0.278
        """
        return frames.fixef(self)

    @checked
    def ranef(self) -> Any:
        """Conditional modes of the random effects and their standard deviations.

        Returns
        -------
        frame
            group, level, term, estimate, std_error. The standard deviation is conditional on the
            estimated fixed effects and variances, as lme4's ``condVar``.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.ranef().head(2).round(3)
            group  level       term  estimate  std_error
        0  animal  58833  Intercept    -0.741      0.422
        1  animal  58833       time     0.012      0.031
        """
        return frames.ranef(self)

    @checked
    def coef(self) -> Any:
        """Fixed plus random effects of each level.

        Returns
        -------
        frame
            group, level, term, estimate.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.coef().head(2).round(3)
            group  level       term  estimate
        0  animal  58833  Intercept     6.619
        1  animal  58833       time     0.290
        """
        return frames.coef(self)

    @checked
    def varcorr(self) -> Any:
        """Variances, standard deviations and correlations of the random effects.

        Returns
        -------
        frame
            group, term, variance, sd and, where a term has several columns, ``corr_<term>`` with
            the correlation to that earlier column. The last row is the residual.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.varcorr().round(4)
              group       term  variance      sd  corr_Intercept
        0    animal  Intercept    1.1831  1.0877             NaN
        1    animal       time    0.0043  0.0656           0.359
        2  Residual               0.4457  0.6676             NaN
        """
        return frames.varcorr(self)

    @checked
    def tidy(self, ddf: str = "satterthwaite", level: float = 0.95) -> Any:
        """Coefficient table.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "none"}
            Denominator degrees of freedom; Kenward and Roger's method, for REML fits, enlarges the
            standard errors too. With ``"none"`` a mixed model gets Wald limits from
            the normal distribution and no p-values. A model without random terms gets its exact
            t tests with any.
        level : float, default 0.95
            Coverage of the limits.

        Returns
        -------
        frame
            term, estimate, std_error, statistic, df, p_value, conf_low, conf_high.

        Raises
        ------
        ModelError
            An unknown `ddf`, a level outside (0, 1), or Kenward and Roger's method for an ML fit.

        Notes
        -----
        Satterthwaite's degrees of freedom as in Giesbrecht and Burns (1985), Biometrics 41,
        477-486, from the exact gradient; Kenward and Roger (1997), Biometrics 53, 983-997. They
        cost two to four evaluations of the criterion for each variance parameter, once, whatever
        the number of rows (Satterthwaite's none for a single grouping factor).

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.tidy()[["term", "estimate", "statistic", "df"]].round(2)
                term  estimate  statistic     df
        0  Intercept      7.36      52.10  73.93
        1       time      0.28      30.54  72.81
        """
        return frames.tidy(self, ddf, level)

    @checked
    def glance(self) -> Any:
        """One row of model-level figures.

        Returns
        -------
        frame
            n_obs, n_dropped, n_params, df_resid, sigma, loglik, aic, aicc, bic, deviance (ML) or
            reml_criterion, converged, is_singular.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.glance()[["n_obs", "n_params", "reml_criterion", "converged"]].round(2)
           n_obs  n_params  reml_criterion  converged
        0    297         6          893.55       True
        """
        return frames.glance(self)

    @checked
    def augment(self) -> Any:
        """The data with fitted values, residuals, leverage and Cook's distance.

        Returns
        -------
        frame
            The user's columns and fitted (conditional), fitted_fixed (fixed part only), residual,
            leverage, cooks_distance. Without random terms also std_residual and student_residual:
            the residual over its standard error, with sigma of the fit and of the fit without the
            row. Rows that the fit left out hold no value.

        Raises
        ------
        ModelError
            The model was loaded from a file without its data.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.augment()[["animal", "time", "BW", "fitted", "residual"]].head(2).round(2)
          animal  time   BW  fitted  residual
        0  58833     0  6.6    6.62     -0.02
        1  58833     7  8.4    8.65     -0.25
        """
        return frames.augment(self)

    @checked
    def residuals(self, kind: str = "response") -> Array:
        """Residuals of the rows used.

        Parameters
        ----------
        kind : str, default "response"
            ``"response"``, observed minus conditional fitted; ``"marginal"``, observed minus the
            fixed part; ``"pearson"``, the first times the square root of the prior weight;
            ``"scaled"``, that divided by sigma; ``"standardized"``, that divided by
            ``sqrt(1 - leverage)``, so that its variance is one; ``"studentized"``, the same with
            sigma of the fit without the row, relative variances held.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ModelError
            An unknown kind.

        Notes
        -----
        In R: ``residuals()``, the same by ``re.form = NA``, ``residuals(type = "pearson")``, that
        with ``scaled = TRUE``, ``rstandard()`` of a linear model, which lme4 calls ``rstudent()``
        for a mixed one, and ``rstudent()`` of a linear model.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.residuals("scaled")[:3].round(3).tolist()
        [-0.029, -0.372, -1.464]
        """
        return residuals(self, kind)

    @checked
    def predict(
        self,
        newdata: Any = None,
        *,
        random: bool | Sequence[str] = True,
        new_levels: NewLevels = "error",
        interval: Interval | None = None,
        level: float = 0.95,
        offset: ArrayLike | None = None,
    ) -> Any:
        """Predict the response.

        Parameters
        ----------
        newdata : data frame, optional
            Of any kind that `lmer` takes, with the covariates and grouping columns; the response
            is not needed. The rows of the fit by default. A lazy table or a path comes back as a
            lazy table with a column ``prediction``, worked out by its engine when it is read.
        random : bool or sequence of str, default True
            Count the random effects of all grouping factors (conditional prediction), of none
            (False: population, or marginal, prediction) or of the named ones.
        new_levels : {"error", "zero"}
            What to do with levels that the fit has not seen: refuse, or predict for an average
            group (random effect zero, its variance added to the interval).
        interval : {None, "confidence", "prediction"}
            For the mean given the random effects counted, or for a new observation (of prior
            weight one).
        level : float, default 0.95
        offset : array-like, optional
            For new rows, when the model was fitted with an offset given as values.

        Returns
        -------
        series or frame
            Without interval a series of the library of `newdata`, with the index of a pandas
            frame; with interval a frame: prediction, std_error, conf_low, conf_high. Rows with a
            missing value give NaN.

        Raises
        ------
        DataError
            Missing columns, unseen levels, text where the fit had numbers.
        ModelError
            Unknown options.

        Warns
        -----
        RankDeficiencyWarning
            New rows are of combinations that the data do not determine; what they get depends on
            which columns the fit dropped.

        Notes
        -----
        The variance is that of ``x'beta + z'b`` about its predictor, from the joint covariance of
        the estimated fixed effects and the random effects (Henderson 1975, Biometrics 31,
        423-447), at the estimated variances; limits use the normal distribution (Student's t for
        models without random terms).

        Examples
        --------
        >>> import mixedmodels as mm
        >>> piglets = mm.datasets.load("piglets")
        >>> m = mm.lmer("BW ~ time + (time | animal)", piglets)
        >>> new = {"time": [21, 28], "animal": ["58833", "none yet"]}
        >>> m.predict(new, new_levels="zero").round(2).tolist()
        [12.71, 15.14]
        """
        return predict(
            self,
            newdata,
            random=random,
            new_levels=new_levels,
            interval=interval,
            level=level,
            offset=offset,
        )

    @checked
    def simulate(
        self,
        n: int = 1,
        seed: int | np.random.Generator | np.random.SeedSequence | None = None,
        *,
        conditional: bool = False,
    ) -> Array:
        """Draw new responses from the fitted model.

        Parameters
        ----------
        n : int
            Number of draws.
        seed : int, Generator or SeedSequence, optional
        conditional : bool, default False
            Hold the random effects at their modes instead of drawing them too.

        Returns
        -------
        ndarray of shape (n, n_obs)

        Raises
        ------
        ModelError
            n below one.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.simulate(2, seed=1).shape
        (2, 297)
        """
        return simulate(self, n, seed, conditional=conditional)

    @checked
    def bootstrap(
        self,
        n_sim: int = 1000,
        statistic: Callable[[FittedModel], Any] | None = None,
        *,
        seed: int | np.random.Generator | np.random.SeedSequence | None = None,
        n_jobs: int | None = None,
        progress: bool | None = None,
    ) -> Bootstrap:
        """Parametric bootstrap: simulate from the model, fit it again, keep what it estimates.

        Parameters
        ----------
        n_sim : int, default 1000
            Number of simulated responses.
        statistic : callable, optional
            Takes a fitted model and returns a number, an array or a mapping of names to numbers.
            The default are fixed effects, standard deviations, correlations and sigma; with one
            grouping factor all replicates are then fitted together, without rows.
        seed : int, Generator or SeedSequence, optional
            The same seed gives the same replicates, whatever `n_jobs`.
        n_jobs : int, optional
            Processes for a `statistic`, through joblib; its ``parallel_config`` chooses another
            backend.
        progress : bool, optional
            Show a progress bar; by default where somebody watches and it takes long.

        Returns
        -------
        Bootstrap
            Prints as a table; `frame` has the replicates, `tidy` bias and standard errors,
            `confint` percentile, basic and BCa intervals.

        Raises
        ------
        ModelError
            n_sim or seed that cannot be used; a statistic that does not return numbers.

        Warns
        -----
        ConvergenceWarning
            Replicates failed; they are rows of nan and counted in `n_failed`.

        References
        ----------
        Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
        >>> m.bootstrap(200, seed=1).confint("bca").round(2)["term"].tolist()
        ['Intercept', 'time', 'sd_Intercept|animal', 'sigma']
        >>> share = m.bootstrap(100, lambda m: m.varcorr()["variance"][0] / m.sigma**2, seed=1)
        >>> share.replicates.shape
        (100, 1)
        """
        return bootstrap(
            self,
            n_sim,
            statistic,
            seed=seed,
            n_jobs=n_jobs,
            progress=progress,
            wrap=FittedModel.of,
        )

    @checked
    def check_convergence(
        self,
        n_starts: int = 8,
        *,
        seed: int | np.random.Generator | np.random.SeedSequence | None = 1,
        progress: bool | None = None,
    ) -> ConvergenceCheck:
        """Fit again from dispersed starts; see `mixedmodels.check_convergence`.

        Parameters
        ----------
        n_starts : int, default 8
            Number of random starts, beside four others.
        seed : int, Generator or SeedSequence, default 1
        progress : bool, optional

        Returns
        -------
        ConvergenceCheck
            Prints as a table of criterion and theta per start, with a verdict.

        Raises
        ------
        ModelError
            A model without random terms; n_starts or seed that cannot be used.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.check_convergence().message
        'all 12 starts reach the criterion 893.5502'
        """
        return check_convergence(self, n_starts, seed=seed, progress=progress)

    @checked
    def pca(self) -> RandomEffectsPCA:
        """Principal components of the random effects: which directions the data support.

        Returns
        -------
        RandomEffectsPCA
            Prints as a table per grouping factor, with a sentence; `frame` has group, component,
            sd, proportion and cumulative, `loadings` what each component is made of.

        Raises
        ------
        ModelError
            A model without random terms.

        Notes
        -----
        Of the relative covariance, in the units of the columns, as ``rePCA`` of R's lme4 does it.
        Standard deviations and proportions change with these units; the number of directions with
        variance does not, nor does the share of the weakest in the message, which is taken over
        the rows of the data (the eigenvalues of the covariance in orthonormal columns).

        References
        ----------
        Bates, D., Kliegl, R., Vasishth, S. and Baayen, H. (2015), Parsimonious Mixed Models,
        arXiv:1506.04967.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.pca().frame().round(4)
            group  component      sd  proportion  cumulative
        0  animal          1  1.6297      0.9968      0.9968
        1  animal          2  0.0917      0.0032      1.0000
        """
        return pca(self)

    @checked
    def refit(self, y: ArrayLike) -> FittedModel:
        """Fit the same model to another response on the same rows.

        Parameters
        ----------
        y : array-like of shape (n_obs,) or (n_rows,)
            As the formula's left side would give it (transformed, offset not removed).

        Returns
        -------
        FittedModel

        Raises
        ------
        DataError
            A wrong length, missing or infinite values, no variance.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> again = m.refit(m.simulate(1, seed=1)[0])
        >>> round(again.sigma, 2)
        0.67
        """
        return FittedModel.of(refit(self, y))

    @checked
    def update(
        self,
        formula: str | None = None,
        *,
        reml: bool | None = None,
        data: Any = None,
        start: ArrayLike | None = None,
    ) -> FittedModel:
        """Fit again with something changed.

        Parameters
        ----------
        formula : str, optional
            A new formula; a dot stands for the old side, as in R: ``". ~ . - x"``.
        reml : bool, optional
        data : data frame, optional
        start : array-like, optional
            theta to start from, as in `lmer`.

        Returns
        -------
        FittedModel

        Raises
        ------
        FormulaError, DataError
            As in `lmer`.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> m.update(". ~ . + I(time^2)").term_names
        ['Intercept', 'time', 'I(time^2)']
        >>> round(m.update(reml=False).deviance, 2)
        883.89
        """
        return FittedModel.of(update(self, formula, reml=reml, data=data, start=start))

    @checked
    def summary(self) -> Summary:
        """A summary that prints in a terminal and shows as HTML in a notebook.

        Returns
        -------
        Summary
            ``str(m.summary())`` is its text.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
        >>> print(str(m.summary()).splitlines()[0])
        Linear mixed model fit by REML
        """
        return Summary(self)

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return Summary(self)._repr_html_()


@checked
def lmer(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    contrasts: Mapping[str, Any] | None = None,
    start: ArrayLike | None = None,
    progress: bool | None = None,
) -> FittedModel:
    """Fit a linear mixed model.

    Parameters
    ----------
    formula : str
        In lme4's notation, ``"weight ~ time + (time | animal)"``.
    data : data frame, lazy table, path or Moments
        A pandas or Polars frame, a PyArrow table or a dict of columns, never changed. Or rows that
        stay where they are: a DuckDB relation, a Polars LazyFrame, a PySpark, Dask or Ibis table,
        a path or pattern of Parquet files (read by DuckDB), or the sums of rows
        (`mixedmodels.Moments`). Rows with a missing value in a variable of the formula are left
        out.
    reml : bool, default True
        Restricted maximum likelihood; False for maximum likelihood.
    weights : str or array-like of shape (n_rows,), optional
        Prior (precision) weights, a column's name or values: ``Var(e_i) = sigma**2 / w_i``.
    offset : str or array-like of shape (n_rows,), optional
        Known part of the mean, in units of the response.
    contrasts : mapping of str to str, optional
        Coding per factor: ``"treatment"`` (the default for every factor, ordered ones too),
        ``"sum"``, ``"helmert"`` or ``"poly"``.
    start : array-like, optional
        theta to start from, in the order of `FittedModel.theta`.
    progress : bool, optional
        A line on the standard error stream with the evaluations of the criterion so far, its value
        and the largest entry of its gradient. By default it appears in a terminal or a notebook,
        for fits that take more than a few seconds.

    Returns
    -------
    FittedModel

    Raises
    ------
    FormulaError
        The formula is malformed or has no random term.
    DataError
        The data cannot be used: unknown, infinite or non-numeric columns, no complete rows,
        grouping factors with one level or as many levels as rows, unusable weights.
    MemoryLimitError
        Crossed grouping factors need a larger matrix than memory can hold.

    Notes
    -----
    The criterion is that of Bates, Maechler, Bolker and Walker (2015), J. Stat. Softw. 67(1). It is
    minimised with its exact gradient, in coordinates that do not depend on the position or unit
    of the covariates, from a start found by the method of moments.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + (time | animal)", piglets)
    >>> round(m.sigma, 4), m.n_groups
    (0.6676, {'animal': 75})
    """
    return FittedModel.of(
        fit_model(
            formula,
            data,
            reml=reml,
            weights=weights,
            offset=offset,
            contrasts=contrasts,
            start=start,
            random=True,
            progress=progress,
        )
    )


@checked
def lm(
    formula: str,
    data: Any,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    contrasts: Mapping[str, Any] | None = None,
) -> FittedModel:
    """Fit a linear model: the mixed model without random terms, with least-squares inference.

    Parameters
    ----------
    formula : str
        In R's notation, ``"weight ~ time * treatment"``.
    data : data frame, lazy table, path or Moments
        As in `lmer`.
    weights, offset, contrasts
        As in `lmer`.

    Returns
    -------
    FittedModel
        `sigma` has the divisor n - p; `loglik` is the full log-likelihood at the ML estimates.

    Raises
    ------
    FormulaError, DataError
        As in `lmer`; also when the formula has a random term.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> o = mm.lm("BW ~ time * treatm", piglets)
    >>> o.df_resid, round(o.sigma, 4)
    (287, 1.6808)
    """
    return FittedModel.of(
        fit_model(
            formula,
            data,
            reml=False,
            weights=weights,
            offset=offset,
            contrasts=contrasts,
            start=None,
            random=False,
        )
    )
