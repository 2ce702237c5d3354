"""Whole jobs, as the command line and the worker call them: a document in, a run folder out.

``reading``         `read_layout`: a file or a folder of tiles; `convert_layout`
``plans``           what a job is, and all that is checked before anything is written
``stitching``       the story: `run_stitch`; ``sections`` is one section of it, ``faulty`` names tiles that are not what
                    they should be, ``memory`` says what may be kept of tiles, ``totals`` what it all came to
``volume_stitching``  a stack, a section at a time; its sections on disk (``section_files``), what they share
                    (``volume_files``), neighbours compared (``across``), all of them solved together
                    (``volume_across``, ``volume_solving``)
``solved_layouts``  solved copies of the user's layouts, which never replace what a user has made
``mosaics``         mosaics of runs and of layouts
``pictures``        those that plain ImageJ opens, with what lies over them
``looks``           mosaics and pairs to look at in a notebook
``comparing``       `run_compare`
``pair_stacks``     what two tiles share, as stacks of two slices
``seam_measure``    how well any layout fits at its seams
``finished``        finished runs opened again: `reopen`, `rebuild_report`
``aligning``        `run_align`: a stack of sections, aligned into a run folder
``registering``     `run_register`: two images into register; beside it ``register_pictures`` (what is read of a file),
                    ``register_files`` (what is left), ``register_pairs`` (a list), ``register_watch`` (a folder, live),
                    ``register_compared`` (several methods side by side), ``register_looks`` (for notebooks)
``seams``           the seams of a run, worst first; beside it ``seam_tables`` (CSV, JSON), ``seam_looks`` (pictures)
``redoing``         a run done anew where something has changed; ``redo_plan`` says what, ``redo_count`` how much
``watching``        tiles matched while the microscope writes them; beside it ``watch_plan`` (which are to come),
                    ``watch_files`` (which are whole), ``watch_section`` (their seams), ``watch_axes`` (flips of the
                    stage), ``watch_run`` (the run folder), ``watch_events`` and ``watch_page`` (what is said and shown)
``parts``           a part of the pairs, matched by itself; ``merging`` joins what several runs matched
``live_run``        the live page of a run of ``stitch`` that takes long
``installation``    `examine`: what this installation has, and the remedy for what it lacks
"""

from demis_ij.jobs.align_looks import look_at_cuts, look_at_section, look_at_warp
from demis_ij.jobs.aligning import (
    AlignJob,
    AlignJobResult,
    align_settings,
    align_summary,
    plan_align,
    run_align,
    verdicts_json,
)
from demis_ij.jobs.chosen_stacks import channels_of, chosen_of_stack, companion_of
from demis_ij.jobs.comparing import as_compared, run_compare
from demis_ij.jobs.finished import rebuild_report, reopen
from demis_ij.jobs.installation import Finding, examine, try_imagej
from demis_ij.jobs.looks import look_at_layout, look_at_mosaic, look_at_pair
from demis_ij.jobs.mosaics import draw_mosaic, make_preview, run_render
from demis_ij.jobs.pair_stacks import show_pairs
from demis_ij.jobs.pictures import Picture, show_mosaics
from demis_ij.jobs.plans import (
    JobResult,
    StitchJob,
    check_parts,
    chosen_sections,
    plan,
    ready_sections,
    settings_of,
)
from demis_ij.jobs.reading import Converted, convert_layout, read_layout
from demis_ij.jobs.register_compared import compare_registrations
from demis_ij.jobs.register_looks import look_at_registration
from demis_ij.jobs.register_pairs import Pair
from demis_ij.jobs.register_runs import run_register
from demis_ij.jobs.registering import register_files
from demis_ij.jobs.sections import placed_beside_neighbours
from demis_ij.jobs.solved_layouts import write_solved_layout
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
