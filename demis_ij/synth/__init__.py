"""Large images to overlapping tiles with truth: the DEMIS dataset recipe, and a maker of EM-like sections."""

from demis_ij.synth.grid import DEMO, SETS, GridSpec
from demis_ij.synth.scene import Scene, demo_scene, make_scene, resin, sample, tile_id
from demis_ij.synth.section import section
from demis_ij.synth.series import SerialSection, Series, series
from demis_ij.synth.styles import STYLES, Style
from demis_ij.synth.truth import Truth, read_truth, write_scene

__all__ = [
    "DEMO", "SETS", "STYLES", "GridSpec", "Scene", "Style", "Truth", "demo_scene", "make_scene", "read_truth", "resin",
    "sample", "section", "SerialSection", "Series", "series", "tile_id", "write_scene",
]  # fmt: skip
