"""Points that a user knows to be the same in two images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from demis_ij.errors import InputError


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points that are known to be the same in both images.

    Attributes
    ----------
    fixed_xy, moving_xy : array_like of shape (K, 2)
        Row i of one is the same point as row i of the other, px of its image.
    weights : array_like of shape (K,), optional
        Of each, above 0; 1 when not given.

    Raises
    ------
    InputError
        When the numbers of points differ, or a value is not finite.
    """

    fixed_xy: ArrayLike
    moving_xy: ArrayLike
    weights: ArrayLike | None = None

    def __post_init__(self) -> None:
        pairs = [np.asarray(p, np.float64) for p in (self.fixed_xy, self.moving_xy)]
        if pairs[0].ndim != 2 or pairs[0].shape[1] != 2 or pairs[0].shape != pairs[1].shape or not len(pairs[0]):
            msg = f"landmarks are as many points (x, y) in either image, found {pairs[0].shape} and {pairs[1].shape}"
            raise InputError(msg)
        weights = np.ones(len(pairs[0])) if self.weights is None else np.asarray(self.weights, np.float64)
        if weights.shape != (len(pairs[0]),):
            msg = f"landmarks have one weight above 0 each, found {weights.shape} for {len(pairs[0])} landmarks"
            raise InputError(msg)
        useless = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))
        if len(useless):
            k = int(useless[0])
            msg = f"landmarks have one weight above 0 each, found {weights[k]:g} of landmark {k + 1}: leave it out"
            raise InputError(msg)
        if not np.isfinite(pairs).all():
            msg = "a landmark is not finite"
            raise InputError(msg)
        for name, value in zip(("fixed_xy", "moving_xy", "weights"), (*pairs, weights), strict=True):
            object.__setattr__(self, name, value)

    def check_inside(self, shape: tuple[int, int], moving_shape: tuple[int, int]) -> None:
        """Raise `InputError` naming the first landmark that lies outside its image."""
        for name, points, (rows, cols) in (
            ("fixed", np.asarray(self.fixed_xy), shape), ("moving", np.asarray(self.moving_xy), moving_shape),
        ):  # fmt: skip
            outside = ((points < -0.5) | (points > (cols - 0.5, rows - 0.5))).any(axis=1)
            if outside.any():
                k = int(np.flatnonzero(outside)[0])
                x, y = points[k]
                msg = (
                    f"landmark {k + 1} lies at ({x:g}, {y:g}), outside the {name} image of {cols} x {rows} px: "
                    "landmarks are px of the image they are in"
                )
                raise InputError(msg)


__all__ = ["Landmarks"]
