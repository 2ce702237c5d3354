"""Gauss-Newton on the coefficients of splines, level by level, each step by preconditioned conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from demis_ij.aligners.elastic_levels import Level
from demis_ij.aligners.elastic_terms import (
    Bending,
    Consistency,
    Evaluated,
    Folding,
    Landmarks,
    Likeness,
    Rest,
    Term,
    together,
)  # fmt: skip
from demis_ij.config.elastic import ElasticSettings
from demis_ij.nets.bspline_grid import refined

Progress = Callable[[str, int, int], None]

_LONGEST_STEP = 2.0  # px of the level: features say no more than that
_HALVINGS = 4
_GAINED_ENOUGH = 0.01  # a step that gains less than that of all that the level has gained is the last
_CG_STEPS = 12
_CG_ENOUGH = 0.05  # of the gradient
_CELLS_APART = 2  # cells from one point at which consistency is asked for to the next


def solved(
    levels: Sequence[Level],
    shape: tuple[int, int],
    settings: ElasticSettings,
    landmarks: tuple[Tensor, Tensor] | None,
    progress: Progress,
) -> Tensor:
    """Return the splines (D, 2, N + 3, N + 3) of the finest level, px of the image; the search begins at rest.

    Parameters
    ----------
    levels : sequence of Level
        The coarsest first.
    shape : tuple of int
        (rows, cols) of the images.
    settings : ElasticSettings
    landmarks : tuple of Tensor, optional
        Pairs (2, K, 2) and weights (K,).
    progress : callable
        What is being done, how much of it is, and how much there is.
    """
    count = 2 if settings.mode == "accurate" else 1
    side = levels[0].intervals + 3
    splines = torch.zeros(count, 2, side, side, device=levels[0].mask.device)
    for k, level in enumerate(levels):
        progress("levels registered", k, len(levels))
        while splines.shape[-1] < level.intervals + 3:
            splines = refined(splines)
        splines = _level_solved(level, splines, shape, settings, landmarks)
    progress("levels registered", len(levels), len(levels))
    return splines


def _level_solved(
    level: Level,
    splines: Tensor,
    shape: tuple[int, int],
    settings: ElasticSettings,
    landmarks: tuple[Tensor, Tensor] | None,
) -> Tensor:
    likeness = Likeness(level, settings.image_weight)
    terms = [likeness, *_priors(level, shape, settings, landmarks)]
    here = together(terms, splines)
    began = float(here.energy)
    for _ in range(settings.iterations):
        change = _solution(here, _Preconditioner(level, likeness, shape, settings, len(splines)))
        moved = level.cells(change)
        longest = float(moved.abs().max()) / level.reduction
        change = change * min(1.0, _LONGEST_STEP / max(longest, 1e-9))
        took = _descended(terms, splines, change, here)
        if took is None:
            break
        before = float(here.energy)
        pace, splines, here = took
        moved_px = pace * float((level.cells(change) ** 2).sum(1).mean().sqrt()) / level.reduction
        gained = before - float(here.energy)
        if moved_px < settings.settled_px or gained < _GAINED_ENOUGH * (began - float(here.energy)):
            break
    return splines


def _descended(
    terms: Sequence[Term], splines: Tensor, change: Tensor, here: Evaluated
) -> tuple[float, Tensor, Evaluated] | None:
    """Return the part of a step that lowers the energy, and what is there; None when no part does."""
    pace = 1.0
    for _ in range(_HALVINGS):
        tried = splines + pace * change
        there = together(terms, tried)
        if float(there.energy) < float(here.energy):
            return pace, tried, there
        pace /= 2
    return None


def _priors(
    level: Level, shape: tuple[int, int], settings: ElasticSettings, landmarks: tuple[Tensor, Tensor] | None
) -> list[Term]:
    """Return all terms but the images'. What is in px of the image counts in px of the level."""
    smaller = 1 / level.reduction**2
    length = (max(shape) - 1) / settings.intervals_for(shape)
    terms: list[Term] = [
        Bending(level.cells, settings.divergence_weight, settings.curl_weight, length),
        Folding(level.cells, settings.fold_weight, settings.least_jacobian),
    ]
    if settings.rest_weight > 0:
        terms.append(Rest(level.cells, settings.rest_weight))
    if settings.mode == "accurate" and settings.consistency_weight > 0:
        y, x = (
            _thinned(len(b[0]), n, level) for b, n in zip((level.cells.down, level.cells.across), shape, strict=True)
        )
        terms.append(Consistency(y, x, shape, level.intervals, settings.consistency_weight * smaller))
    if landmarks is not None:
        pairs, weights = landmarks
        share = settings.landmark_weight * smaller / len(weights)
        terms.append(Landmarks(pairs, weights * share, shape, level.intervals))
    return terms


def _thinned(cells: int, size: int, level: Level) -> Tensor:
    count = cells // _CELLS_APART
    return (torch.arange(count, device=level.mask.device) + 0.5) * ((size - 1) / count)


class _Preconditioner:
    """The curvature that the images would have if they were alike everywhere, inverted exactly.

    On a product of lattices mass and bending are diagonal in the products of the generalised eigenvectors of one row
    and one column; two directions that are tied to each other part into their sum and their difference.
    """

    def __init__(
        self, level: Level, likeness: Likeness, shape: tuple[int, int], settings: ElasticSettings, count: int
    ) -> None:
        length = (max(shape) - 1) / settings.intervals_for(shape)
        (self._down, rows), (self._across, cols) = (_modes(b) for b in (level.cells.down, level.cells.across))
        bend = (rows.sqrt()[:, None] + cols.sqrt()) ** 2 * length**4
        alike = likeness.sharpness + bend * (settings.divergence_weight + settings.curl_weight) / 2
        alike = alike + settings.rest_weight
        tied = 4 * settings.consistency_weight / level.reduction**2 if settings.mode == "accurate" else 0.0
        self._scales = [alike + tied, alike] if count == 2 else [alike]

    def __call__(self, gradient: Tensor) -> Tensor:
        if len(gradient) == 1:
            return self._inverse(gradient, self._scales[0])
        total, apart = gradient[:1] + gradient[1:], gradient[:1] - gradient[1:]
        total, apart = self._inverse(total, self._scales[0]) / 2, self._inverse(apart, self._scales[1]) / 2
        return torch.cat([total + apart, total - apart])

    def _inverse(self, gradient: Tensor, scale: Tensor) -> Tensor:
        return self._down @ ((self._down.T @ gradient @ self._across) / scale) @ self._across.T


def _modes(matrices: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return V and m with ``V' A V = 1`` and ``V' B V = diag(m)`` for the mass A and the bending B of a line."""
    value, _, bend = (m.double().cpu() for m in matrices)
    mass = value.T @ value / len(value)
    root = torch.linalg.inv(torch.linalg.cholesky(mass + 1e-9 * torch.eye(len(mass), dtype=mass.dtype)))
    m, vectors = torch.linalg.eigh(root @ (bend.T @ bend / len(bend)) @ root.T)
    back = root.T @ vectors
    return back.to(matrices[0]), m.clamp_min(0).to(matrices[0])


def _solution(here: Evaluated, inverse: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the Gauss-Newton step by conjugate gradients (Hestenes & Stiefel 1952), which may end early."""
    change = torch.zeros_like(here.gradient)
    left = -here.gradient
    ready = inverse(left)
    way = ready
    power = first = float((left * ready).sum())
    for _ in range(_CG_STEPS):
        if not power > first * _CG_ENOUGH**2:
            break
        bent = here.product(way)
        steep = float((way * bent).sum())
        if not steep > 0:
            break
        change = change + (power / steep) * way
        left = left - (power / steep) * bent
        ready = inverse(left)
        power, before = float((left * ready).sum()), power
        way = ready + (power / before) * way
    return change


__all__ = ["solved"]
