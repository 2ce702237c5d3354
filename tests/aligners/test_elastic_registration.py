"""Our own elastic registration: known warps there and back, masks, landmarks, starts, no folds, a verdict."""

import numpy as np
import pytest
import torch

from demis_ij.aligners.elastic import ElasticAligner, ElasticSettings, Landmarks
from demis_ij.aligners.elastic_results import unfolded
from demis_ij.errors import InputError
from demis_ij.fields import dense, folded_frac, least_jacobian, nodes
from demis_ij.formats.splines import CubicSpline
from demis_ij.formats.warps_bunwarpj import read_spline, write_spline
from demis_ij.geometry import Box
from demis_ij.protocols import ALIGNERS, Aligner
from demis_ij.records import Affine
from demis_ij.synth.fields import smooth_field
from demis_ij.testing import aligner_contract
from demis_ij.testing.aligner_contract import SIDE, smooth_warp, two_sections

SHAPE = (SIDE, SIDE)
INNER = Box(24, 24, SIDE - 24, SIDE - 24)


def apart(found, truth, box=INNER):
    return np.hypot(*(dense(found, box) - dense(truth, box)))


@pytest.fixture(scope="module")
def bent():
    """A pair whose warp is known, and what is found of it."""
    pull = smooth_warp(10)
    fixed, moving = two_sections(pull, 10)
    return pull, fixed, moving, ElasticAligner().register(fixed, moving)


@pytest.mark.parametrize(
    "check", [*aligner_contract.CHECKS, *aligner_contract.ELASTIC_CHECKS], ids=lambda c: c.__name__
)
def test_it_keeps_the_contract_of_aligners(check):
    check(ElasticAligner())


def test_the_table_finds_it_as_spline():
    found = ALIGNERS["spline"]()
    assert isinstance(found, Aligner)
    assert found.name == "spline"


def test_a_known_warp_is_found_to_a_fraction_of_a_pixel(bent):
    pull, _, _, found = bent
    assert np.median(apart(found.field, pull)) < 0.3  # px, of 4 px of noise-free displacement
    assert found.similarity_after > 0.8 > found.similarity_before
    assert found.better_than_nothing
    assert found.reason == ""


def test_there_and_back_leads_to_where_it_began(bent):
    *_, found = bent
    assert found.consistency_px < 0.05
    assert found.consistency_95_px < 0.5
    at = np.array([[60.0, 70.0], [120.0, 100.0]])
    np.testing.assert_allclose(found.inverse(found.field(at)), at, atol=0.1)


def test_nothing_is_folded(bent):
    *_, found = bent
    assert found.folded_frac == folded_frac(found.field) == 0
    assert 0.1 <= found.least_jacobian <= least_jacobian(found.field.offsets, found.field.stride)


def test_the_coefficients_are_the_field_and_bunwarpjs_file_holds_them(bent, tmp_path):
    *_, found = bent
    for field, (x, y) in ((found.field, found.coefficients), (found.inverse, found.inverse_coefficients)):
        write_spline(tmp_path / "e.txt", CubicSpline(x, y, SHAPE), overwrite=True)
        at = nodes(field.grid, field.stride).reshape(-1, 2)
        at = at[(at <= SIDE - 1).all(1)]
        np.testing.assert_allclose(read_spline(tmp_path / "e.txt", SHAPE)(at), field(at), atol=1e-3)


def test_one_direction_alone_finds_it_too_and_its_inverse_is_its_own(bent):
    pull, fixed, moving, _ = bent
    found = ElasticAligner(ElasticSettings(mode="mono")).register(fixed, moving)
    assert np.median(apart(found.field, pull)) < 0.3
    assert found.consistency_px < 0.02
    assert found.inverse_coefficients is None or np.isfinite(found.inverse_coefficients).all()


@pytest.mark.parametrize("name", ["mind", "mi"])
def test_other_contrasts_need_other_measures(bent, name):
    pull, fixed, moving, _ = bent
    inverted = 255 - 0.5 * moving
    found = ElasticAligner(ElasticSettings(similarity=name)).register(fixed, inverted)
    assert np.median(apart(found.field, pull)) < 0.5


def test_equal_grey_values_are_enough_for_squared_differences(bent):
    pull, fixed, moving, _ = bent
    found = ElasticAligner(ElasticSettings(similarity="ssd")).register(fixed, moving)
    assert np.median(apart(found.field, pull)) < 0.6


def test_damage_that_no_mask_tells_of_hardly_moves_it(bent):
    pull, fixed, moving, _ = bent
    damaged = moving.copy()
    rng = np.random.default_rng(0)
    for x, y in ((50, 60), (120, 90), (80, 140)):
        damaged[y : y + 22, x : x + 22] = rng.uniform(0, 255, (22, 22))
    found = ElasticAligner().register(fixed, damaged)
    assert np.median(apart(found.field, pull)) < 0.4


def test_grey_values_of_any_type_and_range_are_taken(bent):
    pull, fixed, moving, _ = bent
    for one, two in (
        ((fixed * 200 + 1000).astype(np.uint16), moving.astype(np.uint8)),
        (fixed / 255, moving / 255),
        (1e5 + fixed.astype(np.float64) / 1e3, 1e5 + moving.astype(np.float64) / 1e3),
    ):
        found = ElasticAligner(ElasticSettings(mode="mono")).register(one, two)
        assert np.median(apart(found.field, pull)) < 0.4


def test_a_start_is_taken_on_and_images_may_have_different_shapes():
    pull = smooth_warp(12)
    fixed, moving = two_sections(pull, 12)
    lies = Affine.about(Affine.rigid(0.3, 6.0, -4.0), (80, 70))
    x, y = np.meshgrid(np.arange(230.0), np.arange(210.0))
    from scipy import ndimage

    back = lies.inverse(np.stack([x, y], -1))  # a larger canvas, on which the moving section lies turned
    turned = ndimage.map_coordinates(moving, [back[..., 1], back[..., 0]], order=1, cval=np.nan)
    found = ElasticAligner().register(fixed, turned.astype(np.float32), start=lies)
    box = Box(50, 50, SIDE - 50, SIDE - 50)
    at = nodes((9, 9), 10).reshape(-1, 2) + 50
    np.testing.assert_allclose(np.median(np.linalg.norm(found.field(at) - lies(pull(at)), axis=1)), 0, atol=0.5)
    assert dense(found.field, box).shape == (2, *box.shape)
    assert found.inverse.grid[0] * found.inverse.stride >= 210
    np.testing.assert_allclose(found.inverse(found.field(at)), at, atol=0.3)


def test_noise_of_both_images_moves_little_beyond_what_they_share():
    one, two = two_sections(Affine(), 6)
    rng = np.random.default_rng(6)
    fixed, moving = (smooth_field((320, 320), rng, 3.0) * 2 + np.float32(128) for _ in range(2))
    fixed[20:120, 20:120], moving[20:120, 26:126] = one[40:140, 40:140], two[40:140, 40:140]
    far = np.s_[:, 200:300, 200:300]
    off = {}
    for carry in (0.0, 4.0):
        found = ElasticAligner(ElasticSettings(carry=carry)).register(fixed, moving)
        np.testing.assert_allclose(found.field([[70.0, 70.0]]), [[76.0, 70.0]], atol=0.5)
        off[carry] = float(np.hypot(*dense(found.field, Box(0, 0, 320, 320))[far]).mean())
    assert off[4.0] < 0.5 * off[0.0]


def test_landmarks_lead_where_the_images_say_little():
    rng = np.random.default_rng(3)
    fixed, moving = (rng.normal(128, 20, SHAPE).astype(np.float32) for _ in range(2))  # nothing in common
    points = np.array([[40.0, 50.0], [150.0, 60.0], [90.0, 150.0]])
    told = Landmarks(points, points + [6.0, -3.0])
    found = ElasticAligner(ElasticSettings(landmark_weight=1e4)).register(fixed, moving, landmarks=told)
    np.testing.assert_allclose(found.field(points), points + [6.0, -3.0], atol=0.7)


def test_the_heavier_of_two_landmarks_that_contradict_each_other_wins():
    fixed, moving = two_sections(Affine(), 4)
    points = np.array([[96.0, 96.0], [96.0, 96.0]])
    told = Landmarks(points, points + [[8.0, 0.0], [-8.0, 0.0]], weights=[9.0, 1.0])
    found = ElasticAligner(ElasticSettings(landmark_weight=1e5)).register(fixed, moving, landmarks=told)
    assert found.field([[96.0, 96.0]])[0, 0] > 96 + 3


def test_landmarks_that_change_places_fold_nothing():
    fixed, moving = two_sections(Affine(), 5)
    points = np.array([[80.0, 96.0], [112.0, 96.0]])
    told = Landmarks(points, points[::-1])
    found = ElasticAligner(ElasticSettings(landmark_weight=1e6)).register(fixed, moving, landmarks=told)
    assert found.folded_frac == 0
    assert found.least_jacobian >= 0.1


def test_a_spline_that_folds_is_smoothed_and_one_that_does_not_is_left_alone():
    splines = torch.zeros(1, 2, 11, 11)
    splines[0, 0, :, 5:] = -60.0  # the right half lies over the left
    repaired, changed = unfolded(splines, (65, 65), 2, 0.1)
    assert changed
    assert not torch.equal(repaired, splines)
    again, changed = unfolded(repaired, (65, 65), 2, 0.1)
    assert not changed
    assert torch.equal(again, repaired)


def test_strangers_are_no_better_than_nothing_and_the_reason_is_said():
    one, _ = two_sections(Affine(), 7)
    two, _ = two_sections(Affine(), 107)
    found = ElasticAligner().register(one, two)
    assert not found.better_than_nothing
    assert "standard deviations of chance" in found.reason
    assert found.folded_frac == 0


def test_a_blank_image_gives_no_field_and_says_so():
    fixed, _ = two_sections(Affine(), 8)
    found = ElasticAligner().register(fixed, np.full(SHAPE, 7, np.uint8))
    assert not found.field.known.any()
    assert found.coefficients is None
    assert not found.better_than_nothing
    assert "shows nothing" in found.reason


def test_progress_is_told_level_by_level():
    fixed, _ = two_sections(Affine(), 9)
    told = []
    ElasticAligner(ElasticSettings(mode="mono")).register(fixed, fixed, progress=lambda *said: told.append(said))
    assert told[0][1] == 0
    assert told[-1] == ("levels registered", told[-1][2], told[-1][2])


PICTURE = np.random.default_rng(0).uniform(0, 255, (64, 80)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"moving": PICTURE[:-4]}, "need a start"),
        ({"fixed": np.dstack([PICTURE] * 3)}, "grey one"),
        ({"fixed": PICTURE[:20], "moving": PICTURE[:20]}, "32 px or more"),
        ({"fixed_mask": np.ones((3, 3), bool)}, "fixed mask"),
        ({"start": Affine(0, 0, 0, 0)}, "cannot be undone"),
        (
            {"landmarks": Landmarks([[1, 2], [90, 3]], [[1, 2], [3, 3]])},
            r"landmark 2 lies at \(90, 3\), outside the fix",
        ),
        ({"landmarks": Landmarks([[1, 2]], [[1, -2]])}, "outside the moving image of 80 x 64 px"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_line(change, why):
    with pytest.raises(InputError, match=why) as refused:
        ElasticAligner().register(**({"fixed": PICTURE, "moving": PICTURE} | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (([[1, 2]], [[1, 2], [3, 4]]), "as many points"),
        (([], []), "as many points"),
        (([[1, 2]], [[1, 2]], [0.0]), "weight above 0"),
        (([[1, np.nan]], [[1, 2]]), "not finite"),
    ],
)
def test_landmarks_that_make_no_sense_are_refused(given, why):
    with pytest.raises(InputError, match=why):
        Landmarks(*given)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"intervals": 12}, "power of two"),
        ({"similarity": "nccc"}, "did you mean 'ncc'"),
        ({"mode": "fast"}, "accurate"),
    ],
)
def test_a_wrong_setting_is_named(change, why):
    with pytest.raises(InputError, match=why):
        ElasticSettings(**change)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        ElasticAligner(ElasticSettings(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_what_the_cpu_finds(bent):
    _, fixed, moving, found = bent
    other = ElasticAligner(ElasticSettings(device="cuda")).register(fixed, moving)
    assert np.abs(other.field.offsets - found.field.offsets).max() < 0.05
