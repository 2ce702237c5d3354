"""What a registration leaves in its folder: the registered image, pictures of both, and the transform for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.formats import warps_bunwarpj, warps_trakem2
from demis_ij.formats.files import write_new
from demis_ij.formats.warps import StackWarps
from demis_ij.formats.warps_itk import write_itk
from demis_ij.geometry import Box
from demis_ij.images.warping import Pixels, warped
from demis_ij.images.zarr_planes import is_zarr
from demis_ij.jobs.register.pictures import Picture, Samples, all_samples
from demis_ij.records import Affine, Stack, Tile, Warp
from demis_ij.register.looks import factors
from demis_ij.report.registration_pictures import Source, Views, checkerboard, red_cyan, views_of

MOST_RAW_PX = 1 << 24
"""bUnwarpJ's raw file is text, some 16 bytes a px: it is not written for larger grids."""
MOST_CLASSIC_BYTES = 2**32 - 2**20
"""ImageJ's own TIFF is a classic one; what is larger is written as BigTIFF."""
_BAND = 512  # rows drawn at once
_ROOM = 1 << 22  # bytes written at once

Files = dict[str, Path]


def write_files(
    folder: Path,
    fixed: Picture,
    moving: Picture,
    to_moving: Affine | Warp | None,
    pixel_ratio: float | None,
    progress: Callable[[int, int], None],
) -> tuple[Files, tuple[str, ...], Views]:
    """Write all that goes with a registration; without a transform nothing but the views is made.

    Parameters
    ----------
    folder : Path
        The run folder; each file is written whole or not at all, and replaced.
    fixed, moving : Picture
        The images.
    to_moving : Affine, Warp or None
        Px of the fixed file to px of the moving one.
    pixel_ratio : float or None
        The fixed image's pixel size over the moving one's, where known.
    progress : callable
        Told how many rows of the registered image are drawn, and how many there are.

    Returns
    -------
    (dict of str to Path, tuple of str, Views)
        What was written, what there is to say of it, and the pictures for the report.
    """
    views = shown_views(fixed, moving, to_moving, pixel_ratio)
    if to_moving is None or views.after is None:
        return {}, (), views
    warp = to_moving if isinstance(to_moving, Warp) else Warp((to_moving,), fixed.shape)
    files: Files = _write_registered(folder, fixed, moving, warp, progress)
    files["red-cyan"] = _write_png(folder / "red_cyan.png", red_cyan(views.fixed, views.after)[..., ::-1])
    files["checkerboard"] = _write_png(folder / "checkerboard.png", checkerboard(views.fixed, views.after))
    instead = "warp.npz holds the same at fewer places"
    if isinstance(to_moving, Affine):
        instead = "to_moving.tfm says the same in one line"
        files["itk"] = write_itk(folder / "to_moving.tfm", to_moving, overwrite=True)
    more, said = _write_for_fiji(folder, fixed, moving, warp, instead)
    return files | more, said, views


def shown_views(fixed: Picture, moving: Picture, to_moving: Affine | Warp | None, pixel_ratio: float | None) -> Views:
    """Return both images on the fixed image's grid, for the screen; parameters as those of `write_files`."""
    first, second = factors(fixed.shape, moving.shape, max(fixed.shape), pixel_ratio)
    return views_of(_source(fixed), _source(moving), to_moving, second / first)


def _source(picture: Picture) -> Source:
    return Source(picture.image, picture.mask, picture.to_full, picture.shape)


def _write_png(path: Path, image: NDArray[np.uint8]) -> Path:
    return write_new(path, cv2.imencode(".png", image)[1].tobytes(), overwrite=True)


def _write_for_fiji(
    folder: Path, fixed: Picture, moving: Picture, warp: Warp, instead: str
) -> tuple[Files, tuple[str, ...]]:
    """Write the transform as TrakEM2 and bUnwarpJ keep it; return what cannot be, and what there is instead."""
    files: Files = {}
    said: list[str] = []
    if any(is_zarr(p.path) for p in (fixed, moving)):
        said.append("no TrakEM2 project: TrakEM2 opens no OME-Zarr")
    else:
        tiles = tuple(Tile(n, p.path.absolute(), p.shape) for n, p in (("fixed", fixed), ("moving", moving)))
        warps = StackWarps((Warp.identity(fixed.shape), warp), ("fixed", "moving"), (0.0, 1.0))
        files["trakem2"] = folder / "trakem2.xml"
        said += warps_trakem2.write_project(files["trakem2"], Stack(tiles), warps, overwrite=True)
    rows, cols = fixed.shape
    if rows * cols > MOST_RAW_PX:
        said.append(f"no bunwarpj_raw.txt: text for each of {cols}x{rows} px; {instead}")
    else:
        files["bunwarpj"] = folder / "bunwarpj_raw.txt"
        warps_bunwarpj.write_raw(files["bunwarpj"], warp, overwrite=True)
    return files, tuple(said)


# --- the registered image ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Enlarged:
    """A mask of an image that was read reduced, as one of the whole image."""

    mask: NDArray[np.bool_]
    step: int
    shape: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.bool_)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        at = [np.arange(*k.indices(n)) // self.step for k, n in zip(key, self.shape, strict=True)]
        rows, cols = (np.minimum(a, n - 1) for a, n in zip(at, self.mask.shape, strict=True))
        return np.asarray(self.mask[np.ix_(rows, cols)])


def _write_registered(
    folder: Path, fixed: Picture, moving: Picture, warp: Warp, progress: Callable[[int, int], None]
) -> Files:
    """Draw the moving image, in its own type and with all its channels, on the fixed image's grid; and where it is."""
    samples = all_samples(moving.path)
    mask: Pixels = moving.mask
    if moving.reduced > 1:
        mask = _Enlarged(moving.mask, moving.reduced, moving.shape)
    paths = {"registered": folder / "registered.tif", "mask": folder / "registered_mask.tif"}
    parts = {name: path.with_name(f".{path.name}.part") for name, path in paths.items()}
    try:
        image, known = _begun(parts, samples, fixed)
        for top in range(0, warp.shape[0], _BAND):
            box = Box(0, top, warp.shape[1], min(top + _BAND, warp.shape[0]))
            for k, plane in enumerate(samples.planes):
                pixels, there = warped(plane, mask, warp, box=box)
                _plane_of(image, k, samples)[box.slices[0]] = pixels
                known[box.slices[0]] = there * np.uint8(255)
            progress(box.y1, warp.shape[0])
        for held in (image, known):
            held.flush()
        del image, known
        for name, part in parts.items():
            part.replace(paths[name])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return paths


def _plane_of(image: NDArray[Any], channel: int, samples: Samples) -> NDArray[Any]:
    """Return one channel, (rows, cols), of what `_begun` has made."""
    if samples.is_colour:
        return image[..., channel]
    return image[channel] if image.ndim == 3 else image


def _begun(parts: dict[str, Path], samples: Samples, fixed: Picture) -> tuple[Any, Any]:
    """Return the file of the image and that of its mask, as arrays that are written to disk."""
    count = len(samples.planes)
    shape: tuple[int, ...] = fixed.shape
    whole, axes = shape, "YX"
    if samples.is_colour:
        whole, axes = (*shape, 3), "YXS"
    elif count > 1:
        whole, axes = (count, *shape), "CYX"
    return (
        _file(parts["registered"], whole, samples.dtype, axes, fixed.pixel_nm),
        _file(parts["mask"], shape, np.dtype(np.uint8), "YX", fixed.pixel_nm),
    )


def _file(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str, pixel_nm: float | None) -> Any:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    told: dict[str, Any] = {"axes": axes}
    kept: dict[str, Any] = {}
    if pixel_nm is not None:
        told["unit"] = "nm"
        kept["resolution"] = (1 / pixel_nm, 1 / pixel_nm)
    if axes == "YXS":
        kept["photometric"] = "rgb"
    kind: dict[str, Any] = {"imagej": True, "metadata": told}
    if size > MOST_CLASSIC_BYTES:
        kind = {"bigtiff": True, "metadata": {"axes": axes}}
    held = tifffile.memmap(path, shape=shape, dtype=dtype, **kind, **kept)
    _take_room(path, held.offset, held.nbytes)
    return held


def _take_room(path: Path, begin: int, count: int) -> None:
    """Write zeros for the pixels of a file: to run out of disk in a mapped file would end the process.

    Raises
    ------
    OSError
        When the disk is full.
    """
    with path.open("r+b") as file:
        file.seek(begin)
        for at in range(0, count, _ROOM):
            file.write(bytes(min(_ROOM, count - at)))


__all__ = ["MOST_RAW_PX", "shown_views", "write_files"]
