"""The benchmark of real pairs: its peers keep the matchers' promises, its reference is what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from real_images import shared_data

from demis_ij.protocols import View
from demis_ij.records import Affine, Layout, PairMatch, Tile
from demis_ij.testing import matcher_contract

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def peers():
    """Put the benchmarks where their own programs find them."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module", params=["xfeat", "raft"])
def peer(request, peers):
    if request.param == "xfeat":
        shared_data("weights_xfeat")
        from peers.xfeat import XfeatMatcher

        return XfeatMatcher(2.0, top_k=4096)
    shared_data("weights_raft_small")
    pytest.importorskip("torchvision", reason="RAFT needs torchvision, which only this benchmark uses")
    from peers.raft import RaftMatcher

    return RaftMatcher(0.75)


@pytest.mark.parametrize(
    "check",
    [
        matcher_contract.recovers_a_shift,
        matcher_contract.swapping_the_views_swaps_the_columns,
        matcher_contract.blank_views_give_no_points,
        matcher_contract.points_lie_where_there_is_data,
    ],
    ids=lambda c: c.__name__,
)
def test_a_peer_keeps_the_contract(peer, check):
    check(peer)


def test_a_peer_is_unbiased(peer):
    rng = np.random.default_rng(1)
    off = []
    for shift in ((3.75, -2.25), (-3.75, 2.25), (0.5, 0.5)):
        to_fixed = Affine.translation(*shift)
        source = matcher_contract.tissue((400, 300), rng)
        found = peer(*matcher_contract.two_views(source, to_fixed, rng, shape=(256, 160)))
        error = found.fixed_xy - to_fixed(found.moving_xy)
        off.append(error[np.linalg.norm(error, axis=1) < 4].mean(0))
    # px: half a pixel would show a wrong corner or centre; XFeat's own fine places are off by 0.2
    assert np.abs(np.mean(off, axis=0)).max() < 0.2


def _answers(rng, shift, count, noise, *, bend=0.0, low=0, high=960):
    fixed = rng.uniform((0, low), (96, high), (count, 2))
    moving = fixed + shift + rng.normal(0, noise, fixed.shape)
    moving[:, 0] += bend * (fixed[:, 1] / 480 - 1) ** 2
    from peers.reference import Answer

    return Answer(fixed, moving, Affine.translation(-shift[0], -shift[1]).matrix)


def test_the_reference_finds_a_bent_seam(peers):
    from peers.reference import reference

    rng = np.random.default_rng(2)
    shift = np.array([-870.3, 4.6])
    found = reference({f: [_answers(rng, shift, n, 0.4, bend=2.5)] for f, n in (("a", 2000), ("b", 80), ("c", 300))})
    at = rng.uniform((5, 20), (90, 940), (200, 2))
    truth = at + shift
    truth[:, 0] += 2.5 * (at[:, 1] / 480 - 1) ** 2
    assert found.error_px(at, truth).max() < 0.3  # px: a third of what counts as correct
    assert found.families == ("a", "b", "c")


def test_one_family_however_many_its_points_does_not_outvote_two(peers):
    from peers.reference import reference

    rng = np.random.default_rng(3)
    right, wrong = np.array([-870.0, 5.0]), np.array([-800.0, 40.0])
    found = reference(
        {
            "many": [_answers(rng, wrong, 5000, 0.1)],
            "b": [_answers(rng, right, 60, 0.5)],
            "c": [_answers(rng, right, 90, 0.5)],
        }
    )
    at = np.array([[48.0, 100.0], [48.0, 800.0]])
    np.testing.assert_allclose(found(at), at + right, atol=0.5)  # px: noise of 60 points
    assert found.families == ("b", "c")


def test_nobody_s_votes_make_no_reference(peers):
    from peers.reference import reference

    assert reference({"a": [], "b": []}) is None


def test_blocks_are_what_both_tiles_show(peers):
    from peers.reference import overlap_blocks, reference

    rng = np.random.default_rng(4)
    shift = np.array([64.0, 0.0])  # fixed x 0 is moving x 64
    where = reference({"a": [_answers(rng, shift, 200, 0.0, high=256)]})
    image, data = np.zeros((256, 256), np.uint8), np.ones((256, 256), bool)
    hidden = data.copy()
    hidden[:, :96] = False
    every = overlap_blocks(View(image, data), View(image, data), where)
    assert every.shared.sum() == 8 * 6
    assert every.origin.tolist() == [0, 0]
    blocks = overlap_blocks(View(image, data), View(image, hidden), where)
    assert blocks.shared.sum() == 8 * 5
    assert blocks.origin.tolist() == [32, 0]
    assert blocks.centres[0].tolist() == [47.5, 15.5]
    assert blocks.held(np.array([[31.6, 40.0], [31.4, 40.0], [500.0, 0.0]])).sum() == 1  # the second lies to the left
    assert overlap_blocks(View(image, data), View(image, ~data), where) is None


def test_a_loop_misses_what_one_of_its_pairs_is_off_by(peers):
    import real_pairs

    ids = ["a", "b", "c", "d"]
    places = [(0, 0), (90, 0), (90, 90), (0, 90)]
    tiles = tuple(Tile(n, Path(n), (100, 100), Affine.translation(*p)) for n, p in zip(ids, places, strict=True))
    layout = Layout(tiles)

    def pair(one, two, off=(0.0, 0.0)):
        to_fixed = layout[one].to_world.inverse @ layout[two].to_world
        matrix = (Affine.translation(*off) @ to_fixed).matrix
        return PairMatch(one, two, np.zeros((9, 2)), np.zeros((9, 2)), matrix, "rigid", np.eye(3), 0.1)

    three = [pair("a", "b"), pair("b", "c"), pair("c", "d")]
    assert real_pairs.closures(layout, three) == {}
    (closed,) = real_pairs.closures(layout, [*three, pair("a", "d")]).values()
    assert closed == pytest.approx(0, abs=1e-9)
    (open_,) = real_pairs.closures(layout, [*three, pair("a", "d", (3.0, 4.0))]).values()
    assert open_ == pytest.approx(5.0)


def test_what_a_peer_sees_of_a_pair_comes_back_in_px_of_the_view(peers):
    from peers.looking import Within

    from demis_ij.matchers.sift import SiftMatcher
    from demis_ij.pairs import overlap_crops

    rng = np.random.default_rng(5)
    section = matcher_contract.tissue((300, 500), rng).clip(0, 255).astype(np.uint8)
    fixed = Tile("f", Path("f"), (300, 300), Affine())
    moving = Tile("m", Path("m"), (300, 300), Affine.translation(200, 0))
    crops = overlap_crops(fixed, moving, 30)
    tiles = (section[:, :300], section[:, 200:])
    cut = [tile[crop.box.slices] for tile, crop in zip(tiles, crops, strict=True)]
    views = [View(np.ascontiguousarray(c), np.ones(c.shape, bool)) for c in cut]
    found = Within(SiftMatcher(resolution=1), fixed, moving, 30, 0)(*views)
    assert len(found) > 50
    fixed_xy, moving_xy = crops[0].to_tile(found.fixed_xy), crops[1].to_tile(found.moving_xy)
    assert fixed_xy[:, 0].min() > 199  # what it saw begins where the overlap does
    np.testing.assert_allclose(np.median(fixed_xy - moving_xy, axis=0), (200, 0), atol=0.1)
    narrow = Within(SiftMatcher(), fixed, moving, 30, 0)
    placed = Tile("m", Path("m"), (300, 300), Affine.translation(190, 0))
    assert Within(SiftMatcher(), fixed, moving, 30, 0, placed).differs_from(narrow, 10)
    assert not Within(SiftMatcher(), fixed, moving, 30, 0, placed).differs_from(narrow, 11)


def test_weights_that_are_not_there_are_named(peers, monkeypatch, tmp_path):
    from peers.xfeat import XfeatMatcher

    monkeypatch.setenv("DEMIS_IJ_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"xfeat_kornia_state_dict.pt.*DEMIS_IJ_DATA"):
        XfeatMatcher()


def test_without_torchvision_raft_says_what_to_install(peers, monkeypatch):
    from peers.raft import RaftMatcher

    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(SystemExit, match="pip install torchvision"):
        RaftMatcher()


def test_the_check_names_what_fell(peers):
    import real_pairs

    then = {"accepted": 7, "wrong": 0, "coverage": 0.9, "loop_median_px": 0.8, "loop_max_px": 0.9}
    assert real_pairs.check({"s | r": then}, {"s | r": then}) == []
    now = {"accepted": 6, "wrong": 1, "coverage": 0.8, "loop_median_px": None, "loop_max_px": 1.5}
    assert len(real_pairs.check({"s | r": now}, {"s | r": then})) == 5
    assert "not in the ledger" in real_pairs.check({"s | r": now}, {})[0]
