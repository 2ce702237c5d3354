"""``convert``: a layout from one format to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.worker import inputs
from demis_ij.worker.given import LAYOUT, read_document
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Write a new layout file; one that exists is not touched."""
    tell("reading the layout", 0, 1)
    done = jobs.convert_layout(
        read_document(given),
        given["to"],
        to=given.get("format"),
        allow_lossy=given.get("lossy", False),
        stage_axes=given.get("stage_axes"),
    )
    return {"path": done.path, "tiles": done.tiles, "sections": done.sections, "warnings": list(done.warnings)}


VERB = Verb(
    run,
    {**LAYOUT, "to": inputs.path, "format": inputs.text, "lossy": inputs.flag},
    needed=("layout", "to"),
)
