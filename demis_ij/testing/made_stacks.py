"""Stacks of tiled sections on disk with exact truth: sections turned and shifted, tiles off their places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.geometry import fit_rigid
from demis_ij.records import Affine, Layout

Picture = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MadeStack:
    """A stack that was written.

    Attributes
    ----------
    layout : Path
        A text list of all sections.
    each : Path
        A folder with a text list a section.
    truth : dict of (str, str) to Affine
        (section, tile id) to where the tile lies in the specimen: tile px to specimen px.
    tiles : dict of (str, str) to Path
        (section, tile id) to its image.
    """

    layout: Path
    each: Path
    truth: dict[tuple[str, str], Affine]
    tiles: dict[tuple[str, str], Path]


def noise_picture(shape: tuple[int, int], rng: np.random.Generator, fine_px: float = 1.6) -> Picture:
    """Return a grey picture (0 to 255) of blobs of several sizes: enough for a matcher, and made in no time."""
    out = np.zeros(shape, np.float32)
    for size, share in ((fine_px, 1.0), (4 * fine_px, 0.8)):
        noise = rng.standard_normal(shape, dtype=np.float32)
        blurred = cv2.GaussianBlur(noise, (0, 0), size)
        out += np.float32(share / blurred.std()) * blurred
    return np.asarray(np.clip(128 + 32 * out, 0, 255), np.float32)


def picture_shape(rows: int, cols: int, tile_px: int, overlap: float, margin_px: int = 64) -> tuple[int, int]:
    """Return how large a picture must be for a grid of tiles and what it may be turned and shifted by."""
    pitch = tile_px * (1 - overlap)
    high, wide = ((n - 1) * pitch + tile_px for n in (rows, cols))
    slack = margin_px + 0.1 * max(high, wide)
    return round(high + 2 * slack), round(wide + 2 * slack)


def write_stack(
    folder: Path,
    pictures: Iterable[Picture],
    rng: np.random.Generator,
    *,
    rows: int = 3,
    cols: int = 3,
    tile_px: int = 128,
    overlap: float = 0.2,
    stage_error_px: float = 2.0,
    turn_deg: float = 0.0,
    shift_px: float = 0.0,
    noise_sd: float = 4.0,
) -> MadeStack:
    """Cut pictures of serial sections into tiles, and write them with their layouts.

    Parameters
    ----------
    folder : Path
        Made; tiles go below it.
    pictures : iterable of ndarray of shape (H, W), float32
        One a section, 0 to 255, at least of `picture_shape`.
    rng : numpy.random.Generator
        Source of all chance.
    rows, cols, tile_px, overlap : int, int, int, float
        The grid, as the stage has it.
    stage_error_px : float
        Each tile lies up to so far from its place along each axis (uniform).
    turn_deg, shift_px : float
        Each section but the first is turned about its middle and shifted by up to so much (uniform).
    noise_sd : float
        Of each tile's own noise.
    """
    truth, files = {}, {}
    pitch = tile_px * (1 - overlap)
    each = folder / "layouts"
    each.mkdir(parents=True)
    lines: list[str] = []
    for z, picture in enumerate(pictures):
        section = str(z)
        (folder / f"s{z:04d}").mkdir()
        corner = (np.array(picture.shape[::-1]) - np.array([(cols - 1), (rows - 1)]) * pitch - tile_px) / 2
        middle = (np.array(picture.shape[::-1]) - 1) / 2
        turn, x, y = rng.uniform(-1, 1, 3) * (np.deg2rad(turn_deg), shift_px, shift_px) * (z > 0)
        mounted = Affine.about(Affine.rigid(float(turn), float(x), float(y)), middle)
        own = []
        for row in range(rows):
            for col in range(cols):
                off = rng.uniform(-stage_error_px, stage_error_px, 2)
                at = np.array([col, row]) * pitch
                to_specimen = mounted @ Affine.translation(*(corner + at + off))
                pixels = cv2.warpAffine(
                    picture, np.array(to_specimen.rows), (tile_px, tile_px),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                )  # fmt: skip
                noisy = pixels + rng.normal(0, noise_sd, pixels.shape) if noise_sd else pixels
                path = folder / f"s{z:04d}" / f"{row}_{col}.tif"
                tifffile.imwrite(path, np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
                name = f"s{z:04d}/{path.name}"
                own.append((path, f"{at[0]:.3f}\t{at[1]:.3f}\t{z}"))
                truth[section, name] = to_specimen
                files[section, name] = path
        (each / f"{z:04d}.txt").write_text("".join(f"../{p.parent.name}/{p.name}\t{where}\n" for p, where in own))
        lines += [f"{p.parent.name}/{p.name}\t{where}" for p, where in own]
    (folder / "stack.txt").write_text("\n".join(lines) + "\n")
    return MadeStack(folder / "stack.txt", each, truth, files)


def volume_errors(layouts: Iterable[Layout], made: MadeStack) -> dict[str, NDArray[np.float64]]:
    """Return for each section the distances (n, 4) of its tiles' corners from the truth, px of the specimen.

    All sections are laid on the truth by one rigid motion, so what one section is off against another counts.
    """
    found, wanted, whose = [], [], []
    for layout in layouts:
        for tile in layout:
            name = f"{tile.path.parent.name}/{tile.path.name}"
            found.append(tile.to_world(tile.corners))
            wanted.append(made.truth[layout.section, name](tile.corners))
            whose.append(layout.section)
    here, there = np.concatenate(found), np.concatenate(wanted)
    moved = Affine.from_matrix(fit_rigid(here, there))(here)
    off = np.linalg.norm(moved - there, axis=1).reshape(-1, 4)
    return {name: off[[i for i, w in enumerate(whose) if w == name]] for name in dict.fromkeys(whose)}
