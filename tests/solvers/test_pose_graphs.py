"""The two pose-graph solvers: what they refuse, what they keep quiet about, what a robust kernel is worth."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from demis_ij.errors import InputError, MissingPart
from demis_ij.protocols import SOLVERS
from demis_ij.records import Affine
from demis_ij.solvers.factor_graph import FactorGraphSolver
from demis_ij.solvers.measurements import pair_table, tile_table
from demis_ij.solvers.poses import errors_of_poses, make_edges
from demis_ij.solvers.slam import SlamSolver
from demis_ij.testing.grids import corner_errors, make_grid


@pytest.mark.parametrize("name", ["slam", "factor_graph"])
@pytest.mark.parametrize("model", ["similarity", "affine", "homography", "elastic"])
def test_models_that_are_not_poses_are_refused_with_the_way_out(name: str, model: str) -> None:
    with pytest.raises(InputError, match=rf"{name} solves translation and rigid.*{model}.*sparse"):
        SOLVERS[name](model=model)


@pytest.mark.parametrize("name", ["slam", "factor_graph", "sparse"])
def test_translation_tiles_keep_their_turn(name: str) -> None:
    grid = make_grid(3, 3, np.random.default_rng(0), turn_deg=0, noise_px=0.0)

    solution = SOLVERS[name](model="translation")(grid.layout, grid.pairs)

    assert corner_errors(solution.layout, grid.truth).max() < 0.01  # px, no noise was made
    for tile in solution.layout:
        np.testing.assert_allclose(tile.to_world.matrix[:2, :2], np.eye(2), atol=1e-9, err_msg=tile.id)


@pytest.mark.parametrize("name", ["slam", "factor_graph", "sparse"])
def test_nothing_is_printed(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    grid = make_grid(2, 2, np.random.default_rng(1))

    SOLVERS[name](model="rigid")(grid.layout, grid.pairs)

    assert capfd.readouterr() == ("", "")


def test_the_truth_leaves_every_edge_without_error_whatever_the_tiles_hold_already() -> None:
    grid = make_grid(3, 3, np.random.default_rng(2), noise_px=0.0)
    lens = Affine.rigid(0.7) @ Affine(1.1, 0.0, 0.0, 1.1)
    layout = grid.layout.moved({t.id: t.to_world @ lens for t in grid.layout})
    pairs = [replace(p, fixed_xy=lens.inverse(p.fixed_xy), moving_xy=lens.inverse(p.moving_xy)) for p in grid.pairs]
    tiles = tile_table(layout)
    table = pair_table(layout, pairs, tiles)
    edges = make_edges(layout, pairs, tiles, table, "rigid")
    poses = []
    for row, tile in enumerate(layout):
        motion = grid.truth[tile.id] @ grid.layout[tile.id].to_world.inverse
        poses.append([*(motion(tiles.centre[row] * tiles.unit_px) / tiles.unit_px), motion.angle])

    error = errors_of_poses(np.array(poses), table, edges)

    assert error.max() < 1e-6  # sigmas squared


def test_edge_covariance_is_what_many_drawn_pairs_show() -> None:
    """The pair's covariance about its inliers, carried to the moving tile's centre, against 400 noisy copies."""
    measured, given = [], []
    clean = make_grid(1, 2, np.random.default_rng(3), noise_px=0.0)
    tiles = tile_table(clean.layout)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        pair = clean.pairs[0]
        noisy = replace(
            pair,
            fixed_xy=pair.fixed_xy + rng.normal(0, 0.5, pair.fixed_xy.shape),
            moving_xy=pair.moving_xy + rng.normal(0, 0.5, pair.moving_xy.shape),
            covariance=np.diag([0.5 / 40, 0.5 / 40, 0.5 / ((pair.fixed_xy - pair.fixed_xy.mean(0)) ** 2).sum()]),
        )
        edges = make_edges(clean.layout, [noisy], tiles, pair_table(clean.layout, [noisy], tiles), "rigid")
        measured.append(edges.measured[0])
        given.append(edges.information[0])
    # whitened by the given information the scatter is one; 400 draws: 5 % on each, three times that allowed
    root = np.linalg.cholesky(np.mean(given, axis=0))
    white = (np.array(measured) - np.mean(measured, axis=0)) @ root
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.2)


@pytest.mark.parametrize("name", ["slam", "factor_graph"])
@pytest.mark.parametrize("covariance", [np.full((3, 3), np.nan), -np.eye(3)], ids=["nan", "negative"])
def test_a_covariance_that_is_none_is_refused_by_name(name: str, covariance: np.ndarray) -> None:
    grid = make_grid(1, 2, np.random.default_rng(4))

    with pytest.raises(InputError, match=r"0_0.*0_1.*covariance"):
        SOLVERS[name]()(grid.layout, [replace(grid.pairs[0], covariance=covariance)])


def test_the_robust_graph_disbelieves_wrong_pairs_and_the_papers_is_bent_by_them() -> None:
    grid = make_grid(8, 8, np.random.default_rng(5), wrong=0.05)

    robust = FactorGraphSolver()(grid.layout, grid.pairs)
    paper = SlamSolver()(grid.layout, grid.pairs)

    assert len(grid.wrong) >= 2
    assert all(robust.pair_weight[pair] < 0.05 for pair in grid.wrong)
    assert corner_errors(robust.layout, grid.truth).max() < 2  # px
    assert np.median(corner_errors(paper.layout, grid.truth)) > 2  # px: no kernel
    assert set(paper.pair_weight.values()) == {1.0}


def test_solvers_are_found_by_name_without_loading_what_they_do_not_need() -> None:
    code = (
        "import sys, demis_ij.solvers, demis_ij.solvers.sparse, demis_ij.solvers.slam, demis_ij.solvers.factor_graph;"
        "print([m for m in ('gtsam', 'graphslam', 'matplotlib', 'torch') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "package"), [("slam", "graphslam"), ("factor_graph", "gtsam")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m == package or m.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingPart, match=f"{package} is not installed"):
        SOLVERS[name]()
