"""What an elastic registration weighs against each other, each as Gauss-Newton needs it.

A term is evaluated at splines (D, 2, N + 3, N + 3): D is 2 for there and back, 1 for there alone; then the x and the y
displacement, px. It answers with its energy, its gradient, and its curvature as a product with a change of the splines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from demis_ij.aligners.elastic_levels import Level
from demis_ij.nets.bspline_grid import Lattice, Places

Product = Callable[[Tensor], Tensor]
_FOLD_FROM = 2.0  # times the least Jacobian determinant, where its penalty begins


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A term at some splines.

    Attributes
    ----------
    energy : Tensor, one number
    gradient : Tensor of shape (D, 2, N + 3, N + 3)
    product : callable
        A change of the splines to the curvature times it.
    """

    energy: Tensor
    gradient: Tensor
    product: Product


class Term(Protocol):
    """Something to be made small."""

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate at splines (D, 2, N + 3, N + 3)."""
        ...


def together(terms: Sequence[Term], splines: Tensor) -> Evaluated:
    """Return the sum of terms at some splines."""
    found = [term(splines) for term in terms]

    def product(change: Tensor) -> Tensor:
        return torch.stack([f.product(change) for f in found]).sum(0)

    return Evaluated(
        torch.stack([f.energy for f in found]).sum(), torch.stack([f.gradient for f in found]).sum(0), product
    )


class Likeness:
    """The similarity of each image with the other, looked up where the splines say."""

    def __init__(self, level: Level, weight: float) -> None:
        self._level, self._weight = level, weight
        self.sharpness = torch.zeros(())
        """Mean curvature a px of displacement, of the last evaluation; what preconditions the solve."""

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate; the curvature is summed up at the level's cells."""
        level, cells = self._level, self._level.cells
        seen = level.seen(splines)
        compared, slopes, known = seen.compared, seen.slopes, seen.known
        share = self._weight / known.sum((-2, -1)).clamp_min(1)[:, None, None, None]
        pull = (compared.pull[:, :, None] * slopes).sum(1) * share
        x, y = slopes[:, :, 0], slopes[:, :, 1]
        products = torch.stack([(x * x).sum(1), (x * y).sum(1), (y * y).sum(1)], dim=1)
        tensor = level.to_rows @ (products * compared.curvature * share) @ level.to_cols.T
        self.sharpness = (tensor[:, 0] + tensor[:, 2]).sum((-2, -1)).mean() / 2

        def product(change: Tensor) -> Tensor:
            moved = cells(change)
            return cells.pulled(
                torch.stack(
                    [
                        tensor[:, 0] * moved[:, 0] + tensor[:, 1] * moved[:, 1],
                        tensor[:, 1] * moved[:, 0] + tensor[:, 2] * moved[:, 1],
                    ],
                    dim=1,
                )
            )

        return Evaluated(self._weight * compared.energy(known).sum(), level.pixels.pulled(pull), product)


class Bending:
    """How fast divergence and curl change from place to place: mean squares of their gradients, px of a node's step.

    Parameters
    ----------
    cells : Lattice
        Where they are summed up.
    divergence, curl : float
        Weights.
    length_px : float
        A step from node to node.
    """

    def __init__(self, cells: Lattice, divergence: float, curl: float, length_px: float) -> None:
        count = len(cells.down[0]) * len(cells.across[0])
        self._cells = cells
        self._weights = [w * length_px**4 / count for w in (divergence, divergence, curl, curl)]

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate: the term is a quadratic form."""
        gradient = self._product(splines)
        return Evaluated(0.5 * (gradient * splines).sum(), gradient, self._product)

    def _product(self, change: Tensor) -> Tensor:
        cells, (u, v) = self._cells, (change[:, 0], change[:, 1])
        uxx, uxy, uyy = cells(u, 0, 2), cells(u, 1, 1), cells(u, 2, 0)
        vxx, vxy, vyy = cells(v, 0, 2), cells(v, 1, 1), cells(v, 2, 0)
        a, b, c, d = (w * k for w, k in zip(self._weights, (uxx + vxy, uxy + vyy, vxx - uxy, vxy - uyy), strict=True))
        along_x = cells.pulled(a, 0, 2) + cells.pulled(b - c, 1, 1) - cells.pulled(d, 2, 0)
        along_y = cells.pulled(c, 0, 2) + cells.pulled(a + d, 1, 1) + cells.pulled(b, 2, 0)
        return torch.stack([along_x, along_y], dim=1)


class Rest:
    """How far is moved: the mean square, px. Weighed so little that it tells only where nothing else does.

    Smoothness alone carries on what it has found as far as there is image, and further on it is wrong by more than
    doing nothing is. With this a spline goes back to rest within some nodes of where both images show something.

    Parameters
    ----------
    cells : Lattice
        Where it is summed up.
    weight : float
    """

    def __init__(self, cells: Lattice, weight: float) -> None:
        self._cells = cells
        self._weight = weight / (len(cells.down[0]) * len(cells.across[0]))

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate: the term is a quadratic form."""
        gradient = self._product(splines)
        return Evaluated(0.5 * (gradient * splines).sum(), gradient, self._product)

    def _product(self, change: Tensor) -> Tensor:
        return self._weight * self._cells.pulled(self._cells(change))


class Folding:
    """Where areas shrink below a bound: the mean square of what is missing to twice the bound."""

    def __init__(self, cells: Lattice, weight: float, least: float) -> None:
        self._cells, self._least = cells, _FOLD_FROM * least
        self._weight = weight / (len(cells.down[0]) * len(cells.across[0]))

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate by Gauss-Newton on what is missing."""
        cells = self._cells
        x, y = 1 + cells(splines[:, 0], 0, 1), 1 + cells(splines[:, 1], 1, 0)
        xy, yx = cells(splines[:, 0], 1, 0), cells(splines[:, 1], 0, 1)
        missing = (self._least - (x * y - xy * yx)).clamp_min(0)
        if not bool(missing.any()):
            return Evaluated(missing.sum(), torch.zeros_like(splines), torch.zeros_like)

        def back(values: Tensor) -> Tensor:
            along_x = cells.pulled(values * y, 0, 1) - cells.pulled(values * yx, 1, 0)
            along_y = cells.pulled(values * x, 1, 0) - cells.pulled(values * xy, 0, 1)
            return torch.stack([along_x, along_y], dim=1)

        def product(change: Tensor) -> Tensor:
            grown = y * cells(change[:, 0], 0, 1) + x * cells(change[:, 1], 1, 0)
            grown = grown - yx * cells(change[:, 0], 1, 0) - xy * cells(change[:, 1], 0, 1)
            return back(self._weight * torch.where(missing > 0, grown, 0.0))

        energy = 0.5 * self._weight * (missing**2).sum()
        return Evaluated(energy, back(-self._weight * missing), product)


class Consistency:
    """Where there and back leads, against where it began; both ways. What leaves the image is not asked.

    Parameters
    ----------
    y, x : Tensor
        Rows and columns, px, at whose crossings it is asked for.
    shape : tuple of int
        (rows, cols) of the image.
    intervals : int
        N.
    weight : float
    """

    def __init__(self, y: Tensor, x: Tensor, shape: tuple[int, int], intervals: int, weight: float) -> None:
        self._shape, self._intervals = shape, intervals
        self._points = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)
        self._here = Lattice.at(y, x, shape, intervals)
        self._weight = weight / (len(y) * len(x))

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate by Gauss-Newton on what is missed; two splines are needed."""
        ways = [self._way(splines[k], splines[1 - k]) for k in (0, 1)]
        energy = torch.stack([0.5 * self._weight * (missed**2).sum() for missed, _, _ in ways]).sum()

        def back(values: Sequence[Tensor]) -> Tensor:
            own, others = [], []
            for value, (_, there, stretch) in zip(values, ways, strict=True):
                drawn = torch.stack([(stretch[:, k] * value).sum(0) for k in (0, 1)])
                own.append(self._here.pulled(drawn.reshape(2, *self._here.size)))
                others.append(there.pulled(value, splines.shape[-1]))
            return self._weight * (torch.stack(own) + torch.stack(others[::-1]))

        def product(change: Tensor) -> Tensor:
            here = self._here(change).flatten(2)
            return back(
                [(stretch * here[k]).sum(1) + there(change[1 - k]) for k, (_, there, stretch) in enumerate(ways)]
            )

        return Evaluated(energy, back([missed for missed, _, _ in ways]), product)

    def _way(self, there: Tensor, back: Tensor) -> tuple[Tensor, Places, Tensor]:
        """Return what is missed (2, M), the places reached, and the Jacobian of the way back there (2, 2, M).

        All count nothing where a place lies beyond the image.
        """
        moved = self._here(there).flatten(1)
        at = self._points + moved
        reached = Places.at(at.T, self._shape, self._intervals)
        limit = torch.tensor(self._shape[::-1], device=at.device)[:, None] - 1
        inside = ((at >= 0) & (at <= limit)).all(0).to(at.dtype)
        reached = Places(reached.index, reached.weights * inside[:, None])
        stretch = torch.stack([reached(back, 1), reached(back, 2)], dim=1)
        stretch = stretch + torch.eye(2, dtype=stretch.dtype, device=stretch.device)[..., None]
        return inside * (moved + reached(back)), reached, inside * stretch


class Landmarks:
    """How far landmarks are from their partners, both ways.

    Parameters
    ----------
    pairs_xy : Tensor of shape (2, K, 2)
        In the fixed image, and in the moving one; px.
    weights : Tensor of shape (K,)
        Of each, times the weight of the term over their number.
    """

    def __init__(self, pairs_xy: Tensor, weights: Tensor, shape: tuple[int, int], intervals: int) -> None:
        self._places = [Places.at(p, shape, intervals) for p in pairs_xy]
        self._missing = [(pairs_xy[1 - k] - pairs_xy[k]).T for k in (0, 1)]
        self._weights = weights

    def __call__(self, splines: Tensor) -> Evaluated:
        """Evaluate: the term is a quadratic form."""
        missed = [self._places[k](s) - self._missing[k] for k, s in enumerate(splines)]
        energy = torch.stack([0.5 * (self._weights * m**2).sum() for m in missed]).sum()

        def back(values: Sequence[Tensor]) -> Tensor:
            side = splines.shape[-1]
            return torch.stack([p.pulled(self._weights * v, side) for p, v in zip(self._places, values, strict=False)])

        def product(change: Tensor) -> Tensor:
            return back([self._places[k](c) for k, c in enumerate(change)])

        return Evaluated(energy, back(missed), product)


__all__ = ["Bending", "Consistency", "Evaluated", "Folding", "Landmarks", "Likeness", "Rest", "Term", "together"]
