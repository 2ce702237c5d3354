"""A stack and its warps become a volume: section by section, each in blocks, into sinks.

A section is read where a block needs it. What is finished is remembered by section, so that a volume that was
interrupted goes on where it stopped. Where sections are missing, or one cannot be read, an empty plane stands.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.formats.warps import StackWarps
from demis_ij.geometry import Box
from demis_ij.images import header
from demis_ij.images.opening import opened, opened_labels, opened_mask
from demis_ij.images.warping import INTERPOLATIONS, Pixels, warped
from demis_ij.records import Affine, Stack, Tile, Warp
from demis_ij.render.canvas import Canvas
from demis_ij.sinks.volume import VolumeKind, VolumeSink

Progress = Callable[[int, int], None]
Block = tuple[Box, NDArray[Any], NDArray[np.bool_]]
BLOCK_PX = 1024


@dataclass(frozen=True, eq=False)
class RenderedVolume:
    """What `render_volume` did.

    Attributes
    ----------
    kind : VolumeKind
        Shape, type and calibration of the volume.
    planes : tuple of int
        The plane of each section.
    resumed : int
        Sections that had been finished before.
    warnings : tuple of str
        One line a problem.
    """

    kind: VolumeKind
    planes: tuple[int, ...]
    resumed: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Source:
    """A section's values, and where they are data."""

    pixels: Pixels
    mask: Pixels | None


def planes_of(stack: Stack) -> tuple[tuple[int, ...], int]:
    """Return the plane of each section in a volume, and how many planes there are: a missing section has an empty one.

    Numbers that are not whole steps apart are counted without gaps.
    """
    steps = np.array(stack.z) - stack.z[0]
    if np.abs(steps - np.rint(steps)).max() > 1e-6:
        return tuple(range(len(stack))), len(stack)
    return tuple(int(n) for n in np.rint(steps)), int(np.rint(steps[-1])) + 1


def unaligned(stack: Stack) -> StackWarps:
    """Return the warps that leave every section where it is thought to lie: the stack as it was before."""
    corners = np.concatenate([t.to_world([[0, 0], [c, 0], [c, r], [0, r]]) for t in stack for r, c in [_last(t)]])
    x0, y0 = (int(v) for v in np.floor(corners.min(axis=0) + 1e-6))
    x1, y1 = (int(v) for v in np.ceil(corners.max(axis=0) - 1e-6))
    shape = (max(y1 - y0, 0) + 1, max(x1 - x0, 0) + 1)
    into = Affine.translation(x0, y0)
    warps = tuple(Warp((t.to_world.inverse @ into,), shape, (x0, y0)) for t in stack)
    return StackWarps(warps, stack.ids, stack.z)


def _last(tile: Tile) -> tuple[int, int]:
    return max(tile.shape[0] - 1, 0), max(tile.shape[1] - 1, 0)


def render_volume(
    stack: Stack,
    warps: StackWarps,
    outputs: Sequence[tuple[VolumeSink, Path]],
    *,
    labels: bool = False,
    aligned: Stack | None = None,
    interpolation: str = "cubic",
    block_px: int = BLOCK_PX,
    threads: int = 1,
    resume: bool = True,
    progress: Progress | None = None,
) -> RenderedVolume:
    """Draw a stack as its warps show it, into one or several sinks.

    Anything that stops it, Ctrl-C and a full disk included, leaves no file that looks whole; what was finished is kept
    beside the name, and the same call goes on with it. A section that cannot be read, nor after all others, leaves an
    empty plane and a warning.

    Parameters
    ----------
    stack : Stack
        The images.
    warps : StackWarps
        One a section, canvas pixel to image point.
    outputs : sequence of (VolumeSink, Path)
        Where the volume goes.
    labels : bool
        Values are names of things, not greys: the nearest is taken, their integer type is kept, 0 is nothing.
    aligned : Stack, optional
        The stack that the warps were found for, where ``stack`` is another channel or the labels of it: as many
        sections, of the same sizes.
    interpolation : str
        nearest, linear or cubic; of labels always nearest.
    block_px : int
        Side of a block.
    threads : int
        Blocks drawn at a time; 0 is one a core.
    resume : bool
        Go on with what was finished before.
    progress : callable, optional
        Called with (sections done, all sections).

    Raises
    ------
    InputError
        When warps or sizes do not fit, no section can be read, or a file cannot be written; nothing that looks whole
        is left then.
    """
    _check(stack, warps, aligned, interpolation, block_px)
    how = "nearest" if labels else interpolation
    dtype, warnings = _dtype(stack, labels)
    planes, count = planes_of(stack)
    kind = VolumeKind((count, *warps.shape), dtype, stack.pixel_size, stack.thickness, labels)
    key = volume_key(stack, warps, kind, how) if resume else ""
    boxes = Canvas((0, 0), warps.shape).blocks(block_px)
    sinks: list[VolumeSink] = []
    unread: list[tuple[Tile, Warp, int, list[VolumeSink]]] = []
    try:
        finished = [_opened(sinks, sink, path, kind, block_px, key) for sink, path in outputs]
        before = frozenset.intersection(*finished) if finished else frozenset()
        for done, (tile, warp, plane) in enumerate(zip(stack, warps.warps, planes, strict=True)):
            if progress is not None:
                progress(done, len(stack))
            todo = [s for s, f in zip(sinks, finished, strict=True) if plane not in f]
            if todo and _draw(tile, warp, plane, todo, kind, how, boxes, threads):
                unread.append((tile, warp, plane, todo))
        for tile, warp, plane, todo in unread:  # once more; until now no sink takes them for finished
            warnings += _draw(tile, warp, plane, todo, kind, how, boxes, threads, is_last=True)
        for sink in sinks:
            sink.close()
    except BaseException:  # a signal, too, must leave nothing that looks whole
        for sink in sinks:
            sink.abort(keep=resume)
        raise
    if progress is not None:
        progress(len(stack), len(stack))
    return RenderedVolume(kind, planes, len(before.intersection(planes)), tuple(warnings))


def _opened(
    sinks: list[VolumeSink], sink: VolumeSink, path: Path, kind: VolumeKind, block_px: int, key: str
) -> frozenset[int]:
    sinks.append(sink)  # first, so that it is aborted when it fails half-way
    return sink.open(Path(path), kind, block=block_px, key=key)


def _check(stack: Stack, warps: StackWarps, aligned: Stack | None, interpolation: str, block_px: int) -> None:
    if interpolation not in INTERPOLATIONS:
        msg = f"interpolation: {interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
        raise InputError(msg)
    if block_px < 1:
        msg = f"a block has at least one pixel a side, found {block_px}"
        raise InputError(msg)
    if len(stack) != len(warps):
        msg = f"{len(warps)} warp(s) for {len(stack)} sections: one for each was needed"
        raise InputError(msg)
    if aligned is None:
        return
    if len(aligned) != len(stack):
        msg = f"{stack.source or 'the stack'} has {len(stack)} sections, the aligned stack {len(aligned)}"
        raise InputError(msg)
    for tile, other in zip(stack, aligned, strict=True):
        if tile.shape != other.shape:
            is_now, was = (f"{s[1]}x{s[0]} px" for s in (tile.shape, other.shape))
            msg = f"section {tile.id} is {is_now}, the one that was aligned ({other.id}) {was}: one size was needed"
            raise InputError(msg)


def _dtype(stack: Stack, labels: bool) -> tuple[np.dtype[Any], list[str]]:
    """Return the type that holds every section unchanged, and a warning where they differ."""
    kinds: dict[np.dtype[Any], str] = {}
    problem = ""
    for tile in stack:
        try:
            kinds.setdefault(opened_labels(tile).dtype if labels else header(tile.path, tile.page)[1], tile.id)
        except InputError as error:
            problem = problem or str(error)
            if labels and tile.path.exists():
                raise  # a label image in colour or of fractions is a mistake, not an accident
    if not kinds:
        msg = f"none of {len(stack)} sections can be read; the first: {problem}"
        raise InputError(msg)
    widest = np.result_type(*kinds)
    found = ", ".join(f"{d} (section {one})" for d, one in kinds.items())
    if widest.kind == "f" and labels:
        msg = f"labels differ in type, and no integer type holds them all: {found}"
        raise InputError(msg)
    if widest.kind == "f":
        widest = np.dtype(np.float32)
    if len(kinds) == 1:
        return widest, []
    return widest, [f"sections differ in type: {found}; the volume is {widest}, values are not stretched"]


def volume_key(stack: Stack, warps: StackWarps, kind: VolumeKind, interpolation: str) -> str:
    """Return a digest of all that a volume depends on: images (size and time of the files), warps and options."""
    digest = hashlib.sha256()
    told: list[Any] = [
        __version__,
        kind.shape,
        str(kind.dtype),
        kind.pixel_size,
        kind.thickness,
        kind.labels,
        interpolation,
    ]
    for tile in stack:
        told.append([str(tile.path.absolute()), tile.page, tile.shape, _stamp(tile.path), str(tile.mask_path)])
        told.append(None if tile.mask_path is None else _stamp(tile.mask_path))
    digest.update(json.dumps([*told, warps.shape, warps.origin_xy, stack.z]).encode())
    for warp in warps.warps:
        for part in warp.parts:
            if isinstance(part, Affine):
                digest.update(repr(part).encode())
            else:
                digest.update(repr((part.stride, part.grid)).encode() + part.offsets.tobytes())
        digest.update(b";")
    return digest.hexdigest()


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


# --- one section ------------------------------------------------------------------------------------------------------


def _draw(
    tile: Tile,
    warp: Warp,
    plane: int,
    sinks: Sequence[VolumeSink],
    kind: VolumeKind,
    interpolation: str,
    boxes: Sequence[Box],
    threads: int,
    *,
    is_last: bool = False,
) -> list[str]:
    """Draw one section into the sinks that lack it, and finish it there; a warning where it cannot be read.

    Such a section is finished only when this ``is_last`` try: a call that was stopped tries, and tells, it again.
    """
    warnings = []
    drawn = _drawn(tile, warp, kind.labels, interpolation, boxes, threads)
    while True:
        try:
            found = next(drawn, None)
        except InputError as error:  # of the section; what sinks raise is not caught
            warnings.append(f"section {tile.id} is left empty from where it cannot be read: {error}")
            break
        if found is None:
            break
        box, pixels, mask = found
        if mask.any():
            for sink in sinks:
                sink.write(plane, pixels.astype(kind.dtype, copy=False), mask, box)
    if is_last or not warnings:
        for sink in sinks:
            sink.finish(plane)
    return warnings


def _drawn(
    tile: Tile, warp: Warp, labels: bool, interpolation: str, boxes: Sequence[Box], threads: int
) -> Iterator[Block]:
    """Yield the blocks of a section. Raises `InputError` where it cannot be read."""
    yield from _blocks(_source(tile, labels), warp, interpolation, boxes, threads)


def _source(tile: Tile, labels: bool) -> _Source:
    """Return a section, opened. Raises `InputError` when it cannot be read, or is not of the size it was."""
    pixels = opened_labels(tile) if labels else opened(tile)
    if min(tile.shape) > 0 and tuple(pixels.shape) != tile.shape:
        has, says = (f"{s[1]}x{s[0]} px" for s in (pixels.shape, tile.shape))
        msg = f"{tile.path} is {has}, the stack says {says}"
        raise InputError(msg)
    return _Source(pixels, None if labels else opened_mask(tile, pixels))


def _blocks(source: _Source, warp: Warp, interpolation: str, boxes: Sequence[Box], threads: int) -> Iterator[Block]:
    def drawn(box: Box) -> Block:
        return box, *warped(source.pixels, source.mask, warp, interpolation=interpolation, box=box)

    many = threads or os.cpu_count() or 1
    if many == 1 or len(boxes) == 1:
        yield from map(drawn, boxes)
        return
    pool = ThreadPoolExecutor(many, thread_name_prefix="volume")
    try:
        for start in range(0, len(boxes), many):  # no more blocks at a time than are drawn at once
            yield from pool.map(drawn, boxes[start : start + many])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
