"""Made-up sections as files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.synth.dataset.files import get_json, put_json, put_tiff
from demis_ij.synth.dataset.plans import section_rng
from demis_ij.synth.fields import Plane
from demis_ij.synth.section import section
from demis_ij.synth.series import series
from demis_ij.synth.styles import STYLES

SECTIONS_FILE = "sections.json"


def write_sections(
    out: Path, *, count: int, side_px: int, style: str | None = None, seed: int = 1, serial: bool = False,
    step_px: float | None = None, progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> list[Path]:  # fmt: skip
    """Write made-up sections as 8-bit TIFF, and what they were made from; those that are there already are kept.

    Parameters
    ----------
    out : Path
        New, empty, or begun by the same call; a larger ``count`` adds to it.
    count, side_px : int
    style : str, optional
        A name of `STYLES`; drawn for each when not given, and ``tem`` for serial sections.
    seed : int
    serial : bool
        Sections of one volume, one after the other, instead of each by itself.
    step_px : float, optional
        From one serial section to the next; the style's own when not given.
    progress : callable, optional
        Called with (what, done, all).

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        When the style is unknown, an argument out of range, or ``out`` holds something else.
    """
    if step_px is not None and not serial:
        msg = "a step belongs to serial sections: give --series, too"
        raise InputError(msg)
    one = _serial(side_px, count, style, seed, step_px) if serial else _single(side_px, style, seed)
    facts = {"side_px": side_px, "style": style, "seed": seed, "serial": serial, "step_px": step_px}
    begin(out, {"demis_ij": __version__, **facts})
    files = []
    progress("sections", 0, count)
    for k in range(count):
        path = out / f"section_{k:05d}.tif"
        if not path.is_file():
            put_tiff(path, np.clip(np.rint(one(k)), 0, 255).astype(np.uint8))
        files.append(path)
        progress("sections", k + 1, count)
    return files


def _single(side_px: int, style: str | None, seed: int) -> Callable[[int], Plane]:
    if style is not None and style not in STYLES:
        msg = f"no style {style!r}; known: {', '.join(STYLES)}"
        raise InputError(msg)

    def one(number: int) -> Plane:
        key = hashlib.sha256(f"section {number}".encode()).hexdigest()
        return section((side_px, side_px), section_rng(seed, key), style=style)

    return one


def _serial(side_px: int, count: int, style: str | None, seed: int, step_px: float | None) -> Callable[[int], Plane]:
    rng = section_rng(seed, hashlib.sha256(b"series").hexdigest())
    volume = series((side_px, side_px), count, rng, style=style or "tem", step_px=step_px)
    return lambda number: volume[number].image


def begin(out: Path, identity: dict[str, Any]) -> None:
    """Make a folder and mark it as ours, or find that it is. Raises `InputError` when it holds something else."""
    path = out / SECTIONS_FILE
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file, needed a folder: choose another --out"
        raise InputError(msg)
    if path.is_file():
        held = get_json(path)
        key = next((k for k, v in identity.items() if not isinstance(held, dict) or held.get(k) != v), None)
        if key is not None:
            found = held.get(key) if isinstance(held, dict) else held
            msg = f"{out} holds other sections ({key} {found}, not {identity[key]}): choose another --out"
            raise InputError(msg)
        return
    if out.is_dir() and any(out.iterdir()):
        msg = f"{out} is not empty and holds no {SECTIONS_FILE}: choose another --out"
        raise InputError(msg)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        msg = f"output folder {out} cannot be made: {error.strerror}"
        raise InputError(msg) from error
    put_json(path, identity)
