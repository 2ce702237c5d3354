"""Whole jobs, as the command line and the worker call them: a document in, a run folder out.

``plans``           what a job is, and all that is checked before anything is written
``stitching``       the story: `run_stitch`
``solved_layouts``  solved copies of the user's layouts, which never replace what a user has made
``mosaics``         mosaics of runs and of layouts
``comparing``       `run_compare`, `rebuild_report`
"""

from demis_ij.jobs.comparing import rebuild_report, run_compare
from demis_ij.jobs.mosaics import draw_mosaic, make_preview, run_render
from demis_ij.jobs.plans import JobResult, StitchJob, check_parts, chosen_sections, plan, ready_sections
from demis_ij.jobs.solved_layouts import write_solved_layout
from demis_ij.jobs.stitching import placed_beside_neighbours, run_stitch, summary

__all__ = [
    "JobResult", "StitchJob", "check_parts", "chosen_sections", "draw_mosaic", "make_preview",
    "placed_beside_neighbours", "plan", "ready_sections", "rebuild_report", "run_compare", "run_render", "run_stitch",
    "summary", "write_solved_layout",
]  # fmt: skip
