"""Numbers that say how good an answer is: points and transforms against their truth, pictures against pictures."""

from demis_ij.metrics.points import coverage, error_auc, reprojection_error_px
from demis_ij.metrics.poses import corner_error_px, global_error_px, overlap_error_px, overlap_points, true_to_fixed

__all__ = [
    "corner_error_px", "coverage", "error_auc", "global_error_px", "overlap_error_px", "overlap_points",
    "reprojection_error_px", "true_to_fixed",
]  # fmt: skip
