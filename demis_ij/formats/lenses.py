"""Lenses in files: as TrakEM2's (and Render's) lens correction, and what other formats lose.

TrakEM2's ``NonLinearCoordinateTransform`` (Kaynig 2010, doi:10.1016/j.jsb.2010.04.012) is a polynomial in the raw px of
the image. A polynomial map of up to degree 5, whatever class or list of classes it is written as, is read as an affine
map after a lens, exactly; what is none is read as the nearest affine map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demis_ij.formats.trakem2_ct import (
    CoordinateTransform,
    Spec,
    bounding_box,
    mesh_points,
    nearest_affine,
    parse_transforms,
)
from demis_ij.records import Affine, Layout, Lens, Tile
from demis_ij.records.lens import split_polynomial

LENS_CLASS = "mpicbg.trakem2.transform.NonLinearCoordinateTransform"
CONSTANT = 100.0
"""What the class multiplies its last row of coefficients by."""
EXACT_PX = 1e-3
MESH_COLUMNS = 32


def lens_spec(lens: Lens, shape: tuple[int, int]) -> Spec:
    """Return (class, data) of a lens: raw pixel centres to corrected ones.

    The data: degree, number of terms, (x, y) coefficients of x, y, x^2, xy, y^2 ... and of the constant, their means
    and deviations (0 and 1: nothing is normalised), width and height.
    """
    powers = lens.powers()
    order = [(n - k, k) for n in range(1, lens.degree + 1) for k in range(n + 1)]
    rows = [(powers[0, i, j], powers[1, i, j]) for i, j in order]
    rows.append((powers[0, 0, 0] / CONSTANT, powers[1, 0, 0] / CONSTANT))
    terms = len(rows)
    numbers = [f"{float(v)!r}" for row in rows for v in row]
    fields = [str(lens.degree), str(terms), *numbers, *["0.0"] * terms, *["1.0"] * terms, str(shape[1]), str(shape[0])]
    return LENS_CLASS, " ".join(fields)


def behind_lens(
    transform: CoordinateTransform, shape: tuple[int, int], camera: str = ""
) -> tuple[Affine, Lens | None, float]:
    """Return a transform as an affine map after a lens, and the largest departure that is left, px.

    Raises
    ------
    ValueError
        When it sends part of the image to infinity.
    """
    near, departure = nearest_affine(transform, shape)
    if departure <= EXACT_PX or min(shape) < 2:
        return near, None, departure
    height, width = shape
    x, y = np.linspace(0, width - 1, 17), np.linspace(0, height - 1, 17)
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    matrix, lens, _ = split_polynomial(at, transform(at), shape, camera=camera, most_px=EXACT_PX)
    return (near, None, departure) if lens is None else (Affine.from_matrix(matrix), lens, 0.0)


def deformed_box(lens: Lens, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return TrakEM2's box (x, y, width, height) of an image behind a lens."""
    return bounding_box(parse_transforms([lens_spec(lens, shape)]), MESH_COLUMNS, shape)


def world_bounds(tile: Tile) -> tuple[float, float, float, float]:
    """Return (x0, y0, x1, y1), the world px of a tile's pixel centres."""
    rows, cols = tile.shape
    if tile.lens is None:
        at = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], float)
    else:
        at = mesh_points(MESH_COLUMNS, tile.shape)
    world = tile.in_world(at)
    (x0, y0), (x1, y1) = world.min(0), world.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def lens_losses(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return what a format without coordinate transforms would lose."""
    bent = [tile for layout in layouts for tile in layout if tile.lens is not None]
    if not bent:
        return ()
    most = max(lens.largest_px for lens in {tile.lens for tile in bent if tile.lens is not None})
    return (f"the lens of {len(bent)} tile(s), which moves pixels by up to {most:.1f} px (first: {bent[0].id})",)
