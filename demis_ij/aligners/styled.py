"""Style transfer, then any aligner: what two instruments show is made to look alike before it is compared.

Čermák et al., "Deep Learning Style Transfer for Elastic Image Registration of Visually Distinct Correlative Microscopy
Images": one image is restyled, registered, and what was found is applied to the untouched original. The restyled image
is looked at and thrown away; a field leads from pixels of ``fixed`` to points of ``moving`` as given.

Nothing here knows networks: a style is whatever does what `Restyler` says (`demis_ij.nets.style_transfer.Style`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.looks import Mask, data_of
from demis_ij.errors import InputError
from demis_ij.records import Field

WHICH = ("auto", "moving", "fixed")
"""What is restyled: ``auto`` takes the image that has the channels the style leads from, the moving one if both do."""


class Seen(Protocol):
    """An image in the look that restyled images have."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """Grey values, (H, W) or (H, W, C)."""
        ...

    @property
    def compared(self) -> NDArray[np.uint8]:
        """What means the same in both: the image, or its local contrast."""
        ...

    @property
    def mask(self) -> Mask:
        """Where there is data, (H, W)."""
        ...


class Restyler(Protocol):
    """What makes images of one instrument look like another's."""

    def fits(self, image: NDArray[Any]) -> bool:
        """Return whether an image has the channels that the style leads from."""
        ...

    def __call__(self, image: NDArray[Any], mask: Mask | None = None) -> Seen:
        """Return an image of the source instrument in the look of the target."""
        ...

    def shown(self, image: NDArray[Any], mask: Mask | None = None) -> Seen:
        """Return an image of the target instrument in that same look."""
        ...


Align = Callable[[NDArray[np.float32], NDArray[np.float32], Mask, Mask], Field]
"""An aligner (`demis_ij.protocols.Aligner`)."""


@dataclass(frozen=True, eq=False)
class Alike:
    """Both images as they are compared.

    Attributes
    ----------
    fixed, moving : ndarray of shape (H, W), uint8
        One of them is restyled, the other evened out; the local contrast of both where a style has greys that mean
        nothing.
    fixed_mask, moving_mask : ndarray of shape (H, W), bool
        Where there is data.
    restyled : str
        ``fixed`` or ``moving``.
    """

    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    fixed_mask: Mask
    moving_mask: Mask
    restyled: str


class StyledAligner:
    """An aligner that is shown images in one look.

    Parameters
    ----------
    style : Restyler
    aligner : callable
        Any aligner of grey images.
    which : str
        Of `WHICH`: what is restyled.

    Raises
    ------
    InputError
        When ``which`` is something else.
    """

    name = "styled"

    def __init__(self, style: Restyler, aligner: Align, which: str = "auto") -> None:
        if which not in WHICH:
            msg = f"which image is restyled: {which!r} is not one of {', '.join(WHICH)}"
            raise InputError(msg)
        self.style, self.aligner, self.which = style, aligner, which

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``, for the images as they were given.

        Parameters
        ----------
        fixed, moving : ndarray of shape (H, W) or (H, W, C)
            Grey or colour of any type; NaN is no data.
        fixed_mask, moving_mask : ndarray of shape (H, W), bool
            Where there is data.

        Raises
        ------
        InputError
            When rows and columns differ, or the style leads from other images than these.
        """
        seen = self.alike(fixed, moving, fixed_mask, moving_mask)
        return self.aligner(
            seen.fixed.astype(np.float32), seen.moving.astype(np.float32), seen.fixed_mask, seen.moving_mask
        )

    def alike(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Alike:
        """Return both images in one look, for the aligner and for pictures of them."""
        sizes = {tuple(np.shape(a)[:2]) for a in (fixed, moving, fixed_mask, moving_mask)}
        if len(sizes) != 1:
            said = ", ".join("x".join(map(str, np.shape(a))) for a in (fixed, moving, fixed_mask, moving_mask))
            msg = (
                f"two images and their masks have the same rows and columns, found {said}: put them on one canvas first"
            )
            raise InputError(msg)
        which = self._restyled(fixed, moving)
        known, moving_known = _data(fixed, fixed_mask), _data(moving, moving_mask)
        if which == "fixed":
            first, second = self.style(fixed, known), self.style.shown(moving, moving_known)
        else:
            first, second = self.style.shown(fixed, known), self.style(moving, moving_known)
        return Alike(_grey(first.compared, which), _grey(second.compared, which), first.mask, second.mask, which)

    def _restyled(self, fixed: NDArray[Any], moving: NDArray[Any]) -> str:
        if self.which != "auto":
            return self.which
        return "fixed" if self.style.fits(fixed) and not self.style.fits(moving) else "moving"


def _data(image: NDArray[Any], mask: Mask) -> Mask:
    """Return where the mask says so and no channel is NaN."""
    planes = [image] if image.ndim == 2 else [image[..., k] for k in range(image.shape[2])]
    return np.asarray(np.logical_and.reduce([data_of(plane, mask) for plane in planes]))


def _grey(image: NDArray[np.uint8], which: str) -> NDArray[np.uint8]:
    if image.ndim != 2:
        msg = (
            f"aligners compare grey images; with the {which} image restyled there are {image.shape[2]} channels: "
            "choose the style, or its way back, that leads to grey"
        )
        raise InputError(msg)
    return image


__all__ = ["WHICH", "Alike", "Restyler", "StyledAligner"]
