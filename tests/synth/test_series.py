"""Serial sections: any one by itself, alike as neighbours are, with labels that lie within membranes."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from demis_ij import synth
from demis_ij.errors import InputError
from demis_ij.synth.fields import Streams, solid_field
from demis_ij.synth.mishaps import NAMES, TYPICAL, Mishaps
from demis_ij.synth.recipes import RECIPES
from demis_ij.synth.series import SerialSection, Series, series

SHAPE = (160, 176)
GOLDEN = {
    0: [
        [121.35, 140.85, 188.39, 185.78], [159.72, 135.48, 143.07, 150.79],
        [138.49, 129.37, 135.63, 115.20], [130.08, 129.02, 137.77, 144.71],
    ],
    150: [
        [142.56, 154.41, 99.01, 146.11], [129.00, 140.41, 119.15, 152.19],
        [147.09, 143.68, 145.65, 149.86], [158.92, 133.86, 158.83, 130.31],
    ],
}  # fmt: skip
# mean grey of the 16 blocks of two sections, as first released


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def mean_dice(a, b, most=50):
    numbers, areas = np.unique(a, return_counts=True)
    largest = numbers[np.argsort(-areas)][:most]
    return float(np.mean([2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum()) for k in largest]))


@pytest.fixture(scope="module")
def tem() -> list[SerialSection]:
    return list(series(SHAPE, 18, 3, style="sem"))


@pytest.fixture(scope="module")
def isotropic() -> list[SerialSection]:
    """Sections one pixel apart."""
    return list(series((128, 128), 25, 2, style="fib_sem", step_px=1.0))


def test_a_section_does_not_depend_on_the_length_of_the_series_or_on_what_was_asked_for_before(tem):
    longer = series(SHAPE, 400, 3, style="sem")
    far = longer[300]  # the blocks around section 5 are not in memory any more
    again = longer[5]
    assert again.clean.tobytes() == tem[5].clean.tobytes()
    assert again.label.tobytes() == tem[5].label.tobytes()
    assert not np.array_equal(far.label, again.label)
    np.testing.assert_array_equal(longer.label(5), again.label)


def test_a_series_stays_the_same_from_release_to_release():
    some = series((128, 128), 200, 20, style="tem")
    for number, golden in GOLDEN.items():
        blocks = cv2.resize(some[number].clean, (4, 4), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(blocks, golden, atol=0.3)  # grey: pixels of a border may fall on the other side


def test_another_seed_is_another_tissue():
    first, other = (series((64, 64), 1, seed, style="axons")[0] for seed in (1, 2))
    assert abs(correlation(first.clean, other.clean)) < 0.5


def test_a_generator_is_advanced_by_each_series():
    rng = np.random.default_rng(1)
    first, second = (series((64, 64), 1, rng, style="axons")[0] for _ in range(2))
    assert not np.array_equal(first.clean, second.clean)


def test_a_series_is_a_sequence():
    some = series((48, 48), 4, 1, style="axons")
    assert isinstance(some, Series)
    assert len(some) == 4
    assert [s.number for s in some] == [0, 1, 2, 3]
    assert some[-1].number == 3
    assert [s.number for s in some[1:3]] == [1, 2]
    with pytest.raises(IndexError, match="4 sections has no section 4"):
        some[4]


@pytest.mark.parametrize("style", sorted(RECIPES))
def test_every_style_gives_grey_images_with_contrast_and_several_objects(style):
    one = series((160, 128), 2, 6, style=style)[1]
    assert one.image.shape == one.label.shape == one.mask.shape == (160, 128)
    assert (one.image.dtype, one.label.dtype, one.mask.dtype) == (np.float32, np.int32, np.uint8)
    assert one.image.min() >= 0
    assert one.image.max() <= 255
    low, high = np.percentile(one.clean, [0.5, 99.5])
    assert high - low > 35  # grey: as for single sections
    assert len(np.unique(one.label)) >= 4
    assert one.label.min() >= 1


def test_neighbours_are_alike_and_less_so_the_farther_they_are(tem):
    distances = (1, 2, 4, 8)
    ncc = [np.mean([correlation(tem[k].clean, tem[k + d].clean) for k in range(0, 18 - d)]) for d in distances]
    dice = [np.mean([mean_dice(tem[k].label, tem[k + d].label) for k in range(0, 18 - d)]) for d in distances]
    assert all(np.diff(ncc) < 0), ncc
    assert all(np.diff(dice) < 0), dice
    assert ncc[0] > 0.35  # 40 nm apart; real FIB-SEM has 0.7, grain and all
    assert 0.55 < dice[0] < 0.9  # real stacks: 0.61 (em_fib25 every fourth slice) to 0.77 (ssTEM)


def test_objects_keep_their_label_from_section_to_section(tem):
    for before, here, after in zip(tem, tem[1:], tem[2:], strict=False):
        kept = np.isin(here.label, before.label)
        assert kept.mean() > 0.85  # share of the area that belongs to objects seen before
        outer = np.intersect1d(before.label, after.label)
        skipped = ~np.isin(before.label, here.label) & np.isin(before.label, outer)
        assert skipped.mean() < 0.03  # share of the area of objects that vanish for one section


@pytest.mark.parametrize(("style", "sign"), [("sem", -1), ("bse_inverted", 1)])
def test_borders_between_labels_lie_on_membranes(style, sign):
    one = series((224, 224), 1, 4, style=style)[0]
    border = np.zeros(one.label.shape, np.uint8)
    border[:, 1:] |= one.label[:, 1:] != one.label[:, :-1]
    border[1:] |= one.label[1:] != one.label[:-1]
    near = cv2.dilate(border, np.ones((3, 3), np.uint8)) > 0
    away = cv2.dilate(border, np.ones((15, 15), np.uint8)) == 0
    contrast = one.clean[near].mean() - one.clean[away].mean()
    assert sign * contrast > 1.0 * one.clean[away].std()


def test_tissue_is_as_smooth_along_z_as_across(isotropic):
    stack = np.stack([s.clean for s in isotropic])
    for apart in (2, 5, 10):
        along = correlation(stack[:-apart], stack[apart:])
        across = correlation(stack[:, :, :-apart], stack[:, :, apart:])
        down = correlation(stack[:, :-apart], stack[:, apart:])
        assert abs(along - (across + down) / 2) < 0.15


def test_a_thicker_section_blurs_what_it_cuts_at_a_slant():
    def sharpness(section_px):
        recipe = replace(RECIPES["low_contrast"], section_px=section_px)
        clean = series((160, 160), 1, 5, style=recipe)[0].clean
        return float(np.hypot(*np.gradient(cv2.GaussianBlur(clean, (0, 0), 1.0))).mean())

    assert sharpness(1.0) > 1.1 * sharpness(30.0)


def test_noise_in_three_dimensions_is_the_same_along_all_axes():
    streams = Streams(9)
    planes = np.stack([solid_field((96, 96), streams, 1, z, 6.0) for z in range(0, 60)])
    assert abs(planes.mean()) < 0.12
    assert planes.std() == pytest.approx(1, abs=0.12)
    for apart in (2, 5, 9):
        along = correlation(planes[:-apart], planes[apart:])
        across = correlation(planes[:, :-apart], planes[:, apart:])
        assert along == pytest.approx(across, abs=0.08)


EACH = [f.name for f in fields(Mishaps) if f.name not in ("noise", "contrast", "missing")]
MASKED = [name for name in EACH if name not in ("chatter", "uneven_light")]


@pytest.fixture(scope="module")
def unharmed() -> SerialSection:
    return series(SHAPE, 2, 3, style="axons")[1]


@pytest.mark.parametrize("name", EACH)
def test_a_mishap_changes_the_image_and_leaves_the_truth_alone(unharmed, name):
    one = series(SHAPE, 2, 3, style="axons", mishaps=Mishaps(**{name: 1.0}))[1]
    assert one.what == (name,)
    assert np.array_equal(one.clean, unharmed.clean)
    assert np.array_equal(one.label, unharmed.label)
    assert not np.array_equal(one.image, unharmed.image)
    if name in MASKED:
        struck = one.mask > 0
        assert set(np.unique(one.mask[struck])) <= {NAMES.index(name.replace("_marks", " mark"))}
        change = np.abs(one.image - one.clean)
        assert change[struck].mean() > 3 * change[~cv2.dilate(one.mask, np.ones((9, 9))).astype(bool)].mean()
    else:
        assert not one.mask.any()


def test_nothing_goes_wrong_unless_asked_for(unharmed):
    assert unharmed.what == ()
    assert not unharmed.missing
    assert not unharmed.mask.any()
    assert np.array_equal(unharmed.image, unharmed.clean)


def test_a_missing_section_shows_nothing_and_says_so(unharmed):
    one = series(SHAPE, 2, 3, style="axons", mishaps=replace(TYPICAL, missing=1.0, noise=0.0))[1]
    assert one.missing
    assert one.what == ("missing",)
    assert np.ptp(one.image) == 0
    assert np.array_equal(one.label, unharmed.label)


def test_knife_marks_run_through_the_same_places_in_every_section():
    some = list(series((128, 128), 3, 12, style="axons", mishaps=Mishaps(knife_marks=1.0)))
    wider = [cv2.dilate(s.mask, np.ones((9, 9), np.uint8)) > 0 for s in some]
    for one, band in zip(some[1:], wider, strict=False):
        assert (band[one.mask > 0]).mean() > 0.6


def test_noise_and_contrast_differ_from_section_to_section_and_are_repeatable():
    mishaps = Mishaps(noise=6.0, contrast=0.05)
    first, again = (series((96, 96), 3, 12, style="axons", mishaps=mishaps) for _ in "ab")
    a, b = first[0], first[1]
    assert np.array_equal(again[0].image, a.image)
    noise_a, noise_b = a.image - a.clean, b.image - b.clean
    assert abs(noise_a.mean() - noise_b.mean()) > 0.2  # grey: sd 0.05 of 195
    assert abs(correlation(noise_a - cv2.blur(noise_a, (9, 9)), noise_b - cv2.blur(noise_b, (9, 9)))) < 0.1
    assert (noise_a - cv2.blur(noise_a, (9, 9))).std() == pytest.approx(6, rel=0.25)


def test_a_single_section_can_be_cut_from_a_volume():
    first, again = (synth.section((96, 96), 4, style="axons_solid") for _ in "ab")
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, synth.section((96, 96), 4, style="axons"))
    assert np.ptp(first) > 35


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (4, 64)}, "between 8 and 8192"),
        ({"shape": (64, 9000)}, "between 8 and 8192"),
        ({"count": 0}, "between 1 and 20000 sections, found 0"),
        ({"seed": -3}, "at least 0"),
        ({"style": "temm"}, "no style 'temm' for a series; known: tem"),
        ({"step_px": 0.0}, "between 0.05 and 500 px, found 0"),
    ],
)
def test_nonsense_is_refused_in_one_line(change, says):
    arguments = {"shape": (64, 64), "count": 2, "seed": 1, "style": "tem", "step_px": None} | change
    with pytest.raises(InputError, match=says) as caught:
        series(
            arguments["shape"], arguments["count"], arguments["seed"], style=arguments["style"],
            step_px=arguments["step_px"],
        )  # fmt: skip
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fold", "noise", "missing"])
def test_impossible_chances_are_refused(name):
    with pytest.raises(InputError, match=f"{name} of a series"):
        Mishaps(**{name: -0.1})
