"""What a tile may do: tangents of its motion in each model, steps along them, and the motions that all tiles share."""

from __future__ import annotations

import numpy as np

from demis_ij.solvers.tables import Array, TileTable

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def tangents(motion: Array, model: str) -> Array:
    """Return (n, d, 2, 3) tangents of each tile's motion: 2, 3, 4 or 6 of them for translation ... affine."""
    n = len(motion)
    shifts = np.zeros((2, 2, 3))
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1
    if model == "translation":
        free = np.zeros((n, 0, 2, 3))
    elif model == "rigid":
        free = np.zeros((n, 1, 2, 3))
        free[:, 0, :, :2] = TURN @ motion[:, :, :2]
    elif model == "similarity":
        free = np.zeros((n, 2, 2, 3))
        free[:, 0, :, :2] = np.eye(2)
        free[:, 1, :, :2] = TURN
    else:
        free = np.zeros((n, 4, 2, 3))
        for a in range(4):
            free[:, a, a // 2, a % 2] = 1
    return np.asarray(np.concatenate([free, np.broadcast_to(shifts, (n, 2, 2, 3))], axis=1))


def stepped(motion: Array, basis: Array, step: Array, model: str) -> Array:
    """Return the motions after a step (n, d); a rigid motion stays rigid."""
    if model != "rigid":
        return np.asarray(motion + np.einsum("nd,ndij->nij", step, basis))
    out = motion.copy()
    c, s = np.cos(step[:, 0]), np.sin(step[:, 0])
    turn = np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)
    out[:, :, :2] = turn @ motion[:, :, :2]
    out[:, :, 2] += step[:, 1:]
    return out


def common_motions(motion: Array, tiles: TileTable, model: str, origin: Array) -> Array:
    """Return (n, d, 2 or 3): the unknowns' change when everything is shifted along x, along y, and turned."""
    basis = tangents(motion, model)
    n, d = basis.shape[:2]
    out = np.zeros((n, d, 2 if model == "translation" else 3))
    out[:, d - 2, 0] = out[:, d - 1, 1] = 1
    if model == "translation":
        return out
    out[:, d - 2 :, 2] = (motion[:, :, 2] + tiles.centre - origin) @ TURN.T
    if model == "rigid":
        out[:, 0, 2] = 1
    else:
        change = TURN @ motion[:, :, :2]
        if model == "similarity":
            out[:, 0, 2], out[:, 1, 2] = change[:, 0, 0], change[:, 1, 0]
        else:
            out[:, :4, 2] = change.reshape(n, 4)
    return out
