"""A section of tissue as a light microscope and an electron microscope show it.

The section is that of `demis_ij.synth.section`: its stain by heavy metals is what electrons show, dark on light. For
**light** it is dyed as with toluidine blue: resin pale, cytoplasm blue to violet, nuclei and myelin deep blue, vessels
empty. Membranes are too thin for light. How much dye a cell takes up has nothing to do with its metal; its hue, from
blue to violet, goes with the metal a little: who sees colours can guess part of the brightness.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.correlative_instruments import ElectronMicroscope, LightMicroscope, TwoViews
from demis_ij.synth.fields import Plane, smooth_field, smoothstep
from demis_ij.synth.section import stained
from demis_ij.synth.styles import STYLES, Style
from demis_ij.synth.tissue import AXON, CELL, DROPLET, GLIA, LUMEN, MYELIN, NUCLEUS, SOMA, WALL, Tissue

LIGHT = LightMicroscope(blur_px=(2.8, 3.8), shading=0.06, noise=0.012, dust=1.0)
ELECTRONS = ElectronMicroscope(noise=(0.015, 0.035), streaks=0.004, charging=0.0)

STAINED: dict[str, Style] = {
    "epithelium": replace(
        STYLES["epithelium"], scale=0.42, cell_px=130, cell_spread=0.3, merged=0.25, somas=1.6, processes=0.4,
        bundles=0.0, vessels=0.06, droplets=4, cytoplasm_sd=0.09, membrane=0.7, glia=0.1,
    ),
    "nerve": replace(
        STYLES["axons"], scale=0.85, axons=620, cell_px=52, merged=0.3, somas=0.15, vessels=0.0, processes=1.0,
        light=225, dark=5, cytoplasm=0.26, cytoplasm_sd=0.08, membrane=0.7, glia=0.1,
    ),
    "cortex": replace(
        STYLES["tem"], scale=0.6, cell_px=85, cell_spread=0.45, merged=0.4, somas=0.5, vessels=0.04, processes=4.0,
        axons=60, synapses=6, cytoplasm_sd=0.09, glia=0.12,
    ),
}  # fmt: skip
"""Kinds of tissue, at some 10 to 20 nm a pixel."""

# kind: dye taken up, how it differs from label to label, and how fine grain shows in it
_DYE = {
    CELL: (0.42, 0.20), MYELIN: (1.25, 0.10), AXON: (0.16, 0.08), NUCLEUS: (0.95, 0.12), SOMA: (0.50, 0.18),
    LUMEN: (0.02, 0.01), WALL: (0.62, 0.10), DROPLET: (0.95, 0.25), GLIA: (0.62, 0.20),
}  # fmt: skip
_BLUE = np.array((1.15, 0.80, 0.28), np.float32)
_VIOLET = np.array((0.72, 1.05, 0.33), np.float32)
"""Absorbance of red, green and blue by the dye, and by the dye where it is stacked (metachromasia)."""


def tissue(shape: tuple[int, int], rng: np.random.Generator) -> TwoViews:
    """Return a made-up stained section of ``shape`` (rows, cols)."""
    name = str(rng.choice(list(STAINED)))
    plain = STAINED[name]
    style = replace(
        plain,
        scale=plain.scale * float(np.exp(rng.uniform(-0.2, 0.25))),
        cytoplasm=plain.cytoplasm * float(rng.uniform(0.85, 1.2)),
        membrane=plain.membrane * float(rng.uniform(0.85, 1.1)),
    )
    seeds = np.random.SeedSequence(int(rng.integers(2**63))).spawn(9)
    stain, grown = stained(shape, seeds, style)
    colours = _by_light(stain, grown, rng)
    brightness = 0.9 - 0.85 * np.clip(stain, 0, 1) + smooth_field(shape, rng, 70.0) * np.float32(0.02)
    return TwoViews(colours, np.clip(brightness, 0, 1).astype(np.float32), np.zeros(shape, np.float32))


def _by_light(stain: Plane, grown: Tissue, rng: np.random.Generator) -> Plane:
    shape, label, kind = grown.label.shape, grown.label, grown.kind
    mean, spread = np.array([_DYE[k] for k in range(len(_DYE))]).T
    count = len(kind)
    dye = np.clip(mean[kind] + spread[kind] * rng.uniform(-1.7, 1.7, count), 0.01, None).astype(np.float32)[label]
    dye *= np.clip(1 + 0.10 * smooth_field(shape, rng, 80.0) + 0.06 * smooth_field(shape, rng, 6.0), 0.4, None)
    dye += _chromatin(stain, grown)
    hue = (_metal_of(stain, grown) + 0.25 * rng.standard_normal(count)).astype(np.float32)[label]
    violet = smoothstep(hue, -1.3, 1.3)[..., None]
    absorbed = dye[..., None] * (violet * _VIOLET + (1 - violet) * _BLUE) * np.float32(rng.uniform(0.75, 1.1))
    paper = np.array((0.93, 0.93, 0.95), np.float32)
    return np.asarray(paper * np.exp(-absorbed), np.float32)


def _metal_of(stain: Plane, grown: Tissue) -> NDArray[np.float64]:
    """Return the mean stain of each label's inside against that of others of its kind, in standard deviations."""
    count = len(grown.kind)
    inside = (grown.depth > 2).ravel()
    label, values = grown.label.ravel()[inside], stain.ravel()[inside]
    area = np.bincount(label, minlength=count)
    mean = np.bincount(label, weights=values, minlength=count) / np.maximum(area, 1)
    out = np.zeros(count)
    for k in np.unique(grown.kind):
        of_kind = (grown.kind == k) & (area > 0)
        if of_kind.sum() > 2:
            out[of_kind] = (mean[of_kind] - mean[of_kind].mean()) / max(float(mean[of_kind].std()), 1e-3)
    return out


def _chromatin(stain: Plane, grown: Tissue) -> Plane:
    """Return the dye that chromatin takes up besides: where the metal of a nucleus is heavy."""
    nucleus = grown.kind[grown.label] == NUCLEUS
    return np.where(nucleus, 1.6 * np.clip(stain - 0.35, 0, 0.6), 0).astype(np.float32)


__all__ = ["ELECTRONS", "LIGHT", "STAINED", "tissue"]
