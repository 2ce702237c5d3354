"""XFeat (Potje et al. 2024, doi:10.1109/CVPR52733.2024.00259), as kornia has it, as a matcher.

Sparse: key points at whole px of the image that is looked at, both ways nearest. Semi-dense ("XFeat*"): a point in
each cell of 8 px, its partner made finer by the network's own head. Views are padded to the network's multiple of 32
(kornia would stretch them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.protocols import View
from demis_ij.records import Correspondences
from peers.looking import Look, look, padded, weights_file

_MULTIPLE = 32


class XfeatMatcher:
    """XFeat key points or cells, matched both ways.

    Parameters
    ----------
    resolution : float
        Scale at which the views are looked at.
    points : str
        ``sparse`` or ``semi-dense``.
    top_k : int
        At most so many points a view.
    least_likeness : float
        Cosine of two descriptors from which on they match (sparse).
    least_fine : float
        What the finer place must be sure of (semi-dense).
    """

    name = "xfeat"

    def __init__(
        self,
        resolution: float = 1.0,
        points: Literal["sparse", "semi-dense"] = "semi-dense",
        top_k: int = 8192,
        least_likeness: float = 0.82,
        least_fine: float = 0.25,
    ) -> None:
        from kornia.feature import XFeat

        self.resolution = resolution
        self.points = points
        self.top_k = top_k
        self.least_likeness = least_likeness
        self.least_fine = least_fine
        self._net = XFeat(top_k=top_k)
        path = weights_file("weights_xfeat", "xfeat_kornia_state_dict.pt")
        self._net.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self._net.eval()

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views."""
        one, two = look(fixed, self.resolution), look(moving, self.resolution)
        found = self._sparse(one, two) if self.points == "sparse" else self._semi_dense(one, two)
        keep = one.holds(found.fixed_xy) & two.holds(found.moving_xy)
        found = found.where(keep)
        return Correspondences(one.crop.to_tile(found.fixed_xy), two.crop.to_tile(found.moving_xy), found.score)

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair."""
        return [self(fixed, moving) for fixed, moving in pairs]

    @torch.inference_mode()
    def _sparse(self, one: Look, two: Look) -> Correspondences:
        a, b = (self._net.detectAndCompute(_tensor(v))[0] for v in (one, two))
        rows, cols = self._net._match_mnn(a["descriptors"], b["descriptors"], min_cossim=self.least_likeness)
        score = (a["descriptors"][rows] * b["descriptors"][cols]).sum(1)
        return _found(a["keypoints"][rows], b["keypoints"][cols], score)

    @torch.inference_mode()
    def _semi_dense(self, one: Look, two: Look) -> Correspondences:
        a, b = (self._net.detectAndComputeDense(_tensor(v), multiscale=False) for v in (one, two))
        rows, cols = self._net._batch_match(a["descriptors"], b["descriptors"])[0]
        to_two, to_one = a["descriptors"][0][rows], b["descriptors"][0][cols]
        # As published, only the first image's points are moved, and by about a pixel too little to the lower right.
        # Half the move in each image: what both have in common cancels, and the order of the images does not matter.
        move_one, sure_one = self._finer(to_two, to_one)
        move_two, sure_two = self._finer(to_one, to_two)
        sure = torch.minimum(sure_one, sure_two)
        keep = sure > self.least_fine
        fixed_xy = a["keypoints"][0][rows] + move_one / 2
        moving_xy = b["keypoints"][0][cols] + move_two / 2
        return _found(fixed_xy[keep], moving_xy[keep], sure[keep])

    def _finer(self, mine: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where in its cell of 8 px the others' points lie, px from the cell's middle, and how sure that is."""
        if not len(mine):
            return torch.zeros(0, 2), torch.zeros(0)
        heat = self._net.net.fine_matcher(torch.cat([mine, other], dim=-1))
        return self._net._subpix_softmax2d(heat.view(-1, 8, 8)), torch.softmax(heat * 3, dim=-1).max(dim=-1)[0]


def _tensor(view: Look) -> torch.Tensor:
    h, w = view.image.shape
    shape = (-(-h // _MULTIPLE) * _MULTIPLE, -(-w // _MULTIPLE) * _MULTIPLE)
    return torch.from_numpy(padded(view.image, shape).astype(np.float32) / 255)[None, None]


def _found(fixed_xy: torch.Tensor, moving_xy: torch.Tensor, score: torch.Tensor) -> Correspondences:
    one, two, confidence = (_array(v) for v in (fixed_xy, moving_xy, score))
    return Correspondences(one, two, np.clip(confidence, 0, 1))


def _array(values: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(values.cpu().double().numpy())
