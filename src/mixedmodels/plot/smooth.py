"""A curve through a cloud of points, whatever their number."""

from __future__ import annotations

import numpy as np

from mixedmodels.arrays import Array

# distinct values of x up to which the curve joins their means; points the smoother works on
FEW, MOST = 12, 400


def smooth(x: Array, y: Array) -> tuple[Array, Array]:
    """Locally weighted regression; means where x has few distinct values.

    Parameters
    ----------
    x, y : ndarray of shape (n,)

    Returns
    -------
    ndarray, ndarray of shape (m,)
        Increasing x, and the curve there. Large clouds are averaged in 400 slices of equally many
        points first.

    References
    ----------
    Cleveland, W. S. (1979). J. Am. Stat. Assoc. 74, 829-836.
    """
    levels = np.unique(x)
    if len(levels) <= FEW:
        codes = np.searchsorted(levels, x)
        return levels, np.bincount(codes, weights=y) / np.bincount(codes)
    from statsmodels.nonparametric.smoothers_lowess import lowess

    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(x) > MOST:
        cuts = np.linspace(0, len(x), MOST + 1).astype(np.intp)
        counts = np.diff(cuts)
        x, y = np.add.reduceat(x, cuts[:-1]) / counts, np.add.reduceat(y, cuts[:-1]) / counts
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = lowess(y, x, frac=2.0 / 3.0, it=2, return_sorted=False)
    good = np.isfinite(curve)
    at, first = np.unique(x[good], return_index=True)
    return at, np.asarray(curve[good][first], dtype=np.float64)
