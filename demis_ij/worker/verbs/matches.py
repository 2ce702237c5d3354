"""``matches``: the pairs of a finished run, and stacks of the worst of them, or of those that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.worker import inputs
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Make the stacks in the run folder."""
    return jobs.show_pairs(
        given["run"],
        fixed=given.get("fixed"),
        moving=given.get("moving"),
        worst=given.get("worst", 5),
        progress=tell,
    )


VERB = Verb(
    run,
    {"run": inputs.folder, "fixed": inputs.text, "moving": inputs.text, "worst": inputs.whole(0, 1000)},
    needed=("run",),
)
