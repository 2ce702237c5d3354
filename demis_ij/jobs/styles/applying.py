"""Restyling images as a job: an image or a folder in, the same in the look of another instrument out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demis_ij.errors import InputError
from demis_ij.formats.files import write_new
from demis_ij.jobs.register.pictures import SUFFIXES
from demis_ij.jobs.register.style_images import read_channels


def run_restyle(
    images: Path,
    weights: str,
    out: Path,
    *,
    back: bool = False,
    device: str = "auto",
    threads: int = 0,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write an image, or each image of a folder, in the look of another instrument.

    Parameters
    ----------
    images : Path
        An image, or a folder of some.
    weights : str
        A style that ships, or a path.
    out : Path
        The image to write (PNG or TIFF), or a folder for those of a folder.
    back : bool
        The other way, where the weights hold it.
    device, threads : str, int
    overwrite : bool
        Whether files that are there are replaced.
    progress : callable

    Returns
    -------
    dict
        The files, and what became of the structure of each image, for programs.

    Raises
    ------
    InputError, WeightsError
        One line each: missing images, a style for another direction or number of channels, too small an image.
    """
    paths = _paths(images)
    targets = [out / f"{p.stem}.png" for p in paths] if images.is_dir() else [out]
    taken = next((t for t in targets if t.exists() and not overwrite), None)
    if taken is not None:
        msg = f"{taken} is there already: choose another --out, or add --overwrite"
        raise InputError(msg)
    wrong = next((t for t in targets if t.suffix.lower() not in {".png", ".tif", ".tiff"}), None)
    if wrong is not None:
        msg = f"--out {wrong}: needed the name of a PNG or TIFF, or, for a folder of images, a folder"
        raise InputError(msg)
    from demis_ij.nets.style_check import check_style  # torch, only when it is needed
    from demis_ij.nets.style_look import from_bytes, look_at, within_borders
    from demis_ij.nets.style_transfer import style_of

    style = style_of(weights, device=device, threads=threads)
    if back:
        if style.reversed is None:
            msg = f"style {style.name} leads from {style.source} to {style.target} only: train with --both"
            raise InputError(msg)
        style = style.reversed
    done = []
    for number, (path, target) in enumerate(zip(paths, targets, strict=True)):
        image = read_channels(path)
        try:
            mask = within_borders(image)
            restyled = style(image, mask)
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        planes = restyled.image if restyled.image.ndim == 3 else restyled.image[..., None]
        after = from_bytes(np.moveaxis(planes, -1, 0))
        before = look_at(image, mask, window_px=style.form.source_window_px)
        check = check_style(before, after, restyled.mask, wanted=style.polarity, reduce=style.form.reduce)
        shown = np.where(restyled.mask if restyled.image.ndim == 2 else restyled.mask[..., None], restyled.image, 0)
        coded = cv2.imencode(target.suffix.lower(), shown[..., ::-1] if shown.ndim == 3 else shown)[1].tobytes()
        write_new(target, coded, overwrite=overwrite)
        facts: dict[str, Any] = {"invented": check.invented, "lost": check.lost, "moved_px": check.moved_px}
        facts |= {"doubts": list(check.doubts)}
        done.append({"image": str(path), "restyled": str(target), "said": check.said} | facts)
        progress("images", number + 1, len(paths))
    return {"style": style.name, "from": style.source, "to": style.target, "images": done}


def _paths(images: Path) -> list[Path]:
    if not images.is_dir() or images.suffix == ".zarr":
        return [images]
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        msg = f"{images} holds no images"
        raise InputError(msg)
    return found


__all__ = ["run_restyle"]
