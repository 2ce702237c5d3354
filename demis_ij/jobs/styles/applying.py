"""Restyling images as a job: an image or a folder in, the same in the look of another instrument out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.config.checks import in_range, one_of
from demis_ij.errors import InputError
from demis_ij.formats.files import write_new
from demis_ij.images.zarr_planes import is_zarr
from demis_ij.jobs.register.pictures import SUFFIXES
from demis_ij.jobs.register.style_images import read_channels

if TYPE_CHECKING:
    from demis_ij.nets.style_check import StyleCheck
    from demis_ij.nets.style_transfer import Style


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

    An image of a folder that cannot be read or restyled is left out, and said.

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
        Whether files that are there are replaced; never the images themselves.
    progress : callable

    Returns
    -------
    dict
        The files, what became of the structure of each image, and which images of a folder were left out and why, for
        programs.

    Raises
    ------
    InputError, WeightsError
        One line each: missing images, a style for another direction or number of channels, too small an image, none of
        a folder that can be restyled, files that would replace each other or the images themselves.
    """
    one_of("device", device, ("auto", "cpu", "cuda", "mps"))
    in_range("threads", threads, 0, 256)
    if not images.exists():
        msg = f"no such image or folder: {images}"
        raise InputError(msg)
    is_folder = images.is_dir() and not is_zarr(images)
    paths = _paths(images) if is_folder else [images]
    targets = [out / f"{p.stem}.png" for p in paths] if is_folder else [out]
    _check_targets(paths, targets, out, overwrite=overwrite)
    style = _style(weights, back=back, device=device, threads=threads)
    done, left_out = [], []
    for number, (path, target) in enumerate(zip(paths, targets, strict=True)):
        try:
            shown, check = _restyled(path, style)
        except InputError as error:
            if not is_folder:
                raise
            left_out.append({"image": str(path), "reason": str(error)})
        else:
            coded = cv2.imencode(target.suffix.lower(), shown[..., ::-1] if shown.ndim == 3 else shown)[1].tobytes()
            write_new(target, coded, overwrite=overwrite)
            facts: dict[str, Any] = {"invented": check.invented, "lost": check.lost, "moved_px": check.moved_px}
            facts |= {"doubts": list(check.doubts)}
            done.append({"image": str(path), "restyled": str(target), "said": check.said} | facts)
        progress("images", number + 1, len(paths))
    if not done:
        msg = f"none of the {len(paths)} images in {images} can be restyled; {left_out[0]['reason']}"
        raise InputError(msg)
    facts = {"style": style.name, "from": style.source, "to": style.target}
    return facts | {"images": done, "left_out": left_out}


def _paths(folder: Path) -> list[Path]:
    found = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )
    if not found:
        msg = f"{folder} holds no images"
        raise InputError(msg)
    return found


def _check_targets(paths: Sequence[Path], targets: Sequence[Path], out: Path, *, overwrite: bool) -> None:
    """Raise `InputError` when files cannot be written, or would replace each other, the images, or what is there."""
    wrong = next((t for t in targets if t.suffix.lower() not in {".png", ".tif", ".tiff"}), None)
    if wrong is not None or (targets != [out] and out.exists() and not out.is_dir()):
        msg = f"--out {wrong or out}: needed the name of a PNG or TIFF, or, for a folder of images, a folder"
        raise InputError(msg)
    first: dict[Path, Path] = {}
    for path, target in zip(paths, targets, strict=True):
        if target in first:
            msg = f"{first[target].name} and {path.name} in {path.parent} would both be written to {target}: rename one"
            raise InputError(msg)
        first[target] = path
    given = {path.resolve() for path in paths}
    own = next((t for t in targets if t.resolve() in given), None)
    if own is not None:
        msg = f"{own} is an image that is to be restyled, and would be replaced: choose another --out"
        raise InputError(msg)
    taken = next((t for t in targets if t.exists() and not overwrite), None)
    if taken is not None:
        msg = f"{taken} is there already: choose another --out, or add --overwrite"
        raise InputError(msg)


def _style(weights: str, *, back: bool, device: str, threads: int) -> Style:
    """Return what is asked for. Raises `InputError` when there is no way back, or no image of it can be written."""
    from demis_ij.nets.style_transfer import style_of  # torch, only when it is needed

    style = style_of(weights, device=device, threads=threads)
    if back:
        if style.reversed is None:
            msg = f"style {style.name} leads from {style.source} to {style.target} only: train with --both"
            raise InputError(msg)
        style = style.reversed
    if style.form.target_channels not in {1, 3}:
        msg = (
            f"style {style.name} leads to {style.form.target_channels} channels, images of 1 or 3 can be written: "
            "train one for each channel"
        )
        raise InputError(msg)
    return style


def _restyled(path: Path, style: Style) -> tuple[NDArray[np.uint8], StyleCheck]:
    """Return an image in its new style, 0 where there is no data, and what became of its structure."""
    from demis_ij.nets.style_check import check_style
    from demis_ij.nets.style_look import from_bytes, look_at, within_borders

    image = read_channels(path)
    try:
        mask = within_borders(image)
        restyled = style(image, mask)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    if not restyled.mask.any():
        msg = f"{path} holds no data: there is nothing to restyle"
        raise InputError(msg)
    planes = restyled.image if restyled.image.ndim == 3 else restyled.image[..., None]
    after = from_bytes(np.moveaxis(planes, -1, 0))
    before = look_at(image, mask, window_px=style.form.source_window_px)
    check = check_style(before, after, restyled.mask, wanted=style.polarity, reduce=style.form.reduce)
    known = restyled.mask if restyled.image.ndim == 2 else restyled.mask[..., None]
    return np.where(known, restyled.image, 0).astype(np.uint8), check


__all__ = ["run_restyle"]
