"""Where each pixel of an aligned section comes from.

Both are **pull** maps, as every resampling needs them: a point of the output goes in, the point of the input that is
to be looked up comes out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.errors import InputError
from demis_ij.records import shown
from demis_ij.records.affine import Affine, Points

Offsets = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement field: offsets at the nodes of a square grid over the output, bilinear between them.

    ``field((x, y)) == (x, y) + offset at (x, y)``. Node (row, col) stands on output pixel ``stride * (col, row)``;
    outside the grid the nearest node counts.

    Attributes
    ----------
    offsets : ndarray of shape (2, H, W), float32
        (dx, dy) px at every node, output pixel to input point; NaN where nothing is known, in both or in none.
    stride : float
        From node to node, output px; 1 has a node on every pixel.

    Raises
    ------
    InputError
        When the offsets have another shape, only one of dx and dy is NaN, or the stride is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> Field(np.full((2, 3, 3), 1.5), stride=8)([[4.0, 7.0]])
    array([[5.5, 8.5]])
    """

    offsets: Offsets
    stride: float = 1.0

    def __post_init__(self) -> None:
        offsets = np.ascontiguousarray(self.offsets, dtype=np.float32)
        if offsets.ndim != 3 or offsets.shape[0] != 2 or min(offsets.shape) < 1:
            msg = f"a field's offsets have the shape (2, rows, cols), found {np.shape(self.offsets)}"
            raise InputError(msg)
        if not (self.stride > 0 and np.isfinite(self.stride)):
            msg = f"a field's stride is a positive number of px, found {self.stride}"
            raise InputError(msg)
        if np.isinf(offsets).any() or (np.isnan(offsets[0]) != np.isnan(offsets[1])).any():
            msg = "a field's offsets are finite, or NaN in both dx and dy"
            raise InputError(msg)
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "stride", float(self.stride))

    def _repr_html_(self) -> str:
        return shown.field_card(self)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of nodes."""
        return self.offsets.shape[1], self.offsets.shape[2]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(rows, cols), True at nodes whose offsets are known."""
        return np.asarray(~np.isnan(self.offsets[0]))

    def __call__(self, points_xy: ArrayLike) -> Points:
        """Map (N, 2) output points, or one (2,) point, to input points; NaN where an offset that counts is unknown."""
        p = np.asarray(points_xy, dtype=np.float64)
        rows, cols = self.grid
        x = np.clip(np.nan_to_num(p[..., 0]) / self.stride, 0, cols - 1)
        y = np.clip(np.nan_to_num(p[..., 1]) / self.stride, 0, rows - 1)
        left, top, right, below = (v.astype(np.intp) for v in (np.floor(x), np.floor(y), np.ceil(x), np.ceil(y)))
        fx, fy = x - left, y - top  # on a node its neighbour is the node itself, so that an unknown one says nothing
        o = self.offsets.astype(np.float64)
        upper = o[:, top, left] * (1 - fx) + o[:, top, right] * fx
        lower = o[:, below, left] * (1 - fx) + o[:, below, right] * fx
        return p + np.moveaxis(upper * (1 - fy) + lower * fy, 0, -1)


@dataclass(frozen=True, eq=False)
class Warp:
    """How one section is aligned: output pixel to input point, and the canvas that the output fills.

    ``warp(p)`` sends an output pixel (col, row) through the parts in order and returns a point of the section's image:
    ``aligned[row, col] = image at warp((col, row))``.

    Attributes
    ----------
    parts : tuple of Affine or Field
        Applied first to last; none is the identity.
    shape : tuple of int
        (rows, cols) of the output.
    origin_xy : tuple of float
        Where output pixel (0, 0) lies in the world that all sections share.

    Raises
    ------
    InputError
        When the canvas has no pixels.
    """

    parts: tuple[Affine | Field, ...]
    shape: tuple[int, int]
    origin_xy: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "origin_xy", (float(self.origin_xy[0]), float(self.origin_xy[1])))
        if min(self.shape) < 1:
            msg = f"the canvas of a warp has at least one pixel, found {self.shape}"
            raise InputError(msg)

    def _repr_html_(self) -> str:
        return shown.warp_card(self)

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> Warp:
        """Return the warp that leaves an image of ``shape`` as it is."""
        return cls((), shape)

    def __call__(self, points_xy: ArrayLike) -> Points:
        """Map (N, 2) output points, or one (2,) point, to input points; NaN where a field does not know."""
        p = np.asarray(points_xy, dtype=np.float64)
        for part in self.parts:
            p = part(p)
        return p
