"""The nouns, the coordinate conventions, and how a notebook shows them.

Images are ``[row, col]``. Points are ``(x, y)`` float64 with **pixel centres at integers**, in full-resolution tile
pixels. World is mosaic pixels, y down. Angles are radians. Any other unit is a suffix (``_nm``, ``_deg``).
``fixed`` and ``moving`` everywhere; a transform is named by where it leads (``to_world``, ``to_fixed``).

Records are frozen values: changing one makes a new one.
"""

from demis_ij.records.affine import Affine, Points
from demis_ij.records.lens import Lens
from demis_ij.records.matches import Correspondences, PairMatch, Rejected
from demis_ij.records.solution import OVERRULED_WEIGHT, Solution
from demis_ij.records.stack import Stack
from demis_ij.records.suspects import Suspect
from demis_ij.records.tiles import Layout, Tile
from demis_ij.records.warps import Field, Offsets, Warp

__all__ = [
    "OVERRULED_WEIGHT", "Affine", "Correspondences", "Field", "Layout", "Lens", "Offsets", "PairMatch", "Points",
    "Rejected", "Solution", "Stack", "Suspect", "Tile", "Warp",
]  # fmt: skip
