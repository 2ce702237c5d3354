"""Misaligned stacks: the truth is the truth, nothing folds, and a longer stack begins with the shorter one."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest

from demis_ij.errors import InputError
from demis_ij.fields import jacobian, nodes
from demis_ij.images import warped
from demis_ij.metrics.volumes import largest_objects, neighbour_dice
from demis_ij.records import Warp
from demis_ij.synth.stack import CASES, ArrayVolume, Case, case_named, drawn, in_memory, made_up, make_sections
from demis_ij.synth.stack.deforming import Crease
from demis_ij.synth.stack.making import struck

SIDE = 96


@pytest.fixture(scope="module")
def volume():
    made = made_up(SIDE, 6, 3)
    return ArrayVolume(*zip(*(made[k] for k in range(6)), strict=True))


def same_section(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("image", "mask", "damaged", "label"))


@pytest.mark.parametrize("name", CASES)
def test_every_case_can_be_made_and_gives_back_the_undeformed_labels(name, volume):
    case = CASES[name]
    for section in make_sections(volume, replace(case, missing_frac=0.0), 2):
        back, known = warped(section.label, section.mask & ~section.damaged, section.true, interpolation="nearest")
        agree = (back == section.original)[known]
        assert known.mean() > 0.2
        assert agree.mean() > 0.97  # nearest neighbours taken twice: wrong by a pixel along outlines only


def test_what_undoes_the_deformation_is_its_inverse(volume):
    for name in ("strong", "folds", "turned", "shifted"):
        for section in list(make_sections(volume, CASES[name], 4))[:4]:
            at = nodes((SIDE, SIDE), 1.0)[8:-8, 8:-8].reshape(-1, 2)
            inside = section.true(at)
            seen = ((inside >= 2) & (inside <= SIDE - 3)).all(axis=1)  # NaN is not
            missed = np.abs(section.deformation(inside[seen]) - at[seen])
            assert seen.mean() > 0.2
            assert np.quantile(missed, 0.99) < 0.05  # px; where the coarse inverse bends most


def test_an_image_is_the_original_looked_up_through_the_deformation(volume):
    still = Case(sd_px=8, gain=0, offset=0, noise_sd=0)
    section = next(make_sections(volume, still, 5))
    image, label = volume[0]

    at = nodes((SIDE, SIDE), 1.0)
    x, y = np.moveaxis(np.rint(section.deformation(at)).astype(int), -1, 0)
    inside = section.mask & (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)

    np.testing.assert_array_equal(section.label[inside], label[y[inside], x[inside]])
    grey, _ = warped(np.asarray(image, np.float32), None, section.deformation)
    assert np.abs(grey - section.image)[section.mask].mean() < 4  # grey levels: linear against cubic


def test_a_longer_stack_begins_with_the_shorter_one(volume):
    shorter = ArrayVolume(*zip(*(volume[k] for k in range(2)), strict=True))
    for name in ("folds", "same", "shifted"):
        short, long = (list(make_sections(v, CASES[name], 7)) for v in (shorter, volume))
        assert all(same_section(a, b) for a, b in zip(short, long, strict=False))


def test_the_same_seed_gives_the_same_stack_and_another_one_another(volume):
    one, again, other = (next(make_sections(volume, CASES["moderate"], s)) for s in (1, 1, 2))

    assert same_section(one, again)
    assert not np.array_equal(one.image, other.image)


def test_undeformed_sections_stay_where_they_are(volume):
    section = next(make_sections(volume, CASES["none"], 1))

    assert section.deformation.parts == ()
    np.testing.assert_array_equal(section.label, section.original)
    assert section.mask.all()


def test_displacements_grow_with_the_section_and_no_spline_folds():
    def lengths(side):
        found = [drawn((side, side), CASES["strong"], np.random.default_rng(k), frozenset()) for k in range(8)]
        assert min(jacobian(d.bent).min() for d in found) > 0.25
        return np.mean([np.sqrt((d.bent.offsets**2).sum(axis=0).mean()) for d in found])

    assert lengths(512) / lengths(128) == pytest.approx(4, rel=0.05)  # the grids are sampled differently


def test_vectors_that_always_fold_are_refused():
    with pytest.raises(InputError, match="folds every section"):
        drawn((64, 64), Case(sd_px=100, points=40), np.random.default_rng(1), frozenset())


def test_a_fold_hides_tissue_and_a_tear_moves_it_apart():
    for lost in (20.0, -20.0):
        crease = Crease(0.0, (50.0, 50.0), lost, 0.0, 40.0)
        left, right = crease.shift(np.array([[20.0, 50.0], [80.0, 50.0]]))
        assert right[0] - left[0] == pytest.approx(lost)  # px of tissue between two pixels, more or less than 60
        assert crease.inside((101, 101)).sum(axis=1)[0] == pytest.approx(2 * crease.half_px, abs=1)
    slanted = Crease(pi / 2, (50.0, 50.0), 10.0, 0.0, 40.0)
    np.testing.assert_allclose(slanted.shift(np.array([50.0, 90.0])), (0, 5), atol=1e-12)


def test_damage_is_marked_and_strikes_by_tens_but_never_the_first():
    struck_by = [struck(CASES["folds"], 11, k) for k in range(30)]

    for ten in (struck_by[:10], struck_by[10:20], struck_by[20:]):
        assert sum("folded" in s for s in ten) == 3
    for seed in range(20):
        assert not struck(replace(CASES["folds"], folded_frac=0.9), seed, 0)


def test_folds_tears_dirt_corners_and_gaps_are_told(volume):
    rough = Case(folded_frac=0.5, corner_frac=0.5, dusty_frac=0.5, missing_frac=0.2)
    picture, label = volume[0]
    made = list(make_sections(ArrayVolume([picture] * 10, [label] * 10), rough, 3))
    told = {w for s in made for w in s.what}

    assert len(made) == 8
    assert [s.number for s in made] == sorted({s.number for s in made})
    assert told >= {"empty corner", "dirt"}
    assert told & {"fold", "tear"}
    for section in made:
        assert section.damaged.any() == bool({"fold", "tear", "dirt"} & set(section.what))
        assert (section.mask.mean() < 0.92) == ("empty corner" in section.what)  # a tenth at least, a bent edge besides
        assert (section.image[~section.mask] == 0).all()


def test_one_content_for_all_is_undone_to_equal_sections(volume):
    stack = in_memory("same", volume, CASES["same"], 6)
    undone = [
        warped(label, tissue, warp, interpolation="nearest")
        for label, tissue, warp in zip(stack.labels, stack.tissue, stack.true.warps, strict=True)
    ]
    labels, masks = zip(*undone, strict=True)

    assert neighbour_dice(labels, masks, largest_objects(labels, masks)) > 0.95  # the rest: nearest neighbour, twice
    assert neighbour_dice(stack.labels, stack.tissue, largest_objects(labels, masks)) < 0.9


def test_a_turned_section_is_turned_by_thirty_degrees_about_its_middle():
    shape = (65, 65)
    found = drawn(shape, Case(), np.random.default_rng(1), frozenset({"turned"}))

    assert isinstance(found.warp, Warp)
    np.testing.assert_allclose(found.warp([[32.0, 32.0]]), [[32.0, 32.0]], atol=1e-9)
    moved = found.warp([[42.0, 32.0]])[0] - (32, 32)
    np.testing.assert_allclose(np.abs(moved), (10 * np.cos(pi / 6), 5.0), atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"sd_px": -1}, "sd_px"), ({"folded_frac": 1.5}, "folded_frac"), ({"points": 2}, "points")],
)
def test_settings_out_of_range_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Case(**wrong)


def test_a_wrong_case_and_a_negative_seed_are_refused(volume):
    with pytest.raises(InputError, match="there are none, mild"):
        case_named("modrate")
    with pytest.raises(InputError, match="at least 0"):
        next(make_sections(volume, CASES["none"], -1))
