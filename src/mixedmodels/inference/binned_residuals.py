"""Residuals in bins of the fitted values, summed by the engine that holds the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.design.frame import to_native
from mixedmodels.engines.door import (
    answered,
    asked_as,
    asking,
    engine_of,
    frame_kind_of,
    is_table,
    open_table,
)
from mixedmodels.engines.expressions import translate, tree
from mixedmodels.engines.query import as_read
from mixedmodels.errors import ArgumentError, DataError, FormulaError, ModelError
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import NewLevels
from mixedmodels.model.record import Fit


@checked
def binned_residuals(
    m: FittedModel, table: Any, *, bins: int = 20, new_levels: NewLevels = "error"
) -> Any:
    """Mean response, prediction and residual of a table's rows in bins of the prediction.

    Parameters
    ----------
    m : FittedModel
    table : lazy table or path to Parquet files
        The rows that the model was fitted to, or others with their response.
    bins : int, default 20
        Of equal width between the least and the greatest prediction.
    new_levels : {"error", "zero"}
        As in `FittedModel.predict`.

    Returns
    -------
    frame
        bin (from 1), n, fitted (mean prediction), observed (mean response), residual (their
        difference), residual_sd, std_error (of the mean residual). Empty bins have no row.
        A model that is calibrated has mean residuals of about zero, and one of constant variance
        equal standard deviations.

    Raises
    ------
    ArgumentError
        Something that is not a fitted model, or not a table outside memory.
    ModelError
        Fewer than two bins; ``scale()`` or ``center()`` in the response.
    DataError
        As in `FittedModel.predict`.

    Examples
    --------
    >>> import mixedmodels as mm, polars as pl
    >>> table = pl.from_pandas(mm.datasets.load("piglets")).lazy()
    >>> m = mm.lmer("BW ~ time + (time | animal)", table)
    >>> mm.binned_residuals(m, table, bins=4)["n"].to_list()
    [86, 115, 74, 22]
    """
    if not is_table(table):
        raise ArgumentError(
            "binned_residuals is for tables outside memory; for rows in memory see m.augment() and "
            "mm.plot"
        )
    if not isinstance(bins, int) or bins < 2:
        raise ModelError(f"bins must be 2 or more, not {bins!r}")
    predicted, asked = asked_as(open_table(m.predict(table, new_levels=new_levels)))
    with asking(engine_of(predicted)):
        found = _binned(predicted, asked["prediction"], _response(m, predicted, asked), bins)
    order = np.argsort(found["bin"])
    return to_native({k: v[order] for k, v in found.items()}, frame_kind_of(table))


def _response(m: Fit, table: nw.LazyFrame[Any], asked: Mapping[str, str]) -> Any:
    schema = table.collect_schema()
    expression = m.design.formula.response
    assert expression is not None
    lost = [name for name in expression.variables if name not in asked]
    if lost:
        raise DataError(f"the table has no column '{lost[0]}', which the response needs")
    columns = {
        name: as_read(name, asked[name], schema[asked[name]]) for name in expression.variables
    }
    try:
        return translate(tree(expression.code), columns, {})
    except (KeyError, FormulaError) as error:
        raise ModelError(
            f"the response {expression.text} cannot be worked out by the engine: {error}"
        ) from None


def _binned(table: nw.LazyFrame[Any], prediction: str, response: Any, bins: int) -> dict[str, Any]:
    rows = table.select(nw.col(prediction).alias("f"), (response + nw.lit(0.0)).alias("y")).filter(
        ~nw.col("f").is_null() & ~nw.col("y").is_null()
    )
    ends = answered(rows.select(nw.col("f").min().alias("low"), nw.col("f").max().alias("high")))
    low, high = (ends[name].to_list()[0] for name in ("low", "high"))
    if low is None:
        raise DataError("no complete rows: none has both a response and a prediction")
    width = (high - low) / bins or 1.0
    place = ((nw.col("f") - low) / width).floor()
    last = float(bins - 1)
    placed = rows.with_columns(
        (nw.col("y") - nw.col("f")).alias("r"),
        (nw.when(place > last).then(nw.lit(last)).otherwise(place) + 1.0).alias("bin"),
    )
    grouped = placed.group_by("bin").agg(
        nw.len().alias("n"),
        nw.col("f").mean(),
        nw.col("y").mean(),
        nw.col("r").mean(),
        nw.col("r").std(ddof=1).alias("sd"),
    )
    frame = answered(grouped)
    n = np.asarray(frame["n"].to_numpy(), np.int64)
    sd = np.asarray(frame["sd"].to_numpy(), np.float64)
    return {
        "bin": np.asarray(frame["bin"].to_numpy()).astype(np.int64),
        "n": n,
        "fitted": np.asarray(frame["f"].to_numpy(), np.float64),
        "observed": np.asarray(frame["y"].to_numpy(), np.float64),
        "residual": np.asarray(frame["r"].to_numpy(), np.float64),
        "residual_sd": sd,
        "std_error": sd / np.sqrt(n),
    }
