"""Settings of ``align``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError

METHODS = ("joint", "ssemnet")
"""Whole methods; ``chain:NAME`` brings each section onto the one before by an aligner."""

VOLUME_FORMATS = ("ome-zarr", "tiff", "none")
WARP_FORMATS = ("npz", "trakem2", "rvss", "bunwarpj")


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """How `demis_ij.align` works. Lengths are px of the sections; 0 lets the size of the sections decide.

    Attributes
    ----------
    method : str
        joint (all sections at once), ssemnet (the paper), or ``chain:NAME`` for an aligner by name.
    coarse : str
        auto (turns and shifts are looked for where neighbours do not fit as they lie) or none.
    device : str
        auto, cpu, cuda or mps, for LoFTR.
    neighbours : int
        How far apart in the stack two sections may be to be compared: 2 compares each with four others.
    smoothness_px : float
        Standard deviation of the Gaussian that measured displacements are averaged with; 0 is 0.024 of the shorter
        side.
    stride_px : int
        Distance of the nodes of the warps; 0 is two thirds of ``smoothness_px``.
    window_px : float
        Standard deviation of the window that brightness and contrast are evened out in; 0 is a fifteenth of the
        shorter side.
    largest_px : int
        The longer side of the finest level; larger sections are compared at half, a quarter, ... of their size.
    coarsest_px : int
        The shorter side of the coarsest level is not less than this.
    rounds : tuple of int
        Most rounds at each level, the coarsest first; the last number counts for all further levels.
    settled_px : float
        A level ends when a round moves the nodes by less than this, root mean square, px of the level.
    consistent_px : float
        Displacements there and back that miss by this, px of the level, have lost two thirds of their weight.
    anchor : float
        Multiplies how strongly sections are held where they were, which is learnt from the stack itself; more follows
        the neighbours less.
    follow : float
        The anchor of small structures is not stronger than that of large ones, nor weaker than this because of it.
    tissue_step_frac : float
        What may be left of large-scale displacements between neighbours as the tissue's own, root mean square, as a
        share of the shorter side.
    min_jacobian : float
        No warp shrinks an area by more than this factor anywhere; nothing folds.
    min_data_frac : float
        A section with less data than this share of its pixels is bridged.
    block_px : int
        Larger sections are compared in overlapping blocks of this side, px of the level.
    threads : int
        Pairs compared at the same time; 0 is one a processor.
    fiji : str
        Folder of a Fiji, for ``chain:bunwarpj`` and ``chain:elastic``, which run its plugins.
    """

    method: str = "joint"
    coarse: str = "auto"
    device: str = "auto"
    neighbours: int = 2
    smoothness_px: float = 0.0
    stride_px: int = 0
    window_px: float = 0.0
    largest_px: int = 2048
    coarsest_px: int = 60
    rounds: tuple[int, ...] = (3, 2, 1)
    settled_px: float = 0.05
    consistent_px: float = 2.0
    anchor: float = 1.0
    follow: float = 0.3
    tissue_step_frac: float = 0.0075
    min_jacobian: float = 0.05
    min_data_frac: float = 0.05
    block_px: int = 1536
    threads: int = 0
    fiji: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.method.startswith("chain:"):
            one_of("method", self.method, METHODS)
        one_of("coarse", self.coarse, ("auto", "none"))
        one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        in_range("neighbours", self.neighbours, 1, 8)
        in_range("smoothness_px", self.smoothness_px, 0, 10_000)
        in_range("stride_px", self.stride_px, 0, 10_000)
        in_range("window_px", self.window_px, 0, 10_000)
        in_range("largest_px", self.largest_px, 64, 65_536)
        in_range("coarsest_px", self.coarsest_px, 32, 4096)
        in_range("settled_px", self.settled_px, 0, 100)
        in_range("consistent_px", self.consistent_px, 0.1, 100)
        in_range("anchor", self.anchor, 0, 1e6)
        in_range("follow", self.follow, 0, 1e6)
        in_range("tissue_step_frac", self.tissue_step_frac, 1e-4, 1)
        in_range("min_jacobian", self.min_jacobian, 0, 0.9)
        in_range("min_data_frac", self.min_data_frac, 0, 1)
        in_range("block_px", self.block_px, 64, 65_536)
        in_range("threads", self.threads, 0, 256)
        object.__setattr__(self, "rounds", _rounds(self.rounds))

    @property
    def aligner(self) -> str:
        """Name of the aligner of a chain; empty for the other methods."""
        return self.method.removeprefix("chain:") if self.method.startswith("chain:") else ""


def _rounds(value: object) -> tuple[int, ...]:
    """Return the rounds a level as a tuple. Raises `InputError`."""
    given = (value,) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(given, list | tuple) or not given:
        msg = f"rounds: {value!r} is not a list of whole numbers"
        raise InputError(msg)
    for number in given:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 100:
            msg = f"rounds: {number!r} is not a whole number from 0 to 100"
            raise InputError(msg)
    return tuple(given)
