"""Several matchers side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import make_preview
from demis_ij.jobs.plans import StitchJob, check_parts, ready_sections, settings_of
from demis_ij.jobs.stitching import oriented
from demis_ij.records import Layout, PairMatch
from demis_ij.report import write_report
from demis_ij.runs import RunFolder, check_folder
from demis_ij.stitch import Progress, StitchResult, stitch


def run_compare(
    document: Document,
    out: Path,
    jobs: Sequence[StitchJob],
    *,
    progress: Progress | None = None,
    on_matcher: Callable[[str], None] | None = None,
    truth: Layout | None = None,
) -> dict[str, Any]:
    """Stitch the same section by several matchers, and show them side by side in ``out/report.html``.

    Returns
    -------
    dict
        ``table``: one row a matcher and section; ``report``: the page; ``warnings``; ``resumed``.

    Raises
    ------
    InputError, WeightsError
        When something given cannot be used; nothing was written then.
    """
    tell = progress or (lambda _what, _done, _all: None)
    free = [replace(j, images_only=True) for j in jobs]  # nothing is moved in the user's project
    store = TileStore(clip=free[0].config.clahe_clip)
    sections, warnings = ready_sections(document, free[0], store)
    settings = {"compare": [settings_of(document, j) for j in free]}
    if not check_folder(out, settings):
        for job in free:
            check_parts(job.config)
    folder = RunFolder(out, settings)
    warnings = [*document.warnings, *warnings]
    results: dict[str, StitchResult] = {}
    for section in sections:
        layout, found = oriented(section, jobs[0].config, jobs[0].stage_axes, store, tell, folder)
        warnings += found
        for job in jobs:
            name = job.config.matcher if len(document.layouts) == 1 else f"{job.config.matcher}, {section.section}"
            if on_matcher:
                on_matcher(name)
            memory = folder.memory(name)
            results[name] = stitch(layout, job.config, store=store, memory=memory, progress=tell)
            warnings += [f"{name}: {w}" for w in results[name].warnings]
    if on_matcher:
        on_matcher("")
    tell("report", 0, 1)
    previews = {name: make_preview(r, store) for name, r in results.items()}
    page = out / "report.html"
    write_report(page, results, previews=previews, store=store, truth=truth, title=document.path.name)
    tell("report", 1, 1)
    table = [_row(name, r) for name, r in results.items()]
    return {"table": table, "report": str(page), "warnings": warnings, "resumed": folder.resumed}


def _row(name: str, r: StitchResult) -> dict[str, Any]:
    believed = [p for p in r.pairs if isinstance(p, PairMatch)]
    residual = [v for v in r.solution.pair_residual_px.values() if np.isfinite(v)]
    return {
        "matcher": name,
        "pairs": len(r.pairs),
        "accepted": len(believed),
        "inliers": int(np.median([p.inliers for p in believed])) if believed else None,
        "residual_px": float(np.median(residual)) if residual else None,
        "components": len(r.solution.component_sizes),
        "s_per_pair": r.timings_s["match"] / max(1, len(r.pairs)),
    }
