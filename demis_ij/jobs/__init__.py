"""Whole jobs, as the command line and the worker call them: a document in, a run folder out.

``reading``         `read_layout`: a file or a folder of tiles; `convert_layout`
``stitch_job``      what a stitching job is told, and what comes of it
``plans``           all that is checked before anything is written
``stitching``       the story: `run_stitch`; ``sections`` is one section of it, ``faulty`` names tiles that are not what
                    they should be, ``memory`` says what may be kept of tiles, ``totals`` what it all came to
``solved_layouts``  solved copies of the user's layouts, which never replace what a user has made (``solved_names``)
``mosaics``         mosaics of runs and of layouts: `run_render`; ``rendering`` says what there is to draw
``pictures``        those that plain ImageJ opens, with what lies over them
``looks``           mosaics and pairs to look at in a notebook; ``shown`` is the card of a run
``comparing``       `run_compare`
``pair_stacks``     what two tiles share, as stacks of two slices
``finished``        finished runs opened again: `reopen`, `rebuild_report`
``parts``           a part of the pairs, matched by itself; ``merging`` joins what several runs matched
``installation``    `examine`: what this installation has, and the remedy for what it lacks

Sub-rooms:

``volume``    a stack, stitched a section at a time (``stitching``); its sections on disk (``section_files``), what they
              share (``files``), neighbours compared (``across``), all of them solved together (``together``,
              ``solving``)
``align``     `run_align`: a stack of sections, aligned into a run folder (``aligning``)
``register``  `run_register`: two images into register (``registering``); what is read of a file (``pictures``), what is
              bent (``bending``), what is left (``files``), a list (``pairs``), a folder, live (``watch``), several
              methods side by side (``compared``)
``seams``     the seams of a run, worst first (``worst``, ``tables``, ``looks``); how well any layout fits (``measure``)
``redo``      a run done anew where something has changed (``redoing``): what (``plan``) and how much (``count``)
``watch``     tiles matched while the microscope writes them (``watching``): which are to come (``plan``), which are
              whole (``files``), their seams (``section``), flips of the stage (``axes``), its folder (``run``), what
              is said and shown (``events``, ``page``); ``live_run`` is the live page of a long run of ``stitch``
``networks``  networks trained: ``loftr``, ``two_headed``, ``autoencoders``; their run folder (``runs``)
``styles``    style networks, trained (``training``) and used (``applying``)
"""

from demis_ij.jobs.align.aligning import (
    AlignJob,
    AlignJobResult,
    align_settings,
    align_summary,
    plan_align,
    run_align,
    verdicts_json,
)
from demis_ij.jobs.align.chosen_stacks import channels_of, chosen_of_stack, companion_of
from demis_ij.jobs.align.looks import look_at_cuts, look_at_section, look_at_warp
from demis_ij.jobs.comparing import as_compared, run_compare
from demis_ij.jobs.finished import rebuild_report, reopen
from demis_ij.jobs.installation import Finding, examine, try_imagej
from demis_ij.jobs.looks import look_at_layout, look_at_mosaic, look_at_pair
from demis_ij.jobs.mosaics import draw_mosaic, make_preview, run_render
from demis_ij.jobs.pair_stacks import show_pairs
from demis_ij.jobs.pictures import Picture, show_mosaics
from demis_ij.jobs.plans import check_parts, chosen_sections, plan, ready_sections, settings_of
from demis_ij.jobs.reading import Converted, convert_layout, read_layout
from demis_ij.jobs.register.compared import compare_registrations
from demis_ij.jobs.register.looks import look_at_registration
from demis_ij.jobs.register.pairs import Pair
from demis_ij.jobs.register.registering import register_files
from demis_ij.jobs.register.runs import run_register
from demis_ij.jobs.sections import placed_beside_neighbours
from demis_ij.jobs.solved_layouts import write_solved_layout
from demis_ij.jobs.stitch_job import JobResult, StitchJob
from demis_ij.jobs.stitching import run_stitch, summary

__all__ = [
    "AlignJob", "AlignJobResult", "Converted", "Finding", "JobResult", "Pair", "Picture", "StitchJob", "align_settings",
    "align_summary", "as_compared", "channels_of", "check_parts", "chosen_of_stack", "chosen_sections",
    "companion_of", "compare_registrations", "convert_layout", "draw_mosaic", "examine", "look_at_cuts",
    "look_at_layout", "look_at_mosaic", "look_at_pair", "look_at_registration", "look_at_section", "look_at_warp",
    "make_preview", "placed_beside_neighbours", "plan", "plan_align", "read_layout", "ready_sections",
    "rebuild_report", "register_files", "reopen", "run_align", "run_compare", "run_register", "run_render",
    "run_stitch", "settings_of", "show_mosaics", "show_pairs", "summary", "try_imagej", "verdicts_json",
    "write_solved_layout",
]  # fmt: skip
