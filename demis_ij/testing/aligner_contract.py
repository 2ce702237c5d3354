"""What every aligner promises, as checks that any aligner can be put through.

    @pytest.mark.parametrize("check", aligner_contract.CHECKS, ids=lambda c: c.__name__)
    def test_my_aligner_keeps_the_contract(check):
        check(MyAligner())

`CHECKS` hold for every aligner, `ELASTIC_CHECKS` for those that bend. A check raises `AssertionError` with what was
found. The sections are made up here, and both are sampled from one larger picture, so that the truth is exact and
neither has seen the other's edge.
"""

from __future__ import annotations

from collections.abc import Callable
from math import radians

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.errors import InputError
from demis_ij.fields import dense, folded_frac, thin_plate
from demis_ij.geometry import Box
from demis_ij.protocols import Aligner
from demis_ij.records import Affine, Field
from demis_ij.testing.matcher_contract import tissue

SIDE = 192
_MARGIN = 48  # px of the larger picture around a section
_INNER = 24  # px at the edge that are not judged
_SHAPE = (SIDE, SIDE)
_ALL = np.ones(_SHAPE, bool)

Image = NDArray[np.float32]


def two_sections(pull: Affine | Field, seed: int, *, noise_sd: float = 3.0) -> tuple[Image, Image]:
    """Return a fixed and a moving section: ``fixed[p] == moving at pull(p)``, each with noise of its own.

    The fixed one is looked up through ``pull`` in the picture that the moving one is a window of.
    """
    rng = np.random.default_rng(seed)
    picture = tissue((SIDE + 2 * _MARGIN, SIDE + 2 * _MARGIN), rng).astype(np.float64)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    dx, dy = dense(pull, Box.of_shape(_SHAPE))
    fixed = ndimage.map_coordinates(picture, [y + dy + _MARGIN, x + dx + _MARGIN], order=3, mode="mirror")
    moving = picture[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    noisy = [np.clip(p + rng.normal(0, noise_sd, _SHAPE), 0, 255).astype(np.float32) for p in (fixed, moving)]
    return noisy[0], noisy[1]


def smooth_warp(seed: int, sd_px: float = 4.0) -> Field:
    """Return a thin-plate spline of random vectors that folds nothing."""
    rng = np.random.default_rng(seed)
    return thin_plate(rng.uniform(0, SIDE, (8, 2)), rng.normal(0, sd_px, (8, 2)), _SHAPE, 1)


def _apart(found: Field, truth: Affine | Field) -> NDArray[np.float64]:
    """Return how far two fields are apart at the pixels that are judged, px."""
    box = Box(_INNER, _INNER, SIDE - _INNER, SIDE - _INNER)
    missed = dense(found, box) - dense(truth, box)
    return np.asarray(np.hypot(missed[0], missed[1]), np.float64)


def _judge(found: Field, truth: Affine | Field, median_px: float, most_px: float) -> None:
    apart = _apart(found, truth)
    assert not np.isnan(apart).any(), f"{np.isnan(apart).mean():.0%} of the field is not known"
    median, most = float(np.median(apart)), float(np.quantile(apart, 0.95))
    assert median < median_px, f"{median:.2f} px off (median), {median_px} allowed"
    assert most < most_px, f"{most:.2f} px off (95 % of the field), {most_px} allowed"


def equal_sections_stay_where_they_are(aligner: Aligner) -> None:
    """Move nothing where there is nothing to move."""
    fixed, _ = two_sections(Affine(), 1)
    _judge(aligner(fixed, fixed.copy(), _ALL, _ALL), Affine(), 0.1, 0.3)  # px: what a network's rounding makes


def recovers_an_affine_map(aligner: Aligner) -> None:
    """Recover a small turn, stretch and shift, other noise in both."""
    middle = (SIDE / 2, SIDE / 2)
    pull = Affine.about(Affine.rigid(radians(1.5), 2.3, -3.4) @ Affine(1.02, 0, 0, 0.99), middle)
    fixed, moving = two_sections(pull, 2)
    _judge(aligner(fixed, moving, _ALL, _ALL), pull, 1.0, 2.5)  # px: a twentieth of what moved at most


def does_not_mind_brightness(aligner: Aligner) -> None:
    """Recover a shift where one section is paler and darker."""
    pull = Affine.translation(3.2, -2.6)
    fixed, moving = two_sections(pull, 3)
    _judge(aligner(fixed, 0.6 * moving + 10, _ALL, _ALL), pull, 1.0, 2.5)


def blank_sections_give_an_unknown_field(aligner: Aligner) -> None:
    """Say "not known", without an exception, where there is nothing to see; never "identity"."""
    real, _ = two_sections(Affine(), 4)
    flat, empty = np.full(_SHAPE, 128, np.float32), np.full(_SHAPE, np.nan, np.float32)
    hidden = np.zeros(_SHAPE, bool)
    for fixed, moving, fixed_mask, moving_mask in (
        (flat, flat, _ALL, _ALL), (real, flat, _ALL, _ALL), (flat, real, _ALL, _ALL), (real, empty, _ALL, _ALL),
        (real, real, hidden, _ALL), (real, real, _ALL, hidden),
    ):  # fmt: skip
        found = aligner(fixed, moving, fixed_mask, moving_mask)
        assert not found.known.any(), f"{found.known.mean():.0%} of a field is known where there is nothing to see"


def what_a_mask_hides_does_not_decide(aligner: Aligner) -> None:
    """Give the same field whatever lies where there is no data."""
    pull = Affine.translation(2.5, 3.5)
    fixed, moving = two_sections(pull, 5)
    mask = _ALL.copy()
    mask[60:120, 40:100] = False
    stamped = moving.copy()
    stamped[60:120, 40:100] = np.random.default_rng(6).integers(0, 2, (15, 15)).repeat(4, 0).repeat(4, 1) * 255
    one, two = aligner(fixed, moving, _ALL, mask), aligner(fixed, stamped, _ALL, mask)
    _judge(two, pull, 1.0, 3.0)
    apart = float(np.abs(one.offsets - two.offsets).max())
    assert apart < 1e-3, f"what is hidden moves the field by {apart:.2f} px"


def folds_nothing(aligner: Aligner) -> None:
    """Give a field that folds nothing, even between sections that have nothing in common."""
    for seed in (7, 8):
        one, _ = two_sections(Affine(), seed)
        two, _ = two_sections(Affine(), seed + 100)
        found = aligner(one, two, _ALL, _ALL)
        assert folded_frac(found) == 0, f"{folded_frac(found):.2%} of the field is folded"


def refuses_sections_of_different_sizes(aligner: Aligner) -> None:
    """Say so where images and masks do not fit each other."""
    fixed, moving = two_sections(Affine(), 9)
    for given in ((fixed, moving[:-8], _ALL, _ALL[:-8]), (fixed, moving, _ALL[:-8], _ALL)):
        try:
            aligner(*given)
        except InputError:
            continue
        raise AssertionError("sections of different sizes were taken")


def recovers_a_smooth_warp(aligner: Aligner) -> None:
    """Recover thin-plate splines of random vectors."""
    for seed in (10, 11):
        pull = smooth_warp(seed)
        fixed, moving = two_sections(pull, seed)
        _judge(aligner(fixed, moving, _ALL, _ALL), pull, 1.0, 3.5)  # px: of vectors of 4 px


CHECKS: tuple[Callable[[Aligner], None], ...] = (
    equal_sections_stay_where_they_are,
    recovers_an_affine_map,
    does_not_mind_brightness,
    blank_sections_give_an_unknown_field,
    what_a_mask_hides_does_not_decide,
    folds_nothing,
    refuses_sections_of_different_sizes,
)
ELASTIC_CHECKS: tuple[Callable[[Aligner], None], ...] = (recovers_a_smooth_warp,)
