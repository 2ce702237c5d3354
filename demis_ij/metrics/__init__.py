"""Numbers that say how good an answer is: points and transforms against their truth, pictures against pictures."""

from demis_ij.metrics.pixels import FULL_REFERENCE, brisque, fsim, largest_rectangle, missing_measures, psnr, rmse, ssim
from demis_ij.metrics.points import coverage, error_auc, reprojection_error_px
from demis_ij.metrics.poses import (
    corner_error_px,
    global_error_px,
    onto_truth,
    overlap_error_px,
    overlap_points,
    true_to_fixed,
)

__all__ = [
    "FULL_REFERENCE", "brisque", "corner_error_px", "coverage", "error_auc", "fsim", "global_error_px",
    "largest_rectangle", "missing_measures", "onto_truth", "overlap_error_px", "overlap_points", "psnr",
    "reprojection_error_px", "rmse", "ssim", "true_to_fixed",
]  # fmt: skip
