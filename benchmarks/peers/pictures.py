"""Pictures of what each matcher found of one pair, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.protocols import View
from demis_ij.records import Points
from peers.reference import BLOCK_PX, Blocks

_RIGHT, _OFF = (90, 220, 60), (60, 60, 255)  # BGR
_GAP, _HEAD = 12, 46


def draw(path: Path, fixed: View, blocks: Blocks, shown: Mapping[str, tuple[Points, NDArray[np.bool_]] | None]) -> None:
    """Write the fixed tile's overlap once for each matcher, with its inliers: green within 1 px, red farther off.

    Blocks that hold a right one are brighter. A matcher that found no pair has an empty picture.
    """
    row, col = np.nonzero(blocks.shared)
    left, up = (int(v) for v in blocks.origin)
    y0, x0 = up + int(row.min()) * BLOCK_PX, left + int(col.min()) * BLOCK_PX
    y1 = min(fixed.image.shape[0], up + (int(row.max()) + 1) * BLOCK_PX)
    x1 = min(fixed.image.shape[1], left + (int(col.max()) + 1) * BLOCK_PX)
    panels = []
    for name, found in shown.items():
        grey = fixed.image[y0:y1, x0:x1]
        held = np.zeros(blocks.shared.shape, bool) if found is None else blocks.held(found[0][found[1]])
        light = cv2.resize(
            held[row.min() : row.max() + 1, col.min() : col.max() + 1].astype(np.float32),
            None,
            fx=BLOCK_PX,
            fy=BLOCK_PX,
            interpolation=cv2.INTER_NEAREST,
        )[: y1 - y0, : x1 - x0]
        panel: NDArray[Any] = cv2.cvtColor((grey * (0.35 + 0.5 * light)).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        label = "rejected"
        if found is not None:
            points, right = found
            label = f"{right.sum()} of {len(right)}, {held.sum() / blocks.shared.sum():.0%}"
            for (x, y), good in zip(points, right, strict=True):
                at = round((x - x0) * 8), round((y - y0) * 8)
                cv2.circle(panel, at, 16, _RIGHT if good else _OFF, -1, cv2.LINE_AA, 3)
        panels.append(_titled(panel, name, label))
    rows_of = [panels[i : i + _across(panels[0])] for i in range(0, len(panels), _across(panels[0]))]
    wide = max(sum(p.shape[1] for p in some) for some in rows_of)
    sheet = [np.pad(np.hstack(some), ((0, 0), (0, wide - sum(p.shape[1] for p in some)), (0, 0))) for some in rows_of]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(sheet))


def _across(panel: NDArray[Any]) -> int:
    return max(1, min(12, 2400 // panel.shape[1]))


def _titled(panel: NDArray[Any], name: str, label: str) -> NDArray[Any]:
    wide = max(190, panel.shape[1]) + _GAP
    out = np.zeros((panel.shape[0] + _HEAD + _GAP, wide, 3), np.uint8)
    out[_HEAD : _HEAD + panel.shape[0], : panel.shape[1]] = panel
    for text, y in ((name, 18), (label, 38)):
        cv2.putText(out, text, (2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return out
