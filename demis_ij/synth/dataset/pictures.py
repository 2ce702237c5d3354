"""Pictures of a dataset for a human eye: each grid's source with the tiles' true outlines, and the tiles themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.records import Affine
from demis_ij.synth.scene import Plan, tile_id

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

SIDE_PX = 440
_GAP, _HEAD, _MOST = 12, 46, 24
_PAPER, _INK, _FAINT = (250, 250, 250), (40, 40, 40), (110, 110, 110)
_TISSUE, _RESIN, _DECOY, _MISSING = (220, 150, 30), (0, 130, 255), (220, 0, 220), (70, 70, 220)  # blue first


class Look:
    """One grid: left its source with the true outlines of the tiles, right the tiles where they truly lie.

    Parameters
    ----------
    scene : Plan
    title, subtitle : str
        Written above.
    """

    def __init__(self, scene: Plan, title: str, subtitle: str) -> None:
        self.scene = scene
        self.title, self.subtitle = title, subtitle
        rows, cols = scene.source.shape
        self.scale = SIDE_PX / max(rows, cols)
        size = (max(1, round(cols * self.scale)), max(1, round(rows * self.scale)))
        small = cv2.resize(scene.source, size, interpolation=cv2.INTER_AREA)
        grey = np.clip(np.rint(np.asarray(small, np.float32)), 0, 255).astype(np.uint8)
        self.left: Picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.uint8)
        self.right: Picture = np.full_like(self.left, _PAPER[0])
        half = Affine.translation(-0.5, -0.5) @ Affine(a=self.scale, d=self.scale) @ Affine.translation(0.5, 0.5)
        self.to_picture = half @ scene.to_source

    def add(self, tile: str, pixels: NDArray[np.uint8]) -> None:
        """Paste a tile where it truly lies."""
        small = cv2.resize(pixels, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
        fy, fx = small.shape[0] / pixels.shape[0], small.shape[1] / pixels.shape[1]
        back = Affine.translation(-0.5, -0.5) @ Affine(a=1 / fx, d=1 / fy) @ Affine.translation(0.5, 0.5)
        matrix = (self.to_picture @ self.scene.truth[tile].to_world @ back).matrix[:2]
        size = (self.right.shape[1], self.right.shape[0])
        drawn = cv2.warpAffine(small, matrix, size)
        there = cv2.warpAffine(np.full_like(small, 255), matrix, size, flags=cv2.INTER_NEAREST) > 0
        self.right[there] = drawn[there][:, None]

    def drawn(self) -> Picture:
        """Return the picture, blue first."""
        for panel in (self.left, self.right):
            self._outlines(panel)
        body = np.hstack([self.left, np.full((self.left.shape[0], _GAP, 3), _PAPER[0], np.uint8), self.right])
        spec = self.scene.spec
        gaps = [f"{len(spec.missing)} missing" * bool(spec.missing), f"{len(spec.resin)} resin" * bool(spec.resin)]
        what = ", ".join([f"{spec.rows} x {spec.cols} tiles of {spec.tile_px} px", *filter(None, gaps)])
        head = np.full((_HEAD, max(body.shape[1], 360), 3), _PAPER[0], np.uint8)
        _write(head, f"{self.title}  {what}", 16, _INK)
        _write(head, self.subtitle, 36, _FAINT)
        if body.shape[1] < head.shape[1]:
            side = np.full((body.shape[0], head.shape[1] - body.shape[1], 3), _PAPER[0], np.uint8)
            body = np.hstack([body, side])
        return np.asarray(np.vstack([head, body]), np.uint8)

    def _outlines(self, panel: Picture) -> None:
        scene, spec = self.scene, self.scene.spec
        resin = {tile_id(p) for p in spec.resin}
        for row, col in spec.missing:
            left, top = (v * spec.step_px for v in (col, row))
            corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]) * spec.tile_px + (left, top)
            points = _points(self.to_picture(corners))
            for a, b in ((0, 2), (1, 3)):
                cv2.line(panel, points[a].tolist(), points[b].tolist(), _MISSING, 1, cv2.LINE_AA, 4)
        order = sorted(scene.truth, key=lambda t: (t.id in (scene.decoy_pair or ()), t.id in resin))
        for tile in order:
            colour: Colour = _DECOY if tile.id in (scene.decoy_pair or ()) else _RESIN if tile.id in resin else _TISSUE
            points = _points(self.to_picture(tile.world_corners))
            cv2.polylines(panel, [points], True, colour, 1, cv2.LINE_AA, 4)


def _points(xy: NDArray[Any]) -> NDArray[np.int32]:
    return np.round(xy * 16).astype(np.int32)  # OpenCV's fixed point, 4 bits


def _write(picture: Picture, text: str, y: int, colour: Colour) -> None:
    """Write a line; what the built-in font lacks becomes '?', what is too long loses its beginning."""
    plain = text.encode("ascii", "replace").decode()
    while len(plain) > 4 and cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0] > picture.shape[1] - 4:
        plain = "..." + plain[4:]
    cv2.putText(picture, plain, (2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def contact_sheet(looks: Sequence[Path]) -> Picture:
    """Return the pictures of all grids on one sheet, of every n-th where there are more than 24.

    Raises
    ------
    InputError
        When one cannot be read.
    """
    step = -(-len(looks) // _MOST)
    chosen = [_read(path) for path in looks[::step]]
    columns = min(2, len(chosen))
    wide = max(p.shape[1] for p in chosen)
    rows = []
    for k in range(0, len(chosen), columns):
        some = chosen[k : k + columns]
        high = max(p.shape[0] for p in some)
        row = np.hstack([_padded(p, high + _GAP, wide + 2 * _GAP) for p in some])
        rows.append(_padded(np.asarray(row, np.uint8), row.shape[0], columns * (wide + 2 * _GAP)))
    sheet = np.vstack(rows)
    head = np.full((_HEAD + 24, sheet.shape[1], 3), _PAPER[0], np.uint8)
    many = f"{len(chosen)} of {len(looks)} grids" if step > 1 else f"{len(looks)} grid{'s' * (len(looks) > 1)}"
    _write(head, f"{many}. Left: the source and where each tile truly lies. Right: the tiles, put there.", 20, _INK)
    x = 2
    for text, colour in (("tile", _TISSUE), ("resin", _RESIN), ("decoy pair", _DECOY), ("missing (x)", _MISSING)):
        cv2.putText(head, text, (x, 42), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
        x += 30 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    return np.asarray(np.vstack([head, sheet]), np.uint8)


def _read(path: Path) -> Picture:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(msg) from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        msg = f"{path}: not a picture: delete it, and run the same command again"
        raise InputError(msg)
    return picture.astype(np.uint8)


def _padded(picture: Picture, rows: int, cols: int) -> Picture:
    out = np.full((rows, cols, 3), _PAPER[0], np.uint8)
    out[: picture.shape[0], : picture.shape[1]] = picture
    return out
