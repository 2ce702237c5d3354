"""The nouns, and how a notebook shows them."""

from demis_ij.records.lens import Lens
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
from demis_ij.records.stack import Stack
from demis_ij.records.suspects import Suspect
from demis_ij.records.warps import Field, Offsets, Warp

__all__ = [
    "OVERRULED_WEIGHT", "Affine", "Correspondences", "Field", "Layout", "Lens", "Offsets", "PairMatch", "Points",
    "Rejected", "Solution", "Stack", "Suspect", "Tile", "Warp",
]  # fmt: skip
