"""What `anova` rests on: sequential sums of squares, and whether one model is nested in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array, cross_products
from mixedmodels.design.build import Design
from mixedmodels.design.frame import to_native
from mixedmodels.design.grouping import observed
from mixedmodels.errors import ModelError
from mixedmodels.model.record import Fit, has_points, same_weights
from mixedmodels.quantiles import f_probability

# share of a fixed-effect column that may lie outside a space it belongs to: the square root of
# what rounding leaves of its square
OUTSIDE = 1e-6
# logarithms of volumes: differences that are rounding
ROUNDING = 1e-6
# the same for a squared distance between covariance matrices, taken from products
OUTSIDE_SQUARED = 1e-8


def sequential_table(fit: Fit) -> Any:
    """Sequential (type I) F table of a model without random terms; see `compare.anova`.

    Notes
    -----
    The working columns are X orthogonalised in the order of the formula, so the squared products
    of the response with them, summed by term, are R's sequential sums of squares.
    """
    names, owner = term_of_column(fit.design)
    with_intercept = "Intercept" in fit.term_names
    y = fit.working.y_recipe.copy()
    # without an intercept the mean of the response is for the terms to explain
    y[0] = 0.0 if with_intercept else fit.design.y_centre / fit.design.y_scale
    products = fit.working.fixed.recipe.T @ (fit.moments.cross @ y)[:-1]
    unit = fit.design.y_scale**2 * fit.rows.weight_scale
    squares = np.square(products) / fit.n_obs * unit

    columns = owner[fit.working.fixed.kept]
    terms = [t for t in range(len(names)) if names[t] != "Intercept" and (columns == t).any()]
    num_df = np.array([np.count_nonzero(columns == t) for t in terms], dtype=np.int64)
    sum_sq = np.array([squares[columns == t].sum() for t in terms])
    df, mean_square = fit.df_resid, fit.sigma**2
    with np.errstate(divide="ignore"):
        statistic = sum_sq / num_df / mean_square
    return to_native(
        {
            "term": [*(names[t] for t in terms), "Residuals"],
            "sum_sq": np.append(sum_sq, mean_square * df),
            "mean_sq": np.append(sum_sq / num_df, mean_square),
            "num_df": np.append(num_df, df),
            "den_df": np.append(np.full(len(terms), float(df)), np.nan),
            "statistic": np.append(statistic, np.nan),
            "p_value": np.append(f_probability(statistic, num_df, df), np.nan),
        },
        fit.source.kind,
    )


def term_of_column(design: Design) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the fixed terms as the user wrote them, and the term of each column of X."""
    formula = design.formula
    names: list[str] = []
    owner: list[int] = []
    for part in design.specs[formula.fixed].structure:
        factors = [formula.labels.get(f.expr, f.expr) for f in part.term.factors]
        names.append("Intercept" if factors == ["1"] else ":".join(factors))
        owner += [len(names) - 1] * len(part.columns)
    return names, np.array(owner, np.intp)


# --- nesting --------------------------------------------------------------------------------------


def rows_of(fit: Fit, name: str) -> Array:
    """Base columns of the rows of a fit, or of the weighted rows that stand for its sums.

    Raises
    ------
    ModelError
        The model was loaded from a file without its rows.
    """
    if not has_points(fit):
        raise ModelError(
            f"{name} was loaded from a file without its rows, and this comparison needs them: "
            "write the file with mm.save(model, path, data=True), or fit it again"
        )
    return fit.points.base


def comparable(a: Fit, b: Fit) -> bool:
    """Whether two fits hold the same rows, one by one, or the same sums."""
    return a.source.sums is b.source.sums and has_points(a) and has_points(b)


def fixed_products(a: Fit, b: Fit, names: tuple[str, str]) -> tuple[Array, Array]:
    """Products of working columns of X: of two fits, and of the second with itself.

    The working columns of `a` are orthonormal in the metric of its prior weights, over the number
    of rows; in that metric both are taken, so that the first says what `a` makes of `b`.

    Parameters
    ----------
    a, b : Fit
        On the same rows.
    names : tuple of str
        What messages call them.

    Returns
    -------
    shared : ndarray of shape (p_a, p_b)
    own : ndarray of shape (p_b, p_b)
    """
    left, right = rows_of(a, names[0]), rows_of(b, names[1])
    products = cross_products([*left, *right], a.points.weights) / a.n_obs
    c, recipe = len(left), b.working.fixed.recipe
    shared = a.working.fixed.recipe.T @ products[:c, c:] @ recipe
    return np.asarray(shared), np.asarray(recipe.T @ products[c:, c:] @ recipe)


def same_fixed_part(a: Fit, b: Fit, names: tuple[str, str]) -> bool:
    """Whether the columns of X span one space, with one volume (the REML criterion has it)."""
    p = len(a.working.fixed.kept)
    if p != len(b.working.fixed.kept):
        return False
    if not p:
        return True
    shared, own = fixed_products(a, b, names)
    if np.abs(own - shared.T @ shared).max() > OUTSIDE**2:
        return False
    roots = [float(np.log(np.abs(np.diag(fit.working.fixed.root))).sum()) for fit in (a, b)]
    volume = float(np.linalg.slogdet(shared)[1]) + roots[1] - roots[0]
    return abs(volume) <= ROUNDING


def fixed_outside(small: Fit, large: Fit, names: tuple[str, str]) -> list[str]:
    """Fixed-effect columns of `small` that those of `large` cannot make.

    Parameters
    ----------
    small, large : Fit
        On the same rows.
    names : tuple of str
        What messages call them.
    """
    shared, own = fixed_products(large, small, names[::-1])
    left, length = own - shared.T @ shared, np.diag(own)
    if not (np.diag(left) > OUTSIDE**2 * length).any():
        return []
    root = small.working.fixed.root
    share = np.einsum("ij,ik,kj->j", root, left, root) / np.square(np.diag(root))
    return [name for name, s in zip(small.term_names, share, strict=True) if s > OUTSIDE**2]


def random_outside(small: Fit, large: Fit, names: tuple[str, str]) -> list[str]:
    """Random terms of `small` whose covariances `large` cannot make.

    Parameters
    ----------
    small, large : Fit
        On the same rows.
    names : tuple of str
        What messages call them.

    Notes
    -----
    The covariance of the response is a linear combination of known n x n matrices: the residual's
    diagonal and, per random term, the products of its columns within a level. A term of the small
    model is nested if its matrices lie in the span of the large model's. All inner products of
    such matrices are made of sums over cells of two grouping factors, so this costs one pass over
    the rows per pair of terms. It sees, for example, that ``(1 | g/f)`` is nested in ``(f | g)``.
    It looks at linear combinations only, not at the sign of variances.
    """
    span = _Span.of(large, names[1])
    needed = _Pieces.of(small, names[0])
    if not same_weights(small, large):
        needed.append(_Pieces.residual(small))
    return list(dict.fromkeys(mine.text for mine in needed if span.weights(mine) is None))


def embedding(small: Fit, large: Fit) -> list[Array] | None:
    """Covariances of the large model's random terms that make the small model, with all variances.

    Parameters
    ----------
    small, large : Fit
        On the same rows, with the same prior weights.

    Returns
    -------
    list of ndarray of shape (q, q), or None
        Per term, in working columns; those of the small model are taken as multiples of the
        identity. None when the large model cannot make the small one.
    """
    span = _Span.of(large, large.formula)
    total = np.zeros(len(span.length))
    for k, mine in enumerate(_Pieces.of(small, small.formula)):
        weights = span.weights(mine)
        if weights is None:
            return None
        # sizes that differ, so that no two terms cancel
        total += weights[:, mine.pairs[0] == mine.pairs[1]].sum(axis=1) * (1.0 + k / 3.0)
    found, start = [], 1
    for other in span.pieces[1:]:
        rows, columns = other.pairs
        half = np.zeros((len(other.columns), len(other.columns)))
        half[rows, columns] = total[start : start + len(rows)] / 2.0
        found.append(half + half.T)
        start += len(rows)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """The matrices that one random term can put into the covariance of the response.

    Attributes
    ----------
    text : str
        The term.
    codes : ndarray of int, shape (n,)
        Level of each row.
    columns : ndarray of shape (q, n)
    """

    text: str
    codes: NDArray[np.int64]
    columns: Array

    @property
    def pairs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The two columns of each matrix."""
        return np.triu_indices(len(self.columns))

    @classmethod
    def of(cls, fit: Fit, name: str) -> list[_Pieces]:
        """Those of all random terms of a fit."""
        base = rows_of(fit, name)
        return [
            cls(term.text, codes, mapping.recipe.T @ base)
            for group, maps, codes in zip(
                fit.design.groups, fit.working.terms, fit.points.codes, strict=True
            )
            for term, mapping in zip(group.terms, maps, strict=True)
            if len(mapping.kept)
        ]

    @classmethod
    def residual(cls, fit: Fit) -> _Pieces:
        """Independent errors: a random intercept of every row."""
        n, weights = len(fit.points.y), fit.points.weights
        column = np.ones(n) if weights is None else 1.0 / np.sqrt(weights)
        return cls("(other prior weights)", np.arange(n), column[None])

    def products(self, other: _Pieces) -> Array:
        """Frobenius inner products of symmetric pieces, shape (q (q + 1) / 2, the other's)."""
        if np.array_equal(self.codes, other.codes):
            cell, count = self.codes, int(self.codes.max()) + 1
        else:
            width = int(other.codes.max()) + 1
            combined = self.codes * width + other.codes
            present, cell = observed(combined, (int(self.codes.max()) + 1) * width)
            count = len(present)
        sums = np.array(
            [
                [np.bincount(cell, weights=a * b, minlength=count) for b in other.columns]
                for a in self.columns
            ]
        )
        every = np.einsum("iac,jbc->ijab", sums, sums, optimize=True)
        symmetric = (every + every.swapaxes(2, 3)) / 2.0
        return np.asarray(symmetric[self.pairs][:, other.pairs[0], other.pairs[1]])


@dataclass(frozen=True, slots=True, eq=False)
class _Span:
    """All covariances of the response that a model allows, as a linear space.

    Attributes
    ----------
    pieces : list of _Pieces
        The residual's, then those of the random terms.
    length : ndarray of shape (m,)
        Frobenius norm of each matrix.
    inverse : ndarray of shape (m, m)
        Of the inner products of the matrices scaled to length one.
    """

    pieces: list[_Pieces]
    length: Array
    inverse: Array

    @classmethod
    def of(cls, fit: Fit, name: str) -> _Span:
        """That of a fit; messages call it `name`."""
        pieces = [_Pieces.residual(fit), *_Pieces.of(fit, name)]
        index = range(len(pieces))
        upper = {(i, j): pieces[i].products(pieces[j]) for i in index for j in index if j >= i}
        gram = np.block([[upper[i, j] if j >= i else upper[j, i].T for j in index] for i in index])
        length = np.sqrt(np.diag(gram))
        scaled = gram / np.outer(length, length)
        return cls(pieces, length, np.linalg.pinv(scaled, rcond=1e-11, hermitian=True))

    def weights(self, mine: _Pieces) -> Array | None:
        """Weights with which the matrices make those of a term, (m, pairs); None if they cannot."""
        own = np.diag(mine.products(mine))
        shared = np.concatenate([other.products(mine) for other in self.pieces])
        shared /= self.length[:, None]
        weights = self.inverse @ shared
        if (own - np.einsum("ij,ij->j", shared, weights) > OUTSIDE_SQUARED * own).any():
            return None
        return np.asarray(weights / self.length[:, None])


def describe_outside(fixed: Sequence[str], random: Sequence[str]) -> str:
    """What the larger model lacks, in words."""
    parts = [
        f"{kind} {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for kind, names in (("the fixed effects", fixed), ("the random terms", random))
        if names
    ]
    return " and ".join(parts)
