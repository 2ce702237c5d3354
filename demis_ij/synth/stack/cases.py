"""What happens to the sections of a stack, by name."""

from __future__ import annotations

from dataclasses import dataclass, fields

from demis_ij.config.checks import in_range
from demis_ij.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Case:
    """How the sections of a stack are deformed, damaged and changed in look.

    Lengths are px of a section whose shorter side is 512 px; they grow with it. Shares are of the sections, ten at a
    time, so that a case strikes short stacks, too; the first section is never damaged, turned or shifted.

    Attributes
    ----------
    points : int
        Vectors of the thin-plate spline of each section, at uniformly random places.
    sd_px : float
        Standard deviation of both components of each vector, px; 0 bends nothing.
    turned_frac, turn_deg : float
        Share of sections that are turned about their middle, and by how much (one way or the other).
    shifted_frac, shift_frac : float
        Share of sections that are shifted, and by how much of the width (in a random direction).
    folded_frac : float
        Share of sections with a fold (tissue lost under a dark band) or a tear (a bright gap), as often.
    corner_frac : float
        Share of sections that lack a corner: 10 to 30 % of their area.
    dusty_frac : float
        Share of sections with dirt on them.
    missing_frac : float
        Share of sections that were lost; their numbers are left out.
    gain, offset : float
        Contrast of each section lies within 1 +- ``gain``, brightness within +- ``offset`` grey levels.
    noise_sd, blur_px : float
        Noise, grey levels, and the most a section is blurred by (sigma, px; at least a third of it).
    same : bool
        Every section shows the first one: what differs is the warp, so that the truth can be told to a fraction of a
        pixel.
    foreign_frac : float
        Share of other texture that is mixed into each section.
    """

    points: int = 12
    sd_px: float = 0.0
    turned_frac: float = 0.0
    turn_deg: float = 30.0
    shifted_frac: float = 0.0
    shift_frac: float = 0.5
    folded_frac: float = 0.0
    corner_frac: float = 0.0
    dusty_frac: float = 0.0
    missing_frac: float = 0.0
    gain: float = 0.2
    offset: float = 15.0
    noise_sd: float = 4.0
    blur_px: float = 0.0
    same: bool = False
    foreign_frac: float = 0.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name.endswith("_frac")):
            in_range(name, getattr(self, name), 0, 1)
        in_range("points", self.points, 3, 1000)
        in_range("sd_px", self.sd_px, 0, 100)
        in_range("turn_deg", self.turn_deg, -180, 180)
        in_range("gain", self.gain, 0, 0.9)
        in_range("offset", self.offset, 0, 128)
        in_range("noise_sd", self.noise_sd, 0, 100)
        in_range("blur_px", self.blur_px, 0, 20)


CASES: dict[str, Case] = {
    "none": Case(),
    "mild": Case(sd_px=4),
    "moderate": Case(sd_px=8),
    "strong": Case(sd_px=16),
    "folds": Case(sd_px=8, folded_frac=0.3),
    "corners": Case(sd_px=8, corner_frac=0.3, dusty_frac=0.1),
    "jitter": Case(sd_px=8, gain=0.35, offset=30, noise_sd=9, blur_px=1.6),
    "same": Case(sd_px=8, same=True, foreign_frac=0.25, noise_sd=5, blur_px=1.2),
    "turned": Case(sd_px=4, turned_frac=0.2),
    "shifted": Case(sd_px=4, shifted_frac=0.2),
    "gaps": Case(sd_px=8, missing_frac=0.2, dusty_frac=0.3),
}
"""Cases by name: undeformed, three strengths of the paper's deformation, and one kind of trouble each."""


def case_named(name: str) -> Case:
    """Return a case. Raises `InputError` when there is none of that name."""
    if name not in CASES:
        msg = f"no case {name!r}; there are {', '.join(CASES)}"
        raise InputError(msg)
    return CASES[name]
