"""``warps.npz``: the warps of a whole stack in one file of numpy's.

==================  ====================================================================================================
``format_version``  1
``offsets``         float32 (n, 2, h, w), (dx, dy) px: ``aligned_i(x, y) = section_i(x + dx, y + dy)``, from output
                    pixel to input point, pixel centres at integers; NaN where nothing is known
``stride``          px of the output from node to node: node (r, c) stands on output pixel ``stride * (c, r)``, bilinear
                    between nodes
``shape``           (rows, cols) of the output canvas, the same for all sections
``origin_xy``       where output pixel (0, 0) lies in the world that all sections share
``names``, ``z``    id and number of each section
==================  ====================================================================================================

``warp.npz``, of one image that was brought onto another, is the same with ``offsets`` of shape (2, h, w).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import fields
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import NOT_ALLOWED
from demis_ij.formats.warps_pushed import affine_of
from demis_ij.records import Field, Warp

FORMAT_VERSION = 1
MOST_BYTES = 1 << 28
"""About as much as the offsets of all sections may take in memory when they are read back."""


@dataclass(frozen=True, eq=False)
class StackWarps:
    """One warp a section, all onto the same canvas.

    Attributes
    ----------
    warps : tuple of Warp
        In the order of the sections.
    ids : tuple of str
        Of the sections.
    z : tuple of float
        Their numbers.

    Raises
    ------
    InputError
        When there is none, their numbers differ, or canvases differ.
    """

    warps: tuple[Warp, ...]
    ids: tuple[str, ...] = ()
    z: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "warps", tuple(self.warps))
        count = len(self.warps)
        object.__setattr__(self, "ids", tuple(self.ids) or tuple(str(i) for i in range(count)))
        object.__setattr__(self, "z", tuple(float(v) for v in self.z) or tuple(float(i) for i in range(count)))
        if not count or {len(self.ids), len(self.z)} != {count}:
            msg = f"{count} warp(s) with {len(self.ids)} id(s) and {len(self.z)} number(s): as many of each were needed"
            raise InputError(msg)
        canvases = {(w.shape, w.origin_xy) for w in self.warps}
        if len(canvases) > 1:
            found = "; ".join(f"{s[1]}x{s[0]} px at {o[0]:g}, {o[1]:g}" for s, o in sorted(canvases)[:3])
            msg = f"the warps of a stack share one canvas, found {found}"
            raise InputError(msg)

    def __len__(self) -> int:
        return len(self.warps)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the canvas."""
        return self.warps[0].shape

    @property
    def origin_xy(self) -> tuple[float, float]:
        """Where pixel (0, 0) of the canvas lies in the world."""
        return self.warps[0].origin_xy


# --- out --------------------------------------------------------------------------------------------------------------


def write_npz(
    path: Path, stack: StackWarps | Warp, *, stride: float | None = None, most_bytes: int = MOST_BYTES,
    overwrite: bool = False,
) -> tuple[str, ...]:  # fmt: skip
    """Write ``warps.npz``, all or nothing, one section at a time in memory; return what there is to say.

    Parameters
    ----------
    path : Path
        The new file.
    stack : StackWarps or Warp
        What to write; of a single warp ``offsets`` have no axis of sections.
    stride : float, optional
        Of the nodes, px. When not given it is that of the finest field, doubled until the offsets of all sections
        take no more than ``most_bytes``.
    most_bytes : int
        See ``stride``.
    overwrite : bool
        Replace an existing file; otherwise it is refused.

    Returns
    -------
    tuple of str
        A line where nodes had to stand further apart than the fields' own.

    Raises
    ------
    InputError
        When the file exists or cannot be written, or the stride is not positive.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        msg = f"{path} exists and is not overwritten: move it, or choose another name"
        raise InputError(msg)
    if stride is not None and not (stride > 0 and np.isfinite(stride)):
        msg = f"a stride is a positive number of px, found {stride}"
        raise InputError(msg)
    single, stack = isinstance(stack, Warp), StackWarps((stack,)) if isinstance(stack, Warp) else stack
    own = min(_own_stride(w) for w in stack.warps)
    step = stride if stride is not None else _affordable(own, stack.shape, len(stack), most_bytes)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(part, stack, step, single=single)
        part.replace(path)
    except OSError as error:
        if error.errno in NOT_ALLOWED:
            msg = f"{path} cannot be written: {error.strerror}"
            raise InputError(msg) from error
        raise
    finally:
        part.unlink(missing_ok=True)
    if step <= own:
        return ()
    lost = max(_departure(w, step) for w in stack.warps)
    return (f"{path.name}: nodes every {step:g} px instead of {own:g} px; warps change by {lost:.2g} px at most",)


def _own_stride(warp: Warp) -> float:
    """Return the distance of the nodes of a warp's finest field; an affine map needs the corners only."""
    if affine_of(warp) is not None:
        return float(max(1, max(warp.shape) - 1))
    return min(p.stride for p in warp.parts if isinstance(p, Field))


def _affordable(stride: float, shape: tuple[int, int], count: int, most_bytes: int) -> float:
    while stride < max(shape) and 8 * count * int(np.prod(fields.grid_of(shape, stride))) > most_bytes:
        stride *= 2
    return stride


def _nodes_of(warp: Warp, stride: float) -> Field:
    """Return a warp at nodes; what a wider grid cannot hold is smoothed away first."""
    if len(warp.parts) == 1 and isinstance(warp.parts[0], Field):
        return fields.resized(warp.parts[0], warp.shape, stride)
    return fields.at_nodes(warp, warp.shape, stride)


def _departure(warp: Warp, stride: float) -> float:
    """Return how far a coarser grid departs from a warp, px, over a sample of the canvas."""
    field = _nodes_of(warp, stride)
    at = np.random.default_rng(0).uniform(0, 1, (2000, 2)) * (np.array(warp.shape[::-1]) - 1)
    away = np.linalg.norm(field(at) - warp(at), axis=1)
    return float(np.nanmax(away, initial=0.0))


def _write(part: Path, stack: StackWarps, stride: float, *, single: bool) -> None:
    rows, cols = fields.grid_of(stack.shape, stride)
    told: dict[str, NDArray[Any]] = {
        "format_version": np.array(FORMAT_VERSION),
        "stride": np.array(float(stride)),
        "shape": np.array(stack.shape, np.int64),
        "origin_xy": np.array(stack.origin_xy, np.float64),
        "names": np.array(stack.ids, np.str_),
        "z": np.array(stack.z, np.float64),
    }
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as file:
        for name, value in told.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, value, allow_pickle=False)
        with file.open("offsets.npy", "w", force_zip64=True) as entry:
            shape = (2, rows, cols) if single else (len(stack), 2, rows, cols)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(entry, header)
            for warp in stack.warps:
                offsets = _nodes_of(warp, stride).offsets
                entry.write(np.ascontiguousarray(offsets, "<f4").tobytes())


# --- in ---------------------------------------------------------------------------------------------------------------


def read_npz(path: Path) -> StackWarps:
    """Return the warps of a ``warps.npz``, or the only one of a ``warp.npz``.

    Raises
    ------
    FormatError
        When it is none, is truncated, of another version, or its parts do not fit each other; says which.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(path, f"is no file of warps that can be read: {error}") from error
    needed = ("format_version", "offsets", "stride", "shape", "origin_xy")
    missing = [name for name in needed if name not in held]
    if missing:
        raise FormatError(path, f"is no file of warps: {', '.join(missing)} missing")
    try:
        return _stack_of(path, held)
    except (ValueError, TypeError, IndexError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, f"is no file of warps: {error}") from error


def _stack_of(path: Path, held: dict[str, NDArray[Any]]) -> StackWarps:
    version = int(held["format_version"])
    if version != FORMAT_VERSION:
        raise FormatError(path, f"warps of format version {version}, version {FORMAT_VERSION} is known")
    offsets, stride = held["offsets"], float(held["stride"])
    shape = (int(held["shape"][0]), int(held["shape"][1]))
    if offsets.ndim == 3:
        offsets = offsets[None]
    if offsets.ndim != 4 or offsets.shape[1] != 2 or not len(offsets):
        raise FormatError(path, f"offsets have the shape (n, 2, h, w) or (2, h, w), found {offsets.shape}")
    grid = tuple(offsets.shape[2:])
    if min(shape) < 1 or not stride > 0 or any((n - 1) * stride < s - 1 for n, s in zip(grid, shape, strict=True)):
        found = f"{grid[0]} x {grid[1]} nodes every {stride:g} px"
        raise FormatError(path, f"{found} do not cover {shape[1]}x{shape[0]} px")
    origin = (float(held["origin_xy"][0]), float(held["origin_xy"][1]))
    warps = tuple(Warp((Field(o, stride),), shape, origin) for o in offsets)
    ids = tuple(str(v) for v in held["names"]) if "names" in held else ()
    z = tuple(float(v) for v in held["z"]) if "z" in held else ()
    return StackWarps(warps, ids, z)
