"""`confint`: intervals for all parameters of a model, by three methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import narwhals as nw
import numpy as np

from mixedmodels.arguments import check_choice, checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.inference import parameters
from mixedmodels.inference.profile import LikelihoodProfile, profiled
from mixedmodels.inference.satterthwaite import uncertainty
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.frames import DDF, standard_errors
from mixedmodels.model.predict import check_level
from mixedmodels.quantiles import chi2_quantile, t_two_sided, two_sided

Method = Literal["wald", "profile", "boot"]
BootType = Literal["percentile", "basic", "bca"]

# standard error of a logarithm, or of Fisher's z, that says nothing: a variance at zero
NOTHING = 3.0


@checked
def confint(
    model: FittedModel,
    method: Method = "wald",
    *,
    level: float = 0.95,
    parm: str | Sequence[str] | None = None,
    ddf: str = "none",
    n_sim: int = 1000,
    seed: int | np.random.Generator | np.random.SeedSequence | None = None,
    boot_type: BootType = "percentile",
) -> Any:
    """Confidence intervals for standard deviations, correlations, sigma and fixed effects.

    Parameters
    ----------
    model : FittedModel
    method : {"wald", "profile", "boot"}
        From standard errors, from the profile likelihood, or by the parametric bootstrap.
    level : float, default 0.95
        Coverage.
    parm : str or sequence of str, optional
        Parameters wanted: ``sd_<column>|<group>``, ``cor_<column>.<column>|<group>``, ``sigma``,
        names of fixed effects; ``"theta_"`` for all of the former, ``"beta_"`` for all of the
        latter. All by default.
    ddf : {"none", "satterthwaite", "kenward-roger"}
        For ``"wald"``: the normal distribution for fixed effects, or Student's t.
    n_sim : int, default 1000
        For ``"boot"``: replicates. `FittedModel.bootstrap` has more options.
    seed : int, Generator or SeedSequence, optional
        For ``"boot"``.
    boot_type : {"percentile", "basic", "bca"}
        For ``"boot"``.

    Returns
    -------
    frame
        term, estimate, conf_low, conf_high, in units of the response (per unit of a column):
        variance parameters first, then fixed effects. The estimate is that of the fit;
        for ``"profile"`` the one by maximum likelihood.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        An unknown method, `ddf`, `boot_type` or parameter; a level outside (0, 1).

    See Also
    --------
    profile : the profiles themselves, for plots and several levels.

    Notes
    -----
    *Wald.* Fixed effects: estimate plus and minus a quantile times the standard error. Standard
    deviations and correlations: the same for their logarithms and Fisher's z, with standard errors
    from the Hessian of the criterion fitted, by the delta method; nan at a boundary, where they
    mean nothing. With few groups they are rough: profile. Models without random terms have exact
    limits (Student's t, and chi-square for sigma).

    *Profile.* The values at which the deviance, minimised over all other parameters, lies the
    square of the normal quantile above its minimum. Always by maximum likelihood: a REML fit is
    fitted again, since restricted likelihoods of different fixed effects do not compare. Limits
    are roots, exact to 1e-9 standard errors. A standard deviation ends at zero where the
    deviance does not rise that much, a correlation at one.

    References
    ----------
    Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). J. Stat. Softw. 67(1), section 5.1.

    Venzon, D. J. and Moolgavkar, S. H. (1988). Appl. Statist. 37, 87-94.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> mm.confint(m, "profile").round(3)
                            term  estimate  conf_low  conf_high
    0        sd_Intercept|animal     1.078     0.876      1.327
    1  cor_time.Intercept|animal     0.365     0.035      0.691
    2             sd_time|animal     0.065     0.050      0.082
    3                      sigma     0.668     0.598      0.752
    4                  Intercept     7.360     7.082      7.639
    5                       time     0.278     0.260      0.296
    """
    check_level(level)
    if method == "wald":
        return _wald(model, level, parameters.chosen(model, parm), ddf)
    if method == "profile":
        profiler, wanted = profiled(model, parm)
        return LikelihoodProfile(profiler, {i: [] for i in wanted}).confint(level)
    return _bootstrap(model, level, parameters.chosen(model, parm), n_sim, seed, boot_type)


def _wald(fit: FittedModel, level: float, wanted: list[int], ddf: str) -> Any:
    ddf = check_choice("ddf", ddf, DDF)
    error, df = standard_errors(fit, ddf)
    exact = ddf != "none" or not fit.has_random
    reach = error * (t_two_sided(level, df) if exact else two_sided(level))
    low, high = _variance_limits(fit, level) if fit.has_random else _sigma_limits(fit, level)
    return to_native(
        {
            "term": [[*parameters.names(fit), *fit.term_names][i] for i in wanted],
            "estimate": np.concatenate([parameters.values(fit), fit.beta])[wanted],
            "conf_low": np.concatenate([low, fit.beta - reach])[wanted],
            "conf_high": np.concatenate([high, fit.beta + reach])[wanted],
        },
        fit.source.kind,
    )


def _variance_limits(fit: FittedModel, level: float) -> tuple[Array, Array]:
    """Limits of SDs and sigma on the logarithmic scale, of correlations on that of Fisher's z."""
    estimates, slopes = parameters.values(fit), parameters.slopes(fit)
    correlations = np.array([p.kind == "cor" for p in parameters.parameters(fit)])
    with np.errstate(all="ignore"):
        error = np.sqrt(np.einsum("ij,jk,ik->i", slopes, uncertainty(fit).covariance, slopes))
        reach = np.where(error < NOTHING, error * two_sided(level), math.nan)
        z = np.arctanh(np.where(correlations, estimates, 0.0))
        limits = [
            np.where(correlations, np.tanh(z + side * reach), estimates * np.exp(side * reach))
            for side in (-1.0, 1.0)
        ]
    return limits[0], limits[1]


def _sigma_limits(fit: FittedModel, level: float) -> tuple[Array, Array]:
    """Sigma of a model without random terms: the residual sum of squares is a chi-square."""
    tail = 0.5 * (1.0 - level)
    quantiles = chi2_quantile(np.array([1.0 - tail, tail]), fit.df_resid)
    low, high = fit.sigma * np.sqrt(fit.df_resid / quantiles)
    return np.array([low]), np.array([high])


def _bootstrap(
    fit: FittedModel, level: float, wanted: list[int], n_sim: int, seed: Any, boot_type: BootType
) -> Any:
    limits = fit.bootstrap(n_sim, seed=seed).confint(boot_type, level)
    # its fixed effects come first
    k, p = len(parameters.names(fit)), len(fit.beta)
    rows = [p + i if i < k else i - k for i in wanted]
    table = nw.from_native(limits, eager_only=True)
    return to_native(
        {name: table[name].to_numpy()[rows] for name in table.columns}, fit.source.kind
    )
