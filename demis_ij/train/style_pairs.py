"""What a style network learns from: images of two instruments, in pairs or not.

Images are turned into looks (`demis_ij.nets.style_look`) once and kept as bytes in files, which are mapped: any number
of any size can be trained on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.config.style import StyleConfig
from demis_ij.errors import InputError
from demis_ij.nets.style import Form
from demis_ij.nets.style_look import known_of, look_at, within_borders
from demis_ij.nets.style_transfer import target_look
from demis_ij.train.style_crops import Seen
from demis_ij.train.style_kept import keep_array, kept_array
from demis_ij.train.style_partners import brought_into_register

Read = Callable[[Path], NDArray[Any]]
Progress = Callable[[str, int, int], None]

LEAST = {"unet": 4, "gan": 8, "cycle": 8}
"""Fewest images of each instrument that a method is trained on, one or more of which are held out."""
LEAST_ALL = 2
"""Fewest when none is held out."""
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".webp")


@dataclass(frozen=True, eq=False)
class Side:
    """The images of one instrument; of pairs, the partners stand at the same places of both sides."""

    train: tuple[Seen, ...]
    validation: tuple[Seen, ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """What is trained on and what is held out.

    Attributes
    ----------
    source, target : Side
    form : Form
        Of the network that fits them.
    crop_px : int
        Side of the crops.
    paired : bool
    digest : str
        A hash of all looks: the same images in the same order.
    warnings : tuple of str
        What was left out or changed, and why.
    """

    source: Side
    target: Side
    form: Form
    crop_px: int
    paired: bool
    digest: str
    warnings: tuple[str, ...]


def gather_examples(
    source: Path,
    target: Path,
    config: StyleConfig,
    read: Read,
    *,
    kept: Path,
    progress: Progress = lambda what, done, total: None,
) -> Examples:
    """Return the images of two folders, in pairs by their names unless the method is ``cycle``.

    Parameters
    ----------
    source, target : Path
        Folders.
    config : StyleConfig
    read : callable
        Image of a path, (H, W) or (H, W, C).
    kept : Path
        Folder for the looks; those that are there are not made again.
    progress : callable

    Raises
    ------
    InputError
        When folders are missing or empty, images lack a partner or differ in size or channels, are too small, or are
        too few: one line that says what is needed.
    """
    paired = config.method != "cycle"
    files = [_files(folder) for folder in (source, target)]
    if paired:
        files = _partners(files, (source, target))
    _check_count(files, config, (source, target))
    kept.mkdir(parents=True, exist_ok=True)
    total, seen, warnings = sum(map(len, files)), ([], []), []  # type: tuple[int, tuple[list[Seen], list[Seen]], list[str]]
    form = _plain_form(config, 1, 1)
    for side, paths in enumerate(files):
        for path in paths:
            one, said = _seen(path, side, form, config, read, kept)
            seen[side].append(one)
            warnings += said
            progress("reading images", sum(map(len, seen)), total)
    channels = [_one_count(images, config) for images in seen]
    if paired:
        _check_sizes(seen, config.reduce)
    if paired and config.unaligned:
        *seen_now, said = brought_into_register(*seen, kept, progress)
        seen, warnings = (seen_now[0], seen_now[1]), warnings + said
        _check_left(len(seen[0]), total // 2, config)
    form = _plain_form(config, *channels)
    crop, said_crop = _crop_side(seen, form, config)
    count = min(map(len, seen))
    held = min(max(1, round(config.held_out_frac * count)), count - 1) if config.held_out_frac else 0
    sides = [_split(images, held, config.seed) for images in seen]
    return Examples(sides[0], sides[1], form, crop, paired, _digest((*seen[0], *seen[1])), (*warnings, *said_crop))


def _plain_form(config: StyleConfig, source_channels: int, target_channels: int) -> Form:
    return Form(
        source_channels=source_channels, target_channels=target_channels, source_window_px=config.source_window_px,
        target_window_px=config.target_window_px, target_blur_px=config.target_blur_px, reduce=config.reduce,
        widths=config.widths,
    )  # fmt: skip


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = f"no such folder: {folder}"
        raise InputError(msg)
    found = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )
    if not found:
        msg = f"{folder} holds no images ({', '.join(s[1:] for s in SUFFIXES)})"
        raise InputError(msg)
    gone = next((p for p in found if not p.exists()), None)
    if gone is not None:
        msg = f"{gone} is a link to an image that is not there: put it there, or remove the link"
        raise InputError(msg)
    return found


def _partners(files: list[list[Path]], folders: Sequence[Path]) -> list[list[Path]]:
    """Return the files of both folders in pairs. Raises `InputError` when one has no partner."""
    named = []
    for paths in files:
        by_name: dict[str, Path] = {}
        for path in paths:
            if path.stem in by_name:
                msg = f"two images are called {path.stem}: {by_name[path.stem].name} and {path.name} in {path.parent}"
                raise InputError(msg)
            by_name[path.stem] = path
        named.append(by_name)
    alone = sorted(named[0].keys() ^ named[1].keys())
    if alone:
        where, other = (0, 1) if alone[0] in named[0] else (1, 0)
        msg = (
            f"{folders[0]} holds {len(files[0])} images, {folders[1]} {len(files[1])}: "
            f"{named[where][alone[0]].name} has no partner of that name in {folders[other]}"
            f"{f', {len(alone) - 1} more neither' if len(alone) > 1 else ''}; give partners one name, or use --unpaired"
        )
        raise InputError(msg)
    names = sorted(named[0])
    return [[by_name[n] for n in names] for by_name in named]


def _check_count(files: list[list[Path]], config: StyleConfig, folders: Sequence[Path]) -> None:
    needed = LEAST[config.method] if config.held_out_frac else LEAST_ALL
    for paths, folder in zip(files, folders, strict=True):
        if len(paths) < needed:
            all_of_them = (
                f", or --set held_out_frac=0 to train on all of them ({LEAST_ALL} are needed then)"
                if config.held_out_frac and len(paths) >= LEAST_ALL
                else ""
            )
            msg = (
                f"too few images to train on: {folder} holds {len(paths)}, method {config.method} needs {needed} of "
                f"each instrument; add images{all_of_them}"
            )
            raise InputError(msg)


def _check_left(left: int, count: int, config: StyleConfig) -> None:
    """Raise `InputError` when too few pairs were brought into register."""
    needed = LEAST[config.method] if config.held_out_frac else LEAST_ALL
    if left < needed:
        msg = (
            f"{left} of {count} pairs were brought into register, method {config.method} needs {needed}: bring them "
            "roughly into place first (demis-ij register), add pairs, or use --unpaired"
        )
        raise InputError(msg)


def _seen(path: Path, side: int, form: Form, config: StyleConfig, read: Read, kept: Path) -> tuple[Seen, list[str]]:
    """Return an image as it is learned from, from the folder of looks where it lies there."""
    facts = path.stat()
    said = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {side} {form} {config.borders}"
    held = kept / f"{hashlib.sha256(os.fsencode(said)).hexdigest()[:24]}.npy"
    warnings: list[str] = []
    content = kept_array(held)
    if content is None:
        image = read(path)
        mask = known_of(image, None)
        if config.borders:
            inside = within_borders(image)
            if inside is None:
                warnings.append(f"{path.name}: what looks like a border is more than half of it, so it is learned from")
            else:
                mask &= inside
        if not mask.any():
            msg = f"{path} holds no data: there is nothing to learn from"
            raise InputError(msg)
        look = look_at(image, mask, window_px=form.source_window_px) if side == 0 else target_look(image, mask, form)
        planes = [np.clip(np.rint(128 + 127 * plane), 1, 255).astype(np.uint8) for plane in look]
        content = np.stack([*planes, mask.astype(np.uint8)])
        if form.reduce > 1:
            size = tuple(max(1, round(n / form.reduce)) for n in mask.shape)[::-1]
            content = np.stack(
                [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in content[:-1]]
                + [cv2.resize(content[-1] * np.uint8(255), size, interpolation=cv2.INTER_AREA) // np.uint8(255)]
            )
        content = keep_array(held, content)
    return Seen(path.name, content[:-1], content[-1]), warnings


def _one_count(images: Sequence[Seen], config: StyleConfig) -> int:
    counts = {len(one.look): one.name for one in images}
    if len(counts) > 1:
        said = ", ".join(f"{name} has {count}" for count, name in sorted(counts.items()))
        msg = f"images of one instrument have one number of channels: {said}; make them all grey or all colour"
        raise InputError(msg)
    return next(iter(counts))


def _check_sizes(seen: Sequence[Sequence[Seen]], reduce: int) -> None:
    for one, other in zip(*seen, strict=True):
        if one.shape != other.shape:
            sizes = " and ".join(f"{cols * reduce}x{rows * reduce}" for rows, cols in (one.shape, other.shape))
            msg = (
                f"the pair {one.name} and {other.name} differs in size ({sizes} px): bring the two into register first"
            )
            raise InputError(msg)


def _crop_side(seen: Sequence[Sequence[Seen]], form: Form, config: StyleConfig) -> tuple[int, list[str]]:
    """Return the side of crops: as set, or less where images are smaller."""
    smallest = min((one for images in seen for one in images), key=lambda s: min(s.shape))
    side, needed = min(smallest.shape), form.least_px // form.reduce
    if side < needed:
        rows, cols = (n * form.reduce for n in smallest.shape)
        msg = (
            f"{smallest.name} is {cols}x{rows} px: this network sees {form.least_px} px at once, smaller images cannot "
            "be trained on; leave it out, or give fewer --set widths=[...]"
        )
        raise InputError(msg)
    wanted = config.crop_px // form.multiple * form.multiple
    crop = min(max(wanted, 2 * form.multiple), side // form.multiple * form.multiple)  # one px has no spread
    if crop < wanted:
        return crop, [f"{smallest.name} is the smallest image: crops are {crop} px instead of {config.crop_px}"]
    return crop, []


def _split(images: Sequence[Seen], held: int, seed: int) -> Side:
    """Return images with some held out; the same places of both sides, when they are as many."""
    chosen = set(np.random.default_rng((seed, 11)).permutation(len(images))[:held].tolist())
    train = tuple(one for k, one in enumerate(images) if k not in chosen)
    return Side(train, tuple(images[k] for k in sorted(chosen)) or train)


def _digest(images: Sequence[Seen]) -> str:
    found = hashlib.sha256()
    for one in images:
        found.update(os.fsencode(one.name))
        found.update(np.ascontiguousarray(one.look[:, ::4, ::4]).tobytes())
    return found.hexdigest()


__all__ = ["LEAST", "LEAST_ALL", "SUFFIXES", "Examples", "Side", "gather_examples"]
