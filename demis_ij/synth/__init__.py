"""Large images to overlapping tiles with truth: the DEMIS dataset recipe, and a maker of EM-like sections."""

from demis_ij.synth.grid import DEMO, SETS, GridSpec
from demis_ij.synth.scene import Scene, demo_scene, make_scene, resin, sample, tile_id
from demis_ij.synth.section import section
from demis_ij.synth.styles import STYLES, Style
from demis_ij.synth.truth import (
    Truth,
    corner_error_px,
    global_error_px,
    overlap_error_px,
    overlap_points,
    read_truth,
    true_to_fixed,
    write_scene,
)

__all__ = [
    "DEMO", "SETS", "STYLES", "GridSpec", "Scene", "Style", "Truth", "corner_error_px", "demo_scene", "global_error_px",
    "make_scene", "overlap_error_px", "overlap_points", "read_truth", "resin", "sample", "section", "tile_id",
    "true_to_fixed", "write_scene",
]  # fmt: skip
