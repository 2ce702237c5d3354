"""Large images to overlapping tiles with truth: the DEMIS dataset recipe, and a maker of EM-like sections."""

from demis_ij.synth.section import section
from demis_ij.synth.styles import STYLES, Style

__all__ = ["STYLES", "Style", "section"]
