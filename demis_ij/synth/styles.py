"""What a synthetic section looks like: the microscope's contrast and the tissue's make-up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demis_ij.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Style:
    """One kind of section. Lengths are px at ``scale`` 1 (about 4 nm a pixel); counts are per million px at scale 1.

    Attributes
    ----------
    scale : float
        Size of everything, 1 for about 4 nm a pixel.
    cell_px, cell_spread : float
        Typical size of the small profiles, and the sd of its logarithm across the section.
    merged : float
        Share of small profiles that join a neighbour.
    wobble : float
        How far membranes curve, 1 for ordinary neuropil.
    membrane, membrane_px, cleft_px : float
        Stain of a membrane in [0, 1], its width, and half the distance between the two of neighbouring cells.
    cytoplasm, cytoplasm_sd, grain, filaments : float
        Stain of cytoplasm, how it differs between cells, and of ribosomes and filaments in it.
    bundles, processes, big_cells, somas, vessels, droplets, axons, mitochondria, synapses, reticulum : float
        How many of each.
    glia : float
        Share of small profiles that are dark.
    blur_px : float
        Sigma of the microscope's point spread.
    light, dark : float
        Grey of no stain and of full stain, 0 to 255; light below dark is an image with inverted contrast.
    solid : str
        A name of `RECIPES` when the section is cut from a volume of that tissue: truer, and slower. The counts of
        things are then the recipe's. Empty for tissue that is drawn in the plane.
    """

    scale: float = 1.0
    cell_px: float = 48.0
    cell_spread: float = 0.7
    merged: float = 0.75
    wobble: float = 1.0
    membrane: float = 0.85
    membrane_px: float = 1.25
    cleft_px: float = 1.7
    cytoplasm: float = 0.22
    cytoplasm_sd: float = 0.06
    grain: float = 0.075
    filaments: float = 0.035
    bundles: float = 1.0
    processes: float = 3.0
    big_cells: float = 6.0
    somas: float = 0.25
    vessels: float = 0.08
    droplets: float = 0.5
    axons: float = 1.5
    mitochondria: float = 26.0
    synapses: float = 22.0
    reticulum: float = 0.25
    glia: float = 0.06
    blur_px: float = 0.9
    light: float = 225.0
    dark: float = 5.0
    solid: str = ""


STYLES: dict[str, Style] = {
    "tem": Style(),
    "sem": Style(cleft_px=0.6, membrane_px=1.6, membrane=0.75, grain=0.065, light=205, dark=40, scale=0.75),
    "low_contrast": Style(membrane=0.6, cytoplasm=0.3, grain=0.06, light=190, dark=45, blur_px=1.2, glia=0.12),
    "fib_sem": Style(
        cleft_px=0.3, membrane_px=1.8, membrane=0.8, grain=0.035, filaments=0.03, scale=0.6, blur_px=1.3, light=205,
        dark=15, mitochondria=34,
    ),
    "bse_inverted": Style(cleft_px=0.5, membrane_px=1.7, grain=0.07, light=45, dark=225, scale=0.8, blur_px=1.0),
    "axons": Style(
        scale=0.6, axons=1400, cell_px=22, merged=0.3, cytoplasm=0.34, membrane=0.45, cleft_px=0.4, big_cells=1,
        processes=1.5, somas=0.1, vessels=0.2, synapses=2, mitochondria=8, light=40, dark=235, blur_px=1.0, grain=0.08,
    ),
    "epithelium": Style(
        scale=1.1, cell_px=120, cell_spread=0.35, wobble=0.7, somas=0.7, mitochondria=45, droplets=3, axons=0,
        bundles=0.3, processes=1, synapses=0, reticulum=0.6, vessels=0.15, grain=0.075,
    ),
    "airways": Style(
        scale=0.45, cell_px=55, vessels=5.5, somas=0.4, axons=0, bundles=0, processes=1.5, big_cells=2, synapses=0,
        mitochondria=10, cytoplasm=0.4, glia=0.15, reticulum=0.4, light=200, dark=45, blur_px=1.0,
    ),
}  # fmt: skip
_SOLID: dict[str, dict[str, float]] = {
    "tem": {"cytoplasm": 0.2, "cytoplasm_sd": 0.07, "grain": 0.065, "membrane_px": 1.4},
    "sem": {},
    "low_contrast": {},
    "fib_sem": {"scale": 0.5, "grain": 0.03, "blur_px": 1.2, "cytoplasm": 0.26, "cytoplasm_sd": 0.1, "glia": 0.12},
    "bse_inverted": {"grain": 0.05},
    "axons": {"grain": 0.06},
    "epithelium": {"scale": 0.7},
    "airways": {"cytoplasm": 0.34},
}
STYLES |= {f"{name}_solid": replace(STYLES[name], solid=name, **changes) for name, changes in _SOLID.items()}
_WEIGHTS = {
    "tem": 5,
    "sem": 3,
    "low_contrast": 2,
    "fib_sem": 3,
    "bse_inverted": 1,
    "axons": 2,
    "epithelium": 2,
    "airways": 1,
}  # the others are drawn by name only


def draw_style(rng: np.random.Generator, name: str | None = None) -> Style:
    """Return a named style, or one drawn at random, with its size, contrast and make-up varied a little.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    names = list(STYLES)
    weights = np.array([_WEIGHTS.get(n, 0) for n in names], float)
    drawn = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    if name is not None and name not in STYLES:
        msg = f"no style {name!r}; known: {', '.join(names)}"
        raise InputError(msg)
    style = STYLES[drawn if name is None else name]
    light, dark = style.light + rng.normal(0, 10), style.dark + rng.normal(0, 8)
    return replace(
        style,
        scale=style.scale * float(np.exp(rng.uniform(-0.25, 0.35))),
        cell_px=style.cell_px * float(np.exp(rng.uniform(-0.2, 0.4))),
        wobble=style.wobble * float(rng.uniform(0.8, 1.1)),
        membrane=style.membrane * float(rng.uniform(0.8, 1.15)),
        cytoplasm=style.cytoplasm * float(rng.uniform(0.8, 1.2)),
        grain=style.grain * float(rng.uniform(0.7, 1.3)),
        blur_px=style.blur_px * float(rng.uniform(0.9, 1.2)),
        light=float(np.clip(light, 20, 235)),
        dark=float(np.clip(dark, 10, 240)),
    )
