"""``stitch``: a layout in, a run folder out, with pictures that plain ImageJ opens and what lies over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.worker.given import STITCH, WHO, run_folder, wanted
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

ENDING = ".demis"


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Stitch, or go on with what an earlier request began."""
    tell("reading the layout", 0, 1)
    ask = wanted(given)
    out = run_folder(given, jobs.settings_of(ask.document, ask.job), ENDING)
    many = len(ask.document.layouts) > 1

    def begin(section: str) -> None:
        tell.prefix = f"section {section}: " if many and section else ""

    result = jobs.run_stitch(ask.document, out, ask.job, progress=tell, on_section=begin)
    facts = jobs.summary(result)
    files = facts["files"]
    return {
        "summary": facts,
        "pictures": [picture.told for picture in jobs.show_mosaics(result, ask.job)],
        "out": out,
        **{name: files[name] for name in ("report", "project", "layout", "seams") if name in files},
        "warnings": facts["warnings"],
        "notes": facts["notes"],
    }


VERB = Verb(run, {**STITCH, **WHO}, needed=("layout",))
