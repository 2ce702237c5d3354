"""A grid of tiles with exact truth: poses, resin, photometry, noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import radians
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, Tile
from demis_ij.synth.fields import Plane, Seed, seeds_from, smooth_field, smoothstep
from demis_ij.synth.grid import DEMO, GridSpec, Position
from demis_ij.synth.section import section

Pair = tuple[str, str]
_SPLINE_REACH = 24  # px; the prefilter of a quintic spline forgets an edge by 0.43 a pixel


@dataclass(frozen=True, eq=False)
class Scene:
    """Tiles of one section and where they really are.

    Attributes
    ----------
    spec : GridSpec
    layout : Layout
        What the stage says: the regular grid, with its error. World is px of the regular grid, first tile at (0, 0).
    truth : Layout
        Where the tiles really are, same ids, same world.
    images : dict of str to ndarray (tile_px, tile_px), uint8
    resin_pairs, textured_pairs : frozenset of (fixed id, moving id)
        Neighbours that share only resin, and the other neighbours. Fixed is the one to the left or above.
    decoy_pair : (fixed id, moving id) or None
        Neighbours that also agree, wrongly, by half a turn.
    source : ndarray (rows, cols), float32
        The clean image the tiles were cut from, resin and all.
    to_source : Affine
        World px to source px.
    """

    spec: GridSpec
    layout: Layout
    truth: Layout
    images: dict[str, NDArray[np.uint8]]
    resin_pairs: frozenset[Pair]
    textured_pairs: frozenset[Pair]
    decoy_pair: Pair | None
    source: Plane
    to_source: Affine

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All neighbours, fixed first, in layout order."""
        return tuple((tile_id(a), tile_id(b)) for a, b in self.spec.neighbours)


def tile_id(position: Position) -> str:
    """Return the name of the tile at (row, column)."""
    return f"r{position[0]:02d}_c{position[1]:02d}"


def _poses(spec: GridSpec, position: Position, rng: np.random.Generator) -> tuple[Affine, Affine]:
    """Return (what the stage says, the truth) of one tile."""
    grid = Affine.translation(position[1] * spec.step_px, position[0] * spec.step_px)
    shift, wrong = (spec.tile_px * f * rng.uniform(-1, 1, 2) for f in (spec.shift_frac, spec.stage_error_frac))
    turn = Affine.rigid(radians(spec.rotation_deg) * float(rng.uniform(-1, 1)))
    middle = (spec.tile_px - 1) / 2
    truth = grid @ Affine.translation(*shift) @ Affine.about(turn, (middle, middle))
    return grid @ Affine.translation(*wrong), truth


def _prepared_source(spec: GridSpec, source: NDArray[np.generic] | None, seed: np.random.SeedSequence) -> Plane:
    """Return a source of exactly the size needed: made up, or cut from the one given at a random place."""
    need = spec.source_shape
    rng = np.random.default_rng(seed)
    if source is None:
        image = section(need, rng, style=spec.style)
    else:
        given = np.asarray(source)
        if given.ndim != 2 or given.shape[0] < need[0] or given.shape[1] < need[1]:
            msg = f"the source image is {given.shape}; this grid needs a grey one of at least {need} (rows, columns)"
            raise InputError(msg)
        if not np.isfinite(given).all():
            msg = "the source image has pixels that are not numbers"
            raise InputError(msg)
        top, left = (int(rng.integers(0, g - n + 1)) for g, n in zip(given.shape, need, strict=True))
        image = np.array(given[top : top + need[0], left : left + need[1]], np.float32)
    if spec.source_blur_px:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), spec.source_blur_px), np.float32)
    return image


def resin(shape: tuple[int, int], rng: np.random.Generator, contrast_sd: float) -> Plane:
    """Return the weak structure of embedding resin, mean 0.

    Its standard deviation after a Gaussian low-pass of sigma 4 px is ``contrast_sd``: soft clouds, too faint for corner
    detectors under a camera's noise, yet the same in every tile that shows them.

    Returns
    -------
    ndarray of shape (rows, cols), float32
    """
    clouds = smooth_field(shape, rng, 4.5) + 0.7 * smooth_field(shape, rng, 12.0)
    clouds -= clouds.mean()
    seen = float(cv2.GaussianBlur(clouds, (0, 0), 4.0).std())
    return np.asarray(clouds * np.float32(contrast_sd / max(seen, 1e-6)), np.float32)


def _lay_resin(source: Plane, tile: Tile, to_source: Affine, spec: GridSpec, seed: np.random.SeedSequence) -> None:
    """Replace a tile's area of the source, and a ragged rim around it, by resin behind a dark border."""
    rng = np.random.default_rng(seed)
    corners = to_source(tile.world_corners)
    reach = 160
    low = np.maximum(np.floor(corners.min(0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + reach, source.shape[::-1])
    patch = source[low[1] : high[1], low[0] : high[0]]
    outside = np.ones(patch.shape, np.uint8)
    cv2.fillPoly(outside, [np.round((corners - low) * 16).astype(np.int32)], (0,), shift=4)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = 58 + 21 * np.clip(smooth_field(patch.shape, rng, 70.0), -2, 2)  # with the next line 6 to 130 px outside
    rim += 5 * np.clip(smooth_field(patch.shape, rng, 16.0), -2, 2)
    beyond = np.asarray(away - rim, np.float32)
    light = np.float32(np.percentile(source[::7, ::7], 80))
    made = light + resin(patch.shape, rng, spec.resin_sd)
    tissue = smoothstep(beyond, -1.5, 1.5)
    border = np.exp(-((beyond / np.float32(2.5)) ** 2))
    dark = np.float32(np.percentile(source[::7, ::7], 3))
    patch[...] = made + tissue * (patch - made)
    patch += border * np.float32(0.8) * (dark - patch)


def sample(source: Plane, to_source: Affine, shape: tuple[int, int]) -> Plane:
    """Return the image of ``shape`` whose pixel p shows the source at ``to_source(p)``, by a quintic spline.

    Coordinates stay in double precision. (OpenCV rounds those of its warps to 1/32 px, which would bias positions.)
    Outside the source the border is mirrored.
    """
    rows, cols = shape
    ends = to_source([[0, 0], [cols - 1, 0], [0, rows - 1], [cols - 1, rows - 1]])
    low = np.maximum(np.floor(ends.min(0)).astype(int) - _SPLINE_REACH, 0)
    high = np.minimum(np.ceil(ends.max(0)).astype(int) + _SPLINE_REACH + 1, source.shape[::-1])
    patch = source[low[1] : high[1], low[0] : high[0]]
    linear = np.array([[to_source.d, to_source.c], [to_source.b, to_source.a]])
    offset = (to_source.ty - low[1], to_source.tx - low[0])
    return np.asarray(
        ndimage.affine_transform(patch, linear, offset, shape, output=np.float32, order=5, mode="mirror"), np.float32
    )


def _expose(clean: Plane, spec: GridSpec, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return what the camera records: blur, gain and bias, then noise of mean zero, then one rounding."""
    blur_px = spec.blur_px * float(rng.uniform())
    gain = float(np.clip(1 + spec.gain_sd * rng.standard_normal(), 0.5, 1.5))
    bias = float(np.clip(spec.bias_sd * rng.standard_normal(), -50, 50))
    seen = cv2.GaussianBlur(clean, (0, 0), blur_px) if blur_px > 0.05 else clean
    grey = seen * np.float32(gain) + np.float32(bias)
    grey += np.float32(spec.noise_sd) * rng.standard_normal(clean.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.uint8)


def _plant_decoy(fixed: Plane, moving: Plane, overlap_px: int) -> Plane:
    """Return the moving tile with most of its left strip replaced by the fixed tile's right strip, half a turn round.

    The rows next to the tiles above and below stay as they are, so that no other pair is touched.
    """
    rows, cols = fixed.shape
    top = round(rows * 0.2)
    bottom = rows - top
    turned = fixed[top:bottom, cols - overlap_px :][::-1, ::-1]
    edge = np.minimum(np.arange(bottom - top), np.arange(bottom - top)[::-1]).astype(np.float32)
    weight = smoothstep(edge, -1.0, 8.0)[:, None] * smoothstep(np.arange(overlap_px, 0, -1, dtype=np.float32), 0.0, 8.0)
    out = moving.copy()
    strip = out[top:bottom, :overlap_px]
    strip += weight * (turned - strip)
    return out


def _layouts(spec: GridSpec, seeds: dict[Position, np.random.SeedSequence]) -> tuple[Layout, Layout]:
    """Return (what the stage says, the truth)."""
    nominal, truth = [], []
    for position in spec.positions:
        said, real = _poses(spec, position, np.random.default_rng(seeds[position]))
        name = tile_id(position)
        tile = Tile(name, Path(f"{name}.tif"), (spec.tile_px, spec.tile_px), said)
        nominal.append(tile)
        truth.append(replace(tile, to_world=real))
    return Layout(tuple(nominal)), Layout(tuple(truth))


def make_scene(spec: GridSpec, seed: Seed, source: NDArray[np.generic] | None = None) -> Scene:
    """Return overlapping tiles with exact truth, cut from an image or from made-up tissue.

    Parameters
    ----------
    spec : GridSpec
        The grid; `SETS` has those of the benchmarks.
    seed : int or Generator
        Same seed, same scene. A tile's pose and noise do not depend on which other tiles exist.
    source : ndarray of shape (rows, cols), optional
        A grey image, 0 to 255, at least ``spec.source_shape``; a larger one is cut at a random place.

    Raises
    ------
    InputError
        When the source is too small or not a grey image of finite numbers.
    """
    for_source, for_grid = seeds_from(seed).spawn(2)
    grid = [(r, c) for r in range(spec.rows) for c in range(spec.cols)]
    seeds = {p: s.spawn(3) for p, s in zip(grid, for_grid.spawn(len(grid)), strict=True)}
    layout, truth = _layouts(spec, {p: s[0] for p, s in seeds.items()})
    image = _prepared_source(spec, source, for_source)
    to_source = Affine.translation(spec.margin_px, spec.margin_px)
    for position in spec.resin:
        _lay_resin(image, truth[tile_id(position)], to_source, spec, seeds[position][1])
    decoy = spec.decoy_positions if spec.decoy else None
    images = {}
    for position in spec.positions:
        tile = truth[tile_id(position)]
        clean = sample(image, to_source @ tile.to_world, tile.shape)
        if decoy is not None and position == decoy[1]:
            other = truth[tile_id(decoy[0])]
            overlap_px = spec.tile_px - int(spec.step_px)
            clean = _plant_decoy(sample(image, to_source @ other.to_world, other.shape), clean, overlap_px)
        images[tile.id] = _expose(clean, spec, np.random.default_rng(seeds[position][2]))
    weak = set(spec.resin)
    resin_pairs = frozenset((tile_id(a), tile_id(b)) for a, b in spec.neighbours if a in weak or b in weak)
    every = frozenset((tile_id(a), tile_id(b)) for a, b in spec.neighbours)
    decoy_pair = None if decoy is None else (tile_id(decoy[0]), tile_id(decoy[1]))
    return Scene(spec, layout, truth, images, resin_pairs, every - resin_pairs, decoy_pair, image, to_source)


def demo_scene(seed: Seed = 9) -> Scene:
    """Return a small handsome section: nine tiles, wrong stage positions, one corner of resin, uneven brightness."""
    return make_scene(DEMO, seed)
