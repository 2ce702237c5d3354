"""Misaligned stacks with known warps, from any aligned volume with labels or from made-up tissue."""

from demis_ij.synth.stack.cases import CASES, Case, case_named
from demis_ij.synth.stack.deforming import Deformation, drawn
from demis_ij.synth.stack.files import TrueStack, in_memory, is_true_stack, read_true_stack, write_stack
from demis_ij.synth.stack.making import MadeSection, make_sections
from demis_ij.synth.stack.volumes import ArrayVolume, LabelledVolume, made_up, read_volume

__all__ = [
    "CASES", "ArrayVolume", "Case", "Deformation", "LabelledVolume", "MadeSection", "TrueStack", "case_named", "drawn",
    "in_memory", "is_true_stack", "made_up", "make_sections", "read_true_stack", "read_volume", "write_stack",
]  # fmt: skip
