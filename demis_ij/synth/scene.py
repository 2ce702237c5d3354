"""A grid of tiles with exact truth: poses, resin, photometry, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from demis_ij.errors import InputError
from demis_ij.records import Affine, Layout, Tile
from demis_ij.synth import double
from demis_ij.synth.fields import Plane, Seed, seeds_from, smooth_field, smoothstep
from demis_ij.synth.grid import DEMO, GridSpec, Position
from demis_ij.synth.poses import draw_poses
from demis_ij.synth.section import section

Pair = tuple[str, str]
_SPLINE_REACH = 24  # px; the prefilter of a quintic spline forgets an edge by 0.43 a pixel


@dataclass(frozen=True, eq=False)
class Plan:
    """A grid that is drawn but not cut: where its tiles are, and what they are cut from.

    Attributes
    ----------
    spec, layout, truth, resin_pairs, textured_pairs, decoy_pair, to_source
        As in `Scene`.
    source : ndarray (rows, cols), float32, or uint8 where nothing was done to it
    source_at : tuple of int
        (row, column) of the given image at which ``source`` begins.
    seeds : dict of str to SeedSequence
        What each tile's camera draws from.
    """

    spec: GridSpec
    layout: Layout
    truth: Layout
    resin_pairs: frozenset[Pair]
    textured_pairs: frozenset[Pair]
    decoy_pair: Pair | None
    source: NDArray[Any]
    to_source: Affine
    source_at: tuple[int, int]
    seeds: dict[str, np.random.SeedSequence]


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


def _prepared_source(
    spec: GridSpec, source: NDArray[np.generic] | None, seed: np.random.SeedSequence
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return a source of exactly the size needed, made up or cut from the one given at a random place; and that place.

    Whole numbers that nothing changes stay what they are: a quarter of the memory.
    """
    need, at = spec.source_shape, (0, 0)
    rng = np.random.default_rng(seed)
    if source is None:
        image: NDArray[Any] = section(need, rng, style=spec.style)
    else:
        given = np.asarray(source)
        if given.ndim != 2 or given.shape[0] < need[0] or given.shape[1] < need[1]:
            msg = f"the source image is {given.shape}; this grid needs a grey one of at least {need} (rows, columns)"
            raise InputError(msg)
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            msg = "the source image has pixels that are not numbers"
            raise InputError(msg)
        at = (int(rng.integers(0, given.shape[0] - need[0] + 1)), int(rng.integers(0, given.shape[1] - need[1] + 1)))
        kept = given.dtype if spec.double and given.dtype == np.uint8 and not spec.resin else np.dtype(np.float32)
        image = np.array(given[at[0] : at[0] + need[0], at[1] : at[1] + need[1]], kept)
    if spec.source_blur_px:
        image = np.asarray(_blur(image, spec.source_blur_px, spec), np.float32)
    return image, at


def _blur(image: NDArray[Any], sigma_px: float, spec: GridSpec) -> NDArray[Any]:
    return double.blur(image, sigma_px) if spec.double else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))


def _field(
    shape: tuple[int, int], rng: np.random.Generator, length_px: float, precise: bool
) -> NDArray[np.float32] | NDArray[np.float64]:
    return double.smooth_field(shape, rng, length_px) if precise else smooth_field(shape, rng, length_px)


def resin(shape: tuple[int, int], rng: np.random.Generator, contrast_sd: float, *, precise: bool = False) -> Plane:
    """Return the weak structure of embedding resin, mean 0.

    Its standard deviation after a Gaussian low-pass of sigma 4 px is ``contrast_sd``: soft clouds, too faint for corner
    detectors under a camera's noise, yet the same in every tile that shows them. ``precise`` computes in double
    precision.

    Returns
    -------
    ndarray of shape (rows, cols), float32
    """
    clouds: NDArray[Any] = _field(shape, rng, 4.5, precise) + 0.7 * _field(shape, rng, 12.0, precise)
    clouds -= clouds.mean()
    seen = float((double.blur(clouds, 4.0) if precise else cv2.GaussianBlur(clouds, (0, 0), 4.0)).std())
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
    if spec.double:
        away = ndimage.distance_transform_edt(outside)
    else:
        away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim: NDArray[Any] = 58 + 21 * np.clip(_field(patch.shape, rng, 70.0, spec.double), -2, 2)
    rim = rim + 5 * np.clip(_field(patch.shape, rng, 16.0, spec.double), -2, 2)  # 6 to 130 px outside
    beyond = np.asarray(away - rim, np.float32)
    light = np.float32(np.percentile(source[::7, ::7], 80))
    made = light + resin(patch.shape, rng, spec.resin_sd, precise=spec.double)
    tissue = smoothstep(beyond, -1.5, 1.5)
    exact = beyond.astype(np.float64) if spec.double else beyond
    border = np.exp(-((exact / np.float32(2.5)) ** 2))
    dark = np.float32(np.percentile(source[::7, ::7], 3))
    patch[...] = made + tissue * (patch - made)
    patch += border * np.float32(0.8) * (dark - patch)


def sample(source: NDArray[Any], to_source: Affine, shape: tuple[int, int]) -> Plane:
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
    seen = _blur(clean, blur_px, spec) if blur_px > 0.05 else clean
    number = np.float64 if spec.double else np.float32
    noise = number(spec.noise_sd) * rng.standard_normal(clean.shape, dtype=number)
    if spec.noise_first:
        grey = (seen + noise) * number(gain) + number(bias)
    else:
        grey = seen * number(gain) + number(bias)
        grey += noise
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
    poses = draw_poses(spec, seeds)
    nominal, truth = [], []
    for position in spec.positions:
        said, real = poses[position]
        name = tile_id(position)
        tile = Tile(name, Path(f"{name}.tif"), (spec.tile_px, spec.tile_px), said)
        nominal.append(tile)
        truth.append(replace(tile, to_world=real))
    return Layout(tuple(nominal)), Layout(tuple(truth))


def plan_scene(spec: GridSpec, seed: Seed, source: NDArray[np.generic] | None = None) -> Plan:
    """Return a grid whose tiles are yet to be cut: what `make_scene` does, one tile in memory at a time.

    Parameters and errors are those of `make_scene`.
    """
    for_source, for_grid = seeds_from(seed).spawn(2)
    grid = [(r, c) for r in range(spec.rows) for c in range(spec.cols)]
    seeds = {p: s.spawn(3) for p, s in zip(grid, for_grid.spawn(len(grid)), strict=True)}
    layout, truth = _layouts(spec, {p: s[0] for p, s in seeds.items()})
    image, at = _prepared_source(spec, source, for_source)
    to_source = Affine.translation(spec.margin_px, spec.margin_px)
    for position in spec.resin:
        _lay_resin(image, truth[tile_id(position)], to_source, spec, seeds[position][1])
    decoy = spec.decoy_positions if spec.decoy else None
    weak = set(spec.resin)
    resin_pairs = frozenset((tile_id(a), tile_id(b)) for a, b in spec.neighbours if a in weak or b in weak)
    every = frozenset((tile_id(a), tile_id(b)) for a, b in spec.neighbours)
    return Plan(
        spec=spec,
        layout=layout,
        truth=truth,
        resin_pairs=resin_pairs,
        textured_pairs=every - resin_pairs,
        decoy_pair=None if decoy is None else (tile_id(decoy[0]), tile_id(decoy[1])),
        source=image,
        to_source=to_source,
        source_at=at,
        seeds={tile_id(p): s[2] for p, s in seeds.items()},
    )


def cut_tiles(plan: Plan) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Return (id, image) of each tile in layout order, one at a time."""
    for tile in plan.truth:
        clean = sample(plan.source, plan.to_source @ tile.to_world, tile.shape)
        if plan.decoy_pair is not None and tile.id == plan.decoy_pair[1]:
            other = plan.truth[plan.decoy_pair[0]]
            overlap_px = plan.spec.tile_px - int(plan.spec.step_px)
            seen = sample(plan.source, plan.to_source @ other.to_world, other.shape)
            clean = _plant_decoy(seen, clean, overlap_px)
        yield tile.id, _expose(clean, plan.spec, np.random.default_rng(plan.seeds[tile.id]))


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
    plan = plan_scene(spec, seed, source)
    return Scene(
        spec=spec,
        layout=plan.layout,
        truth=plan.truth,
        images=dict(cut_tiles(plan)),
        resin_pairs=plan.resin_pairs,
        textured_pairs=plan.textured_pairs,
        decoy_pair=plan.decoy_pair,
        source=np.asarray(plan.source, np.float32),
        to_source=plan.to_source,
    )


def demo_scene(seed: Seed = 9) -> Scene:
    """Return a small handsome section: nine tiles, wrong stage positions, one corner of resin, uneven brightness."""
    return make_scene(DEMO, seed)
