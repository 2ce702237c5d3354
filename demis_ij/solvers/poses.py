"""Pose graphs: what slam and factor_graph share. A vertex is a tile's centre and turn, an edge a pair's rigid motion.

The pose X_i = (place, turn) of a tile takes points about its stage centre to the world, so ``M_i(x) = X_i(x - c_i)``
and a pair that says ``M_j = M_i E`` measures ``X_i^-1 X_j = T(-c_i) E T(c_j)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demis_ij.errors import InputError
from demis_ij.geometry import MODELS
from demis_ij.records import Layout, PairMatch
from demis_ij.solvers.measurements import places_of
from demis_ij.solvers.pair_fits import own_motion
from demis_ij.solvers.tables import Array, PairTable, TileTable

SMALLEST_SIGMA_PX = 0.01  # no seam is known better
SMALLEST_SIGMA_TURN = 1e-5  # radians: 0.01 px over a tile of a thousand


@dataclass(frozen=True, eq=False)
class Edges:
    """The pairs as relative poses.

    Attributes
    ----------
    measured : ndarray of shape (m, 3)
        Pose of the moving tile seen from the fixed one: x, y in units, turn in radians.
    information : ndarray of shape (m, 3, 3)
        Inverse covariance of the error ``measured^-1 (X_i^-1 X_j)``.
    """

    measured: Array
    information: Array


def check_pose_model(solver: str, model: str) -> str:
    """Return the model if poses can hold it. Raises `InputError` otherwise."""
    if model not in {"translation", "rigid"}:
        known = f"there is no model {model!r}" if model not in MODELS else f"tiles of model {model!r} are not poses"
        msg = f"{solver} solves translation and rigid: {known}; solver sparse solves up to affine"
        raise InputError(msg)
    return model


def make_edges(layout: Layout, matches: Sequence[PairMatch], tiles: TileTable, pairs: PairTable, model: str) -> Edges:
    """Return every pair as a relative pose, with the information of the pair's covariance.

    The motion is the rigid motion (shift) that is least squares on the pair's points, in world px; the covariance,
    given about the middle of the fixed inliers, is carried to the moving tile's centre.

    Raises
    ------
    InputError
        When a covariance is not a finite, positive (3, 3) matrix.
    """
    turn, shift, _ = own_motion(pairs, tiles, scale=False, turn=model == "rigid")
    lever = tiles.centre[pairs.moving] - tiles.centre[pairs.fixed]
    half = (lever[:, 0] + 1j * lever[:, 1]) / 2
    place = turn * half + shift + half  # E about the middle of the two tiles, from the fixed tile's centre
    measured = np.stack([place.real, place.imag, np.angle(turn)], axis=1)
    given = np.array([matches[k].covariance for k in pairs.row], float).reshape(-1, 3, 3)
    good = np.isfinite(given).all(axis=(1, 2)) & (np.einsum("kii->ki", given) >= 0).all(axis=1)
    if not good.all():
        first = matches[pairs.row[int(np.flatnonzero(~good)[0])]]
        msg = f"pair {first.fixed!r} - {first.moving!r}: its covariance must be finite and not negative"
        raise InputError(msg)
    to_world = np.zeros((len(pairs), 3, 3))
    to_world[:, :2, :2] = places_of(layout)[pairs.fixed, :, :2] / tiles.unit_px
    to_world[:, 2, 2] = 1
    # a turn about the inliers moves the moving tile's centre sideways
    arm = measured[:, :2] - pairs.moments[:, :2, 2] / pairs.count[:, None]
    carry = np.tile(np.eye(3), (len(pairs), 1, 1))
    carry[:, 0, 2], carry[:, 1, 2] = -arm[:, 1], arm[:, 0]
    into_moving = np.zeros((len(pairs), 3, 3))  # errors of a pose count along the axes of the moving tile
    into_moving[:, 0, 0] = into_moving[:, 1, 1] = turn.real
    into_moving[:, 0, 1], into_moving[:, 1, 0] = turn.imag, -turn.imag
    into_moving[:, 2, 2] = 1
    whole = into_moving @ carry @ to_world
    floor = np.diag([(SMALLEST_SIGMA_PX / tiles.unit_px) ** 2] * 2 + [SMALLEST_SIGMA_TURN**2])
    covariance = whole @ given @ whole.transpose(0, 2, 1) + floor
    return Edges(measured, np.linalg.inv(covariance))


def motions_from_poses(poses: Array, tiles: TileTable) -> Array:
    """Return (n, 2, 3) motions about the tiles' stage centres of (n, 3) poses (x, y, turn)."""
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    t = poses[:, :2] - tiles.centre
    return np.stack([np.stack([c, -s, t[:, 0]], 1), np.stack([s, c, t[:, 1]], 1)], 1)


def errors_of_poses(poses: Array, pairs: PairTable, edges: Edges) -> Array:
    """Return (m,) squared errors of the edges in units of their covariance."""
    i, j = poses[pairs.fixed], poses[pairs.moving]
    step = (j[:, 0] - i[:, 0] + 1j * (j[:, 1] - i[:, 1])) * np.exp(-1j * i[:, 2])
    off = (step - edges.measured[:, 0] - 1j * edges.measured[:, 1]) * np.exp(-1j * edges.measured[:, 2])
    turn = (j[:, 2] - i[:, 2] - edges.measured[:, 2] + np.pi) % (2 * np.pi) - np.pi
    error = np.stack([off.real, off.imag, turn], axis=1)
    return np.asarray(np.einsum("ka,kab,kb->k", error, edges.information, error))
