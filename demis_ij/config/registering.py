"""Settings of ``register``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.config.elastic import SIMILARITIES
from demis_ij.errors import InputError

METHODS = ("auto", "network", "search", "sift", "ecc", "log-polar", "elastix")
"""``auto``: the network's start, then a search where that does not hold, then the fit. ``network``: its two
passes, no more. ``search``: without the network. The others are what the field uses otherwise, to compare with."""

MODELS = ("rigid", "similarity", "affine", "elastic")
"""``elastic``: a similarity, and what is bent besides by cubic B-splines (`demis_ij.aligners.elastic`)."""
REACHES = ("near", "wide")


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """How `demis_ij.register` works.

    Attributes
    ----------
    method : str
        auto, network, search, or a baseline: sift, ecc, log-polar, elastix.
    model : str
        What the result may do besides shifting: rigid (turn), similarity (turn and scale), affine, or elastic (bend, on
        top of a similarity).
    reach : str
        near: turns to 35 degrees, scales 0.7 to 1.43, shifts that leave a third of the images in common. wide: any
        turn, scales 0.5 to 2, shifts that leave a fifth, when nothing is found near.
    weights : str
        ``shipped``, ``none`` (no network), or the path of a network of one's own.
    side_px : int
        The longer side that the fixed image is looked at with.
    fixed_pixel_size, moving_pixel_size : float
        Size of a pixel, in one unit; 0 takes what the files say.
    least_score : float
        Correlation of the structure, at a quarter of the size looked at, from which two images match.
    style : str
        Of a style network that makes one image look like the other before they are compared: tissue, steel,
        fluorescence, or the path of one's own; none when empty. What comes out is drawn from the images themselves.
    restyle : str
        Which image the style is for: fixed, moving, or auto (the moving one, unless only the fixed one has the
        channels that the style leads from).
    start : str
        search, or none: both images show the same field already, middle on middle, and are only bent.
    landmarks : str
        File of points known to be the same: CSV with the columns fixed_x, fixed_y, moving_x, moving_y and, if you like,
        weight; or bUnwarpJ's. Three or more are the start, too. None when empty.
    similarity : str
        What elastic compares: ncc, ssd, mind or mi.
    stiffness : float
        Of what is bent, against what holds by default.
    bend_side_px : int
        The longer side that the fixed image is bent with.
    device : str
        auto, cpu, cuda or mps, for networks; what is bent is bent on the processor where that is mps.
    threads : int
        For the network and the search; 0 is one a processor.
    """

    method: str = "auto"
    model: str = "similarity"
    reach: str = "wide"
    weights: str = "shipped"
    side_px: int = 512
    fixed_pixel_size: float = 0.0
    moving_pixel_size: float = 0.0
    least_score: float = 0.0
    style: str = ""
    restyle: str = "auto"
    start: str = "search"
    landmarks: str = ""
    similarity: str = "ncc"
    stiffness: float = 1.0
    bend_side_px: int = 1024
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        one_of("method", self.method, METHODS)
        one_of("model", self.model, MODELS)
        one_of("reach", self.reach, REACHES)
        one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        in_range("side_px", self.side_px, 128, 4096)
        in_range("fixed_pixel_size", self.fixed_pixel_size, 0, 1e12)
        in_range("moving_pixel_size", self.moving_pixel_size, 0, 1e12)
        in_range("least_score", self.least_score, 0, 1)
        one_of("restyle", self.restyle, ("auto", "fixed", "moving"))
        one_of("start", self.start, ("search", "none"))
        one_of("similarity", self.similarity, SIMILARITIES)
        in_range("stiffness", self.stiffness, 0.01, 1000)
        in_range("bend_side_px", self.bend_side_px, 128, 4096)
        if self.landmarks and self.model != "elastic":
            msg = f"landmarks: needed model elastic, which uses them, found {self.model}"
            raise InputError(msg)
        in_range("threads", self.threads, 0, 256)

    @property
    def straight(self) -> RegisterConfig:
        """The settings of what comes before the bending."""
        if self.model != "elastic":
            return self
        return replace(self, model="similarity", landmarks="")
