"""Settings of ``register``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of

METHODS = ("auto", "network", "search", "sift", "ecc", "log-polar", "elastix")
"""``auto``: the network's start, then a search where that does not hold, then the fit. ``network``: one pass, no more.
``search``: without the network. The others are what the field uses otherwise, to compare with."""

MODELS = ("rigid", "similarity", "affine")
REACHES = ("near", "wide")


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """How `demis_ij.register` works.

    Attributes
    ----------
    method : str
        auto, network, search, or a baseline: sift, ecc, log-polar, elastix.
    model : str
        What the result may do besides shifting: rigid (turn), similarity (turn and scale) or affine.
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
    device : str
        auto, cpu, cuda or mps, for the network.
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
        in_range("threads", self.threads, 0, 256)
