"""``compare``: the same layout by several matchers, and as it was, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.errors import InputError
from demis_ij.worker import inputs
from demis_ij.worker.given import STITCH, run_folder, wanted
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

ENDING = ".compare.demis"
MATCHERS = ("loftr", "sift")


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Stitch by each matcher, measure all in the same way, and draw all in one frame."""
    tell("reading the layout", 0, 1)
    if "matcher" in given and "matchers" in given:
        msg = "compare: give 'matchers', a list, or 'matcher', not both"
        raise InputError(msg)
    names = given.get("matchers") or ((given["matcher"],) if "matcher" in given else MATCHERS)
    asks = [wanted(given, matcher=name) for name in dict.fromkeys(names)]
    document, ready = asks[0].document, [ask.job for ask in asks]
    settings = {"compare": [jobs.settings_of(document, jobs.as_compared(job)) for job in ready]}
    out = run_folder(given, settings, ENDING)

    def begin(matcher: str) -> None:
        tell.prefix = f"{matcher}: " if matcher else ""

    found = jobs.run_compare(document, out, ready, progress=tell, on_matcher=begin, draw=True)
    return {**found, "out": out}


VERB = Verb(run, {**STITCH, "matchers": inputs.texts}, needed=("layout",))
