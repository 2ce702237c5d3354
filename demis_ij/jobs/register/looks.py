"""Two registered images to look at in a notebook."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.jobs.register.files import shown_views
from demis_ij.jobs.register.registering import Registered
from demis_ij.report.registration_pictures import checkerboard, red_cyan
from demis_ij.views import Drawn, beside


def look_at_registration(found: Registered, *, width_px: int = 320) -> Drawn:
    """Return both images over each other: as they came; registered; and registered, in a checkerboard.

    The fixed image is red, the moving one cyan: grey where they agree. What does not match is shown as it came only.

    Parameters
    ----------
    found : Registered
        What `register_files` returns.
    width_px : int
        Of one picture.
    """
    views = shown_views(found.fixed, found.moving, found.to_moving, found.pixel_ratio)
    shown: list[NDArray[np.uint8]] = [red_cyan(views.fixed, views.before)]
    if views.after is not None:
        shown += [red_cyan(views.fixed, views.after), checkerboard(views.fixed, views.after)]
    size = width_px, max(1, round(width_px * views.fixed.shape[0] / views.fixed.shape[1]))
    return beside(*(Drawn(np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA), np.uint8)) for p in shown))


__all__ = ["look_at_registration"]
