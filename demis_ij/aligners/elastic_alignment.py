"""Block matching and a mesh of springs: the engine of *Elastic Stack Alignment*, a plugin of a Fiji."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.looks import Mask, check_sizes, data_of, evened, is_blank, unfolded, unknown
from demis_ij.fields import grid_of, nodes
from demis_ij.imagej.plugins import ELASTIC, check_plugin
from demis_ij.imagej.registration import ElasticSettings, elastic_points
from demis_ij.records import Field

_LEAST_SIDE = 64  # px; less holds no blocks that could be looked for
_NODES = 4  # of the field to a side of the mesh's triangles


class ElasticAligner:
    """The block matching and the spring mesh of Fiji's *Elastic Stack Alignment*, for one pair of sections.

    The plugin itself asks by dialogs and writes pictures, not transforms, so its classes are called: what aligns is
    the plugin's, which sections are compared is not. Sections are looked at with even contrast.

    Parameters
    ----------
    fiji : path or str
        Folder of a Fiji with the plugin; empty where a session with it runs in this process.
    settings : ElasticSettings, optional
        The plugin's own; by default those that suit the size of the sections.
    window_px : float
        Standard deviation of the window in which brightness and contrast are evened out; 0 is a thirteenth of the
        shorter side.

    Raises
    ------
    InputError
        No Fiji is named, or it lacks the plugin.

    Notes
    -----
    Saalfeld et al. 2012, doi:10.1038/nmeth.2072. Moving least squares: Schaefer et al. 2006,
    doi:10.1145/1141911.1141920.
    """

    name = "elastic"

    def __init__(self, fiji: Path | str = "", settings: ElasticSettings | None = None, window_px: float = 0.0) -> None:
        self.fiji = str(fiji)
        self.settings = settings
        self.window_px = window_px
        check_plugin(ELASTIC, self.fiji)

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when nothing is found.

        Raises
        ------
        InputError
            The arrays are not of one shape.
        PluginFailed
            The plugin threw an exception.
        """
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        settings = self.settings or settings_for(shape)
        window = self.window_px or min(shape) / 13
        stride = max(1, shape[1] // (_NODES * settings.resolution))
        data = [data_of(fixed, fixed_mask), data_of(moving, moving_mask)]
        if min(shape) < _LEAST_SIDE or any(is_blank(i, m) for i, m in zip((fixed, moving), data, strict=True)):
            return unknown(shape, stride)
        grey = [evened(i, m, window) for i, m in zip((fixed, moving), data, strict=True)]
        at = nodes(grid_of(shape, stride), stride)
        found = elastic_points(
            self.fiji,
            grey[0],
            grey[1],
            fixed_mask=data[0],
            moving_mask=data[1],
            settings=settings,
            at=at.reshape(-1, 2),
        )
        if found is None or not np.isfinite(found).all():
            return unknown(shape, stride)
        offsets = np.moveaxis(found.reshape(at.shape) - at, -1, 0).astype(np.float32)
        return unfolded(Field(offsets, stride))


def settings_for(shape: tuple[int, int]) -> ElasticSettings:
    """Return the plugin's settings for sections of (rows, cols): lengths grow with the shorter side."""
    side, plain = min(shape), ElasticSettings()
    factor = side / 512
    return replace(
        plain,
        block_radius=max(8, round(plain.block_radius * factor)),
        search_radius=max(8, round(plain.search_radius * factor)),
        local_sigma=plain.local_sigma * factor,
        max_local_displacement=plain.max_local_displacement * factor,
    )
