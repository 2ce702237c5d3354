"""Outcomes of pairs as rows of a table, and back to the bit.

A pair's points are there twice: one by one (``fixed_x`` ...), and added up (``moments``), which is all that a solver
needs. The moments are taken about the mean of the pair's own points, so that they are exact however large a tile is
and need not know where its centre is: the number of points, the means of p and q, and the ten sums of products of
what is left, in the order of `demis_ij.solvers.tables.SUM_NAMES`; p is the point in the fixed tile, q in the moving.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from demis_ij.records import PairMatch, Points, Rejected
from demis_ij.stitch import Outcome

Array = NDArray[np.float64]

LAYOUT_KEY, LAYOUT = b"demis_ij.matches", b"1"
"""What a file says of its columns; another number is another layout."""

KEY = ("stage", "fixed", "moving")
POINTS = ("fixed_x", "fixed_y", "moving_x", "moving_y")
MOMENTS = 15
_LIST = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("fixed", pa.string(), nullable=False),
        pa.field("moving", pa.string(), nullable=False),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("matcher", pa.string(), nullable=False),
        pa.field("matches", pa.int32(), nullable=False),
        pa.field("inliers", pa.int32(), nullable=False),
        pa.field("agreeing", pa.int32(), nullable=False),
        pa.field("residual_px", pa.float64()),
        pa.field("model", pa.string()),
        pa.field("to_fixed", _LIST),
        pa.field("covariance", _LIST),
        pa.field("tried", pa.list_(pa.struct([("matcher", pa.string()), ("reason", pa.string())]))),
        pa.field("moments", _LIST),
        *(pa.field(name, _LIST) for name in POINTS),
    ],
    metadata={LAYOUT_KEY: LAYOUT},
)
SMALL = tuple(name for name in SCHEMA.names if name not in POINTS)
"""All columns but the points themselves."""


def table_of(stage: str, outcomes: Sequence[Outcome]) -> pa.Table:
    """Return outcomes as a table of `SCHEMA`."""
    return pa.Table.from_pylist([_row(stage, o) for o in outcomes], SCHEMA)


def _row(stage: str, o: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "stage": stage,
        "fixed": o.fixed,
        "moving": o.moving,
        "matcher": o.matcher,
        "matches": o.matches,
        "inliers": o.inliers,
        "tried": [{"matcher": matcher, "reason": reason} for matcher, reason in o.tried],
    }
    if isinstance(o, Rejected):
        return row | {"accepted": False, "reason": o.reason, "agreeing": 0}
    points = np.hstack([o.fixed_xy, o.moving_xy])
    return row | {
        "accepted": True,
        "reason": "",
        "agreeing": o.agreeing,
        "residual_px": float(o.residual_px),
        "model": o.model,
        "to_fixed": np.asarray(o.to_fixed, np.float64).ravel(),
        "covariance": np.asarray(o.covariance, np.float64).ravel(),
        "moments": moments(o.fixed_xy, o.moving_xy),
        **{name: points[:, k] for k, name in enumerate(POINTS)},
    }


def moments(fixed_xy: Points, moving_xy: Points) -> Array:
    """Return the (15,) moments of a pair's points; see the module."""
    points = np.hstack([fixed_xy, moving_xy]).astype(np.float64)
    if not len(points):
        return np.zeros(MOMENTS)
    mean = points.mean(0)
    px, py, qx, qy = (points - mean).T
    products = [px @ px, px @ py, py @ py, qx @ qx, qx @ qy, qy @ qy, px @ qx, px @ qy, py @ qx, py @ qy]
    return np.array([len(points), *mean, *products])


def sums_about(table_moments: Array, fixed_centre: Array, moving_centre: Array) -> Array:
    """Return sums of the points about given places, as `demis_ij.solvers.sums.pair_table_of_sums` takes them.

    Parameters
    ----------
    table_moments : ndarray of shape (k, 15)
        Of k pairs.
    fixed_centre, moving_centre : ndarray of shape (k, 2)
        For the solver, (x, y) of the centres of their tiles, tile px.

    Returns
    -------
    ndarray of shape (k, 15)
        In the order of `demis_ij.solvers.tables.SUM_NAMES`.
    """
    n = table_moments[:, :1]
    mean = table_moments[:, 1:5] - np.hstack([fixed_centre, moving_centre])
    first, second = [0, 0, 1, 2, 2, 3, 0, 0, 1, 1], [0, 1, 1, 2, 3, 3, 2, 3, 2, 3]
    return np.hstack([n, n * mean, table_moments[:, 5:] + n * mean[:, first] * mean[:, second]])


def moments_of(table: pa.Table) -> Array:
    """Return the (k, 15) moments of a table's rows; NaN for those that were not accepted."""
    column = table.column("moments").combine_chunks()
    out = np.full((len(column), MOMENTS), np.nan)
    out[~np.asarray(column.is_null())] = np.asarray(column.flatten()).reshape(-1, MOMENTS)
    return out


def outcomes_of(table: pa.Table) -> Iterator[Outcome]:
    """Yield the outcomes that the rows of a table stand for, points and all."""
    small = [c for c in SMALL if c not in {"stage", "moments"}]
    columns = {name: _arrays(table.column(name)) for name in (*POINTS, "to_fixed", "covariance")}
    for n, row in enumerate(table.select([c for c in small if c not in columns]).to_pylist()):
        yield _outcome(row, {name: parts[n] for name, parts in columns.items()})


def _arrays(column: pa.ChunkedArray) -> list[Array]:
    """Return the lists of a column as arrays of their own; empty where there is none."""
    whole = column.combine_chunks()
    values = np.array(whole.values)
    ends = np.array(whole.offsets)
    return [values[start:stop] for start, stop in pairwise(ends)]


def _outcome(row: Mapping[str, Any], array: Mapping[str, Array]) -> Outcome:
    tried = tuple((t["matcher"], t["reason"]) for t in row["tried"] or ())
    if not row["accepted"]:
        return Rejected(
            row["fixed"], row["moving"], row["reason"], row["matcher"], row["matches"], row["inliers"], tried
        )
    return PairMatch(
        row["fixed"],
        row["moving"],
        np.stack([array["fixed_x"], array["fixed_y"]], 1),
        np.stack([array["moving_x"], array["moving_y"]], 1),
        array["to_fixed"].reshape(3, 3).copy(),
        row["model"],
        array["covariance"].reshape(3, 3).copy(),
        row["residual_px"],
        row["matcher"],
        row["matches"],
        tried,
        row["agreeing"],
    )
