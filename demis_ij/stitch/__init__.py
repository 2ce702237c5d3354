"""The story of stitching: a layout goes in, a solved layout comes out, with a reason for every pair.

::

    neighbours ─▶ match (loftr, else sift, else correlation) ─▶ solve ─▶ second pass: search wider, where the
    solved neighbours say, and at the neighbours nobody expected ─▶ solve
"""

from demis_ij.stitch.asking import match_first, part_of
from demis_ij.stitch.axes import AXES, find_axes, with_axes
from demis_ij.stitch.parts import AUTO, make_matcher, make_solver
from demis_ij.stitch.results import Memory, Outcome, Pair, Progress, StitchResult
from demis_ij.stitch.stitching import stitch, usable

__all__ = [
    "AUTO", "AXES", "Memory", "Outcome", "Pair", "Progress", "StitchResult", "find_axes", "make_matcher", "make_solver",
    "match_first", "part_of", "stitch", "usable", "with_axes",
]  # fmt: skip
