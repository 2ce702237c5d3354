"""What every matcher promises, as checks that any matcher can be put through.

    @pytest.mark.parametrize("check", matcher_contract.CHECKS, ids=lambda c: c.__name__)
    def test_my_matcher_keeps_the_contract(check):
        check(MyMatcher())

A check raises `AssertionError` with what was found. The views are made up here: membranes around cells, sampled by a
quintic spline wherever a transform asks, so that the truth holds to a hundredth of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from math import radians
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.geometry import apply, estimate
from demis_ij.protocols import Matcher, View
from demis_ij.records import Affine, Correspondences

STRIP = (600, 160)  # (rows, cols): the overlap of two tiles, with the stage's error


def tissue(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return cells with dark membranes and grains, grey values of about 60 to 200, nothing finer than 1.5 px."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), 9)
    field /= field.std()
    grains = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    membranes = ndimage.gaussian_filter(np.exp(-((4 * np.sin(3 * field)) ** 2)), 1.5)
    return np.asarray(160 + 15 * field - 90 * membranes + 12 * grains / grains.std(), np.float32)


def resin(shape: tuple[int, int], rng: np.random.Generator, sd: float = 3.0) -> NDArray[np.float32]:
    """Return structure of contrast ``sd`` and nothing finer than 4 px: what an empty resin shows."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return np.asarray(128 + sd * field / field.std(), np.float32)


def two_views(
    source: NDArray[Any],
    to_fixed: Affine,
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = STRIP,
    noise_sd: float = 3.0,
    gain: float = 1.0,
    contrast: float = 1.0,
) -> tuple[View, View]:
    """Return a fixed and a moving view of a source image, each with noise of its own.

    The fixed view is cut from the middle of the source; ``to_fixed`` leads from moving to fixed px. ``gain`` is the
    moving view's; ``contrast`` stretches both about grey 128, as normalising would.
    """
    middle = Affine.translation((source.shape[1] - shape[1]) // 2, (source.shape[0] - shape[0]) // 2)
    views = []
    for pull, bright in ((middle, 1.0), (middle @ to_fixed, gain)):
        grey = ndimage.affine_transform(
            source, [[pull.d, pull.c], [pull.b, pull.a]], [pull.ty, pull.tx], shape, np.float64, order=5, mode="mirror"
        )
        grey = bright * grey + rng.normal(0, noise_sd, shape)
        grey = 128 + contrast * (grey - 128)
        views.append(View(np.clip(np.rint(grey), 0, 255).astype(np.uint8), np.ones(shape, bool)))
    return views[0], views[1]


def _error(found: Correspondences, to_fixed: Affine, *, least: int = 12) -> float:
    """Return the largest error of the rigid fit over the strip, px."""
    assert len(found) >= least, f"{len(found)} points found, at least {least} expected"
    best = estimate(found.moving_xy, found.fixed_xy, "rigid", 4.0)
    assert best is not None, f"{len(found)} points found, no transform among them"
    share = best.inlier.mean()
    assert share > 0.6, f"{share:.0%} of {len(found)} points agree with their own best transform"
    corners = np.array([[0, 0], [STRIP[1], 0], [STRIP[1], STRIP[0]], [0, STRIP[0]]], float)
    return float(np.linalg.norm(apply(best.to_fixed, corners) - to_fixed(corners), axis=1).max())


def recovers_a_shift(matcher: Matcher) -> None:
    """Recover a shift of whole and part pixels."""
    rng = np.random.default_rng(1)
    to_fixed = Affine.translation(7.3, -18.6)
    error = _error(matcher(*two_views(tissue((760, 320), rng), to_fixed, rng)), to_fixed)
    assert error < 1.0, f"{error:.2f} px off after a shift"  # px: before refinement; half a pixel at half resolution


def recovers_a_turn(matcher: Matcher) -> None:
    """Recover a turn of 3 degrees about the middle of the strip."""
    rng = np.random.default_rng(2)
    to_fixed = Affine.about(Affine.rigid(radians(3), 5.2, 9.7), (80, 300))
    error = _error(matcher(*two_views(tissue((760, 320), rng), to_fixed, rng)), to_fixed)
    assert error < 2.0, f"{error:.2f} px off after a turn"  # px, at the corners, before refinement


def does_not_mind_brightness(matcher: Matcher) -> None:
    """Recover a shift under another gain."""
    rng = np.random.default_rng(3)
    to_fixed = Affine.translation(-11.5, 6.25)
    error = _error(matcher(*two_views(tissue((760, 320), rng), to_fixed, rng, gain=0.8)), to_fixed)
    assert error < 1.0, f"{error:.2f} px off with another gain"


def swapping_the_views_swaps_the_columns(matcher: Matcher) -> None:
    """Say the same when asked the other way round."""
    rng = np.random.default_rng(4)
    to_fixed = Affine.about(Affine.rigid(radians(1), 8, -12), (80, 300))
    fixed, moving = two_views(tissue((760, 320), rng), to_fixed, rng)
    there, back = matcher(fixed, moving), matcher(moving, fixed).swapped
    one, two = (estimate(f.moving_xy, f.fixed_xy, "rigid", 4.0) for f in (there, back))
    assert one is not None, "nothing found"
    assert two is not None, "nothing found when swapped"
    at = np.array([[80.0, 50.0], [80.0, 550.0]])
    apart = np.linalg.norm(apply(one.to_fixed, at) - apply(two.to_fixed, at), axis=1).max()
    assert apart < 0.5, f"the two ways differ by {apart:.2f} px"  # px: sub-pixel, as the protocol says


def blank_views_give_no_points(matcher: Matcher) -> None:
    """Find nothing in one grey value, or where there is no data at all."""
    rng = np.random.default_rng(5)
    real, _ = two_views(tissue((760, 320), rng), Affine(), rng)
    blank = View(np.full(STRIP, 128, np.uint8), np.ones(STRIP, bool))
    hidden = View(real.image, np.zeros(STRIP, bool))
    for one, two in ((blank, blank), (real, blank), (blank, real), (real, hidden), (hidden, real)):
        found = matcher(one, two)
        assert len(found) == 0, f"{len(found)} points found in views with nothing to see"


def points_lie_where_there_is_data(matcher: Matcher) -> None:
    """Find nothing under a mask, however striking what it hides."""
    rng = np.random.default_rng(6)
    to_fixed = Affine.translation(4, 10)
    fixed, moving = two_views(tissue((760, 320), rng), to_fixed, rng)
    shown = []
    for view in (fixed, moving):
        image, mask = view.image.copy(), view.mask.copy()
        stamp = np.random.default_rng(7).integers(0, 2, (12, 12)).repeat(8, 0).repeat(8, 1).astype(np.uint8) * 255
        image[250:346, 30:126], mask[250:346, 30:126] = stamp, False  # the same place in both: a lure
        shown.append(View(image, mask))
    found = matcher(shown[0], shown[1])
    assert _error(found, to_fixed) < 2.0, "what the mask hides decided"
    for points, view in ((found.fixed_xy, shown[0]), (found.moving_xy, shown[1])):
        x, y = np.clip(np.rint(points), 0, (STRIP[1] - 1, STRIP[0] - 1)).astype(int).T
        share = (~view.mask[y, x]).mean()
        assert share < 0.1, f"{share:.0%} of the points lie where there is no data"


def a_batch_is_the_same_as_one_by_one(matcher: Matcher) -> None:
    """Take views of different shapes together and keep their order."""
    rng = np.random.default_rng(8)
    pairs = [
        two_views(tissue((760, 320), rng), Affine.translation(3, -9), rng, shape=shape)
        for shape in (STRIP, (400, 200), (180, 500))
    ]
    together = matcher.batch(pairs)
    assert len(together) == len(pairs), f"{len(together)} answers to {len(pairs)} pairs"
    assert matcher.batch([]) == [], "no pairs, no answers"
    for got, (fixed, moving) in zip(together, pairs, strict=True):
        alone = matcher(fixed, moving)
        assert abs(len(got) - len(alone)) <= 0.05 * len(alone), f"{len(got)} points in a batch, {len(alone)} alone"
        # a network padded to another size may differ in the last digits
        np.testing.assert_allclose(
            np.median(got.fixed_xy - got.moving_xy, 0), np.median(alone.fixed_xy - alone.moving_xy, 0), atol=0.1
        )


CHECKS: tuple[Callable[[Matcher], None], ...] = (
    recovers_a_shift,
    recovers_a_turn,
    does_not_mind_brightness,
    swapping_the_views_swaps_the_columns,
    blank_views_give_no_points,
    points_lie_where_there_is_data,
    a_batch_is_the_same_as_one_by_one,
)
