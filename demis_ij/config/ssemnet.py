"""Settings of ssEMnet: how one section is brought onto its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError

INTERPOLATIONS = ("bilinear", "tps", "bspline")
DROP_CLOCKS = ("step", "round")
SIDES = ("before", "both")
OWN_WEIGHTS = {"own": "tem", "own_sem": "sem"}
"""Weights that ``demis-ij align`` trains on the stack itself, and which form they have."""


@dataclass(frozen=True, kw_only=True)
class SsemnetConfig:
    """How ssEMnet aligns (Yoo et al. 2017, arXiv:1707.07833, sections 2.2 and 3).

    Weights of the loss are those of *means*: the feature term is divided by the number of features, in units of their
    variance on the images they were trained on, the terms of the vector map by its number of nodes. That is eq. 4
    and 5 times a constant, with weights that do not depend on the size of the image.

    Attributes
    ----------
    weights : str
        ``tem`` or ``sem`` (the autoencoders that ship), or the path of one of your own. ``own`` or ``own_sem``: one
        that ``demis-ij align`` trains on the stack itself first, as in the paper, and keeps in the run folder.
    spacing_px : float
        From node to node of the vector map, px of the section; 1 has a node on every pixel, less is refused.
    interpolation : str
        Between the nodes: ``bilinear`` (the paper's choice), ``tps`` or ``bspline``.
    alpha : float
        Weight of the squared length of the vectors, px^2.
    beta, gamma : float
        Weights of the squared gradient of their x and y parts, px per px.
    neighbours : int
        How many sections a section is compared with, on either side that counts.
    neighbour_decay : float
        Weight of the second neighbour in parts of the first's, of the third in parts of the second's, and so on.
    steps : int
        Of Adam, at each level.
    rate_px : float
        Adam's learning rate: about the px of the level that a vector may change in a step. It falls in a straight
        line to a twentieth (ours).
    levels : int
        Of the image pyramid, coarse to fine, each twice as fine, none below 64 px; 1 is the paper (others are ours).
    drop : float
        Share of the feature errors, the largest, that is dropped at first; 0 drops nothing.
    drop_clock : str
        When that share is halved: after each ``step`` of Adam, or after each ``round``.
    rounds : int
        Into which the steps of a level are divided for the ``round`` clock.
    sides : str
        ``before``: sections are compared with those before them, which are aligned already, in one sweep. ``both``:
        with those after them, too, as these stand so far. The paper has "neighbours" and does not say which.
    sweeps : int
        How often the series is gone through; more than one only for ``both``.
    batch : int
        How many sections that are no neighbours of each other the second and further sweeps take together: for a
        GPU. It needs memory for as many; on a CPU it is no faster.
    window_px : float
        Standard deviation of the window in which grey values are normalised; 0 takes the whole section.
    patience : int
        Steps without a gain of a thousandth after which a level is over; 0 never stops early.
    largest_px : int
        Sections with more pixels are aligned at half the resolution, or a quarter, and so on.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    precision : str
        Of the network: ``float32``, ``float16`` or ``bfloat16``; ``auto`` takes float16 on a GPU.
    """

    weights: str = "tem"
    spacing_px: float = 16.0
    interpolation: str = "bilinear"
    alpha: float = 1e-4
    beta: float = 1.0
    gamma: float = 1.0
    neighbours: int = 2
    neighbour_decay: float = 0.5
    steps: int = 40
    rate_px: float = 1.0
    levels: int = 4
    drop: float = 0.5
    drop_clock: str = "round"
    rounds: int = 5
    sides: str = "both"
    sweeps: int = 2
    batch: int = 1
    window_px: float = 24.0
    patience: int = 12
    largest_px: int = 2_200_000
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        one_of("interpolation", self.interpolation, INTERPOLATIONS)
        one_of("drop_clock", self.drop_clock, DROP_CLOCKS)
        one_of("sides", self.sides, SIDES)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("precision", self.precision, ("auto", "float32", "float16", "bfloat16"))
        in_range("spacing_px", self.spacing_px, 0, 4096)
        if self.spacing_px < 1:
            msg = f"spacing_px: nodes {self.spacing_px:g} px apart make a vector map finer than the image: 1 at least"
            raise InputError(msg)
        for name in ("alpha", "beta", "gamma"):
            in_range(name, getattr(self, name), 0, 1e9)
        in_range("neighbours", self.neighbours, 1, 16)
        in_range("neighbour_decay", self.neighbour_decay, 0, 1)
        in_range("steps", self.steps, 1, 100_000)
        in_range("rate_px", self.rate_px, 1e-4, 100)
        in_range("levels", self.levels, 1, 8)
        in_range("drop", self.drop, 0, 0.95)
        in_range("rounds", self.rounds, 1, self.steps)
        in_range("sweeps", self.sweeps, 1, 100)
        in_range("batch", self.batch, 1, 1024)
        in_range("window_px", self.window_px, 0, 4096)
        in_range("patience", self.patience, 0, 100_000)
        in_range("largest_px", self.largest_px, 4096, 1_000_000_000)
        if self.sweeps > 1 and self.sides != "both":
            msg = f"sweeps: {self.sweeps} sweeps need sides = 'both'; sections before are final after one"
            raise InputError(msg)
        if self.batch > 1 and self.sweeps < 2:
            msg = f"batch: {self.batch} sections together need 2 sweeps at least; in the first each waits for the last"
            raise InputError(msg)
