"""Methods that align one section after the other: ssEMnet as it was published, and chains of any aligner.

They are here to be compared with: each passes on the errors of all sections before, as the joint solution does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from demis_ij.align.evidence import Series
from demis_ij.align.grids import Grid
from demis_ij.config.aligning import AlignConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.geometry import Box
from demis_ij.protocols import ALIGNERS, FIJI_ALIGNERS, Aligner
from demis_ij.records import Field, Offsets

Progress = Callable[[str, int, int], None]


def chained(series: Series, level: int, config: AlignConfig, tell: Progress) -> Offsets:
    """Return the fields of a series, each section brought onto the one before, as that one was brought onto its own.

    Parameters
    ----------
    series : Series
        Sections, roughly in place.
    level : int
        The reduction at which the aligner sees them.
    config : AlignConfig
        Names the aligner.
    tell : callable
        Progress.

    Raises
    ------
    InputError
        When there is no such aligner.
    """
    aligner = chosen_aligner(config)
    count = len(series.index)
    box = Box.of_shape(series.grid.level_shape(level))
    offsets = np.zeros((count, 2, *series.grid.nodes), np.float32)
    fixed = _seen(series, 0, None, level, box)
    for place in range(1, count):
        tell(f"chain of {config.aligner}", place, count)
        moving = _seen(series, place, None, level, box)
        found = aligner(fixed[0], moving[0], fixed[1], moving[1])
        if found.known.any():
            offsets[place] = on_grid(found, series.grid, level)
        fixed = _seen(series, place, offsets[place], level, box)
    tell(f"chain of {config.aligner}", count, count)
    return offsets


def chosen_aligner(config: AlignConfig) -> Aligner:
    """Return the aligner of a chain. Raises `InputError` when there is none of that name, or it lacks a part."""
    make, name = ALIGNERS[config.aligner], config.aligner
    found: Aligner = make(fiji=config.fiji) if name in FIJI_ALIGNERS else make()
    return found


def paper_series(
    series: Series, level: int, ssemnet: SsemnetConfig, tell: Progress
) -> tuple[Offsets, tuple[tuple[float, ...], ...]]:
    """Return the fields of a series by ssEMnet, and the losses of each section step by step.

    A window of neighbours slides along the series (Yoo et al. 2017).

    Parameters
    ----------
    series : Series
        Sections, roughly in place.
    level : int
        The reduction at which they are compared.
    ssemnet : SsemnetConfig
        The paper's settings.
    tell : callable
        Progress.
    """
    from demis_ij.aligners.ssemnet import align_series  # torch: only when it is wanted

    box = Box.of_shape(series.grid.level_shape(level))

    def read(place: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return _seen(series, place, None, level, box)

    found = list(align_series(read, len(series.index), ssemnet, progress=tell))
    return np.stack([on_grid(f.field, series.grid, level) for f in found]), tuple(f.losses for f in found)


def _seen(
    series: Series, place: int, offsets: Offsets | None, level: int, box: Box
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    grey, mask = series.warped(place, offsets, level, box)
    return grey.astype(np.float32), mask > 250


def on_grid(field: Field, grid: Grid, level: int) -> Offsets:
    """Return a field over a level's canvas at the nodes of the grid, px of the sections.

    Where the field is not known it is what it is at the nearest place that is; zero when nothing is known.
    """
    known = _filled(field)
    x, y = grid.at_level(level)
    at = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float64)
    return np.ascontiguousarray(np.moveaxis((known(at) - at) * level, -1, 0), np.float32)


def _filled(field: Field) -> Field:
    if field.known.all():
        return field
    if not field.known.any():
        return Field(np.zeros_like(field.offsets), field.stride)
    rows, cols = distance_transform_edt(~field.known, return_distances=False, return_indices=True)
    return Field(field.offsets[:, rows, cols], field.stride)
