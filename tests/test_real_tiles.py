"""Real tiles end where they are known to lie; the benchmark `benchmarks/real.py` goes through all of them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from real_images import shared_data

from demis_ij.images import TileStore
from demis_ij.records import Layout


@pytest.fixture(scope="module")
def real() -> Iterator[ModuleType]:
    folder = str(Path(__file__).resolve().parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    import real

    yield real
    sys.path.remove(folder)


@pytest.mark.parametrize("start", ["as written", "1"])
@pytest.mark.parametrize("matcher", ["loftr", "sift", "correlation"])
def test_tem_camera_tiles_lie_within_a_pixel_of_their_published_affines(real, matcher, start):
    case = real.temca(shared_data("em_render_temca_2x2").parent, start)
    row = real.measure(case, real.solve(case, matcher))
    assert row["accepted"] == 4
    assert row["by_stage"] == 0
    assert row["truth_median_px"] <= 1.0  # px of the half-size tiles: the figure; 0.4 was measured
    assert row["truth_max_px"] <= 3.0  # px: the lens leaves 2 px at the far corners, which no affine takes away


def test_a_16_bit_pair_is_exact(real):
    case = real.sixteen_bit(shared_data("em_render_temca_2x2").parent)
    assert real.measure(case, real.solve(case, "sift"))["truth_max_px"] < 0.05  # px: cut from one image


@pytest.mark.parametrize("overlap", [0.2, 0.05])
def test_a_grid_is_found_though_its_overlap_is_guessed(real, overlap):
    case = real.stitch2d(shared_data("sem_stitch2d_2x3").parent, overlap)
    row = real.measure(case, real.solve(case, "sift"))
    assert row["accepted"] == 7
    assert row["loop_max_px"] < 3  # px: the figure
    assert row["truth_median_px"] < 1.2  # px: what the known steps scatter by


@pytest.mark.parametrize("start", ["top-right", "top-left"])
def test_zircons_are_joined_from_right_to_left_without_their_data_bars(real, start):
    case = real.zircon(shared_data("sem_zircon_bse_cl").parent, "zirconBSE", 0.15, start)
    result = real.solve(case, "sift")
    at = [np.array([t.to_world.tx, t.to_world.ty]) for t in result.solution.layout]
    steps = np.diff(at, axis=0)
    assert len(real.believed(result)) == 3
    assert ((steps[:, 0] > -1135) & (steps[:, 0] < -1020)).all()  # px: 1027 to 1128 leftwards
    assert (np.abs(steps[:, 1]) < 80).all()  # px: jitter up to 72
    assert not _shown(result.solution.layout, 960).any()


def _shown(layout: Layout, first_row: int) -> np.ndarray:
    """Return the masks of all tiles from a row on."""
    store = TileStore()
    return np.concatenate([store.mask(t)[first_row:].ravel() for t in layout])
