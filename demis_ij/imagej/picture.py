"""A picture that ImageJ holds."""

from __future__ import annotations

from typing import Any


class Picture:
    """A handle of an image in ImageJ.

    Parameters
    ----------
    imageplus : ij.ImagePlus
        The image; stays inside this room.
    """

    def __init__(self, imageplus: Any) -> None:
        self.imageplus = imageplus
