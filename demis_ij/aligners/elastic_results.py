"""What an elastic registration answers with, and how its splines become that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from demis_ij.fields import corner_jacobian, grid_of, inverse, nodes
from demis_ij.nets.bspline_grid import Lattice, Places, basis, identity
from demis_ij.records import Affine, Field

Coefficients = NDArray[np.float64]

_SMOOTHINGS = 40
_DRAWN_IN = 0.8


@dataclass(frozen=True, eq=False)
class ElasticResult:
    """How a moving image lies on a fixed one, bent.

    Attributes
    ----------
    field : Field
        Fixed pixel to moving point: ``registered(x, y) = moving(x + dx, y + dy)``; NaN where nothing is known.
    inverse : Field
        Moving pixel to fixed point.
    coefficients : ndarray of shape (2, N + 3, N + 3), or None
        The same map as ``field`` as a cubic B-spline over the fixed image, absolute px, as bUnwarpJ's elastic files
        hold it; None when nothing was found.
    inverse_coefficients : ndarray of the same shape, or None
        The same of ``inverse``, over the moving image; fitted to it where there was a start.
    folded_frac : float
        Share of the nodes of ``field`` where its Jacobian determinant is not positive.
    least_jacobian : float
        The smallest Jacobian determinant of the bending anywhere, both ways.
    smoothed : bool
        Whether something was shrunk too much, and was smoothed.
    consistency_px, consistency_95_px : float
        How far there and back misses where it began: median and 95 % of the places that stay inside.
    similarity_before, similarity_after : float
        Correlation of what is compared, or mutual information in nats; more is more alike.
    held_out_gain : float
        How far beyond chance data that did not steer has become more alike, in standard deviations
        (`demis_ij.aligners.elastic_verdict`).
    standing : float
        Of pictures of few marks whose gain is not enough: how much more alike they are than strangers of the same
        statistics, in standard deviations of these; else NaN.
    better_than_nothing : bool
        Whether either is beyond chance; false, too, where images with more to see lay right from the start.
    reason : str
        Why not; empty when it is.
    """

    field: Field
    inverse: Field
    coefficients: Coefficients | None
    inverse_coefficients: Coefficients | None
    folded_frac: float
    least_jacobian: float
    smoothed: bool
    consistency_px: float
    consistency_95_px: float
    similarity_before: float
    similarity_after: float
    held_out_gain: float
    standing: float
    better_than_nothing: bool
    reason: str = ""


def unfolded(splines: Tensor, shape: tuple[int, int], stride: float, least: float) -> tuple[Tensor, bool]:
    """Return splines that shrink nothing below a bound, as fields over an image, and whether they had to be changed.

    Coefficients that enter where an area is shrunk too much are smoothed, again and again; if that does not suffice,
    all are drawn towards no displacement, which folds nothing.

    Parameters
    ----------
    splines : Tensor of shape (D, 2, N + 3, N + 3)
    shape : tuple of int
        (rows, cols) of the image.
    stride : float
        Of the fields, px.
    least : float
        The bound on the Jacobian determinant, everywhere between the nodes (`demis_ij.fields.corner_jacobian`).
    """
    nodes = _node_lattice(splines, shape, stride)
    out = splines
    for _ in range(_SMOOTHINGS):
        bad = _shrunk(out, nodes, stride, least)
        if not bool(bad.any()):
            return out, out is not splines
        out = _smoothed_there(out, nodes, bad)
    while bool(_shrunk(out, nodes, stride, least).any()):
        out = _DRAWN_IN * out
    return out, True


def _shrunk(splines: Tensor, nodes: Lattice, stride: float, least: float) -> Tensor:
    """Return (D, rows, cols): 1 at the nodes of cells that shrink an area below a bound."""
    bad = [corner_jacobian(offsets, stride) < least for offsets in nodes(splines).cpu().numpy()]
    cells = torch.from_numpy(np.stack(bad)).to(splines)
    return functional.max_pool2d(functional.pad(cells[:, None], (1, 1, 1, 1)), 2, stride=1)[:, 0]


def _smoothed_there(splines: Tensor, nodes: Lattice, bad: Tensor) -> Tensor:
    """Return splines smoothed where their nodes (D, rows, cols) are bad, and around."""
    entered = (nodes.down[0].abs().T @ bad @ nodes.across[0].abs() > 0).to(splines.dtype)[:, None]
    share = functional.avg_pool2d(functional.pad(entered, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    wide = functional.pad(splines, (1, 1, 1, 1), mode="replicate")
    return splines + share * (functional.avg_pool2d(wide, 3, stride=1) - splines)


def _node_lattice(splines: Tensor, shape: tuple[int, int], stride: float) -> Lattice:
    y, x = (torch.arange(n, device=splines.device, dtype=splines.dtype) * stride for n in grid_of(shape, stride))
    return Lattice.at(y, x, shape, splines.shape[-1] - 3)


def field_of(spline: Tensor, shape: tuple[int, int], stride: float) -> Field:
    """Return a displacement (2, N + 3, N + 3) over an image of ``shape`` as a field."""
    return Field(_node_lattice(spline, shape, stride)(spline).cpu().numpy(), stride)


def started(field: Field, start: Affine) -> Field:
    """Return ``p -> start(field(p))`` as a field, exact at its nodes."""
    at = nodes(field.grid, field.stride)
    moved = start(at + np.moveaxis(field.offsets.astype(np.float64), 0, -1))
    return Field(np.moveaxis(moved - at, -1, 0).astype(np.float32), field.stride)


def way_back(
    splines: Tensor, field: Field, start: Affine, shape: tuple[int, int], moving_shape: tuple[int, int], stride: float
) -> Field:
    """Return the field from moving pixels to fixed points: by the second spline, or as the inverse of the first's.

    Parameters
    ----------
    splines : Tensor of shape (D, 2, N + 3, N + 3)
    field : Field
        Fixed pixel to moving point, without the start.
    start : Affine
        Fixed px to moving px.
    shape, moving_shape : tuple of int
        (rows, cols) of the images.
    stride : float
        Of the result.
    """
    at = nodes(grid_of(moving_shape, stride), stride)
    from_start = start.inverse(at.reshape(-1, 2))
    if len(splines) == 1:
        back = inverse(field, shape)(from_start)
    else:
        points = torch.from_numpy(from_start).to(splines)
        found = Places.at(points, shape, splines.shape[-1] - 3)(splines[1])
        back = from_start + found.T.cpu().numpy().astype(np.float64)
    return Field(np.moveaxis(back.reshape(at.shape) - at, -1, 0).astype(np.float32), stride)


def coefficients_of(spline: Tensor, start: Affine, shape: tuple[int, int]) -> Coefficients:
    """Return a displacement (2, N + 3, N + 3) followed by an affine map as coefficients of absolute px, exactly."""
    absolute = spline.double().cpu() + identity(shape, spline.shape[-1] - 3, torch.zeros((), dtype=torch.float64))
    return np.moveaxis(start(np.moveaxis(absolute.numpy(), 0, -1)), -1, 0)


def fitted(field: Field, shape: tuple[int, int], intervals: int) -> Coefficients | None:
    """Return the spline of N intervals nearest to a field over an image of ``shape``; None where it is not known."""
    count = 4 * intervals + 5
    x, y = (np.linspace(0, n - 1, count) for n in shape[::-1])
    absolute = field(np.stack(np.meshgrid(x, y), axis=-1))
    if np.isnan(absolute).any():
        return None
    across, down = (
        np.linalg.pinv(basis(torch.from_numpy(v), n, intervals).numpy()) for v, n in ((x, shape[1]), (y, shape[0]))
    )
    return np.stack([down @ absolute[..., k] @ across.T for k in (0, 1)])


def missed_px(there: Field, back: Field, shape: tuple[int, int], moving_shape: tuple[int, int]) -> tuple[float, float]:
    """Return how far there and back misses where it began, median and 95 % of the nodes that stay inside."""
    at = nodes(there.grid, there.stride).reshape(-1, 2)
    reached = there(at)
    limit = np.array(moving_shape[::-1]) - 1
    inside = ((reached >= 0) & (reached <= limit)).all(-1) & (at <= np.array(shape[::-1]) - 1).all(-1)
    missed = np.linalg.norm(back(reached[inside]) - at[inside], axis=-1)
    known = missed[np.isfinite(missed)]
    return (float(np.median(known)), float(np.quantile(known, 0.95))) if known.size else (np.nan, np.nan)


__all__ = ["ElasticResult", "coefficients_of", "field_of", "fitted", "missed_px", "started", "unfolded", "way_back"]
