"""Whole grids measured against the places of their tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluated import known, source

from demis_ij.errors import SolveError
from demis_ij.evaluate import Kept, evaluate_grids, grids, read_configuration
from demis_ij.evaluate.stitched import aligned, grid_measures
from demis_ij.metrics import global_error_px
from demis_ij.records import Affine

SIFT = read_configuration("sift@1")


@pytest.fixture(scope="module")
def score():
    return evaluate_grids([source()], [SIFT])[0]


def test_a_grid_has_the_errors_of_its_tiles_and_neighbours(score):
    assert score.problem == ""
    assert score.tiles == 6
    assert len(score.textured_px) + len(score.other_px) == 24
    assert max(score.textured_px) < 0.5
    assert len(score.pair_corner_px) == score.textured_pairs == len(known().textured)
    assert max(map(max, score.pair_corner_px)) < 0.5
    assert (score.textured_failed, score.weak_pairs) == (0, len(known().weak))
    assert score.cpu_s > 0 < score.wall_s


def test_the_mosaic_is_nearly_that_of_the_truth(score):
    assert score.measures["mosaic_psnr_db"] > 30


def test_a_mosaic_at_the_true_places_has_no_error_wherever_its_world_lies():
    everywhere = [list(known().layout.ids)]
    frame = Affine.rigid(0.3, 500, -70)
    moved = known().truth.moved({t.id: frame @ t.to_world for t in known().truth})
    got = grid_measures(known(), known().store(0.5), moved, everywhere, ("ssim", "fsim", "brisque"))
    assert got["mosaic_rmse"] < 0.01  # rounding of the way back and forth
    got = grid_measures(known(), known().store(0.5), known().layout, everywhere, ("ssim", "fsim", "brisque"))
    assert got["mosaic_rmse"] > 3


def test_each_part_is_laid_onto_the_truth_by_itself_and_single_tiles_go_with_the_largest():
    ids = known().layout.ids
    parts = [[i for i in ids if i not in ("r00_c00", "r01_c02", "r00_c02")], ["r01_c02", "r00_c02"], ["r00_c00"]]
    frames = dict.fromkeys(parts[0], Affine.rigid(0.1, 9, 9)) | dict.fromkeys(parts[1], Affine.rigid(-0.2, 4, 0))
    frames |= {"r00_c00": Affine.translation(20, 0) @ Affine.rigid(0.1, 9, 9)}
    there = aligned(
        known().truth.moved({i: f @ known().truth[i].to_world for i, f in frames.items()}), known().truth, parts
    )
    off = {t.id: np.linalg.norm(t.world_corners - known().truth[t.id].world_corners, axis=1) for t in there}
    assert max(off[i].max() for i in parts[0] + parts[1]) < 1e-6
    np.testing.assert_allclose(off["r00_c00"], 20, atol=1e-6)
    assert max(e.max() for e in global_error_px(there, known().truth, components=(tuple(parts[0]),)).values()) < 1e-6


def test_a_grid_without_a_solution_says_why(monkeypatch):
    def fail(*_args, **_options):
        raise SolveError("no way")

    monkeypatch.setattr(grids, "stitch", fail)
    (score,) = evaluate_grids([source()], [SIFT])
    assert score.problem == "no way"
    assert score.textured_px == ()


def test_a_grid_is_not_stitched_again(score, tmp_path, monkeypatch):
    kept = Kept(tmp_path)
    kept.put([score], "grids", source().fingerprint, SIFT.fingerprint, ())
    monkeypatch.setattr(grids, "missing_measures", dict)
    monkeypatch.setattr(grids, "stitch", None)
    assert evaluate_grids([source()], [replace(SIFT, name="again")], kept=kept) == [
        replace(score, configuration="again")
    ]
