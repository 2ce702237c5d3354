"""What is bent is bent reduced, and is told, and holds, in px of the images themselves."""

from __future__ import annotations

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
