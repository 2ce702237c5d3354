"""Local contrast: what is the same whether an edge is a step, a dark line or a bright one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from demis_ij.nets.style_check import check_style
from demis_ij.nets.style_contrast import contrast_look, contrast_of, polarity_look
from demis_ij.nets.style_look import look_at

SIDE = 192


def cells(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return grains of greys of their own, and where they meet."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    seeds = rng.uniform(0, SIDE, (30, 2))
    owner = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    lines = (np.abs(cv2.Laplacian(owner.astype(np.float32), -1)) > 0).astype(np.float32)
    return rng.uniform(-0.5, 0.5, 30)[owner].astype(np.float32), cv2.dilate(lines, np.ones((3, 3)))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def everywhere() -> np.ndarray:
    return np.ones((SIDE, SIDE), bool)


def test_steps_dark_lines_and_bright_lines_have_one_contrast() -> None:
    steps, lines = cells()
    bright, dark, step = (contrast_look(look[None], everywhere()) for look in (lines, -lines, steps))

    assert bright.shape == (1, SIDE, SIDE)
    np.testing.assert_allclose(bright, dark, atol=1e-5)
    assert correlation(step, bright) > 0.5
    assert abs(correlation(steps, lines)) < 0.1
    assert -1 <= bright.min() < 0 < bright.max() <= 1


def test_what_lies_outside_of_the_data_has_no_part_in_it() -> None:
    _, lines = cells()
    mask = everywhere()
    mask[:, 120:] = False
    painted = lines.copy()
    painted[:, 120:] = 9

    found = contrast_look(painted[None], mask)

    np.testing.assert_allclose(found, contrast_look(np.where(mask, lines, 0)[None], mask), atol=1e-5)
    assert (found[:, ~mask] == 0).all()
    flat = contrast_look(np.where(mask, np.float32(0.5), 0)[None], mask)
    assert np.ptp(flat[:, mask]) < 0.05  # the rim of the data is no edge


def test_contrast_moves_with_the_image() -> None:
    steps, _ = cells()
    given = torch.from_numpy(steps)[None, None]
    known = torch.ones_like(given)

    moved = contrast_of(given.roll((5, -3), (2, 3)), known)

    inner = (..., slice(40, -40), slice(40, -40))
    torch.testing.assert_close(moved[inner], contrast_of(given, known).roll((5, -3), (2, 3))[inner])


@pytest.mark.parametrize("reduce", [1, 2])
def test_a_negative_is_told_from_what_targets_look_like(reduce: int) -> None:
    steps, lines = cells()
    look = look_at(lines + 0.3 * steps)
    span = tuple(sorted(polarity_look(look_at(cells(k)[1]), everywhere(), reduce) for k in (1, 2)))

    right, wrong = (check_style(look, made, everywhere(), wanted=span, reduce=reduce) for made in (look, -look))

    assert right.doubts == ()
    assert right.polarity == pytest.approx(-wrong.polarity, abs=1e-4)
    assert wrong.invented == pytest.approx(0, abs=1e-6)  # all its edges have their cause
    assert ["dark places" in one for one in wrong.doubts] == [True]
    assert "look at it before it is used" in wrong.said
    assert check_style(look, -look, everywhere()).doubts == ()  # where nothing is known of targets


def test_structure_of_another_image_is_doubted() -> None:
    look, other = (look_at(cells(k)[1]) for k in (0, 5))

    assert any("no cause" in one for one in check_style(look, other, everywhere()).doubts)
