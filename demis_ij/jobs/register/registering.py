"""Two image files in, how one lies on the other out; `demis_ij.jobs.register.runs` makes a run folder of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.config.registering import RegisterConfig
from demis_ij.display.markup import px, signed
from demis_ij.display.tables import card
from demis_ij.display.tables import facts as told
from demis_ij.errors import InputError
from demis_ij.jobs.register.bending import (
    Bending,
    Dressed,
    Wardrobe,
    bend_pictures,
    known_start,
    read_points,
)
from demis_ij.jobs.register.pictures import Picture, read_picture
from demis_ij.records import Affine, Warp
from demis_ij.register.looks import factors
from demis_ij.register.network import network_guess
from demis_ij.register.registering import Guess, Registrar
from demis_ij.register.results import Registration

Progress = Callable[[str, int, int], None]
Sizes = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Registered:
    """How one file lies on another.

    Attributes
    ----------
    fixed, moving : Picture
        The images, as they were looked at.
    registration : Registration
        In px of the files.
    pixel_ratio : float or None
        The fixed image's pixel size over the moving image's, where both are known.
    read_ms : float
        Reading the moving image.
    notes : tuple of str
        What else there is to say.
    bending : Bending or None
        What is bent besides, where that was asked for and both match.
    dressed : Dressed or None
        As both were compared, where a style was asked for.
    """

    fixed: Picture
    moving: Picture
    registration: Registration
    pixel_ratio: float | None
    read_ms: float
    notes: tuple[str, ...] = ()
    bending: Bending | None = None
    dressed: Dressed | None = None

    @property
    def to_moving(self) -> Affine | Warp | None:
        """Px of the fixed file to points of the moving one; None when they do not match."""
        return self.registration.to_moving if self.bending is None else self.bending.to_moving

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON types; ``shift_px`` is that of the fixed image's middle from the moving one's, its px."""
        at = self.registration.to_moving
        fixed, moving = (np.array([(s.shape[1] - 1) / 2, (s.shape[0] - 1) / 2]) for s in (self.fixed, self.moving))
        said: dict[str, Any] = {
            **self.registration.as_json(),
            "shift_px": None if at is None else [float(v) for v in at(fixed) - moving],
            "pixel_ratio": self.pixel_ratio,
            "read_milliseconds": round(self.read_ms, 1),
            "fixed": str(self.fixed.path),
            "moving": str(self.moving.path),
            "notes": list(self.notes),
        }
        if self.bending is not None:
            said["elastic"] = self.bending.facts
        if self.dressed is not None:
            said["style"] = {"restyled": self.dressed.which, **self.dressed.check}
        return said

    def _repr_html_(self) -> str:
        facts = self.facts
        title = f"{self.moving.path.name} onto {self.fixed.path.name}"
        if not facts["matched"]:
            return card(f"{title}: not matched", told([("why", facts["reason"])]))
        x, y = facts["shift_px"]
        sigma, standing = facts["sigma_px"], facts["standing"]
        rows = [
            ("turn", f"{signed(facts['angle_deg'], 3)}°"),
            ("scale", f"{facts['scale']:.5f}"),
            ("shift of the middle", f"{signed(x, 2)}, {signed(y, 2)} px"),
            ("expected error", "not known" if sigma is None else f"{px(sigma)} px"),
            ("stands out by", "not asked" if standing is None else f"{standing:.1f} standard deviations"),
            ("overlap", f"{facts['overlap']:.0%}"),
            ("found by", facts["method"]),
        ]
        if facts["milliseconds"] >= 0.5:  # nothing is searched where images are said to lie in place
            rows.append(("time", f"{facts['milliseconds']:.0f} ms"))
        if self.bending is not None:
            bent = facts["elastic"]
            rows.append(("bent by", f"{px(bent['bent_px'] or 0.0)} px" if bent["better_than_nothing"] else "nothing"))
            rows.append(("time of bending", f"{bent['milliseconds'] / 1000:.1f} s"))
        return card(title, told(rows))


@dataclass(frozen=True, eq=False)
class Start:
    """The network, loaded once for many images; none where the settings ask for none, or there is none.

    Attributes
    ----------
    guess : Guess or None
        What asks it.
    notes : tuple of str
        What there is to say of that.
    """

    guess: Guess | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: RegisterConfig) -> Start:
        """Return the start that settings ask for. Raises `WeightsError`, or `InputError` as `network_guess` does."""
        said: list[str] = []
        guess = network_guess(config, tell=said.append)
        return cls(guess, tuple(said))


class FixedImage:
    """A fixed image file, read once, that other files are brought onto.

    Parameters
    ----------
    path : Path
        The image.
    config : RegisterConfig
        How to register.
    start : Start, optional
        The network, where it is loaded already.

    Attributes
    ----------
    notes : tuple of str
        What there is to say before anything is registered.

    Raises
    ------
    InputError
        When it cannot be read or registered to.
    WeightsError
        When the weights cannot be used.
    """

    def __init__(self, path: Path, config: RegisterConfig, start: Start | None = None) -> None:
        check_sizes(config.fixed_pixel_size, config.moving_pixel_size)
        self.config = config
        self.picture = read_picture(path, config.side_px)
        begin = Start.of(config) if start is None else start
        self.notes = begin.notes
        self._guess = begin.guess
        self._landmarks = read_points(Path(config.landmarks)) if config.landmarks else None
        self._wardrobe = Wardrobe(config) if config.style else None
        self._registrar = self._registrar_of(self.picture)

    def _registrar_of(self, picture: Picture) -> Registrar:
        """Return what brings others onto a picture of the fixed image."""

        def made() -> Registrar:
            return Registrar(picture.image, self.config.straight, fixed_mask=picture.mask, guess=self._guess)

        found: Registrar = self._named(picture.path, made)
        return found

    @staticmethod
    def _named(path: Path, task: Callable[[], Any]) -> Any:
        try:
            return task()
        except InputError as error:
            if str(path) in str(error):
                raise
            msg = f"{path}: {error}"
            raise InputError(msg) from error

    def register(
        self, path: Path, sizes: Sizes | None = None, progress: Progress = lambda what, done, total: None
    ) -> Registered:
        """Return how a file lies on the fixed one.

        Parameters
        ----------
        path : Path
            The moving image.
        sizes : tuple of float, optional
            Size of a px of the fixed and of the moving image, in one unit; else those of the settings count, else
            what both files say.
        progress : callable, optional
            Told how far the work is, where it is long.

        Raises
        ------
        InputError
            When it cannot be read or registered; the message names it.
        """
        began = time.perf_counter()
        moving = read_picture(path, self.config.side_px)
        read_ms = 1000 * (time.perf_counter() - began)
        ratio = self._ratio(moving, sizes)
        dressed = None if self._wardrobe is None else self._wardrobe(self.picture, moving)
        compared = (self.picture, moving) if dressed is None else (dressed.fixed, dressed.moving)
        found = known_start(self.picture, moving, self.config, self._landmarks, ratio)
        if found is None:
            found = self._in_full(self._straight(compared, ratio), moving)
        bending, notes = None, self.notes
        if self.config.model == "elastic" and found.to_moving is not None:
            bending = self._bent(path, moving, compared, found.to_moving, progress)
            notes = (*notes, *bending.notes)
        return Registered(self.picture, moving, found, ratio, read_ms, notes, bending, dressed)

    def _straight(self, compared: tuple[Picture, Picture], ratio: float | None) -> Registration:
        """Return how two pictures lie on each other, without bending anything; px of the pictures."""
        fixed, moving = compared
        registrar = self._registrar if fixed is self.picture else self._registrar_of(fixed)
        found: Registration = self._named(
            moving.path, lambda: registrar(moving.image, moving.mask, pixel_ratio=self._reduced_ratio(moving, ratio))
        )
        return found

    def _bent(
        self, path: Path, moving: Picture, compared: tuple[Picture, Picture], start: Affine, progress: Progress
    ) -> Bending:
        def task() -> Bending:
            return bend_pictures(self.picture, moving, compared, start, self.config, self._landmarks, progress)

        began = time.perf_counter()
        found: Bending = self._named(path, task)
        return replace(found, milliseconds=1000 * (time.perf_counter() - began))

    def _ratio(self, moving: Picture, sizes: Sizes | None) -> float | None:
        """Return the fixed file's pixel size over the moving one's, None where not both are known."""
        given = sizes or (self.config.fixed_pixel_size, self.config.moving_pixel_size)
        if all(given):
            return given[0] / given[1]
        known = self.picture.pixel_nm, moving.pixel_nm
        return known[0] / known[1] if known[0] and known[1] else None

    def _reduced_ratio(self, moving: Picture, ratio: float | None) -> float | None:
        """Return the same between the images as they were read; sizes that are not known are judged by whole files."""
        if self.picture.reduced == moving.reduced == 1:
            return ratio
        first, second = factors(self.picture.shape, moving.shape, self.config.side_px, ratio)
        return second / first * self.picture.reduced / moving.reduced

    def _in_full(self, found: Registration, moving: Picture) -> Registration:
        at = found.to_moving
        whole = None if at is None else moving.to_full @ at @ self.picture.to_full.inverse
        return replace(found, to_moving=whole, sigma_px=found.sigma_px * self.picture.reduced)


def check_sizes(fixed: float, moving: float) -> None:
    """Raise `InputError` when the pixel size of only one of two images is given: its unit would not be known."""
    if bool(fixed) != bool(moving):
        given, lacking = ("fixed", "moving") if fixed else ("moving", "fixed")
        msg = f"{given}_pixel_size is given and {lacking}_pixel_size is not: give both, in one unit, or none"
        raise InputError(msg)


def register_files(
    fixed: Path, moving: Path, config: RegisterConfig, progress: Progress = lambda what, done, total: None
) -> Registered:
    """Return how one image file lies on another; nothing is written. Raises as `FixedImage` does."""
    return FixedImage(fixed, config).register(moving, progress=progress)


__all__ = ["FixedImage", "Registered", "Sizes", "Start", "check_sizes", "register_files"]
