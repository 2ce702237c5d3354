"""What comes before and after a turn, a scale and a shift: one look for both images, and bending.

Restyled images are only compared: what is found is applied to the images as they came.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from demis_ij.aligners.elastic_landmarks import Landmarks
from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError
from demis_ij.formats.warps_bunwarpj import read_landmarks
from demis_ij.geometry import fit_similarity
from demis_ij.jobs.register.pictures import Picture
from demis_ij.jobs.register.style_images import read_channels
from demis_ij.metrics.overlap import Overlap
from demis_ij.records import Affine, Points, Warp
from demis_ij.register.bending import Bent, bent
from demis_ij.register.looks import factors
from demis_ij.register.results import Registration

if TYPE_CHECKING:
    from demis_ij.nets.style_transfer import Style

Progress = Callable[[str, int, int], None]
_LEAST_LANDMARKS = 3
"""From this many on, landmarks tell how the images lie."""
_COLUMNS = ("fixed_x", "fixed_y", "moving_x", "moving_y")


# --- one look for both ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dressed:
    """Two images as they are compared.

    Attributes
    ----------
    fixed, moving : Picture
        With the pixels that are compared; the paths are those of the images themselves.
    which : str
        Which one was restyled: fixed or moving.
    check : mapping
        ``invented``, ``lost``, ``drift_px``, ``moved_px``: what became of its structure.
    said : str
        The same as one line.
    """

    fixed: Picture
    moving: Picture
    which: str
    check: dict[str, float | None]
    said: str

    @property
    def shown(self) -> NDArray[Any]:
        """The restyled image, grey."""
        return (self.fixed if self.which == "fixed" else self.moving).image


class Wardrobe:
    """A style, loaded once for many images.

    Parameters
    ----------
    config : RegisterConfig
        ``style``, ``restyle``, ``device``, ``threads``.

    Raises
    ------
    WeightsError
        When the weights cannot be used.
    """

    def __init__(self, config: RegisterConfig) -> None:
        from demis_ij.nets.style_transfer import style_of  # torch, only when it is needed

        self.config = config
        self.style: Style = style_of(config.style, device=config.device, threads=config.threads)
        self._worn: dict[tuple[Path, str], Picture] = {}

    def __call__(self, fixed: Picture, moving: Picture) -> Dressed:
        """Return both images in one look. Raises `InputError` when the style is not for the image it is meant for."""
        which = self._which(fixed, moving)
        source, target = (fixed, moving) if which == "fixed" else (moving, fixed)
        restyled, check, said = self._restyled(source)
        shown = self._as_target(target, keep=which == "moving")
        first, second = (restyled, shown) if which == "fixed" else (shown, restyled)
        return Dressed(first, second, which, check, said)

    def _which(self, fixed: Picture, moving: Picture) -> str:
        if self.config.restyle != "auto":
            return self.config.restyle
        if self.style.fits(read_channels(moving.path)) or not self.style.fits(read_channels(fixed.path)):
            return "moving"
        return "fixed"

    def _restyled(self, picture: Picture) -> tuple[Picture, dict[str, float | None], str]:
        from demis_ij.nets.style_check import check_style
        from demis_ij.nets.style_look import from_bytes, look_at

        image = read_channels(picture.path)
        mask = _enlarged(picture)
        try:
            found = self.style(image, mask)
        except InputError as error:
            msg = f"{picture.path}: {error}"
            raise InputError(msg) from error
        planes = found.image if found.image.ndim == 3 else found.image[..., None]
        before = look_at(image, mask, window_px=self.style.form.source_window_px)
        check = check_style(
            before, from_bytes(np.moveaxis(planes, -1, 0)), found.mask, wanted=self.style.polarity,
            reduce=self.style.form.reduce,
        )  # fmt: skip
        told = {k: _number(getattr(check, k)) for k in ("invented", "lost", "drift_px", "moved_px")}
        return _with(picture, _grey(found.compared)), told, check.said

    def _as_target(self, picture: Picture, *, keep: bool) -> Picture:
        """Return an image of the target instrument as restyled images look; one that stays for others is kept."""
        key = picture.path, "target"
        if key in self._worn:
            return self._worn[key]
        shown = self.style.shown(read_channels(picture.path), _enlarged(picture)).compared
        found = _with(picture, _grey(shown))
        if keep:
            self._worn[key] = found
        return found


def _grey(image: NDArray[np.uint8]) -> NDArray[Any]:
    return image if image.ndim == 2 else np.asarray(image.mean(axis=2))


def _enlarged(picture: Picture) -> NDArray[np.bool_]:
    """Return a mask as one of the whole file."""
    if picture.reduced == 1:
        return picture.mask
    grown = cv2.resize(picture.mask.astype(np.uint8), picture.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(grown > 0)


def _with(picture: Picture, image: NDArray[Any]) -> Picture:
    """Return a picture with other pixels, given for the whole file."""
    grey = np.asarray(image, np.float32)
    if picture.reduced > 1:
        rows, cols = (n * picture.reduced for n in picture.image.shape)
        size = picture.image.shape[::-1]
        grey = np.asarray(cv2.resize(grey[:rows, :cols], size, interpolation=cv2.INTER_AREA), np.float32)
    return replace(picture, image=grey)


# --- bending ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bending:
    """What was bent, in px of the files.

    Attributes
    ----------
    bent : Bent
        In px of the pictures.
    to_moving, to_fixed : Warp
        Px of one file to points of the other.
    overlap : Overlap or None
        How well structures lie on each other; None where the images are too small to tell.
    reduced : int
        Px of the fixed file to one of its picture.
    milliseconds : float
        That it took.
    """

    bent: Bent
    to_moving: Warp
    to_fixed: Warp
    overlap: Overlap | None
    reduced: int = 1
    milliseconds: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON types; lengths in px of the fixed file."""
        told = self.bent.facts
        for name in ("bent_px", "bent_most_px", "inverse_consistency_px"):
            told[name] = None if told[name] is None else told[name] * self.reduced
        seen = self.overlap
        tier = None if seen is None else {"tier": seen.tier, "tier_reason": seen.reason, "strain": seen.strain}
        told |= tier or {"tier": None, "tier_reason": "too small to be judged", "strain": None}
        return told | {"milliseconds": round(self.milliseconds, 1)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say, one line each."""
        if not self.bent.better_than_nothing:
            return (f"bending is no better than nothing and is dropped: {self.bent.found.reason}",)
        if self.overlap is not None and self.overlap.tier == "bad":
            return (f"bending looks bad: {self.overlap.reason}; look at the overlay",)
        return ()


def bend_pictures(
    fixed: Picture, moving: Picture, compared: tuple[Picture, Picture], start: Affine, config: RegisterConfig,
    landmarks: Landmarks | None, progress: Progress,
) -> Bending:  # fmt: skip
    """Return how a moving picture must be bent.

    Parameters
    ----------
    fixed, moving : Picture
        As they came.
    compared : tuple of Picture
        Both as they are compared.
    start : Affine
        Px of the fixed file to px of the moving one.
    config : RegisterConfig
    landmarks : Landmarks or None
        Px of the files.
    progress : callable

    Raises
    ------
    InputError
        When an image is too small, or a landmark lies outside.
    """
    points = landmarks
    if landmarks is not None:
        landmarks.check_inside(fixed.shape, moving.shape)
        points = replace(
            landmarks,
            fixed_xy=_in_picture(landmarks.fixed_xy, fixed),
            moving_xy=_in_picture(landmarks.moving_xy, moving),
        )
    begin = moving.to_full.inverse @ start @ fixed.to_full
    one, two = compared
    found = bent(
        one.image, two.image, begin, config, fixed_mask=one.mask, moving_mask=two.mask, landmarks=points,
        progress=progress,
    )  # fmt: skip
    overlap = found.judged(fixed.image, moving.image)
    if found.better_than_nothing and overlap is not None and overlap.tier == "poor":
        found = found.dropped(overlap.reason)
    there = Warp(_parts(fixed.to_full.inverse, found.to_moving, moving.to_full), fixed.shape)
    back = Warp(_parts(moving.to_full.inverse, found.to_fixed, fixed.to_full), moving.shape)
    return Bending(found, there, back, overlap, fixed.reduced)


def _in_picture(points_xy: ArrayLike, picture: Picture) -> Points:
    """Return px of a file as px of its picture, which may lack the last rows and columns: there, its edge."""
    rows, cols = picture.image.shape
    return np.clip(picture.to_full.inverse(points_xy), -0.5, (cols - 0.5, rows - 0.5))


def _parts(first: Affine, warp: Warp, last: Affine) -> tuple[Any, ...]:
    return tuple(p for p in (first, *warp.parts, last) if p != Affine())


# --- where it begins --------------------------------------------------------------------------------------------------


def read_points(path: Path) -> Landmarks:
    """Return landmarks from a CSV, or from a file of bUnwarpJ's.

    Raises
    ------
    InputError
        When it cannot be read or used: one line that names the file, and what it should hold.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"no such file of landmarks: {path}"
        raise InputError(msg)
    try:
        if path.suffix.lower() != ".csv":
            return Landmarks(*read_landmarks(path))
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    if not rows or not set(_COLUMNS) <= set(rows[0]):
        msg = f"{path}: landmarks are rows with the columns {', '.join(_COLUMNS)} (and weight, if you like)"
        raise InputError(msg)
    at = [[_value(path, k, row, name) for name in _COLUMNS] for k, row in enumerate(rows, 2)]
    weighed = any(row.get("weight") for row in rows)
    weights = [_value(path, k, row, "weight") for k, row in enumerate(rows, 2)] if weighed else None
    points = np.array(at)
    try:
        return Landmarks(points[:, :2], points[:, 2:], weights)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error


def _value(path: Path, line: int, row: dict[str, str], name: str) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError) as error:
        msg = f"{path} line {line}: {name} is no number: {row.get(name)!r}"
        raise InputError(msg) from error


def known_start(
    fixed: Picture, moving: Picture, config: RegisterConfig, landmarks: Landmarks | None, ratio: float | None
) -> Registration | None:
    """Return how images lie where that is not searched: by landmarks, or middle on middle; else None."""
    if landmarks is not None and len(np.asarray(landmarks.fixed_xy)) >= _LEAST_LANDMARKS:
        matrix = fit_similarity(np.asarray(landmarks.fixed_xy), np.asarray(landmarks.moving_xy))
        return _taken(Affine.from_matrix(matrix), "landmarks")
    if config.start != "none":
        return None
    first, second = factors(fixed.shape, moving.shape, max(fixed.shape), ratio)
    middles = [Affine.translation((p.shape[1] - 1) / 2, (p.shape[0] - 1) / 2) for p in (fixed, moving)]
    return _taken(middles[1] @ Affine(second / first, 0, 0, second / first) @ middles[0].inverse, "none")


def _taken(at: Affine, method: str) -> Registration:
    nan = float("nan")
    return Registration(True, at, nan, nan, nan, 1.0, method, "", 0.0)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


__all__ = ["Bending", "Dressed", "Wardrobe", "bend_pictures", "known_start", "read_points"]
