"""Ways to align side by side on a stack of which nothing is known: what each says of itself, and cross-sections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.align.aligning import align
from demis_ij.errors import DemisError, InputError
from demis_ij.evaluate.align import Method
from demis_ij.geometry import Box
from demis_ij.images import section, warped
from demis_ij.records import Stack, Warp

_STRIP_PX, _LEAST_PX = 160, 4  # height of a strip, and of a section in it at least


@dataclass(frozen=True, eq=False)
class Compared:
    """What a method says of a stack. None is what is not known.

    Attributes
    ----------
    name : str
    warps : tuple of Warp
        Empty when there is no result.
    ncc_before, ncc_after : float
        Mean correlation with the next sections, grey values evened out.
    residual_before_px, residual_after_px : float
        Displacement still measured against sections that did not steer the method.
    displacement_px : float
        Median length of what it moves, mean of the sections.
    min_jacobian : float
        More than 0 folds nothing.
    no_better : int
        Sections of which it says that its answer is no better than doing nothing.
    wall_s_per_section : float
    problem : str
        Why there is no result.
    """

    name: str
    warps: tuple[Warp, ...] = ()
    ncc_before: float | None = None
    ncc_after: float | None = None
    residual_before_px: float | None = None
    residual_after_px: float | None = None
    displacement_px: float | None = None
    min_jacobian: float | None = None
    no_better: int = 0
    wall_s_per_section: float | None = None
    problem: str = ""


def compare_methods(
    stack: Stack, methods: Sequence[Method], *, progress: Callable[[str, int, int], None] = lambda _w, _d, _a: None
) -> list[Compared]:
    """Return what each method says of a stack, in their order; one that cannot be used on it says why."""
    out = []
    for k, method in enumerate(methods):
        progress(method.name, k, len(methods))
        began = time.perf_counter()
        try:
            result = align(stack, method.config, ssemnet=method.ssemnet)
        except DemisError as error:
            out.append(Compared(method.name, problem=str(error)))
            continue
        said = result.summary
        out.append(
            Compared(
                method.name, result.warps, said["ncc_before"], said["ncc_after"], said["residual_before_px"],
                said["residual_after_px"], said["displacement_px"], said["min_jacobian"], len(said["no_better"]),
                (time.perf_counter() - began) / len(stack),
            )
        )  # fmt: skip
    progress("done", len(methods), len(methods))
    return out


def cross_sections(stack: Stack, found: Sequence[Compared], out: Path) -> list[Path]:
    """Write one picture: the stack cut along its middle row (xz), before and by each method, one below the other.

    Returns
    -------
    list of Path
        The picture; none when no method has a result.
    """
    ways = [("before", tuple(Warp((t.to_world.inverse,), t.shape) for t in stack))]
    ways += [(c.name, c.warps) for c in found if c.warps]
    if len(ways) == 1:
        return []
    strips = [_titled(name, _cut(stack, warps)) for name, warps in ways]
    width = max(s.shape[1] for s in strips)
    sheet = np.vstack([np.pad(s, ((0, 0), (0, width - s.shape[1]))) for s in strips])
    path = out / "cross_sections_xz.png"
    path.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
    return [path]


def _cut(stack: Stack, warps: Sequence[Warp]) -> NDArray[np.uint8]:
    """Return the middle row of all sections, one below the other, each some pixels high."""
    row = stack[0].shape[0] // 2
    x0 = round(min(w.origin_xy[0] for w in warps))
    x1 = round(max(w.origin_xy[0] + w.shape[1] for w in warps))
    lines = []
    for tile, warp in zip(stack, warps, strict=True):
        left, top = round(warp.origin_xy[0]), round(warp.origin_xy[1])
        line = np.zeros(x1 - x0, np.float32)
        try:
            image, mask = section(tile)
        except InputError:  # a section that cannot be read is a black line
            lines.append(line)
            continue
        box = Box(x0 - left, row - top, x1 - left, row - top + 1)
        pixels, known = warped(image.astype(np.float32), mask, warp, box=box)
        line[known[0]] = pixels[0][known[0]]
        lines.append(_stretched(line, known[0]))
    return np.repeat(np.stack(lines).astype(np.uint8), max(_LEAST_PX, _STRIP_PX // len(stack)), axis=0)


def _stretched(line: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a line with 1 and 99 % of its greys at 5 and 250; 0 where nothing is known."""
    if not known.any():
        return line
    low, high = np.quantile(line[known], (0.01, 0.99))
    grey = 5 + (line - low) * (245 / max(float(high - low), 1e-9))
    return np.where(known, np.clip(grey, 1, 255), 0).astype(np.float32)


def _titled(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bar = np.full((18, picture.shape[1]), 255, np.uint8)
    cv2.putText(bar, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0,), 1, cv2.LINE_AA)
    return np.vstack([bar, picture])
