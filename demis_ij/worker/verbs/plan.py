"""``plan``: what ``stitch`` would do; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.worker.given import STITCH, WHO, run_folder, wanted
from demis_ij.worker.verbs import Verb
from demis_ij.worker.verbs.stitch import ENDING

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return sections, tiles, pairs and where everything would go."""
    tell("reading the layout", 0, 1)
    ask = wanted(given)
    out = run_folder(given, jobs.settings_of(ask.document, ask.job), ENDING)
    facts = jobs.plan(ask.document, ask.job, out)
    return {**facts, "format": ask.document.format}


VERB = Verb(run, {**STITCH, **WHO}, needed=("layout",))
