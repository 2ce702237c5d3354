"""What a notebook shows of a stitched section or stack, as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from demis_ij import display
from demis_ij.display.markup import el
from demis_ij.jobs.totals import totals
from demis_ij.report.pictures import data_uri, shrink, to_grey

if TYPE_CHECKING:
    from demis_ij.jobs.stitch_job import JobResult

MOST_NAMED = 20
"""More sections are counted, not named."""
LARGEST_FILE = 64 * 2**20
"""A larger picture on disk, bytes, is named but not shown."""
PICTURE_SIDE = 800
PICTURE_BYTES = 150_000


def job_card(result: JobResult) -> display.Html:
    """Return what a job made: a line a section, the mosaic when its PNG is there and not huge, files and warnings."""
    names = [f.section for f in result.sections] or [r.layout.section for r in result.results]
    told = totals(result)
    lines: list[tuple[str, object]] = [
        ("sections", ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)}"),
        ("tiles", told["tiles"]),
        ("pairs that agree", f"{told['pairs_accepted']} of {told['pairs']}"),
        ("gone on with", "an earlier run" if result.resumed else None),
        *((name, path) for name, path in result.files.items()),
    ]
    return display.card(
        "Stitched",
        display.facts(lines),
        mosaic_picture(result.files.get("mosaic png")),
        display.listed(result.warnings),
        display.listed(result.notes),
    )


def mosaic_picture(path: Path | None) -> display.Html | None:
    """Return a small grey picture of a PNG; None when there is none, or it is too large to be read for a glance."""
    if path is None or not path.is_file() or path.stat().st_size > LARGEST_FILE:
        return None
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if image is None:
        return None
    small = shrink(to_grey(image, np.ones(image.shape, np.bool_)), PICTURE_SIDE)
    return el("img", src=data_uri(small, PICTURE_BYTES), alt="The mosaic", style="max-width:100%;display:block")
