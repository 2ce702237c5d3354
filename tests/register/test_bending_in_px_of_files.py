"""What is bent is bent reduced, and is told, and holds, in px of the images themselves."""

from __future__ import annotations

import cv2
import numpy as np
from made_pictures import cells

from demis_ij.config.registering import RegisterConfig
from demis_ij.records import Affine
from demis_ij.register.bending import bent

SMALL = RegisterConfig(model="elastic", bend_side_px=256, device="cpu")


def test_images_whose_sides_do_not_divide_are_judged_like_any_other() -> None:
    image = cells(3, 769)[:, :398]  # 256 x 132: reduced by 3.004 along one side, and by 3.015 along the other

    found = bent(image, image, Affine(), SMALL)

    seen = found.judged(image, image)
    assert found.fixed.image.shape == (256, 132)
    assert seen is not None
    assert seen.edges_after > 0.99


def test_the_outermost_pixels_of_a_reduced_image_are_turned_like_all_others() -> None:
    """They lie beyond the outermost centres of what is looked at; a turn goes on there, and does not stand still."""
    side = 1024
    fixed = cells(3, side).astype(np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    pushed = cv2.remap(fixed, x + 6 * np.sin(y / 200), y + 6 * np.cos(x / 150), cv2.INTER_LINEAR, borderMode=2)
    turned, start = np.rot90(pushed, -1).copy(), Affine(0, -1, 1, 0, side - 1, 0)

    found = bent(fixed, turned, start, SMALL)

    assert found.better_than_nothing
    edge, inner = np.array([[0.0, 500], [500, 0], [0, 0]]), np.array([[4.0, 500], [500, 4], [4, 4]])
    for warp, straight in ((found.to_moving, start), (found.to_fixed, start.inverse)):
        apart = (warp(edge) - straight(edge)) - (warp(inner) - straight(inner))
        assert np.abs(apart).max() < 0.3  # px; 1.5 where the turn stands still
