"""The story of registering: two images go in, and how one lies on the other comes out, or that they do not match.

::

    look (one size of pixel, four resolutions)
      ─▶ start   the network's guess; a search of what is near; the same by local contrast, where one image has but
                 few marks; a search of everything
      ─▶ fit     coarse to fine, on structure that no contrast changes; no step that lowers its own score is kept
      ─▶ judge   by how far the place stands out from all others; in doubt its parts are asked; if it does not, the next
                 kind of start
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.standing import standing, whitened_standing
from demis_ij.aligners.structure import Mask
from demis_ij.aligners.structure_fit import Fit, Freedom
from demis_ij.aligners.structure_search import Place, places, scales_between, turns_between
from demis_ij.config.registering import RegisterConfig
from demis_ij.records import Affine
from demis_ij.register.baselines import BASELINES
from demis_ij.register.intensity import by_intensity
from demis_ij.register.looks import LEVELS, Look, factors, full_px, looked_at, reduced_px
from demis_ij.register.parts import by_parts
from demis_ij.register.results import NEEDED, Attempt, Registration, unmatched

Guess = Callable[[Look, Look], Affine | None]
"""A start from both looks: px of the fixed look to px of the moving one."""

_SEARCHED, _JUDGED, _LAST = LEVELS
_STEPS = {8: 12, 4: 12, 2: 8}
_KEPT = {8: 6, 4: 2, 2: 1}  # how many places are fitted at each level
_TELLS = 3.0  # the error seen over the one that the residuals alone promise
_LEAST_SIGMA_PX = 0.02  # px of the look
_IN_DOUBT = 4.5  # standard deviations: from there finer structure is asked, too; strangers were seen to reach 5.8 by it
_WORTH_ASKING = 3.0  # standard deviations: what stands out by less is no place; right ones were seen from 4.8 on
_PART = 0.6  # an image with less data than this share of the other's is taken as a part of it
_NEAR = (turns_between(-35, 35, 7.8), scales_between(0.7, 1 / 0.7, 1.11), 0.33)
_WIDE = (turns_between(-180, 172.5, 7.5), scales_between(0.5, 2, 1.125), 0.2)


class Registrar:
    """A fixed image that others are brought onto, looked at once.

    Parameters
    ----------
    fixed : ndarray of shape (H, W)
        Grey values of any type.
    config : RegisterConfig, optional
    fixed_mask : ndarray of shape (H, W), bool, optional
        True where there is data.
    guess : callable, optional
        The network's start; without it ``auto`` begins with the search.
    needed : float
        Standard deviations that a place must stand out by, to be believed.

    Raises
    ------
    InputError
        When the image is too small.
    """

    def __init__(
        self,
        fixed: NDArray[Any],
        config: RegisterConfig | None = None,
        *,
        fixed_mask: Mask | None = None,
        guess: Guess | None = None,
        needed: float = NEEDED,
    ) -> None:
        self.config = config or RegisterConfig()
        self.fixed, self.fixed_mask, self.guess, self.needed = np.asarray(fixed), fixed_mask, guess, needed
        self._looks: dict[float, Look] = {}
        self._look(max(1.0, max(np.shape(fixed)) / self.config.side_px))

    def _look(self, factor: float) -> Look:
        if factor not in self._looks:
            self._looks[factor] = looked_at(self.fixed, self.fixed_mask, factor)
        return self._looks[factor]

    def __call__(
        self, moving: NDArray[Any], moving_mask: Mask | None = None, *, pixel_ratio: float | None = None
    ) -> Registration:
        """Return how an image lies on the fixed one: what stands out first, else the best of the rest as no match.

        Parameters
        ----------
        moving : ndarray of shape (H, W)
            Grey values of any type.
        moving_mask : ndarray of shape (H, W), bool, optional
            True where there is data.
        pixel_ratio : float, optional
            The fixed image's pixel size over the moving image's, where known.

        Raises
        ------
        InputError
            When the image is too small.
        """
        told: list[Registration] = []
        for one in self.attempts(moving, moving_mask, pixel_ratio=pixel_ratio):
            if one.matched:
                return one
            told.append(one)
        best = max(told, key=lambda r: r.standing)
        spent = told[-1].milliseconds
        return replace(best, to_moving=None, sigma_px=float("inf"), milliseconds=spent)

    def attempts(
        self, moving: NDArray[Any], moving_mask: Mask | None = None, *, pixel_ratio: float | None = None
    ) -> Iterator[Registration]:
        """Yield what each way finds, believed or not, the fast ones first; times are from the beginning.

        Parameters and errors are those of a call.
        """
        began = time.perf_counter()
        shapes = np.shape(self.fixed), np.shape(moving)
        fixed_factor, moving_factor = factors(*shapes, self.config.side_px, pixel_ratio)
        two = self._look(fixed_factor), looked_at(np.asarray(moving), moving_mask, moving_factor)
        for name, look in zip(("fixed", "moving"), two, strict=True):
            if look.problem:
                yield unmatched(f"the {name} image cannot be registered: {look.problem}", self.config.method)
                return
        for method, attempt in self._attempts(*two):
            told = unmatched(f"{method} finds nothing", method)
            if attempt is not None:
                told = self._judged(method, attempt, *two)
            yield replace(told, milliseconds=1000 * (time.perf_counter() - began))

    def _attempts(self, fixed: Look, moving: Look) -> Iterator[tuple[str, Attempt | None]]:
        """Yield what each way finds, px of the looks."""
        for method, fit in self._near_fits(fixed, moving):
            yield method, self._asked(fit, fixed, moving)
        if self.config.method not in {"auto", "search"}:
            return
        marked = by_intensity(fixed, moving, self.config.model)
        if marked is not None:
            yield "intensity search", marked
        if self.config.reach == "wide":
            yield (
                "wide search",
                self._asked(self._fitted(self._placed(fixed, moving, _WIDE), fixed, moving), fixed, moving),
            )

    def _asked(self, fit: Fit | None, fixed: Look, moving: Look) -> Attempt | None:
        """Return a fit with how far it stands out; where that leaves doubt, as the parts of the images correct it."""
        found = _compared(fit, fixed, moving, self.needed)
        if found is None:
            return None
        free = self.config.method in {"auto", "search"} and self.config.model not in {"rigid", "affine"}
        return _asked_again(by_parts(fixed, moving, found) if free else found, fixed, moving)

    def _near_fits(self, fixed: Look, moving: Look) -> Iterator[tuple[str, Fit | None]]:
        """Yield the baseline's place or the network's as it is, or fits from the network's and from those nearby."""
        method, model = self.config.method, self.config.model
        if method in BASELINES:
            found = BASELINES[method](fixed, moving, model)
            yield method, None if found is None else _as_it_is(found, fixed, moving)
            return
        if method in {"auto", "network"} and self.guess is not None:
            guess = self.guess(fixed, moving)
            if method == "network":
                yield "network", None if guess is None else _as_it_is(guess, fixed, moving)
                return
            if guess is not None:
                yield "network", self._fitted([reduced_px(guess, _SEARCHED)], fixed, moving)
        yield "near search", self._fitted(self._placed(fixed, moving, _NEAR), fixed, moving)

    def _placed(self, fixed: Look, moving: Look, among: tuple[list[float], list[float], float]) -> Iterator[Affine]:
        """Return the best places of a search, px of its level."""
        turns, scales, overlap = among
        if self.config.model == "rigid":
            scales = [1.0]
        two = fixed.levels[_SEARCHED], moving.levels[_SEARCHED]
        found: list[Place] = places(*two, turns, scales, least_overlap=overlap, keep=_KEPT[_SEARCHED])
        return (p.to_moving for p in found)

    def _fitted(self, starts: Iterable[Affine], fixed: Look, moving: Look) -> Fit | None:
        """Return the best fit from several starts, px of the searched level; a part is what the other is fitted to."""
        shares = moving.mask.sum() / fixed.mask.sum()
        if shares > _PART:
            return self._to_the_last(fixed, moving, list(starts))
        found = self._to_the_last(moving, fixed, [at.inverse for at in starts])
        if found is None:
            return None
        there = found.to_moving.inverse
        return Fit(there, found.score, found.overlap * shares / there.scale**2, found.sigma_px / there.scale)

    def _to_the_last(self, template: Look, other: Look, held: list[Affine]) -> Fit | None:
        """Return the best fit from several starts: fewer of them at each finer level."""
        first: Freedom = "rigid" if self.config.model == "rigid" else "similarity"
        found: list[Fit] = []
        for level in LEVELS:
            made = template.template(level, first)
            fits = (made.fit(other.levels[level], at, _STEPS[level]) for at in held[: _KEPT[level]])
            found = sorted((f for f in fits if f is not None), key=lambda f: -f.score * sqrt(f.overlap))
            if not found:
                return None
            held = [full_px(f.to_moving, 2) for f in found]
        if self.config.model == "affine":
            made = template.template(_LAST, "affine")
            return made.fit(other.levels[_LAST], found[0].to_moving, _STEPS[_LAST]) or found[0]
        return found[0]

    def _judged(self, method: str, found: Attempt, fixed: Look, moving: Look) -> Registration:
        """Return an attempt as a registration of the images themselves."""
        matched = bool(found.standing >= found.needed and found.score >= self.config.least_score)
        sigma = found.sigma_px * fixed.to_full.scale
        reason = "" if matched else self._doubt(found)
        whole = moving.to_full @ found.to_moving @ fixed.to_full.inverse
        numbers = sigma, found.score, found.standing, found.overlap
        return Registration(matched, whole, *numbers, method, reason, 0.0, found.needed)

    def _doubt(self, found: Attempt) -> str:
        """Return why two images are taken not to match."""
        out, needed = found.standing, found.needed
        if out < needed:
            return f"no place stands out: the best by {out:.1f} standard deviations, {needed:g} are needed"
        return f"the structure correlates by {found.score:.2f}, {self.config.least_score:g} is asked for"


def register(
    fixed: NDArray[Any],
    moving: NDArray[Any],
    config: RegisterConfig | None = None,
    *,
    fixed_mask: Mask | None = None,
    moving_mask: Mask | None = None,
    guess: Guess | None = None,
) -> Registration:
    """Return how two images of one specimen lie on each other; `Registrar` does it for many.

    Parameters
    ----------
    fixed, moving : ndarray of shape (H, W)
        Grey values of any type; shapes may differ.
    config : RegisterConfig, optional
    fixed_mask, moving_mask : ndarray of bool, optional
        True where there is data.
    guess : callable, optional
        The network's start.

    Raises
    ------
    InputError
        When an image is too small.
    """
    known = config or RegisterConfig()
    ratio = None
    if known.fixed_pixel_size and known.moving_pixel_size:
        ratio = known.fixed_pixel_size / known.moving_pixel_size
    registrar = Registrar(fixed, known, fixed_mask=fixed_mask, guess=guess)
    return registrar(moving, moving_mask, pixel_ratio=ratio)


def _as_it_is(at: Affine, fixed: Look, moving: Look) -> Fit | None:
    """Return a place, px of the look, as a fit that took no step."""
    template = fixed.template(_LAST, "affine")
    return template.fit(moving.levels[_LAST], reduced_px(at, _LAST), 1)


def _compared(fit: Fit | None, fixed: Look, moving: Look, needed: float) -> Attempt | None:
    """Return a fit at the last level with how far it stands out, px of the look."""
    if fit is None:
        return None
    at = full_px(fit.to_moving, _LAST)
    out = standing(fixed.levels[_JUDGED], moving.levels[_JUDGED], reduced_px(at, _JUDGED))
    if _IN_DOUBT <= out < needed:
        out = max(out, standing(fixed.levels[_LAST], moving.levels[_LAST], reduced_px(at, _LAST)))
    sigma = sqrt((_TELLS * _LAST * fit.sigma_px) ** 2 + _LEAST_SIGMA_PX**2)
    return Attempt(at, fit.score, fit.overlap, sigma, out, needed)


def _asked_again(found: Attempt, fixed: Look, moving: Look) -> Attempt:
    """Return what is not believed yet with how far it stands out once coarse waves drown nothing; else as it is."""
    if found.standing >= found.needed or found.standing < _WORTH_ASKING:
        return found
    out = whitened_standing(fixed.levels[_LAST], moving.levels[_LAST], reduced_px(found.to_moving, _LAST))
    return replace(found, standing=max(found.standing, out))
