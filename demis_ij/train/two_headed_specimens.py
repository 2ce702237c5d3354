"""What the two-headed network learns from: images, registered pairs of images, and made-up specimens."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.config import TrainDataConfig
from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.errors import InputError
from demis_ij.images import read
from demis_ij.synth.specimens import Specimen, image_specimen, material_specimen, tissue_specimen
from demis_ij.train.sources import Source, gather

LEAST_PX = 160
"""Images with a shorter side than this are left out."""
_MADE_PX = 560
_KEPT = "specimen_{:04d}.npz"
_PAIR_PX = 300  # pairs are halved while their shorter side is twice this
_STREAM = 4242
_PAIRS_COUNT = 8  # times that a registered pair counts as much as an image: there are few, and they are true

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Specimens:
    """What is trained on and what is held out.

    Attributes
    ----------
    train, validation : tuple of Specimen
    counts : dict of str to int
        How many of each folder or kind are trained on.
    held_out : tuple of str
        Names of the images that are only validated on.
    warnings : tuple of str
        What was left out, and why.
    """

    train: tuple[Specimen, ...]
    validation: tuple[Specimen, ...]
    counts: dict[str, int]
    held_out: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of all greys: the same images in the same order."""
        found = hashlib.sha256()
        for one in (*self.train, *self.validation):
            found.update(one.grey.tobytes())
        return found.hexdigest()


def gather_specimens(
    folders: Sequence[Path],
    pairs: Path | None,
    config: TwoHeadedConfig,
    *,
    kept: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Specimens:
    """Return all specimens.

    Parameters
    ----------
    folders : sequence of Path
        Searched for images, with their sub-folders.
    pairs : Path, optional
        CSV with the columns ``fixed`` and ``moving``: images of one field by two instruments, in register.
    config : TwoHeadedConfig
    kept : Path, optional
        Folder for made-up specimens, which take seconds each: read from there when they are, written when not.
    progress : callable

    Raises
    ------
    InputError
        When there is nothing to train on, or nothing to validate on.
    """
    train: list[Specimen] = []
    validation: list[Specimen] = []
    counts: dict[str, int] = {}
    held: tuple[str, ...] = ()
    warnings: list[str] = []
    if folders:
        data = TrainDataConfig(
            folders=tuple(str(f) for f in folders), held_out_frac=config.held_out_frac, generated=0,
            one_in=config.one_in,
        )  # fmt: skip
        sources = gather(data, least_px=LEAST_PX, seed=config.seed, progress=progress)
        train += _of_sources(sources.train)
        validation += _of_sources(sources.validation)
        for s in sources.train:
            counts[s.folder] = counts.get(s.folder, 0) + 1
        held, warnings = tuple(s.name for s in sources.validation), list(sources.warnings)
    if pairs is not None:
        registered = registered_pairs(pairs)
        train += registered * _PAIRS_COUNT
        counts[pairs.name] = len({s.name for s in registered})
    made = made_up(config, kept, progress)
    split = max(1, round(config.held_out_frac * len(made))) if len(made) > 1 else 0
    every = max(1, len(made) // split) if split else 0
    for k, one in enumerate(made):
        (validation if every and k % every == every - 1 else train).append(one)
    counts["made up"] = sum(1 for k in range(len(made)) if not (every and k % every == every - 1))
    if not train or not validation:
        msg = (
            f"nothing to {'train' if not train else 'validate'} on: give --images with two images or more, or "
            "--generated 8 --set materials=8"
        )
        raise InputError(msg)
    return Specimens(tuple(train), tuple(validation), counts, held, tuple(warnings))


def _of_sources(sources: Sequence[Source]) -> list[Specimen]:
    out = []
    for s in sources:
        for k, grey in enumerate(s.scales):
            if float(grey.max()) > float(grey.min()):
                out.append(image_specimen(grey, k, name=s.name))
    return out


def registered_pairs(path: Path) -> list[Specimen]:
    """Return the pairs of a CSV, large ones reduced: a picture may cover all of them.

    Raises
    ------
    InputError
        When it cannot be read, or two images do not have one shape.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a table of pairs: {error}"
        raise InputError(msg) from error
    if not rows or not {"fixed", "moving"} <= set(rows[0]):
        msg = f"{path}: needed the columns fixed and moving and one pair at least, found {list(rows[0]) if rows else 0}"
        raise InputError(msg)
    out = []
    for row in rows:
        first, second = (read(path.parent / str(row[c])).astype(np.float32) for c in ("fixed", "moving"))
        while min(first.shape) >= 2 * _PAIR_PX:
            first, second = (_halved(one) for one in (first, second))
        out.append(image_specimen(first, 1, partner=second, name=f"{path.name}: {row['fixed']}"))
    return out


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def made_up(config: TwoHeadedConfig, kept: Path | None, progress: Progress) -> list[Specimen]:
    """Return the made-up specimens of a configuration: tissue, then materials."""
    out = []
    shape = (_MADE_PX, _MADE_PX)
    for k in range(config.generated):
        path = kept / _KEPT.format(k) if kept else None
        if path is not None and path.is_file():
            out.append(_read(path))
        else:
            rng = np.random.default_rng((_STREAM * config.seed, k))
            seed = int(rng.integers(2**40))
            out.append(tissue_specimen(shape, seed, zoom=float(rng.uniform(0.55, 1.1))))
            if path is not None:
                _write(path, out[-1])
        progress("growing tissue", k + 1, config.generated)
    for k in range(config.materials):
        out.append(material_specimen(shape, 1000 * config.seed + k))
        progress("making materials", k + 1, config.materials)
    return out


def _write(path: Path, one: Specimen) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    grey, projected = (np.rint(p * 255).astype(np.uint8) for p in (one.grey, one.projected))
    with part.open("wb") as file:
        np.savez(file, name=np.array(one.name), grey=grey, projected=projected, label=one.label)
    part.replace(path)


def _read(path: Path) -> Specimen:
    with np.load(path, allow_pickle=False) as kept:
        grey, projected = (kept[k].astype(np.float32) / np.float32(255) for k in ("grey", "projected"))
        return Specimen(str(kept["name"]), grey, kept["label"], projected)


__all__ = ["LEAST_PX", "Specimens", "gather_specimens", "made_up", "registered_pairs"]
