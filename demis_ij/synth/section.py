"""Sections of made-up tissue as an electron microscope might see them, with no sensor noise in them.

A section is computed as *stain*, 0 for resin and 1 for the heaviest metal, and turned into grey at the end, so that one
tissue serves every microscope. The same seed gives the same picture. All random numbers come from numpy's PCG64, whose
integers and uniform numbers are the same everywhere; filters and interpolation run in single precision in OpenCV, whose
vector units may round the last bit differently from one processor to another: expect equality to about 1e-3 of a grey
level between machines, and byte for byte on one machine with one version of the libraries.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.blemishes import add_blemishes
from demis_ij.synth.fields import Plane, Seed, Streams, bands, check_shape, seeds_from, smooth_field, smoothstep
from demis_ij.synth.mishaps import Mishaps, befall
from demis_ij.synth.organelles import add_mitochondria, add_synapses
from demis_ij.synth.recipes import recipe_of
from demis_ij.synth.styles import Style, draw_style
from demis_ij.synth.tissue import AXON, CELL, DROPLET, GLIA, LUMEN, MYELIN, NUCLEUS, SOMA, WALL, Tissue, grow_tissue
from demis_ij.synth.volume import Volume

# kind: (stain added to cytoplasm, share of grain, share of filaments)
_LOOK = {
    CELL: (0.0, 1.0, 1.0),
    MYELIN: (0.32, 0.2, 0.0),
    AXON: (-0.04, 0.6, 1.6),
    NUCLEUS: (0.02, 0.9, 0.0),
    SOMA: (0.05, 1.4, 0.4),
    LUMEN: (-1.0, 0.12, 0.0),
    WALL: (0.14, 1.0, 0.8),
    DROPLET: (0.3, 0.1, 0.0),
    GLIA: (0.17, 1.2, 0.8),
}


def _per_label(tissue: Tissue, rng: np.random.Generator, style: Style) -> tuple[Plane, Plane, Plane]:
    """Return stain, grain and filament strength of every label."""
    look = np.array([_LOOK[k] for k in range(len(_LOOK))], np.float32)[tissue.kind]
    count = len(tissue.kind)
    varied = style.cytoplasm_sd * rng.standard_normal(count)
    base = np.clip(style.cytoplasm + look[:, 0] + varied * (look[:, 0] > -0.5), 0.02, 0.9)
    grain = style.grain * look[:, 1] * rng.uniform(0.5, 1.4, count)
    filaments = style.filaments * look[:, 2] * rng.uniform(0, 1.8, count)
    return base.astype(np.float32), grain.astype(np.float32), filaments.astype(np.float32)


def _ribosomes(shape: tuple[int, int], rng: np.random.Generator, scale: float) -> Plane:
    """Return granules of a few px, clustered, heavier in stain than the cytosol between them is light."""
    grain = smooth_field(shape, rng, 1.25 * scale**0.5)
    coarse = smooth_field(shape, rng, 2.6 * scale)
    cluster = smooth_field(shape, rng, 14 * scale)
    for rows in bands(len(grain)):
        part = grain[rows]
        part += 0.7 * coarse[rows]
        part *= np.clip(0.7 + 0.35 * cluster[rows], 0.1, None)
        part *= np.where(part > 0, np.float32(1), np.float32(0.45))
    return grain


def _filaments(tissue: Tissue, rng: np.random.Generator, scale: float) -> Plane:
    """Return fine lines that run along the direction of each label, mean 0 and sd about 1."""
    side = 1024
    streak = rng.standard_normal((side, side), dtype=np.float32)
    smooth = cv2.GaussianBlur(np.tile(streak, (2, 2)), (0, 0), sigmaX=11 * scale, sigmaY=1.1 * scale**0.5)
    streak = np.array(smooth[side // 2 : side // 2 + side, side // 2 : side // 2 + side], np.float32)
    streak /= streak.std()
    rows, cols = tissue.label.shape
    c, s = np.cos(tissue.angle), np.sin(tissue.angle)
    offset = rng.uniform(0, side, (2, len(c))).astype(np.float32)
    x = np.arange(cols, dtype=np.float32)[None]
    out = np.empty((rows, cols), np.float32)
    for top in range(0, rows, 256):
        own = tissue.label[top : top + 256]
        y = np.arange(top, top + len(own), dtype=np.float32)[:, None]
        u = np.mod(c[own] * x + s[own] * y + offset[0][own], side)
        v = np.mod(c[own] * y - s[own] * x + offset[1][own], side)
        out[top : top + 256] = cv2.remap(streak, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return out


def _add_texture(stain: Plane, tissue: Tissue, strength: Plane, texture: Plane) -> None:
    """Add a texture, as strong in each label as ``strength`` (one a label) says."""
    for rows in bands(len(stain)):
        stain[rows] += strength[tissue.label[rows]] * texture[rows]


def _add_membranes(stain: Plane, tissue: Tissue, rng: np.random.Generator, style: Style) -> None:
    """Darken both sides of every border; where a membrane is cut at a slant it is wider and fainter."""
    slants = smooth_field(stain.shape, rng, 28 * style.scale)
    apart = style.cleft_px * style.scale
    for rows in bands(len(stain)):
        part, depth, slant = stain[rows], tissue.depth[rows], slants[rows]
        width = np.float32(style.membrane_px * style.scale) * np.exp(np.float32(0.3) * slant)
        strength = np.float32(style.membrane) * np.clip(0.9 - 0.22 * slant, 0.3, 1.1)
        profile = strength * np.exp(-(((depth - np.float32(apart)) / width) ** 2))
        part += profile * np.clip(np.float32(0.95) - part, 0, None)
        if apart > 1.2:  # two membranes, and the light cleft between them
            cleft = np.exp(-((depth / np.float32(max(0.6, 0.6 * apart))) ** 2))
            part -= cleft * np.float32(0.5) * np.clip(part - np.float32(0.3), 0, None)


def _add_sheaths(stain: Plane, tissue: Tissue, style: Style) -> None:
    """Draw the layers of myelin as stripes that follow its borders."""
    per_px = np.float32(2 * np.pi / (3.6 * style.scale**0.5))
    for rows in bands(len(stain)):
        wave = np.cos(tissue.depth[rows] * per_px)
        stain[rows] += (tissue.kind[tissue.label[rows]] == MYELIN) * (0.16 + 0.14 * wave)


def _add_chromatin(stain: Plane, tissue: Tissue, rng: np.random.Generator, style: Style) -> None:
    """Darken patches of a nucleus, more of them at its envelope, and one nucleolus in the deep of it."""
    patches = smooth_field(stain.shape, rng, 9 * style.scale)
    patches += 0.5 * smooth_field(stain.shape, rng, 3.5 * style.scale)
    deep = smooth_field(stain.shape, rng, 30 * style.scale)
    for rows in bands(len(stain)):
        depth = tissue.depth[rows]
        patch = patches[rows] + 1.1 * np.exp(-depth / np.float32(7 * style.scale))
        nucleolus = smoothstep(deep[rows], 1.9, 2.1) * smoothstep(depth, 20 * style.scale, 30 * style.scale)
        added = 0.26 * smoothstep(patch, 0.5, 1.5) + 0.35 * nucleolus
        stain[rows] += (tissue.kind[tissue.label[rows]] == NUCLEUS) * added


def _add_reticulum(stain: Plane, tissue: Tissue, rng: np.random.Generator, style: Style) -> None:
    """Draw cisternae: contour lines of a smooth field, in some labels only."""
    chosen = (rng.random(len(tissue.kind)) < style.reticulum) | (tissue.kind == SOMA)
    chosen &= np.isin(tissue.kind, (CELL, SOMA, GLIA, WALL))
    if not chosen.any():
        return
    levels = smooth_field(stain.shape, rng, 11 * style.scale)
    bulk = smooth_field(stain.shape, rng, 40 * style.scale)
    thin = np.float32(4.5 * style.scale**0.5)
    for rows in bands(len(stain)):
        line = np.zeros_like(stain[rows])
        for at in (-0.75, -0.25, 0.25, 0.75):
            line += np.exp(-(((levels[rows] - np.float32(at)) * thin) ** 2) * np.float32(4))
        line *= smoothstep(bulk[rows], 0.0, 0.6) * smoothstep(tissue.depth[rows], 4 * style.scale, 8 * style.scale)
        stain[rows] += chosen[tissue.label[rows]] * line * np.float32(0.28)


def stained(shape: tuple[int, int], seeds: list[np.random.SeedSequence], style: Style) -> tuple[Plane, Tissue]:
    """Return the stain of a section, 0 for resin to about 1, and the tissue it is the stain of; nine seeds."""
    rngs = [np.random.default_rng(s) for s in seeds]
    tissue = grow_tissue(shape, rngs[0], style)
    base, grain, filaments = _per_label(tissue, rngs[1], style)
    stain = base[tissue.label]
    _add_texture(stain, tissue, grain, _ribosomes(shape, rngs[2], style.scale))
    _add_texture(stain, tissue, filaments, _filaments(tissue, rngs[3], style.scale))
    _add_reticulum(stain, tissue, rngs[4], style)
    _add_chromatin(stain, tissue, rngs[5], style)
    _add_sheaths(stain, tissue, style)
    add_mitochondria(stain, tissue, rngs[6], style)
    _add_membranes(stain, tissue, rngs[7], style)
    add_synapses(stain, tissue, rngs[8], style)
    return stain, tissue


def _streams(seed: np.random.SeedSequence) -> Streams:
    return Streams(int(seed.generate_state(1, np.uint64)[0]))


def _solid_stain(shape: tuple[int, int], seed: np.random.SeedSequence, style: Style) -> Plane:
    """Return the stain of one plane of a volume."""
    stain, _ = Volume(shape, _streams(seed), replace(recipe_of(style.solid), look=style)).section(0.0)
    return stain


def section(
    shape: tuple[int, int],
    seed: Seed,
    *,
    style: str | Style | None = None,
    blemishes: bool = True,
    mishaps: Mishaps | None = None,
) -> NDArray[np.float32]:
    """Return a picture of made-up tissue, 0 to 255 grey, without sensor noise.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols), 8 to 32000 each. About 0.4 s per million pixels on one thread, and 30 bytes
        a pixel of memory at the peak.
    seed : int or Generator
        The same seed and shape give the same picture; a generator is advanced by one number.
    style : str or Style, optional
        A name of `STYLES`, varied a little, or a `Style` taken as it is; drawn at random, of those drawn in the plane,
        when not given. Those with `Style.solid` are cut from a volume: truer, and some seconds slower.
    blemishes : bool
        Whether there may be knife marks, folds, dust, charging and uneven illumination.
    mishaps : Mishaps, optional
        What else may go wrong, each with a chance of its own: tears, cracks, chatter, precipitate ... Of no effect here
        are its ``missing``, ``contrast`` and ``noise``.

    Returns
    -------
    ndarray of shape (rows, cols), float32
        Band-limited by the style's blur, so that it can be resampled at sub-pixel shifts.

    Raises
    ------
    InputError
        When the shape, the seed or the style cannot be used.
    """
    rows, cols = check_shape(shape)
    first, *others = seeds_from(seed).spawn(12)
    chosen = style if isinstance(style, Style) else draw_style(np.random.default_rng(first), style)
    stain = (
        _solid_stain((rows, cols), others[0], chosen) if chosen.solid else stained((rows, cols), others[:9], chosen)[0]
    )
    if blemishes:
        add_blemishes(stain, np.random.default_rng(others[9]), chosen)
    if mishaps is not None:
        stain, _, _ = befall(stain, mishaps, _streams(others[10]), 0, chosen.scale)
    stain = np.asarray(cv2.GaussianBlur(stain, (0, 0), chosen.blur_px), np.float32)
    stain *= np.float32(chosen.dark - chosen.light)
    stain += np.float32(chosen.light)
    return np.asarray(np.clip(stain, 0, 255, out=stain), np.float32)
