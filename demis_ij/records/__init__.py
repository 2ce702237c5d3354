"""The nouns, and how a notebook shows them."""

from demis_ij.records.nouns import (
    OVERRULED_WEIGHT,
    Affine,
    Correspondences,
    Layout,
    PairMatch,
    Points,
    Rejected,
    Solution,
    Tile,
)
from demis_ij.records.warps import Field, Offsets, Warp

__all__ = [
    "OVERRULED_WEIGHT", "Affine", "Correspondences", "Field", "Layout", "Offsets", "PairMatch", "Points", "Rejected",
    "Solution", "Tile", "Warp",
]  # fmt: skip
