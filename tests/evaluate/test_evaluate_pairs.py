"""Pairs measured against their truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluated import Told, known, source

from demis_ij.config import StitchConfig
from demis_ij.evaluate import Configuration, Kept, evaluate_pairs, read_configuration
from demis_ij.evaluate.scenes import spread_out
from demis_ij.evaluate.stitched import pair_measures
from demis_ij.geometry import apply
from demis_ij.metrics import corner_error_px, overlap_error_px, true_to_fixed
from demis_ij.pairs import match_pairs
from demis_ij.records import Affine, PairMatch

PLAIN = StitchConfig(matcher="sift", refine=False)


@pytest.fixture
def told(monkeypatch):
    """A configuration whose matcher is one that is told what to answer."""

    def make(config=PLAIN, **options):
        monkeypatch.setattr(Configuration, "matchers", lambda self: (Told(**options),))
        return Configuration("told", config)

    return make


def test_every_known_pair_gets_a_score_textured_ones_first(told):
    scores = evaluate_pairs([source()], [told()], pictures=0)
    assert [s.pair for s in scores] == list(known().pairs)
    assert [s.kind for s in scores] == ["textured"] * len(known().textured) + ["weak"] * len(known().weak)
    assert {s.scene for s in scores} == {"small"}


def test_a_perfect_matcher_has_no_error_and_covers_the_overlap(told):
    for s in evaluate_pairs([source()], [told()], pictures=0):
        if s.kind == "weak":
            continue
        assert s.accepted
        assert not s.failed
        assert max(s.corner_px) < 1e-6
        assert s.overlap_error_px < 1e-6
        assert s.reprojection_all_px < 1e-6
        assert s.outliers == 0
        assert s.inliers == s.matches > 50
        assert s.coverage > 0.8
        assert 0.05 < s.overlap_share < 0.4


def test_a_shift_is_seen_in_every_error(told):
    shifted = [s for s in evaluate_pairs([source()], [told(shift=(2, 0))], pictures=0) if s.kind == "textured"]
    for s in shifted:
        assert s.overlap_error_px == pytest.approx(2, abs=1e-5)
        np.testing.assert_allclose(s.corner_px, 2, atol=1e-5)
        assert s.reprojection_inliers_px == pytest.approx(2, abs=1e-5)
        assert s.coverage == 0
        assert s.outliers == 0


def test_outliers_are_counted_before_the_gate_and_do_not_reach_the_inliers(told):
    s = evaluate_pairs([source()], [told(grossly_wrong=7)], pictures=0)[0]
    assert s.outliers == 7
    assert s.matches - s.inliers == 7
    assert s.reprojection_all_px == pytest.approx(7 * np.hypot(30, 30) / s.matches, abs=1e-4)
    assert s.reprojection_inliers_px < 1e-6


def test_sift_scores_are_what_matching_says_and_rejected_pairs_say_why():
    (c,) = [read_configuration("sift@1,refine=false")]
    scores = evaluate_pairs([source()], [c], pictures=0)
    found = match_pairs(known().store(0.5), known().layout, known().pairs, c.matchers()[0], c.stitch)
    assert any(s.accepted for s in scores)
    assert not all(s.accepted for s in scores)
    for s, outcome in zip(scores, found, strict=True):
        assert s.accepted == isinstance(outcome, PairMatch)
        assert s.matches == outcome.matches
        if isinstance(outcome, PairMatch):
            assert s.inliers == outcome.inliers
            error = overlap_error_px(outcome.to_fixed, known().truth, *s.pair)
            assert s.overlap_error_px == pytest.approx(error, abs=1e-6)
            np.testing.assert_allclose(
                s.corner_px, corner_error_px(outcome.to_fixed, known().truth, *s.pair), atol=1e-6
            )
        else:
            assert s.reason == outcome.reason
            assert s.failed
            assert not s.wrong
            assert s.corners_px == (np.inf,) * 4
            assert (s.coverage, s.inliers) == (0, 0)


def test_auto_falls_back_and_its_time_is_that_of_all_who_were_asked():
    scores = evaluate_pairs([source()], [replace(read_configuration("auto"), name="a")], pictures=0)
    assert all(s.cpu_s > 0 < s.wall_s for s in scores)
    assert {s.matcher for s in scores} <= {"loftr", "sift", "correlation"}
    assert sum(s.accepted for s in scores) >= len(known().textured)


def test_batches_do_not_change_the_scores():
    c = read_configuration("sift@1,refine=false")
    alone, together = (evaluate_pairs([source()], [c], pictures=0, batch=n) for n in (1, 4))
    assert [replace(s, cpu_s=0, wall_s=0) for s in alone] == [replace(s, cpu_s=0, wall_s=0) for s in together]


def test_what_was_measured_is_not_measured_again(told, tmp_path):
    counts: list[int] = []
    c = told(counts=counts)
    first = evaluate_pairs([source()], [c], pictures=0, kept=Kept(tmp_path))
    asked = len(counts)
    again = evaluate_pairs([source("renamed")], [c], pictures=0, kept=Kept(tmp_path))
    assert len(counts) > asked  # another section is another section
    counts.clear()
    again = evaluate_pairs([source()], [c], pictures=0, kept=Kept(tmp_path))
    assert counts == []
    assert again == first


def test_damaged_memory_is_measured_anew(told, tmp_path):
    c = told()
    first = evaluate_pairs([source()], [c], pictures=0, kept=Kept(tmp_path))
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text()[:-40])
    again = evaluate_pairs([source()], [c], pictures=0, kept=Kept(tmp_path))
    assert [replace(s, cpu_s=0, wall_s=0) for s in again] == [replace(s, cpu_s=0, wall_s=0) for s in first]


def test_an_interruption_keeps_the_configurations_that_are_done(told, tmp_path, monkeypatch):
    c = told()

    def interrupt(label, done, _total):
        if "second" in label and done:
            raise KeyboardInterrupt

    second = replace(c, name="second", stitch=replace(PLAIN, min_inliers=9))
    with pytest.raises(KeyboardInterrupt):
        evaluate_pairs([source()], [c, second], pictures=0, kept=Kept(tmp_path), progress=interrupt)
    assert len(list(tmp_path.glob("*"))) == 1
    assert len(evaluate_pairs([source()], [c, second], pictures=0, kept=Kept(tmp_path))) == 2 * len(known().pairs)


def test_pictures_are_measured_of_so_many_pairs_of_a_kind(told):
    scores = evaluate_pairs([source()], [told()], pictures=2)
    assert sum(bool(s.measures) for s in scores if s.kind == "textured") == 2


def test_the_truth_stitches_a_pair_perfectly_and_a_shift_does_not():
    store, pair = known().store(0.5), known().textured[0]
    truth = true_to_fixed(known().truth, *pair)
    skip = ("ssim", "fsim", "brisque")
    right = pair_measures(known(), store, pair, truth, skip)
    assert right["stitched_rmse"] == 0
    assert right["stitched_psnr_db"] == 100
    wrong = pair_measures(known(), store, pair, Affine.translation(3, 0).matrix @ truth, skip)
    assert wrong["stitched_rmse"] > 5
    assert wrong["overlap_rmse"] > 1.5 * right["overlap_rmse"]
    assert set(right) == {f"{a}_{b}" for a in ("overlap", "stitched") for b in ("rmse", "psnr_db")}


def test_the_overlap_of_a_whole_shift_is_the_difference_of_the_pixels(monkeypatch):
    flat = {i: np.full((256, 256), 40.0, np.float32) for i in known().layout.ids}
    pair = known().textured[0]
    flat[pair[1]] = np.full((256, 256), 47.0, np.float32)
    scene = replace(known(), images=flat)
    got = pair_measures(scene, scene.store(0.5), pair, Affine.translation(190, 0).matrix, ("ssim", "fsim", "brisque"))
    assert got["overlap_rmse"] == pytest.approx(7)


def test_an_absurd_estimate_does_not_ask_for_an_absurd_picture():
    pair, store = known().textured[0], known().store(0.5)
    far = Affine.translation(1e6, 0).matrix
    got = pair_measures(known(), store, pair, far, ("ssim", "fsim", "brisque"))
    assert got["overlap_rmse"] is None


def test_matches_for_a_picture_are_some_of_the_inliers(told):
    s = evaluate_pairs([source()], [told()], pictures=0)[0]
    rows = np.array(s.drawn)
    assert rows.shape == (160, 5)
    truth = true_to_fixed(known().truth, *s.pair)
    np.testing.assert_allclose(apply(truth, rows[:, 2:4]), rows[:, :2], atol=0.02)  # kept to a hundredth


def test_pairs_are_spread_over_their_order():
    pairs = [(str(i), "x") for i in range(10)]
    assert [p[0] for p in spread_out(pairs, 3)] == ["0", "4", "9"]
    assert spread_out(pairs, 99) == tuple(pairs)
    assert spread_out(pairs, 0) == ()
