"""Settings, sources and their split, which pairs a step sees, and scores: the parts of a training."""

from __future__ import annotations

from dataclasses import fields

import cv2
import numpy as np
import pytest
from made_up_training import small, textured, write_images

from demis_ij.config import TrainDataConfig, ValidationConfig
from demis_ij.errors import InputError
from demis_ij.records import Affine, Correspondences
from demis_ij.train.feeding import AGAIN, Feed, HardPairs, plan
from demis_ij.train.samples import Sample, SampleSpec
from demis_ij.train.scores import score_pair, summarise
from demis_ij.train.settings import TABLES, difference, read_settings, to_tables, to_toml
from demis_ij.train.sources import content_digest, gather, make_source, refuse_leak, split
from demis_ij.train.validation import draw_pairs

# --- settings -------------------------------------------------------------------------------------------------------


def test_the_settings_that_are_written_are_read_back_the_same(tmp_path):
    settings = small('folders=["my \\"images\\"", "Proben/Größe 2"]', "learning_rate=1e-05", "samples.resin_frac=0.5")
    (tmp_path / "config.toml").write_text(to_toml(settings), encoding="utf-8")

    assert read_settings(tmp_path / "config.toml") == settings


def test_options_win_over_assignments_and_those_over_the_file(tmp_path):
    (tmp_path / "t.toml").write_text("[train]\nsteps = 1\nbatch = 2\nseed = 3\n")
    settings = read_settings(tmp_path / "t.toml", ["batch=4", "seed=5"], {"train": {"seed": 6, "steps": None}})

    assert (settings.train.steps, settings.train.batch, settings.train.seed) == (1, 4, 6)


def test_a_setting_means_one_thing_only():
    """So that --set needs no table."""
    names = [f.name for kind in TABLES.values() for f in fields(kind)]

    assert len(names) == len(set(names))


def test_only_what_changes_the_result_counts_as_a_difference():
    before = to_tables(small())

    assert difference(before, to_tables(small("threads=7", "save_every=9", 'folders=["moved"]'))) == ""
    assert difference(before, to_tables(small("patience=3"))) == "patience of [validation] was 10, is 3"


# --- sources --------------------------------------------------------------------------------------------------------


def test_sources_leave_out_labels_and_offer_large_images_at_half_size(tmp_path):
    for name, side in (("a.png", 800), ("b_mask.png", 800), ("c.png", 300)):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(side).integers(0, 255, (side, side), np.uint8))
    found = gather(TrainDataConfig(folders=(str(tmp_path),), generated=0), least_px=64, seed=1, hold_out=False)

    assert [[i.shape for i in s.scales] for s in found.train] == [[(800, 800), (400, 400)], [(600, 600)]]


def test_the_digest_sees_content_whatever_way_it_is_turned_or_stored(tmp_path):
    image = np.clip(textured(), 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.tif"), image)

    assert content_digest(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)) == content_digest(image)
    assert {content_digest(i) for i in (image, image.T, image[::-1], np.rot90(image))} == {content_digest(image)}
    changed = image.copy()
    changed[3, 5] ^= 1
    assert content_digest(changed) != content_digest(image)


def test_copies_are_used_once_and_said(tmp_path):
    folder = write_images(tmp_path / "made", 2)
    cv2.imwrite(str(folder / "copy.png"), cv2.imread(str(folder / "0.png"), cv2.IMREAD_UNCHANGED)[::-1])
    found = gather(TrainDataConfig(folders=(str(folder),), generated=0), least_px=64, seed=1)

    assert len(found.train) + len(found.validation) == 2
    assert found.warnings == ("made/copy.png: left out, it has the content of made/0.png",)


@pytest.mark.parametrize("count", [2, 3, 20])
def test_whole_sources_are_held_out_from_every_folder_the_same_for_a_seed(count):
    sources = [make_source(f"{f}/{k}", f, textured(k + 50 * (f == "b"), 64)) for f in ("a", "b") for k in range(count)]
    train, held = split(sources, 0.15, seed=4)

    assert {s.folder for s in held} == {"a", "b"}
    assert len(held) == 2 * max(1, round(0.15 * count))
    assert sorted(s.name for s in [*train, *held]) == sorted(s.name for s in sources)
    assert [s.name for s in held] == [s.name for s in split(sources, 0.15, seed=4)[1]]


def test_the_same_content_on_both_sides_is_a_leak():
    one, other = make_source("a.png", "x", textured(1, 64)), make_source("b.tif", "y", textured(1, 64).T)
    with pytest.raises(InputError, match=r"the split leaks: b\.tif \(validation\) has the content of a\.png"):
        refuse_leak([one], [other])


def test_generated_sections_are_sources_as_well():
    found = gather(TrainDataConfig(generated=2, generated_px=128), least_px=64, seed=1)

    assert [len(found.train), len(found.validation)] == [1, 1]
    with pytest.raises(InputError, match="nothing to validate on: 1 source"):
        gather(TrainDataConfig(generated=1, generated_px=128), least_px=64, seed=1)


# --- which pairs a step sees ----------------------------------------------------------------------------------------


def test_pairs_are_the_same_with_and_without_threads():
    keys = [(step, k, 0) for step in range(4) for k in range(3)]

    def make(key):
        return np.random.default_rng(key).random()

    with_threads, without = Feed(make, 3), Feed(make, 0)
    with_threads.expect(keys)
    assert with_threads.take(keys[::-1]) == without.take(keys[::-1])
    with_threads.close()


def test_a_share_of_a_batch_is_drawn_from_the_hardest_pairs_of_its_shape():
    hard = HardPairs()
    hard.add([(0, k, k % 2) for k in range(20)], [float(k) for k in range(20)])
    assert [e[2] for e in hard.entries[:3]] == [19, 18, 17]
    shares = []
    for step in range(1, 40):
        keys = plan(1, step, 8, 2, hard, 0.25)
        assert len(keys) == len(set(keys)) == 8
        assert len({shape for _, _, shape in keys}) == 1
        shares.append(sum(s != step for s, _, _ in keys))

    assert sum(shares[:10]) / 80 == pytest.approx(0.25, abs=0.12)
    assert sum(shares) <= 20 * AGAIN, "no pair is shown for ever"
    assert plan(1, 7, 4, 2, HardPairs(), 0.0) == plan(1, 7, 4, 2, HardPairs(hard.entries), 0.0)


def test_a_pair_that_was_learnt_is_no_longer_hard():
    hard = HardPairs()
    hard.add([(0, 0, 0), (0, 1, 0)], [5.0, 1.0])
    hard.add([(0, 0, 0)], [0.1])

    assert [(e[0], e[2]) for e in hard.entries] == [(1.0, 1), (0.1, 0)]


# --- scores ---------------------------------------------------------------------------------------------------------

CONFIG = ValidationConfig()


def matched(truth, moved=(0.0, 0.0), count=12):
    """Exact matches of a crop of 96 x 96 px, but for a shift."""
    yy, xx = np.mgrid[8 : 88 : count * 1j, 8 : 88 : count * 1j]
    fixed = np.stack([xx.ravel(), yy.ravel()], 1)
    moving = truth(fixed)
    inside = ((moving >= 0) & (moving <= 95)).all(1)
    return Correspondences(fixed[inside] + moved, moving[inside], np.ones(int(inside.sum())))


def crops(truth):
    blank = np.zeros((96, 96), np.uint8)
    return Sample(blank, blank, truth)


def test_exact_matches_score_full_and_a_shift_scores_its_length():
    truth = Affine.about(Affine.rigid(0.05, 6.0, -3.0), (48, 48))
    right, off = (
        score_pair(crops(truth), matched(truth), CONFIG),
        score_pair(crops(truth), matched(truth, (0, 2)), CONFIG),
    )

    assert right.corner_px == pytest.approx(0, abs=1e-6)
    assert (right.right_1px, right.coverage) == (1.0, 1.0)
    assert off.corner_px == pytest.approx(2.0, abs=1e-6)
    assert (off.right_1px, off.right_3px) == (0.0, 1.0)


def test_a_pair_fails_without_matches_with_few_of_them_and_with_a_small_share():
    truth = Affine.translation(10, 0)
    none = score_pair(crops(truth), Correspondences.none(), CONFIG)
    few = score_pair(crops(truth), matched(truth, count=2), CONFIG)
    good = matched(truth, count=3)
    rng = np.random.default_rng(0)
    drowned = Correspondences(
        np.concatenate([good.fixed_xy, rng.uniform(0, 95, (90, 2))]),
        np.concatenate([good.moving_xy, rng.uniform(0, 95, (90, 2))]),
        np.ones(len(good) + 90),
    )
    ratio = score_pair(crops(truth), drowned, CONFIG)

    assert [p.corner_px for p in (none, few, ratio)] == [np.inf] * 3
    scores = summarise([none, few, ratio])
    assert (scores.failed, scores.mean_auc, scores.pairs) == (1.0, 0.0, 3)


def test_a_believed_pair_of_two_different_places_is_counted():
    same = matched(Affine())
    pairs = [score_pair(crops(None), same, CONFIG), score_pair(crops(None), Correspondences.none(), CONFIG)]
    scores = summarise(pairs)

    assert (scores.pairs, scores.blank_pairs, scores.false_pairs) == (0, 2, 1)


def test_validation_pairs_are_always_the_same_and_one_in_eight_shows_two_places():
    def draw(rng):
        return textured(int(rng.integers(3)), 200)

    first, again = (draw_pairs(draw, SampleSpec(), [(64, 64), (32, 96)], 8, seed=3) for _ in range(2))

    assert [p.to_moving is None for p in first] == [False] * 7 + [True]
    assert [p.fixed.shape for p in first[:3]] == [(64, 64), (32, 96), (64, 64)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.moving, b.moving)
