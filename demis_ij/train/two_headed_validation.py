"""How good a two-headed network is on pairs that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demis_ij.nets.two_headed import TwoHeaded
from demis_ij.nets.two_headed_geometry import matrices
from demis_ij.nets.two_headed_passes import find
from demis_ij.synth.correlative_pairs import KINDS, TransformRange
from demis_ij.synth.specimens import Specimen
from demis_ij.train.two_headed_pairs import Batch, make_pair

SIDE_PX = 512
"""Errors are told in px of a picture with this side."""
LOST_PX = 38.0
"""What a finish can still catch: 5 degrees, 5 % and 15 px together."""
_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Scores:
    """Errors on held-out pairs.

    Attributes
    ----------
    median_px : dict of str to float
        Median of the mean corner error of each kind, px of 512.
    lost : float
        Share of all pairs further off than `LOST_PX`.
    error_px, sigma_px, match : ndarray of shape (N,)
        Mean corner errors, what was expected of them, and logits of a match.
    truth, found : ndarray of shape (N, 4)
        The parameters.
    kinds : tuple of str
    """

    median_px: dict[str, float]
    lost: float
    error_px: NDArray[np.float64]
    sigma_px: NDArray[np.float64]
    match: NDArray[np.float64]
    truth: NDArray[np.float64]
    found: NDArray[np.float64]
    kinds: tuple[str, ...]


def validation_pairs(specimens: Sequence[Specimen], each: int, side: int, range_: TransformRange) -> Batch:
    """Return ``each`` pairs of every kind of instrument, from the whole range; always the same ones."""
    made = []
    for k, kind in enumerate(KINDS):
        for n in range(each):
            rng = np.random.default_rng((5, k, n))
            one = specimens[int(rng.integers(len(specimens)))]
            made.append(make_pair(one, rng, side, kind=kind, range_=range_))
    return Batch.of(made)


def corner_errors(found: Tensor, truth: Tensor) -> Tensor:
    """Return the mean corner error (N,), px of 512, of (N, 2, 3) transforms in a frame from -1 to 1."""
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).to(found)
    away = corners @ (found - truth).transpose(-1, -2)
    distance: Tensor = torch.linalg.vector_norm(away, dim=-1)
    return distance.mean(-1) * (SIDE_PX / 2)


@torch.no_grad()
def validate(net: TwoHeaded, batch: Batch, *, passes: int = 1) -> Scores:
    """Return how far off a network is on pairs."""
    net.eval()
    device = net.mean.device
    errors, parameters, sigmas, matches = [], [], [], []
    for k in range(0, len(batch.kinds), _AT_ONCE):
        part = [torch.from_numpy(p[k : k + _AT_ONCE]).to(device) for p in batch.pictures]
        seen = find(net, *part, passes=passes)
        truth = torch.from_numpy(batch.parameters[k : k + _AT_ONCE]).to(device)
        errors.append(corner_errors(seen.transforms, matrices(truth)).cpu())
        parameters.append(seen.parameters.cpu())
        sigmas.append(seen.sigma.cpu() * SIDE_PX)
        matches.append(seen.match.cpu())
    error = torch.cat(errors).double().numpy()
    kinds = np.array(batch.kinds)
    medians = {kind: float(np.median(error[kinds == kind])) for kind in dict.fromkeys(batch.kinds)}
    return Scores(
        medians, float((error > LOST_PX).mean()), error, torch.cat(sigmas).double().numpy(),
        torch.cat(matches).double().numpy(), batch.parameters.astype(np.float64),
        torch.cat(parameters).double().numpy(), batch.kinds,
    )  # fmt: skip


def explained(truth: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R^2 of each parameter: 1 less the squared errors over the squared deviations of the truth."""
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    return np.asarray(1 - ((found - truth) ** 2).sum(0) / np.maximum(spread, 1e-12))


__all__ = ["LOST_PX", "SIDE_PX", "Scores", "corner_errors", "explained", "validate", "validation_pairs"]
