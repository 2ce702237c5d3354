"""What a restyled image's structure is judged by: invented, lost and moved edges are told, contrast does not matter."""

from __future__ import annotations

import cv2
import numpy as np

from demis_ij.nets.style_check import check_style

ALL = np.ones((384, 384), bool)


def cells(seed, side=384, count=90):
    """Flat cells of random grey, and their borders as lines."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    seeds = rng.uniform(0, side, (count, 2))
    distance = (y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2
    owner = distance.argmin(-1)
    grey = rng.uniform(-1, 1, count)[owner].astype(np.float32)
    lines = np.abs(cv2.Laplacian(owner.astype(np.float32), cv2.CV_32F)) > 0
    return grey[None], lines.astype(np.float32)[None], owner


def test_another_contrast_of_the_same_structure_is_no_invention():
    grey, _, owner = cells(0)
    other = np.random.default_rng(5).uniform(-1, 1, owner.max() + 1)[owner].astype(np.float32)[None]
    check = check_style(grey, other, ALL)
    assert check.invented < 0.1
    assert check.moved_px < 1
    inverted = check_style(grey, -grey, ALL)
    assert inverted.invented < 0.02
    assert inverted.drift_px < 0.05


def test_a_foreign_image_is_invented_and_the_own_one_lost():
    check = check_style(cells(0)[0], cells(1)[0], ALL)
    assert check.invented > 0.6
    assert check.lost > 0.6


def test_structure_painted_over_a_part_is_told():
    grey, _, _ = cells(0)
    painted = grey.copy()
    painted[:, :192] = cells(3)[0][:, :192]
    assert 0.3 < check_style(grey, painted, ALL).invented < 0.8


def test_what_is_left_out_is_lost_and_not_invented():
    grey, _, _ = cells(0)
    less = grey.copy()
    less[:, 100:300, 100:300] = 0.2
    check = check_style(grey, less, ALL)
    assert check.lost > 0.15
    assert check.invented < check.lost / 2  # the outline of what is left out


def test_a_shift_of_all_edges_is_measured():
    grey, _, _ = cells(0)
    moved = np.roll(grey, (2, -1), (1, 2))
    check = check_style(grey, moved, ALL)
    assert abs(check.drift_px - np.hypot(2, 1)) < 0.3


def test_nothing_to_see_is_unknown():
    flat = np.zeros((1, 384, 384), np.float32)
    check = check_style(flat, flat, ALL)
    assert np.isnan([check.invented, check.lost, check.drift_px, check.moved_px]).all()
    assert "unknown" in check.said
    assert "too few edges to tell whether they are displaced" in check.said
    assert np.isnan(check_style(*[cells(0)[0]] * 2, np.zeros_like(ALL)).invented)
