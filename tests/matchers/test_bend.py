"""What is smooth is a bend; what is noise, nothing, or on something else is not."""

import cv2
import numpy as np
import pytest

from demis_ij.matchers.bend import fit_bend
from demis_ij.matchers.refine import refine
from demis_ij.protocols import View
from demis_ij.records import Correspondences
from demis_ij.testing.matcher_contract import tissue


def lens(points: np.ndarray, size_px: float = 4.0) -> np.ndarray:
    """A barrel over 200 x 600 px: up to some ``size_px``, cubic."""
    x, y = (points - (100, 300)).T / 300
    return size_px * np.stack([x * (x**2 + y**2), y * (x**2 + y**2)], 1)


def lattice(step: int = 25) -> np.ndarray:
    x, y = np.meshgrid(np.arange(10.0, 190, step), np.arange(10.0, 590, step))
    return np.stack([x.ravel(), y.ravel()], 1)


def test_a_cubic_displacement_is_recovered_beside_outliers():
    at = lattice()
    moved = lens(at)
    moved[::11] += 9
    bend = fit_bend(at, moved)
    assert bend is not None
    inside = np.random.default_rng(1).uniform((20, 20), (180, 580), (50, 2))
    np.testing.assert_allclose(bend.at(inside), lens(inside), atol=0.1)  # px: the ridge and a tenth of outliers


def test_every_pixel_of_a_frame_is_told_the_same():
    bend = fit_bend(lattice(), lens(lattice()))
    assert bend is not None
    field = bend.over((600, 200))
    at = np.array([[3, 5], [150, 400], [199, 599]])
    np.testing.assert_allclose(field[:, at[:, 1], at[:, 0]].T, bend.at(at.astype(float)), atol=1e-9)


def test_beyond_the_points_the_bend_stays_what_it_is_at_their_rim():
    bend = fit_bend(lattice(), lens(lattice()))
    assert bend is not None
    np.testing.assert_allclose(bend.at(np.array([[100.0, 2000.0]])), bend.at(np.array([[100.0, bend.high[1]]])))


@pytest.mark.parametrize(
    ("at", "moved"),
    [
        (lattice(), lens(lattice(), 0.2)),
        (lattice(), np.random.default_rng(2).normal(0, 2, lattice().shape)),
        (lattice(60)[:20], lens(lattice(60)[:20])),
        (np.empty((0, 2)), np.empty((0, 2))),
    ],
    ids=["too small", "noise", "too few points", "no points"],
)
def test_there_is_no_bend(at, moved):
    assert fit_bend(at, moved) is None


def test_bent_views_are_refined_along_the_bend():
    rng = np.random.default_rng(3)
    source = tissue((700, 300), rng).astype(np.float32)
    row, col = np.mgrid[0:600, 0:200].astype(np.float64)
    grid = np.stack([col.ravel(), row.ravel()], 1)
    off = lens(grid, 10).reshape(600, 200, 2)

    def shown(dx, dy):
        seen = cv2.remap(
            source, (col + 50 + dx).astype(np.float32), (row + 50 + dy).astype(np.float32), cv2.INTER_CUBIC
        )
        return View(np.clip(seen + rng.normal(0, 4, seen.shape), 0, 255).astype(np.uint8), np.ones(seen.shape, bool))

    fixed, moving = shown(0, 0), shown(off[..., 0], off[..., 1])  # moving p shows what fixed has at p + off
    at = rng.uniform((15, 15), (185, 585), (150, 2))
    start = Correspondences(at + lens(at, 10) + rng.normal(0, 1, at.shape), at, np.ones(len(at)))

    found = refine(fixed, moving, start)

    for points in (found.points, found.start):
        assert len(points) > 60
        error = np.linalg.norm(points.fixed_xy - points.moving_xy - lens(points.moving_xy, 10), axis=1)
        assert np.median(error) < 0.09  # px; 0.12 without the bend
    assert len(found.start) > 130
