"""Volumes of an aligned stack in a run folder: drawn once, and again only when something that they show has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.formats.warps import StackWarps
from demis_ij.images.opening import opened_labels
from demis_ij.records import Stack
from demis_ij.render.volume import render_volume
from demis_ij.runs import RunFolder, fingerprint
from demis_ij.sinks.volume import VolumeSink
from demis_ij.sinks.volume_tiff import TiffVolumeSink
from demis_ij.sinks.volume_zarr import ZarrVolumeSink

ENDINGS = {"ome-zarr": ".ome.zarr", "tiff": ".tif"}
SINKS: Mapping[str, type[VolumeSink]] = {"ome-zarr": ZarrVolumeSink, "tiff": TiffVolumeSink}


def told_of_stack(stack: Stack) -> list[Any]:
    """Return what says whether a stack is still the same: places, and size and time of its files."""
    out: list[Any] = [list(stack.z)]
    for tile in stack:
        stamps = [(p.stat().st_size, p.stat().st_mtime_ns) for p in (tile.path, tile.mask_path) if p and p.exists()]
        out.append([tile.id, str(tile.path.absolute()), tile.page, tile.shape, tile.to_world.rows, stamps])
    return out


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_companion(name: str, other: Stack, stack: Stack, *, labels: bool) -> None:
    """Check labels or a channel before anything long is done.

    Parameters
    ----------
    name : str
        What they are, for what is said.
    other, stack : Stack
        Labels or a channel, and what is aligned.
    labels : bool
        Whether they are labels: the type of the first is looked at.

    Raises
    ------
    InputError
        When there are not as many sections as in the stack, one is of another size, or labels are no whole numbers.
    """
    if len(other) != len(stack):
        msg = f"{name}: {len(other)} sections, the stack has {len(stack)}: one for each is needed"
        raise InputError(msg)
    for own, tile in zip(other, stack, strict=True):
        if own.shape != tile.shape and min(*own.shape, *tile.shape) > 0:
            is_now, needed = (f"{s[1]}x{s[0]} px" for s in (own.shape, tile.shape))
            msg = f"{name}: section {own.id} is {is_now}, section {tile.id} of the stack {needed}: one size is needed"
            raise InputError(msg)
    if labels:
        opened_labels(other[0])


def draw_volume(
    folder: RunFolder,
    source: Stack,
    warps: StackWarps,
    paths: Mapping[str, Path],
    *,
    aligned: Stack,
    labels: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[str], bool]:
    """Draw the volumes of one stack that are not there yet, or show what has changed since.

    Parameters
    ----------
    folder : RunFolder
        Remembers what each volume was drawn from; ``warps.npz`` is there already.
    source : Stack
        What is drawn: the stack itself, its labels or a channel.
    warps : StackWarps
        One a section.
    paths : mapping of str to Path
        Format (ome-zarr, tiff) to file.
    aligned : Stack
        The stack that the warps were found for; its pixel size counts where the source has none.
    labels : bool
        Whether the nearest pixel is taken.
    threads : int
        Blocks drawn at a time; 0 is one a core.
    progress : callable, optional
        Told how many sections are drawn, and how many there are.

    Returns
    -------
    (list of str, bool)
        What went wrong, one line each, and whether anything was drawn.
    """
    calibrated = replace(
        source, pixel_size=source.pixel_size or aligned.pixel_size, thickness=source.thickness or aligned.thickness
    )
    shown = [told_of_stack(source), calibrated.pixel_size, calibrated.thickness, labels]
    depends_on = fingerprint([__version__, digest_of(folder.path / "warps.npz"), shown])
    wanted = {path.name: (kind, path) for kind, path in paths.items()}
    todo = [name for name, (_, path) in wanted.items() if not folder.is_done(name, depends_on, [path])]
    said = [line for name in wanted if name not in todo for line in folder.notes(name)]
    if todo:
        targets = [(SINKS[kind](), path) for kind, path in (wanted[name] for name in todo)]
        drawn = render_volume(
            calibrated, warps, targets, labels=labels, aligned=aligned, threads=threads, progress=progress
        )
        for name in todo:
            folder.mark_done(name, depends_on, drawn.warnings)
        said += drawn.warnings
    return list(dict.fromkeys(said)), bool(todo)
