"""The story of a pair, from files to a judged transform."""

from math import radians
from pathlib import Path

import cv2
import numpy as np
import pytest
from real_images import shared_data
from scipy import ndimage

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.geometry import apply
from demis_ij.images import TileStore, with_shapes
from demis_ij.matchers.refine import Exact
from demis_ij.pairs import Gate, estimate_pair, match_pair, match_pairs, neighbours
from demis_ij.protocols import MATCHERS
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected, Tile
from demis_ij.testing.matcher_contract import tissue

SIZE = 400


def scene(folder: Path, *, turn_deg: float = 1.5, overlap: float = 0.2, seed: int = 0) -> tuple[Layout, Affine]:
    """Two neighbours on disk, each with noise, gain and a stage error of its own; and the true moving to fixed map."""
    rng = np.random.default_rng(seed)
    source = tissue((SIZE + 120, 2 * SIZE + 120), rng)
    step = SIZE * (1 - overlap)
    tiles, poses = [], []
    for i in range(2):
        nominal = Affine.translation(i * step, 0)
        pose = nominal @ Affine.about(
            Affine.rigid(radians(rng.uniform(-turn_deg, turn_deg)), *rng.uniform(-8, 8, 2)), ((SIZE - 1) / 2,) * 2
        )
        pull = Affine.translation(60, 60) @ pose
        grey = ndimage.affine_transform(
            source, [[pull.d, pull.c], [pull.b, pull.a]], [pull.ty, pull.tx], (SIZE, SIZE), np.float64, order=5
        )
        grey = (1 - 0.1 * i) * grey + 8 * i + rng.normal(0, 5, grey.shape)
        path = folder / f"tile {i}.png"
        cv2.imwrite(str(path), np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        tiles.append(Tile(f"t{i}", path, (SIZE, SIZE), nominal))
        poses.append(pose)
    return Layout(tuple(tiles)), poses[0].inverse @ poses[1]


@pytest.mark.parametrize("name", ["sift", "correlation"])
def test_a_pair_is_found_to_a_fraction_of_a_pixel(tmp_path, name):
    layout, truth = scene(tmp_path)
    errors = {}
    for refine in (False, True):
        got = match_pair(TileStore(), layout, ("t0", "t1"), MATCHERS[name](), StitchConfig(refine=refine))
        assert isinstance(got, PairMatch), got
        corners = layout["t1"].corners
        errors[refine] = np.linalg.norm(apply(got.to_fixed, corners) - truth(corners), axis=1).max()
        assert got.matcher == name
        assert (got.fixed, got.moving) == ("t0", "t1")
    assert errors[True] < 0.1  # px, the worst corner of the whole tile
    assert errors[True] < errors[False] or name == "sift"  # which looks at thin strips at full resolution anyway


def test_a_tile_that_cannot_be_read_refuses_its_pairs_and_no_others(tmp_path):
    layout, _ = scene(tmp_path)
    gone = Tile("gone", tmp_path / "gone.png", (SIZE, SIZE), Affine.translation(0, 0.8 * SIZE))
    layout = Layout((*layout.tiles, gone))
    bad, good = match_pairs(TileStore(), layout, [("t0", "gone"), ("t0", "t1")], MATCHERS["sift"](), StitchConfig())
    assert isinstance(bad, Rejected)
    assert "gone.png" in bad.reason
    assert isinstance(good, PairMatch)


class Liar:
    """A matcher that is sure of a wrong place."""

    name = "liar"

    def __call__(self, fixed, moving):
        rng = np.random.default_rng(0)
        xy = rng.uniform((5, 60), (moving.image.shape[1] - 5, moving.image.shape[0] - 60), (60, 2))
        return Correspondences(xy + (6, 27), xy, np.ones(60))

    def batch(self, pairs):
        return [self(*p) for p in pairs]


def test_a_matcher_that_is_sure_of_a_wrong_place_is_not_believed(tmp_path):
    layout, _ = scene(tmp_path)
    got = match_pair(TileStore(), layout, ("t0", "t1"), Liar(), StitchConfig(stage_error_frac=0.15))
    assert isinstance(got, Rejected)
    assert "60 matches agree, but the images do not" in got.reason


def test_what_was_tried_before_is_kept(tmp_path):
    layout, _ = scene(tmp_path)
    before = (("loftr", "3 matches found, 8 needed"),)
    got = match_pair(TileStore(), layout, ("t0", "t1"), MATCHERS["sift"](), StitchConfig(), tried=before)
    assert got.tried == before


def test_tiles_with_no_data_where_they_meet_are_refused(tmp_path):
    layout, _ = scene(tmp_path)
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[:, SIZE // 2 :] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    first = layout.tiles[0]
    masked = Tile(first.id, first.path, first.shape, first.to_world, mask_path=tmp_path / "mask.png")
    got = match_pair(TileStore(), Layout((masked, layout.tiles[1])), ("t0", "t1"), MATCHERS["sift"](), StitchConfig())
    assert isinstance(got, Rejected)
    assert "tile t0 has no data in the expected overlap" in got.reason


def test_opencv_threads_and_random_state_are_left_alone(tmp_path):
    layout, _ = scene(tmp_path)
    threads = cv2.getNumThreads()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what must not change
    match_pair(TileStore(), layout, ("t0", "t1"), MATCHERS["sift"](), StitchConfig())
    assert cv2.getNumThreads() == threads
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("name", ["sift", "correlation"])
def test_real_zircon_strips_close_on_the_published_steps(name):
    folder = shared_data("sem_zircon_bse_cl") / "zirconBSE" / "1"
    paths = sorted(folder.glob("*.jpg"))
    layout, warnings, unusable = with_shapes(
        Layout(tuple(Tile(p.stem, p, (0, 0), Affine.translation(-1080 * i, 0)) for i, p in enumerate(paths)))
    )
    assert not warnings
    assert not unusable
    config = StitchConfig(stage_error_frac=0.1)
    pairs = neighbours(layout, margin_frac=0.1)
    assert len(pairs) == 3
    for got in match_pairs(TileStore(), layout, pairs, MATCHERS[name](), config):
        assert isinstance(got, PairMatch), got
        assert 1020 < -got.to_fixed[0, 2] < 1135  # px: 1027 to 1128 as measured by others
        assert got.residual_px < 1.0


@pytest.mark.parametrize("estimator", ["ransac", "usac", "lmeds"])
def test_every_robust_estimator_can_be_asked_for(estimator):
    rng = np.random.default_rng(4)
    shapes = (400, 400)
    fixed, moving = (Tile(n, Path(n), shapes, Affine.translation(x, 0)) for n, x in (("a", 0), ("b", 340)))
    fixed_xy = np.stack([rng.uniform(342, 398, 60), rng.uniform(5, 395, 60)], 1)
    moving_xy = fixed_xy - np.array((345, -6))
    moving_xy[:15] += rng.uniform(-20, 20, (15, 2))
    gate = Gate.of(StitchConfig(estimator=estimator), fixed, moving)

    answer = estimate_pair(
        fixed, moving, Correspondences(fixed_xy, moving_xy, np.ones(60)), model="rigid", gate=gate, matcher="made up"
    )

    assert isinstance(answer, PairMatch)
    np.testing.assert_allclose(answer.to_fixed[:2, 2], (345, -6), atol=0.01)


def test_without_the_fine_stage_the_same_transform_is_found(tmp_path):
    layout, truth = scene(tmp_path)
    got = match_pair(TileStore(), layout, ("t0", "t1"), MATCHERS["loftr"](device="cpu", fine=False), StitchConfig())
    assert isinstance(got, PairMatch), got
    corners = layout["t1"].corners
    assert np.linalg.norm(apply(got.to_fixed, corners) - truth(corners), axis=1).max() < 0.1  # px
    assert got.every is not None
    assert got.inliers == len(got.every) > len(got.fixed_xy)
    off = np.linalg.norm(truth(got.every.moving_xy) - got.every.fixed_xy, axis=1)
    assert np.median(off) < 0.1  # px: the matcher's own points are exact, too
    assert np.percentile(off, 95) < 1.0


def test_where_points_cannot_be_made_exact_the_fine_stage_is_asked(tmp_path, monkeypatch):
    layout, _ = scene(tmp_path)
    monkeypatch.setattr("demis_ij.pairs.matching.refine", lambda *_, **__: Exact.none())
    matcher = MATCHERS["loftr"](device="cpu", fine=False)
    found = {
        fine: match_pair(TileStore(), layout, ("t0", "t1"), MATCHERS["loftr"](device="cpu", fine=fine), StitchConfig())
        for fine in (True, False)
    }
    assert matcher.error_px > 4 > matcher.finer.error_px
    assert isinstance(found[False], PairMatch)
    np.testing.assert_allclose(found[False].to_fixed, found[True].to_fixed)
    np.testing.assert_array_equal(found[False].moving_xy, found[True].moving_xy)
    assert found[False].every is None


def test_fast_without_refinement_is_refused():
    with pytest.raises(InputError, match="fast leaves it to the refinement"):
        StitchConfig(fast=True, refine=False)
