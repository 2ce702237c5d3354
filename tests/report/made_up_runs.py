"""Runs made by hand: a grid of tiles cut from one picture, with matches that are right to a chosen noise."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from demis_ij.config import StitchConfig
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Solution, Tile
from demis_ij.report import Preview
from demis_ij.stitch import StitchResult

SIDE = 160
STEP = 130
REASON = '5 of 31 matches agree, 8 are needed <resin & "blank">'
TRIED = (("loftr", "3 matches, 8 are needed"), ("sift", "no match at all"))


def picture(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Return a textured picture that holds a grid of tiles."""
    shape = (STEP * (rows - 1) + SIDE + 20, STEP * (cols - 1) + SIDE + 20)
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3) * 9 + cv2.GaussianBlur(noise, (0, 0), 9) * 14
    return np.clip(120 + 40 * soft, 0, 255).astype(np.uint8)


def tile_name(row: int, col: int) -> str:
    """Return an id with everything that a page must escape."""
    return f"a&b <t> [{row} {col}]"


def made_up_run(
    rows: int = 2,
    cols: int = 3,
    *,
    folder: Path | None = None,
    lost: Iterable[tuple[int, int]] = (),
    wrong: Iterable[tuple[int, int]] = (),
    noise_px: float = 0.1,
    matches: int = 20,
    matcher: str = "loftr",
    seed: int = 0,
    name=tile_name,
) -> tuple[StitchResult, Layout]:
    """Return a run on a grid and the truth.

    ``lost`` are tiles (row, col) none of whose pairs was matched; ``wrong`` tiles whose pairs are 5 px off and
    overruled. With a folder the tiles are written there as PNG.
    """
    rng = np.random.default_rng(seed)
    lost, wrong = set(lost), set(wrong)
    whole = picture(rows, cols, seed) if folder is not None else None
    truth, stage, where = [], [], {}
    for r in range(rows):
        for c in range(cols):
            at = np.array([STEP * c + 10, STEP * r + 10]) + (rng.integers(-3, 4, 2) if folder else rng.normal(0, 3, 2))
            path = (folder or Path("nowhere")) / f"{r}_{c}.png"
            if whole is not None:
                x, y = (int(v) for v in at)
                cv2.imwrite(str(path), whole[y : y + SIDE, x : x + SIDE])
            truth.append(Tile(name(r, c), path, (SIDE, SIDE), Affine.translation(*at)))
            off = rng.normal(0, 4, 2)
            stage.append(Tile(name(r, c), path, (SIDE, SIDE), Affine.translation(*(at + off))))
            where[name(r, c)] = (r, c)
    true, expected = Layout(tuple(truth), pixel_size=(4.0, "nm")), Layout(tuple(stage), pixel_size=(4.0, "nm"))
    pairs = []
    for r, c in list(where.values()):
        for other in ((r, c + 1), (r + 1, c)):
            if other[0] < rows and other[1] < cols:
                pairs.append(_pair(true, (r, c), other, lost, wrong, noise_px, matches, matcher, rng, name))
    return _result(true, expected, pairs, {name(*p) for p in lost}, rng), true


def _pair(true, one, other, lost, wrong, noise_px, matches, matcher, rng, name):
    fixed, moving = true[name(*one)], true[name(*other)]
    if one in lost or other in lost:
        return Rejected(fixed.id, moving.id, REASON, "correlation", 31, 5, TRIED)
    low = np.maximum(fixed.world_corners.min(0), moving.world_corners.min(0)) + 2
    high = np.minimum(fixed.world_corners.max(0), moving.world_corners.max(0)) - 2
    world = rng.uniform(low, high, (matches, 2))
    shift = np.array([5.0, 0.0]) if one in wrong or other in wrong else np.zeros(2)
    fixed_xy = fixed.to_world.inverse(world)
    moving_xy = moving.to_world.inverse(world + rng.normal(0, noise_px, world.shape) + shift)
    to_fixed = (Affine.translation(*-shift) @ fixed.to_world.inverse @ moving.to_world).matrix
    residual = noise_px * np.sqrt(2)
    return PairMatch(
        fixed.id,
        moving.id,
        fixed_xy,
        moving_xy,
        to_fixed,
        "rigid",
        np.eye(3) * 1e-3,
        residual,
        matcher,
        matches + 9,
        TRIED[:1] if matcher == "sift" else (),
    )


def _result(true, expected, pairs, lost, rng):
    found = [p for p in pairs if isinstance(p, PairMatch)]
    solved = expected.moved(
        {t.id: Affine.translation(*rng.normal(0, 0.02, 2)) @ t.to_world for t in true if t.id not in lost}
    )
    residual, weight = {}, {}
    for m in found:
        d = solved[m.fixed].to_world(m.fixed_xy) - solved[m.moving].to_world(m.moving_xy)
        residual[m.fixed, m.moving] = float(np.sqrt((d**2).sum(1).mean()))
        weight[m.fixed, m.moving] = 0.01 if residual[m.fixed, m.moving] > 4 else 1.0
    component = components([t.id for t in true], [k for k in residual if weight[k] > 0.05])
    alone = {i for i, n in component.items() if list(component.values()).count(n) == 1}
    solution = Solution(
        solved,
        component,
        {t.id: np.inf if t.id in alone else 0.03 for t in true},
        residual,
        dict.fromkeys(residual, 0.05),
        weight,
    )
    used = next((m.matcher for m in found), "stage")
    placed = {t.id: "stage" if t.id in alone else used for t in true}
    warnings = tuple(f"tile {i}: matched with no neighbour, placed by the stage" for i in sorted(alone))
    return StitchResult(
        expected, solution, tuple(pairs), placed, warnings, {"match": 3.2, "solve": 0.04}, StitchConfig()
    )


def components(ids, edges) -> dict[str, int]:
    """Return the component of every tile, the largest first."""
    group = {i: i for i in ids}

    def root(i):
        while group[i] != i:
            i = group[i]
        return i

    for p, q in edges:
        group[root(p)] = root(q)
    members: dict[str, list[str]] = {}
    for i in ids:
        members.setdefault(root(i), []).append(i)
    ordered = sorted(members.values(), key=len, reverse=True)
    return {i: n for n, group_ids in enumerate(ordered) for i in group_ids}


def preview_of(rows: int, cols: int, seed: int = 0, scale: float = 0.5) -> Preview:
    """Return the picture the tiles were cut from, small."""
    whole = picture(rows, cols, seed)
    small = cv2.resize(whole, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Preview(small, scale, (0.5 / scale - 0.5, 0.5 / scale - 0.5))
