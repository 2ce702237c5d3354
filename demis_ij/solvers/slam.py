"""python-graphslam, as in the DEMIS paper: one SE(2) vertex a tile, an edge a pair, one graph a component.

The paper's vertices stand at the expected tile positions and its edges carry the rotation and translation that the
pair's homography induces. Two things differ: an edge's information comes from the pair's covariance (the published
code gives every edge the same), and the finished component is moved as one to where the stage had it (the published
code leaves its first tile in place). There is no robust kernel: one wrong pair bends everything near it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.sparse import SparseEfficiencyWarning

from demis_ij.errors import MissingPart, SolveError
from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.solvers.beliefs import learn_noise
from demis_ij.solvers.components import label_components
from demis_ij.solvers.measurements import pair_table, tile_table
from demis_ij.solvers.outcome import conclude, to_solution
from demis_ij.solvers.pair_fits import own_squares
from demis_ij.solvers.poses import Edges, check_pose_model, make_edges, motions_from_poses
from demis_ij.solvers.residuals import Worth
from demis_ij.solvers.tables import Array, PairTable, Rows, TileTable

TOLERANCE = 1e-6  # relative decrease of the sum of squares at which graphslam stops
MOST_STEPS = 30


class SlamSolver:
    """The DEMIS paper's global optimisation, by python-graphslam.

    Parameters
    ----------
    model : str
        ``rigid`` (SE(2) vertices) or ``translation`` (R2 vertices).

    Raises
    ------
    InputError
        When the model is not one that poses can hold.
    MissingPart
        When graphslam is not installed.
    """

    def __init__(self, model: str = "rigid") -> None:
        self.model = check_pose_model("slam", model)
        try:
            import graphslam.graph  # noqa: F401  only to know now rather than at the first call
        except ImportError as error:
            package = "graphslam"
            raise MissingPart(package) from error

    def __call__(self, layout: Layout, matches: Sequence[PairMatch]) -> Solution:
        """Return the solved layout. Raises `InputError` for pairs that do not fit it, `SolveError` on divergence."""
        tiles = tile_table(layout)
        pairs = pair_table(layout, matches, tiles)
        edges = make_edges(layout, matches, tiles, pairs, self.model)
        poses = np.concatenate([tiles.centre, np.zeros((len(tiles), 1))], axis=1)
        component = label_components(len(tiles), pairs.fixed, pairs.moving)
        order = np.argsort(component[pairs.fixed], kind="stable")
        sizes = np.bincount(component[pairs.fixed]) if len(pairs) else np.zeros(0, int)
        for number, pair_rows in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
            tile_rows = np.flatnonzero(component == number)
            if len(pair_rows) and not tiles.locked[tile_rows].all():
                poses[tile_rows] = self._solve(tile_rows, pair_rows, poses, tiles, pairs, edges)
        own = own_squares(pairs, tiles, self.model)
        noise = learn_noise(pairs.count, own, 3 if self.model == "rigid" else 2, tiles.unit_px)
        worth = Worth(np.ones(len(pairs)), 1 / noise, np.zeros(2))
        solved = conclude(tiles, pairs, motions_from_poses(poses, tiles), worth, self.model)
        return to_solution(layout, matches, tiles, pairs, solved)

    def _solve(
        self, tile_rows: Rows, pair_rows: Rows, poses: Array, tiles: TileTable, pairs: PairTable, edges: Edges
    ) -> Array:
        """Return the poses of one component, solved by graphslam."""
        from graphslam.edge.edge_odometry import EdgeOdometry
        from graphslam.graph import Graph
        from graphslam.pose.r2 import PoseR2
        from graphslam.pose.se2 import PoseSE2
        from graphslam.vertex import Vertex

        size = 3 if self.model == "rigid" else 2

        def pose(value: Array) -> PoseSE2 | PoseR2:
            return PoseSE2(value[:2], value[2]) if size == 3 else PoseR2(value[:2])

        vertices = [Vertex(int(t), pose(poses[t]), fixed=bool(tiles.locked[t])) for t in tile_rows]
        graph_edges = [
            EdgeOdometry(
                [int(pairs.fixed[k]), int(pairs.moving[k])],
                edges.information[k][:size, :size],
                pose(edges.measured[k]),
            )
            for k in pair_rows
        ]
        graph = Graph(graph_edges, vertices)
        nothing_locked = not bool(tiles.locked[tile_rows].any())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SparseEfficiencyWarning)  # graphslam hands scipy a list-of-lists matrix
            graph.optimize(tol=TOLERANCE, max_iter=MOST_STEPS, fix_first_pose=nothing_locked, verbose=False)
        out = poses[tile_rows].copy()
        out[:, :size] = [np.asarray(v.pose.to_array())[:size] for v in graph._vertices]
        if not np.isfinite(out).all():
            msg = f"graphslam diverged on a component of {len(tile_rows)} tiles; solver sparse is robust"
            raise SolveError(msg)
        return out
