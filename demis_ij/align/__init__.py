"""A stack of sections in, one warp a section out: evidence between neighbours, then one joint solve for all.

``aligning``    the story: `align`
``sections``    where sections come from; evened out, reduced, kept
``grids``       the nodes that all warps share
``coarse``      turns and shifts, where neighbours do not fit as they lie
``searching``   the turn and shift that stand out among all
``placing``     who stays, and where the others go
``evidence``    what neighbours say of each other
``relaxing``    all sections at once, node by node
``anchoring``   what is the section's own deformation, and what the tissue's course
``joint``       the rounds, coarse to fine
``verdicts``    better than doing nothing?
``repeats``     copies of another section
``bridging``    sections that could not be compared
``chains``      one section after the other: ssEMnet, and any aligner
"""

from demis_ij.align.aligning import align
from demis_ij.align.memory import Memory
from demis_ij.align.results import AlignResult, PairEvidence, Round, SectionVerdict
from demis_ij.align.sections import ArraySections, Sections, StackSections

__all__ = [
    "AlignResult", "ArraySections", "Memory", "PairEvidence", "Round", "SectionVerdict", "Sections", "StackSections",
    "align",
]  # fmt: skip
