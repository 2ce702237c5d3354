"""gtsam: a Pose2 graph with a robust kernel, as robotics does it. An extra: ``pip install 'demis_ij[gtsam]'``.

The edges are the pairs' relative poses. The first graph is made of the pairs that short loops confirm (the others
weigh next to nothing); then Levenberg-Marquardt under a Geman-McClure kernel whose width is learnt from the
residuals and narrowed step by step (graduated non-convexity, Yang 2020, doi:10.1109/LRA.2020.2965893). gtsam's own
GncOptimizer takes a fixed width instead, which covariances that are too small for real tiles would spoil.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from demis_ij.errors import InputError, MissingPart, SolveError
from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.beliefs import form_beliefs
from demis_ij.solvers.components import label_components
from demis_ij.solvers.measurements import pair_table, tile_table
from demis_ij.solvers.outcome import conclude, to_solution
from demis_ij.solvers.poses import Edges, check_pose_model, errors_of_poses, make_edges, motions_from_poses
from demis_ij.solvers.residuals import Worth
from demis_ij.solvers.tables import Array, PairTable, TileTable

WIDTH = 4.0  # of the kernel, in typical errors of a right pair
WIDTHS = (16.0, 4.0, 1.0, 1.0)  # times WIDTH, one round each
LOOSE = 1e-9  # information of the prior that holds a component's place, relative to its weakest edge


def _gtsam() -> ModuleType:
    try:
        import gtsam
    except ImportError as error:
        package = "gtsam"
        raise MissingPart(package, "gtsam") from error
    return gtsam  # type: ignore[no-any-return,unused-ignore]


class FactorGraphSolver:
    """A robust Pose2 factor graph, by gtsam.

    Parameters
    ----------
    model : str
        ``rigid``, or ``translation`` (the same graph with turns held at zero).
    stage_sigma_px : float
        What the stage is expected to be wrong by between neighbours, world px; decides for pairs that no loop speaks
        for.
    robust : bool
        Whether pairs may lose weight. False gives plain least squares on the poses.

    Raises
    ------
    InputError
        When the model is not one that poses can hold, or the sigma is not positive.
    MissingPart
        When gtsam is not installed.
    """

    def __init__(self, model: str = "rigid", stage_sigma_px: float = 30.0, robust: bool = True) -> None:
        self.model = check_pose_model("factor_graph", model)
        if not (np.isfinite(stage_sigma_px) and stage_sigma_px > 0):
            msg = f"stage_sigma_px must be positive, found {stage_sigma_px!r}"
            raise InputError(msg)
        self.stage_sigma_px = stage_sigma_px
        self.robust = robust
        self._gtsam = _gtsam()

    def __call__(self, layout: Layout, matches: Sequence[PairMatch]) -> Solution:
        """Return the solved layout. Raises `InputError` for pairs that do not fit it, `SolveError` on divergence."""
        tiles = tile_table(layout)
        pairs = pair_table(layout, matches, tiles)
        edges = make_edges(layout, matches, tiles, pairs, self.model)
        beliefs = form_beliefs(tiles, pairs, self.model, self.stage_sigma_px, robust=self.robust)
        poses = np.concatenate([tiles.centre, np.zeros((len(tiles), 1))], axis=1)
        weight = beliefs.weight
        if len(pairs):
            poses = self._optimise(poses, tiles, pairs, edges, np.maximum(weight, 1e-9), None)
        for width in WIDTHS if self.robust and len(pairs) else ():
            error = errors_of_poses(poses, pairs, edges)
            trusted = (weight > 0.5) & ~beliefs.barred
            # 2.37 and 1.39: medians of chi-squared with three and two degrees of freedom
            scale = float(np.median(error[trusted])) / (2.37 if self.model == "rigid" else 1.39) if trusted.any() else 1
            limit = (WIDTH * width) ** 2 * max(1.0, scale)
            poses = self._optimise(poses, tiles, pairs, edges, np.where(beliefs.barred, 1e-9, 1.0), limit)
            weight = (limit / (limit + errors_of_poses(poses, pairs, edges))) ** 2
            weight = np.where(beliefs.barred, 0.0, weight)
        worth = Worth(weight, weight / beliefs.noise_squared, np.zeros(2))
        solved = conclude(tiles, pairs, motions_from_poses(poses, tiles), worth, self.model)
        return to_solution(layout, matches, tiles, pairs, solved)

    def _optimise(
        self, poses: Array, tiles: TileTable, pairs: PairTable, edges: Edges, weight: Array, limit: float | None
    ) -> Array:
        """Return the poses after Levenberg-Marquardt, under a kernel of width ``sqrt(limit)`` if given."""
        gtsam = self._gtsam
        graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for tile, pose in enumerate(poses):
            start.insert(tile, gtsam.Pose2(*pose))
        self._hold(graph, poses, tiles, pairs, edges)
        kernel = None if limit is None else gtsam.noiseModel.mEstimator.GemanMcClure(float(np.sqrt(limit)))
        for k in range(len(pairs)):
            noise = gtsam.noiseModel.Gaussian.Information(weight[k] * edges.information[k])
            if kernel is not None:
                noise = gtsam.noiseModel.Robust.Create(kernel, noise)
            graph.add(
                gtsam.BetweenFactorPose2(
                    int(pairs.fixed[k]), int(pairs.moving[k]), gtsam.Pose2(*edges.measured[k]), noise
                )
            )
        settings = gtsam.LevenbergMarquardtParams()
        settings.setRelativeErrorTol(1e-6)
        try:
            found = gtsam.LevenbergMarquardtOptimizer(graph, start, settings).optimize()
        except RuntimeError as error:
            msg = f"gtsam could not solve {len(tiles)} tiles: {str(error).splitlines()[0]}"
            raise SolveError(msg) from error
        out = np.array([[p.x(), p.y(), p.theta()] for p in (found.atPose2(t) for t in range(len(poses)))])
        out[tiles.locked] = poses[tiles.locked]
        if not np.isfinite(out).all():
            msg = f"gtsam diverged on {len(tiles)} tiles"
            raise SolveError(msg)
        return out

    def _hold(self, graph: object, poses: Array, tiles: TileTable, pairs: PairTable, edges: Edges) -> None:
        """Add what holds locked tiles, one tile of every other component, and all turns of model translation."""
        gtsam = self._gtsam
        tight = gtsam.noiseModel.Constrained.All(3)
        component = label_components(len(tiles), pairs.fixed, pairs.moving)
        anchored = set(component[tiles.locked].tolist())
        weakest = float(np.einsum("kii->ki", edges.information).min())
        loose = gtsam.noiseModel.Gaussian.Information(LOOSE * weakest * np.eye(3))
        no_turn = gtsam.noiseModel.Diagonal.Precisions(np.array([LOOSE * weakest] * 2 + [1e12]))
        for tile, number in enumerate(component.tolist()):
            pose = gtsam.Pose2(*poses[tile])
            if tiles.locked[tile]:
                graph.add(gtsam.PriorFactorPose2(tile, pose, tight))  # type: ignore[attr-defined]
            elif self.model == "translation":
                graph.add(gtsam.PriorFactorPose2(tile, pose, no_turn))  # type: ignore[attr-defined]
            elif number not in anchored:
                anchored.add(number)
                graph.add(gtsam.PriorFactorPose2(tile, pose, loose))  # type: ignore[attr-defined]
