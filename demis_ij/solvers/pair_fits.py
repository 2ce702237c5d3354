"""What each pair says by itself: its motion in closed form, and what it leaves."""

from __future__ import annotations

import numpy as np

from demis_ij.solvers.tables import PP, PQ, QQ, Array, Complex, P, PairTable, Q, TileTable

_SQUARE = [[0, 1], [1, 2]]


def own_motion(pairs: PairTable, tiles: TileTable, *, scale: bool, turn: bool) -> tuple[Complex, Complex, Array]:
    """Return what each pair alone says: moving tile's world to fixed tile's world, about the middle of the two tiles.

    Closed form of the 2-D Procrustes problem, in complex numbers: ``x -> z x + shift``, x = X + iY.

    Parameters
    ----------
    pairs, tiles
        The measurements.
    scale, turn : bool
        Whether a pair may scale and turn.

    Returns
    -------
    z, shift : ndarray of shape (m,), complex
        Turn (and scale) and shift in units; (1, 0) when the stage is right.
    squares : ndarray of shape (m,)
        Sum of squared residuals that remain, units squared.
    """
    s, n = pairs.sums, pairs.count
    middle = (tiles.centre[pairs.moving] - tiles.centre[pairs.fixed]) @ (0.5, 0.5j)  # from the fixed tile's centre
    mean_u, mean_v = s[:, P] @ (1, 1j) / n, s[:, Q] @ (1, 1j) / n
    uu = s[:, PP] @ (1.0, 0, 1) - n * np.abs(mean_u) ** 2
    vv = s[:, QQ] @ (1.0, 0, 1) - n * np.abs(mean_v) ** 2
    product = s[:, PQ] @ (1, -1j, 1j, 1) - n * mean_u * np.conj(mean_v)  # sum of u conj(v)
    size = np.abs(product)
    z = np.ones(len(n), complex)
    if turn:
        # points that nearly coincide say nothing about a turn
        usable = size > 1e-9 * n
        z[usable] = product[usable] / (np.maximum(vv, 1e-12)[usable] if scale else size[usable])
    squares = np.maximum(0, uu - 2 * (np.conj(z) * product).real + np.abs(z) ** 2 * vv)
    shift = mean_u - middle - z * (mean_v + middle)
    return z, shift, np.asarray(squares)


def own_squares(pairs: PairTable, tiles: TileTable, model: str) -> Array:
    """Return (m,) sums of squares that are left when each pair is fitted alone by the model, units squared."""
    if model != "affine":
        return own_motion(pairs, tiles, scale=model == "similarity", turn=model != "translation")[2]
    s, n = pairs.sums, pairs.count
    mean_u, mean_v = s[:, P] / n[:, None], s[:, Q] / n[:, None]

    def about(squares: Array, left: Array, right: Array) -> Array:
        return squares - n[:, None, None] * left[:, :, None] * right[:, None, :]

    uu, vv = about(s[:, PP][:, _SQUARE], mean_u, mean_u), about(s[:, QQ][:, _SQUARE], mean_v, mean_v)
    uv = about(s[:, PQ].reshape(-1, 2, 2), mean_u, mean_v)
    # points on a line leave a direction free: the pseudo-inverse fits what can be fitted
    explained = uv @ np.linalg.pinv(vv, rcond=1e-9, hermitian=True) @ uv.transpose(0, 2, 1)
    return np.asarray(np.maximum(0, np.trace(uu - explained, axis1=1, axis2=2)))
