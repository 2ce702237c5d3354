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

__all__ = [
    "OVERRULED_WEIGHT", "Affine", "Correspondences", "Layout", "PairMatch", "Points", "Rejected", "Solution", "Tile",
]  # fmt: skip
