"""Pairs of tiles: who overlaps whom, what a matcher is shown of them, and whether its answer is believed.

The story of one pair: `overlap_crops` cuts what the two tiles should share, `view` normalises it, a matcher finds
points, `estimate_pair` finds the transform that most of them agree with and judges it, `demis_ij.matchers.refine`
makes the points exact, and `estimate_pair` has the last word.
"""

from demis_ij.pairs.gate import Gate, estimate_pair, shift_turn_covariance, within_stage_error
from demis_ij.pairs.matching import match_pair, match_pairs
from demis_ij.pairs.overlap import expected_to_fixed, neighbours, overlap_crops, view

__all__ = [
    "Gate",
    "estimate_pair",
    "expected_to_fixed",
    "match_pair",
    "match_pairs",
    "neighbours",
    "overlap_crops",
    "shift_turn_covariance",
    "view",
    "within_stage_error",
]
