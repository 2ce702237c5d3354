"""What a tissue in three dimensions is made of."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.errors import InputError
from demis_ij.synth.styles import STYLES, Style


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind of tissue in three dimensions, and how a microscope shows it.

    Lengths are px at scale 1 (about 4 nm a pixel). Shares are parts of the volume before things
    press on each other.

    Attributes
    ----------
    look : Style
        Scale, contrast, membranes and texture; its counts of things are those of single sections and are not used here.
    section_px : float
        How thick a section is. What is cut at a slant is blurred over it.
    step_px : float
        From one section to the next.
    axons, axon_px, axon_spread : float
        Share of thin neurites, their radius, and the sd of its logarithm.
    boutons, bouton_px : float
        Swellings with vesicles a 1000 px of axon, and their radius.
    dendrites, dendrite_px, dendrite_spread, spines : float
        Share of thick neurites, their radius and its spread, and spines a 1000 px.
    bundles : float
        Share of thin neurites that run together.
    fibres, fibre_px, sheath, myelin : float
        Share of myelinated axons, their radius, the part of it that is myelin, and its stain.
    bodies, body_px, body_hardness, nucleus : float
        Share of cell bodies, their radius, how little they give way to neighbours, and the radius of the nucleus as a
        part of theirs.
    lumens, lumen_px, lumen_spread, wall_px : float
        Share of vessels or airways, their radius and its spread, and how thick their lining is.
    round_lumens : bool
        Whether lumens are round chambers that open into each other rather than tubes.
    along_z : float
        How strongly neurites run across the sections, 0 for no preferred direction.
    glia_px, glia_sd : float
        How far neurites reach beyond their own radius before glia fills the gap, and how that varies.
    glia_stain : float
        Stain of glia beyond that of other cells.
    mitochondria : float
        How many a 1000 px of a neurite thick enough to hold them.
    matrix, cristae : float
        Stain of a mitochondrion's matrix, and the contrast of its cristae.
    microtubules : float
        Contrast of microtubules in thick neurites.
    wobble : float
        How far the tissue is bent, 1 for neuropil.
    lattice_px : float
        Distances are computed on a grid this wide; less than half the radius of the smallest thing that matters.
    """

    look: Style
    section_px: float = 11.0
    step_px: float = 10.0
    axons: float = 0.65
    axon_px: float = 14.0
    axon_spread: float = 0.35
    boutons: float = 1.1
    bouton_px: float = 44.0
    dendrites: float = 0.38
    dendrite_px: float = 44.0
    dendrite_spread: float = 0.42
    spines: float = 7.0
    bundles: float = 0.12
    fibres: float = 0.0
    fibre_px: float = 60.0
    sheath: float = 0.32
    myelin: float = 0.72
    bodies: float = 0.04
    body_px: float = 400.0
    body_hardness: float = 2.5
    nucleus: float = 0.68
    lumens: float = 0.0
    lumen_px: float = 250.0
    lumen_spread: float = 0.3
    wall_px: float = 26.0
    round_lumens: bool = False
    along_z: float = 0.8
    glia_px: float = 11.0
    glia_sd: float = 8.0
    glia_stain: float = -0.03
    mitochondria: float = 2.2
    matrix: float = 0.4
    cristae: float = 1.0
    microtubules: float = 1.0
    wobble: float = 1.0
    lattice_px: float = 5.0


RECIPES: dict[str, Recipe] = {
    "tem": Recipe(look=STYLES["tem_solid"]),
    "sem": Recipe(look=STYLES["sem_solid"], section_px=8.0, step_px=10.0, matrix=0.44, cristae=0.7),
    "low_contrast": Recipe(look=STYLES["low_contrast_solid"], glia_stain=0.08),
    "fib_sem": Recipe(
        look=STYLES["fib_sem_solid"], section_px=2.0, step_px=2.0, matrix=0.6, cristae=0.25, microtubules=0.5,
        axons=0.5, dendrites=0.5, dendrite_px=50.0, dendrite_spread=0.55, mitochondria=3.2, glia_px=9.0,
        glia_stain=0.18, along_z=0.0,
    ),
    "bse_inverted": Recipe(look=STYLES["bse_inverted_solid"], section_px=8.0, step_px=8.0),
    "axons": Recipe(
        look=STYLES["axons_solid"], fibres=1.0, fibre_px=46.0, axons=0.4, dendrites=0.03, bundles=0.05, boutons=0,
        bodies=0.015, body_px=230.0, lumens=0.004, lumen_px=160.0, along_z=2.5, spines=0, glia_px=16.0, glia_stain=0.1,
        step_px=14.0, section_px=10.0, mitochondria=1.0, wobble=0.7,
    ),
    "epithelium": Recipe(
        look=STYLES["epithelium_solid"], bodies=2.2, body_px=190.0, body_hardness=1.0, nucleus=0.62, axons=0.05,
        dendrites=0, bundles=0, glia_px=70.0, glia_sd=40.0, glia_stain=0.1, mitochondria=2.5, step_px=14.0, wobble=1.2,
        lattice_px=7.0,
    ),
    "airways": Recipe(
        look=STYLES["airways_solid"], lumens=2.2, lumen_px=110.0, lumen_spread=0.45, wall_px=5.5, round_lumens=True,
        bodies=0.1, body_px=70.0, axons=0.12, dendrites=0, bundles=0, boutons=0, glia_px=20.0, glia_sd=12.0,
        glia_stain=0.05, step_px=12.0, mitochondria=0.5, lattice_px=10.0,
    ),
}  # fmt: skip


def recipe_of(style: str | Recipe) -> Recipe:
    """Return a recipe by its name; one that is given as such is returned as it is.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    if isinstance(style, Recipe):
        return style
    if style not in RECIPES:
        msg = f"no style {style!r} for a series; known: {', '.join(RECIPES)}"
        raise InputError(msg)
    return RECIPES[style]
