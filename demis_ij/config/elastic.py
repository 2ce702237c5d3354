"""Settings of our own elastic registration."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError

MODES = ("accurate", "mono")
SIMILARITIES = ("ncc", "ssd", "mind", "mi")
_MOST_INTERVALS = 256


@dataclass(frozen=True, kw_only=True)
class ElasticSettings:
    """How `demis_ij.aligners.elastic` registers two images. Lengths are px of the image unless said.

    Weights are against the image's: each term is a mean over the image, of squared px for the smoothness (of what a
    spline bends from one node to the next), for the consistency and for landmarks.

    Attributes
    ----------
    mode : str
        accurate (two splines, there and back, that are solved for together and tied to be each other's inverse) or
        mono (one spline; the way back is its inverse).
    similarity : str
        ncc (correlation in a window: does not mind shading, contrast and damage in places), ssd (equal grey values),
        mind (what the neighbourhood looks like, for other contrasts) or mi (mutual information).
    intervals : int
        Of the spline along either side, a power of two; bUnwarpJ makes 1 to 16. 0 is one in 16 px or fewer along the
        longer side, 64 at most.
    image_weight : float
        Of the similarity.
    divergence_weight, curl_weight : float
        Of the gradient of the divergence, and of the curl, of the displacement; an affine map has neither.
    carry : float
        For about so many nodes of the finest spline beyond what both images show it goes on as it was; further away it
        goes back to rest, which is the start. 0 lets it go on without end.
    consistency_weight : float
        Of the distance from where there and back leads to where it began; without effect in mono.
    landmark_weight : float
        Of the distance of landmarks, each of which has a weight of its own besides.
    fold_weight : float
        Of the area that is shrunk below ``least_jacobian``, squared, at nodes where it is.
    least_jacobian : float
        Nothing is shrunk by more than this factor; the result is checked, and smoothed where it was.
    window_px : float
        Standard deviation of the window of ncc, px of each level of the pyramid.
    coarsest_px : int
        The shorter side of the coarsest level is not less than this.
    finest : int
        The finest level is reduced by two to the power of this; 0 is the whole image.
    iterations : int
        Most steps at each level.
    settled_px : float
        A level ends when no more than this is moved by a step, root mean square, px of the level.
    stride_px : int
        Distance of the nodes of the result; 0 is a quarter of an interval.
    device : str
        auto, cpu or cuda.

    Examples
    --------
    >>> ElasticSettings(similarity="mi").mode
    'accurate'
    """

    mode: str = "accurate"
    similarity: str = "ncc"
    intervals: int = 0
    image_weight: float = 1.0
    divergence_weight: float = 0.02
    curl_weight: float = 0.02
    carry: float = 6.0
    consistency_weight: float = 0.3
    landmark_weight: float = 1.0
    fold_weight: float = 10.0
    least_jacobian: float = 0.1
    window_px: float = 8.0
    coarsest_px: int = 32
    finest: int = 0
    iterations: int = 12
    settled_px: float = 0.02
    stride_px: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        one_of("mode", self.mode, MODES)
        one_of("similarity", self.similarity, SIMILARITIES)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        in_range("intervals", self.intervals, 0, _MOST_INTERVALS)
        if self.intervals & (self.intervals - 1):
            msg = f"intervals: {self.intervals} is no power of two: 1, 2, 4, ... {_MOST_INTERVALS}, or 0 for auto"
            raise InputError(msg)
        for name in (
            "image_weight", "divergence_weight", "curl_weight", "consistency_weight", "landmark_weight", "fold_weight",
        ):  # fmt: skip
            in_range(name, getattr(self, name), 0, 1e6)
        in_range("carry", self.carry, 0, 10_000)
        in_range("least_jacobian", self.least_jacobian, 0, 0.9)
        in_range("window_px", self.window_px, 1, 1000)
        in_range("coarsest_px", self.coarsest_px, 16, 4096)
        in_range("finest", self.finest, 0, 8)
        in_range("iterations", self.iterations, 1, 1000)
        in_range("settled_px", self.settled_px, 0, 100)
        in_range("stride_px", self.stride_px, 0, 10_000)

    @property
    def rest_weight(self) -> float:
        """Weight of the squared displacement: as much as smoothness weighs a wave of 2 pi ``carry`` nodes."""
        if not self.carry:
            return 0.0
        return (self.divergence_weight + self.curl_weight) / 2 / self.carry**4

    def intervals_for(self, shape: tuple[int, int]) -> int:
        """Return N for an image of ``shape`` (rows, cols).

        Examples
        --------
        >>> ElasticSettings().intervals_for((512, 512)), ElasticSettings().intervals_for((192, 100))
        (32, 16)
        """
        if self.intervals:
            return self.intervals
        found = 1
        while found < 64 and found * 16 < max(shape):
            found *= 2
        return found


__all__ = ["MODES", "SIMILARITIES", "ElasticSettings"]
