"""The styled aligner: any aligner on images that were made alike; the field is for the images as they were given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from demis_ij.aligners.flow import FlowAligner
from demis_ij.aligners.styled import StyledAligner
from demis_ij.errors import InputError
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.images import warped
from demis_ij.records import Affine, Warp
from demis_ij.testing import aligner_contract
from demis_ij.testing.aligner_contract import two_sections


@dataclass(frozen=True)
class Seen:
    image: np.ndarray
    mask: np.ndarray

    @property
    def compared(self):
        return self.image


class Same:
    """A style that changes nothing: images look alike already."""

    def fits(self, image):
        return image.ndim == 2

    def __call__(self, image, mask=None):
        return self.shown(image, mask)

    def shown(self, image, mask=None):
        grey = np.clip(np.rint(np.where(mask, image, 0)), 0, 255).astype(np.uint8)
        return Seen(grey, mask)


class FromColour(Same):
    """A style whose source is colour: grey bent twice, so that bright and dark mean the same."""

    def fits(self, image):
        return image.ndim == 3

    def __call__(self, image, mask=None):
        assert self.fits(image)
        return self.shown(np.arcsin(image[..., 1] / 255) / np.pi * 255, mask)


def coloured(section):
    """What another instrument shows: a tone that rises and falls, in three channels."""
    bent = 255 * np.sin(np.pi * section / 255)
    return np.stack([255 - bent, bent, 0.5 * bent], -1)


ALL = np.ones((192, 192), bool)
SHIFT = Affine.translation(4.0, -3.0)


@pytest.mark.parametrize("check", aligner_contract.CHECKS, ids=lambda c: c.__name__)
def test_it_keeps_the_contract_of_aligners(check):
    check(StyledAligner(Same(), FlowAligner()))


@pytest.mark.parametrize("swapped", [False, True])
def test_the_image_that_the_style_leads_from_is_restyled_and_the_field_leads_from_fixed_to_moving(swapped):
    fixed, moving = two_sections(SHIFT, 5)
    # a tone that only rises over half of the greys keeps the style exact
    fixed, moving = fixed / 2, moving / 2
    first, second = (coloured(fixed), moving) if swapped else (fixed, coloured(moving))
    aligner = StyledAligner(FromColour(), FlowAligner())
    seen = aligner.alike(first, second, ALL, ALL)
    assert seen.restyled == ("fixed" if swapped else "moving")
    field = aligner(first, second, ALL, ALL)
    dx, dy = dense(field, Box(0, 0, 192, 192))[:, 30:-30, 30:-30]
    assert abs(float(np.median(dx)) - 4) < 0.3
    assert abs(float(np.median(dy)) + 3) < 0.3


def test_the_untouched_original_is_what_is_warped():
    fixed, moving = (s / 2 for s in two_sections(SHIFT, 5))
    original = (coloured(moving)[..., 0] * 200).astype(np.uint16)
    field = StyledAligner(FromColour(), FlowAligner())(fixed, coloured(moving), ALL, ALL)
    registered, known = warped(original, None, Warp((field,), fixed.shape))
    assert registered.dtype == np.uint16
    wanted = coloured(fixed)[..., 0] * 200
    inner = known[30:-30, 30:-30]
    off = np.abs(registered[30:-30, 30:-30][inner] - wanted[30:-30, 30:-30][inner]).mean()
    assert off < 0.3 * np.abs(original[30:-30, 30:-30] - wanted[30:-30, 30:-30]).mean()


def test_what_is_not_known_of_the_original_is_not_known_of_the_restyled_image():
    fixed, moving = (s / 2 for s in two_sections(SHIFT, 5))
    colour = coloured(moving)
    colour[:50, :, 2] = np.nan
    seen = StyledAligner(FromColour(), FlowAligner()).alike(fixed, colour, ALL, ALL)
    assert not seen.moving_mask[:50].any()
    assert seen.moving_mask[50:].all()
    assert seen.fixed_mask.all()


def test_what_does_not_fit_is_refused_in_one_line():
    grey = np.zeros((192, 192))
    with pytest.raises(InputError, match="not one of auto, moving, fixed"):
        StyledAligner(Same(), FlowAligner(), "both")
    with pytest.raises(InputError, match="same rows and columns"):
        StyledAligner(Same(), FlowAligner())(grey, grey[:-1], ALL, ALL)

    class ToColour(Same):
        def __call__(self, image, mask=None):
            return Seen(np.zeros((*image.shape[:2], 3), np.uint8), mask)

    with pytest.raises(InputError, match="aligners compare grey images"):
        StyledAligner(ToColour(), FlowAligner())(grey, grey, ALL, ALL)
