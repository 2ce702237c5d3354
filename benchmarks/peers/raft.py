"""RAFT (Teed & Deng 2020, doi:10.1007/978-3-030-58536-5_24), the small one, as torchvision has it, as a matcher.

Needs torchvision, which the package itself does not: ``pip install torchvision``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.protocols import View
from demis_ij.records import Correspondences
from peers.looking import Look, look, padded, weights_file

_STRIDE = 8
_LEAST_SIDE = 128  # px: what its pyramid of correlations needs


class RaftMatcher:
    """Flow from the fixed view to the moving one, read off on a grid where the flow back agrees.

    Wants views that lie on each other to some tens of px: show it the expected overlap (`peers.looking.Within`).

    Parameters
    ----------
    resolution : float
        Scale at which the views are looked at.
    spacing_px : int
        Of the points, px of what is looked at.
    there_and_back_px : float
        What going there and back may miss the start by.
    updates : int
        Steps of the recurrent unit.
    """

    name = "raft"

    def __init__(
        self, resolution: float = 1.0, spacing_px: int = 8, there_and_back_px: float = 1.0, updates: int = 12
    ) -> None:
        try:
            from torchvision.models.optical_flow import raft_small
        except ImportError as error:
            msg = f"RAFT needs torchvision, which is not installed here ({error}): pip install torchvision"
            raise SystemExit(msg) from error
        self.resolution = resolution
        self.spacing_px = spacing_px
        self.there_and_back_px = there_and_back_px
        self.updates = updates
        self._net = raft_small(weights=None)
        path = weights_file("weights_raft_small", "raft_small_torchvision_state_dict.pt")
        self._net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self._net.eval()

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views."""
        one, two = look(fixed, self.resolution), look(moving, self.resolution)
        there, back = self._flows(one, two)
        rows, cols = one.image.shape
        first, step = self.spacing_px // 2, self.spacing_px
        x, y = (v.ravel() for v in np.meshgrid(np.arange(first, cols, step), np.arange(first, rows, step)))
        start = np.stack([x, y], 1).astype(np.float64)
        end = start + there[y, x]
        missed = np.linalg.norm(end + _read(back, end) - start, axis=1)
        keep = (missed < self.there_and_back_px) & one.holds(start) & two.holds(end)
        score = np.exp(-missed[keep])
        return Correspondences(one.crop.to_tile(start[keep]), two.crop.to_tile(end[keep]), score)

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair."""
        return [self(fixed, moving) for fixed, moving in pairs]

    @torch.inference_mode()
    def _flows(self, one: Look, two: Look) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the flows there and back, (rows, cols, 2), px of what is looked at."""
        sides = [max(_LEAST_SIDE, one.image.shape[k], two.image.shape[k]) for k in (0, 1)]
        rows, cols = (-(-side // _STRIDE) * _STRIDE for side in sides)
        pair = torch.from_numpy(np.stack([padded(v.image, (rows, cols)) for v in (one, two)]).astype(np.float32))
        pair = (pair / 127.5 - 1)[:, None].expand(2, 3, rows, cols).contiguous()
        flow = self._net(pair, pair.flip(0), num_flow_updates=self.updates)[-1].permute(0, 2, 3, 1).cpu().numpy()
        return flow[0], flow[1]


def _read(flow: NDArray[np.float32], at_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a flow at (N, 2) points between its pixels."""
    x, y = at_xy.astype(np.float32).T
    read: Any = cv2.remap(flow, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read[0], np.float64)
