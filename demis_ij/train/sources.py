"""Where training crops come from: folders of images and the project's own generator; which of them are held out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import synth
from demis_ij.config import TrainDataConfig
from demis_ij.errors import InputError
from demis_ij.images import read

SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
LABEL_WORDS = ("mask", "seg", "label")
"""Images with one of these in their name are left out."""
MANY = 50
"""Folders with more images than this are thinned by ``one_in``."""


@dataclass(frozen=True, eq=False)
class Source:
    """One image, or one generated section, that pairs are cut from.

    Attributes
    ----------
    name : str
        Folder and file, or "generated 7".
    folder : str
        For counting in the card.
    digest : str
        Of its content; the same for turned and flipped copies and for other file formats.
    scales : tuple of ndarray of shape (H, W), float32
        In grey levels of 255; large images are offered at half size, too, small ones at double size only.
    """

    name: str
    folder: str
    digest: str
    scales: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, eq=False)
class Sources:
    """What a training cuts its pairs from.

    Attributes
    ----------
    train, validation : tuple of Source
        Never the same content in both.
    warnings : tuple of str
        What was left out, and why.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    warnings: tuple[str, ...] = ()


Progress = Callable[[str, int, int], None]


def _quiet(what: str, done: int, total: int) -> None:
    pass


def content_digest(image: NDArray[np.generic]) -> str:
    """Return a hash of an image's grey values and sides, whatever way it is turned or flipped."""
    values = np.sort(image, axis=None)
    found = hashlib.sha256(f"{sorted(image.shape)} {values.dtype.str}".encode())
    found.update(values.tobytes())
    return found.hexdigest()


def make_source(name: str, folder: str, image: NDArray[np.generic]) -> Source:
    """Return a source with its grey values stretched and its scales."""
    return Source(name, folder, content_digest(image), tuple(_scales(image)))


def gather(
    config: TrainDataConfig, *, least_px: int, seed: int, hold_out: bool = True, progress: Progress = _quiet
) -> Sources:
    """Return the sources of training and of validation.

    Parameters
    ----------
    config : TrainDataConfig
        Folders, generated sections, what is held out.
    least_px : int
        Images whose shorter side is below this are left out, with a warning.
    seed : int
        Of the generator, and of what is held out.
    hold_out : bool
        False: nothing is validated, all is for training.
    progress : callable
        Told what is read, how many are, and how many there are.

    Raises
    ------
    InputError
        When a folder has no image that can be used, there is nothing to train on or to hold out, or the same content
        would be on both sides.
    """
    warnings: list[str] = []
    read_ = [s for f in config.folders for s in _read_folder(Path(f), config.one_in, least_px, warnings, progress)]
    held = [s for f in config.validation_folders for s in _read_folder(Path(f), 1, least_px, warnings, progress)]
    for k in range(config.generated):
        side = (config.generated_px, config.generated_px)
        section = np.asarray(synth.section(side, seed * 100_003 + k), np.float32)
        read_.append(make_source(f"generated {k + 1}", "generated", section))
        progress("generating sections", k + 1, config.generated)
    if not read_:
        msg = "no training image: the folders hold none, and none is to be generated (give folders, or --generated 40)"
        raise InputError(msg)
    read_ = _without_copies(read_, warnings)
    if not hold_out:
        return Sources(tuple(read_), (), tuple(warnings))
    train, validation = (read_, held) if config.validation_folders else split(read_, config.held_out_frac, seed)
    refuse_leak(train, validation)
    return Sources(tuple(train), tuple(validation), tuple(warnings))


def split(sources: Sequence[Source], held_out_frac: float, seed: int) -> tuple[list[Source], list[Source]]:
    """Return which sources are for training and which are held out: of each folder its share, one source at least.

    Raises
    ------
    InputError
        When there is only one source.
    """
    if len(sources) < 2 or held_out_frac == 0:
        msg = (
            f"nothing to validate on: {len(sources)} source and a held-out share of {held_out_frac:g}. Give more "
            "images, validation_folders, or generated sections; or switch validation off (--set validation.pairs=0)"
        )
        raise InputError(msg)
    rng = np.random.default_rng((seed, len(sources)))
    wanted = max(1, math.floor(held_out_frac * len(sources)))
    by_folder: dict[str, list[Source]] = {}
    for s in sources:
        by_folder.setdefault(s.folder, []).append(s)
    held: set[str] = set()
    # real images first: they are what the weights are for
    for name in sorted(by_folder, key=lambda n: (n == "generated", n)):
        members = by_folder[name]
        share = max(1, round(held_out_frac * len(members))) if len(members) > 1 else 0
        held |= {members[n].digest for n in rng.permutation(len(members))[:share]}
    if not held:
        held = {sources[n].digest for n in rng.permutation(len(sources))[:wanted]}
    return [s for s in sources if s.digest not in held], [s for s in sources if s.digest in held]


def refuse_leak(train: Sequence[Source], validation: Sequence[Source]) -> None:
    """Raise `InputError` when the same content is trained on and validated on."""
    seen = {s.digest: s.name for s in train}
    for s in validation:
        if s.digest in seen:
            msg = f"the split leaks: {s.name} (validation) has the content of {seen[s.digest]} (training): remove one"
            raise InputError(msg)
    if not train or not validation:
        msg = f"{len(train)} sources to train on and {len(validation)} to validate on, needed one of each at least"
        raise InputError(msg)


def _without_copies(sources: Sequence[Source], warnings: list[str]) -> list[Source]:
    first: dict[str, Source] = {}
    for s in sources:
        known = first.setdefault(s.digest, s)
        if known is not s:
            warnings.append(f"{s.name}: left out, it has the content of {known.name}")
    return list(first.values())


def _read_folder(folder: Path, one_in: int, least_px: int, warnings: list[str], progress: Progress) -> list[Source]:
    if not folder.is_dir():
        msg = f"{folder}: no such folder of images"
        raise InputError(msg)
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    found = [p for p in found if not any(word in p.name.lower() for word in LABEL_WORDS)]
    if not found:
        msg = f"{folder}: no image found ({', '.join(SUFFIXES)}; names with {', '.join(LABEL_WORDS)} are left out)"
        raise InputError(msg)
    chosen = found[:: one_in if len(found) > MANY else 1]
    out, largest = [], 0
    for n, path in enumerate(chosen):
        name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
        try:
            image = read(path)
            largest = max(largest, min(image.shape))
            if min(image.shape) < least_px:
                warnings.append(f"{name}: left out, {_size(image)} is smaller than a crop ({least_px} px)")
            else:
                out.append(make_source(name, folder.name, image))
        except (InputError, OSError) as error:
            warnings.append(f"{name}: left out, {error}")
        progress(f"reading {folder.name}", n + 1, len(chosen))
    if not out:
        why = f"all are smaller than a crop ({least_px} px; the largest has {largest} px on its shorter side)"
        msg = f"{folder}: none of {len(chosen)} images can be used: {why if largest else warnings[-1]}"
        raise InputError(msg)
    return out


def _size(image: NDArray[np.generic]) -> str:
    return f"{image.shape[1]} x {image.shape[0]} px"


def _scales(image: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    grey = image.astype(np.float32)
    low, high = np.percentile(grey, (0.1, 99.9))
    grey = np.clip((grey - low) * (255 / max(float(high - low), 1e-6)), 0, 255).astype(np.float32)
    side = min(grey.shape)
    if side < 400:
        return [np.asarray(cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.float32)]
    if side < 700:
        return [grey]
    return [grey, np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)]
