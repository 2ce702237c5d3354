"""Warps as TrakEM2's coordinate transforms: of a stack project, and of register_virtual_stack_slices.

Both lead the other way round: from a pixel of the image to the world, here to the pixel of the output canvas, with
pixel centres at integers on either side. An affine warp becomes a matrix, exactly. Any other becomes a cubic B-spline
(``bunwarpj.trakem2.transform.CubicBSplineTransform``, part of TrakEM2): of the classes that can hold a field it is the
one whose departure is small everywhere; moving least squares is wrong between its points and parsed as float32.

**What TrakEM2 draws.** It maps the vertices of a mesh of ``mres`` columns and goes straight between them. ``mres`` is
chosen so that this costs no more than a tenth of a px. Where a warp knows nothing TrakEM2 draws on: the transform goes
on smoothly there (`demis_ij.formats.warps_pushed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from demis_ij.errors import InputError
from demis_ij.formats.files import packed, section_of, write_new
from demis_ij.formats.splines import Misfit, intervals_for, spline_of
from demis_ij.formats.trakem2_ct import CoordinateTransform, Spec, bounding_box, mesh_points, parse_transforms
from demis_ij.formats.trakem2_new import Deformed, project_xml
from demis_ij.formats.warps import StackWarps
from demis_ij.formats.warps_pushed import affine_of, completed, stride_of
from demis_ij.images.zarr_planes import is_zarr
from demis_ij.records import Affine, Layout, Stack, Tile, Warp

AFFINE_CLASS = "mpicbg.trakem2.transform.AffineModel2D"
SPLINE_CLASS = "bunwarpj.trakem2.transform.CubicBSplineTransform"
MESH_COLUMNS = (32, 48, 64, 96, 128, 192, 256)
"""Values of ``mres`` that are tried; TrakEM2's own is the first."""

_WITHIN_PX = 0.1


@dataclass(frozen=True)
class Departure:
    """How far a written transform departs from its warp.

    Attributes
    ----------
    transform : Misfit
        Of the transform itself, over the pixels of the image that the canvas shows.
    mesh_px : float
        Of going straight between the vertices of the mesh that TrakEM2 draws with, at most.
    columns : int
        Of that mesh.
    unknown_frac : float
        Share of the canvas where the warp knows nothing and the transform goes on.
    """

    transform: Misfit
    mesh_px: float
    columns: int
    unknown_frac: float = 0.0


def transform_of(
    warp: Warp, shape: tuple[int, int], *, most_intervals: int = 64, columns: int | None = None
) -> tuple[Spec, Departure]:
    """Return the coordinate transform that leads from the pixels of an image to those of the canvas.

    Parameters
    ----------
    warp : Warp
        Canvas pixel to image point.
    shape : tuple of int
        (rows, cols) of the image.
    most_intervals : int
        Of the spline.
    columns : int, optional
        Columns of the mesh that it will be drawn with; as many as it needs, 256 at most, when not given.
    """
    affine = affine_of(warp)
    if affine is not None:
        back = affine.inverse
        data = " ".join(repr(v) for v in (back.a, back.c, back.b, back.d, back.tx, back.ty))
        return (AFFINE_CLASS, data), Departure(Misfit(0.0, 0.0, 0.0), 0.0, columns or MESH_COLUMNS[0])
    whole = completed(warp)
    most = intervals_for(shape, stride_of(warp), most_intervals)
    spline, _ = spline_of(whole.pushed, shape, within_px=_WITHIN_PX, most=most)
    numbers = [f"{v:.6f}" for c in (spline.x, spline.y) for v in c.ravel().tolist()]
    data = " ".join([str(shape[1]), str(shape[0]), str(spline.intervals), *numbers])
    spec = (SPLINE_CLASS, data)
    written = parse_transforms([spec])
    tried = MESH_COLUMNS if columns is None else (columns,)
    bends = 0.0
    for count in tried:
        columns, bends = count, _mesh_departure(written, count, shape)
        if bends <= _WITHIN_PX:
            break
    return spec, Departure(_departure(written, warp, shape), bends, columns or tried[0], whole.unknown_frac)


def _departure(written: CoordinateTransform, warp: Warp, shape: tuple[int, int]) -> Misfit:
    """Return how far pixels of an image come out from where they went, px, of those that the canvas shows."""
    at = np.random.default_rng(0).uniform(0, 1, (4000, 2)) * (np.array(shape[::-1]) - 1)
    there = written(at)
    shown = ((there >= 0) & (there <= np.array(warp.shape[::-1]) - 1)).all(axis=1)
    away = np.linalg.norm(warp(there[shown]) - at[shown], axis=1)
    away = away[np.isfinite(away)]
    return Misfit(*(float(v) for v in np.percentile(away, (50, 99, 100)))) if away.size else Misfit(0.0, 0.0, 0.0)


def _mesh_departure(transform: CoordinateTransform, columns: int, shape: tuple[int, int]) -> float:
    """Return how far the middles of a mesh's edges lie from where the transform sends them: the worst but 1 %, px."""
    vertices = mesh_points(columns, shape)
    nx = max(2, columns)
    ny = (len(vertices) + nx - 1) // (2 * nx - 1)
    outer = vertices[: nx * ny].reshape(ny, nx, 2)
    inner = vertices[nx * ny :].reshape(ny - 1, nx - 1, 2)
    edges = [
        (outer[:, 1:], outer[:, :-1]), (outer[1:], outer[:-1]),
        (outer[:-1, :-1], inner), (outer[1:, 1:], inner), (outer[:-1, 1:], inner), (outer[1:, :-1], inner),
    ]  # fmt: skip
    one, other = (np.concatenate([e[k].reshape(-1, 2) for e in edges]) for k in (0, 1))
    away = transform((one + other) / 2) - (transform(one) + transform(other)) / 2
    return float(np.percentile(np.linalg.norm(away, axis=1), 99))


# --- a TrakEM2 project ------------------------------------------------------------------------------------------------


def write_project(
    path: Path, stack: Stack, warps: StackWarps, *, most_intervals: int = 64, overwrite: bool = False
) -> tuple[str, ...]:
    """Write a new TrakEM2 project: one layer a section, one patch each, deformed as its warp says.

    The project's world is the output canvas. Layers are as far apart as sections are thick, in px, where the stack
    knows it, else 1 px; a missing section leaves a gap.

    Parameters
    ----------
    path : Path
        ``.xml`` or ``.xml.gz``.
    stack : Stack
        The images. TrakEM2 reads TIFF (with pages), PNG, JPEG and the like, no OME-Zarr.
    warps : StackWarps
        One a section.
    most_intervals : int
        Of the splines.
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Returns
    -------
    tuple of str
        What there is to say: how far the transforms depart from the warps, and what is lost.

    Raises
    ------
    InputError
        When there are not as many warps as sections, a section is an OME-Zarr, or the file cannot be written.
    """
    path = Path(path)
    _check(stack, warps)
    zarr = next((t for t in stack if is_zarr(t.path)), None)
    if zarr is not None:
        msg = f"section {zarr.id}: TrakEM2 opens no OME-Zarr ({zarr.path}); write the sections as images first"
        raise InputError(msg)
    heights = layer_heights(stack)
    layouts, deformed, found = [], {}, []
    for tile, warp, z in zip(stack, warps.warps, heights, strict=True):
        placed, bent, departs = _patch(tile, warp, most_intervals)
        if bent is not None:
            deformed[tile.id] = bent
        found.append(departs)
        layouts.append(Layout((placed,), section_of(z), stack.pixel_size))
    data = project_xml(path, layouts, deformed=deformed, shape=warps.shape)
    write_new(path, packed(path, data), overwrite=overwrite)
    return (*said(path.name, found), *_lost(stack))


def layer_heights(stack: Stack) -> list[float]:
    """Return the z of each layer, px: TrakEM2 measures z in pixels of the section."""
    step = 1.0
    if stack.thickness and stack.pixel_size and stack.thickness[1] == stack.pixel_size[1]:
        step = stack.thickness[0] / stack.pixel_size[0]
    return [z * step for z in stack.z]


def _patch(tile: Tile, warp: Warp, most_intervals: int) -> tuple[Tile, Deformed | None, Departure]:
    """Return a section as a patch: where its box lies, what deforms it, and how well that stands for its warp."""
    spec, departs = transform_of(warp, tile.shape, most_intervals=most_intervals)
    affine = affine_of(warp)
    if affine is not None:
        return replace(tile, to_world=affine.inverse), None, departs
    x, y, width, height = bounding_box(parse_transforms([spec]), departs.columns, tile.shape)
    return (
        replace(tile, to_world=Affine.translation(x, y)),
        Deformed((spec,), departs.columns, (width, height)),
        departs,
    )


def _check(stack: Stack, warps: StackWarps) -> None:
    if len(stack) != len(warps):
        msg = f"{len(warps)} warp(s) for {len(stack)} sections: one for each was needed"
        raise InputError(msg)


def said(name: str, found: Sequence[Departure]) -> tuple[str, ...]:
    """Return a line on how far written transforms depart from their warps; none where all are exact."""
    bent = [d for d in found if d.transform.largest_px > 0]
    if not bent:
        return ()
    typical = float(np.median([d.transform.median_px for d in bent]))
    most = max(d.transform.most_px for d in bent)
    mesh = max(d.mesh_px for d in bent)
    text = (
        f"{name}: {len(bent)} warp(s) written as cubic B-splines, {typical:.2g} px away (median), up to {most:.2g} px"
        f" at 99 of 100 pixels; drawn with a mesh of {max(d.columns for d in bent)} columns, {mesh:.2g} px more"
    )
    unknown = sum(d.unknown_frac > 0 for d in bent)
    more = f"{name}: {unknown} warp(s) are unknown in places; there the transform goes on smoothly"
    return (text, more) if unknown else (text,)


def _lost(stack: Stack) -> tuple[str, ...]:
    masked = sum(t.mask_path is not None for t in stack)
    return (f"the masks of {masked} section(s) are not in the project",) if masked else ()
