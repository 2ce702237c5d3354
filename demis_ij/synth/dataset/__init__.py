"""Datasets of grids: large images cut into overlapping tiles with exact truth, in the layout of DEMIS and others."""

from demis_ij.synth.dataset.checking import check_dataset
from demis_ij.synth.dataset.demis import DemisGrid, read_demis_dataset
from demis_ij.synth.dataset.making import Made, make_dataset, plan_dataset
from demis_ij.synth.dataset.section_files import write_sections

__all__ = ["DemisGrid", "Made", "check_dataset", "make_dataset", "plan_dataset", "read_demis_dataset", "write_sections"]
