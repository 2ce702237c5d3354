"""Several matchers side by side, and beside them the layout as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import views
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import common_canvas, draw_mosaic, make_preview
from demis_ij.jobs.pictures import Frame, Picture, pictured, show_mosaic
from demis_ij.jobs.plans import check_parts, ready_sections, settings_of
from demis_ij.jobs.seams.measure import SeamFit, apart_px, seam_fit, witnesses
from demis_ij.jobs.sections import oriented
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.records import Layout, PairMatch, Solution
from demis_ij.render import Canvas
from demis_ij.report import write_report
from demis_ij.runs import RunFolder, check_folder, fingerprint, occupied, slug
from demis_ij.stitch import Progress, StitchResult, stitch, usable

AS_IT_WAS = "project"
"""What the layout as its file has it is called among the matchers."""


@dataclass(frozen=True, eq=False)
class _Section:
    """One section in all its versions.

    Attributes
    ----------
    as_it_was : Layout
        As its file has it.
    runs : mapping of str to StitchResult
        By matcher.
    """

    as_it_was: Layout
    runs: Mapping[str, StitchResult]

    @property
    def name(self) -> str:
        return self.as_it_was.section

    @property
    def layouts(self) -> dict[str, Layout]:
        """Every version's layout by its name, the one as it was first."""
        return {AS_IT_WAS: self.as_it_was, **{name: r.solution.layout for name, r in self.runs.items()}}


def run_compare(
    document: Document,
    out: Path,
    jobs: Sequence[StitchJob],
    *,
    progress: Progress | None = None,
    on_matcher: Callable[[str], None] | None = None,
    truth: Layout | None = None,
    draw: bool = False,
) -> dict[str, Any]:
    """Stitch the same layout by several matchers, and show them side by side in ``out/report.html``.

    Parameters
    ----------
    document : Document
        What was read.
    out : Path
        The folder; a comparison with the same settings is gone on with.
    jobs : sequence of StitchJob
        One a matcher.
    progress, on_matcher : callable, optional
        Told how far the work is, and who is at work.
    truth : Layout, optional
        Where the tiles really lie.
    draw : bool
        Draw every version's mosaic, and the layout as it was, for ImageJ.

    Returns
    -------
    dict
        ``table``: one row a section and version, that of the layout as it was last; ``pictures``; ``report``: the
        page; ``warnings``; ``resumed``.

    Raises
    ------
    InputError, WeightsError
        When something given cannot be used; nothing was written then.
    """
    tell = progress or (lambda _what, _done, _all: None)
    say = on_matcher or (lambda _name: None)
    free = [as_compared(j) for j in jobs]
    store = TileStore(clip=free[0].config.clahe_clip)
    ready, warnings = ready_sections(document, free[0], store)
    settings = {"compare": [settings_of(document, j) for j in free]}
    if not check_folder(out, settings):
        for job in free:
            check_parts(job.config)
    with occupied(out):
        folder = RunFolder(out, settings)
        warnings = [*document.warnings, *warnings]
        many = len(document.layouts) > 1
        sections = []
        for layout in ready:
            section, found = _in_all_versions(layout, free, many, folder, store, tell, say)
            sections.append(section)
            warnings += found
        say("")
        tell("report", 0, 1)
        results = {_run_name(name, s.name, many): r for s in sections for name, r in s.runs.items()}
        previews = {name: make_preview(r, store) for name, r in results.items()}
        page = out / "report.html"
        write_report(page, results, previews=previews, store=store, truth=truth, title=document.path.name)
        table = [row for s in sections for row in _rows(s, many, store)]
        tell("report", 1, 1)
        pictures: list[Picture] = []
        for s in sections if draw else ():
            shown, said = _pictures(s, many, folder, free[0], store, tell, say)
            pictures += shown
            warnings += [line for line in said if line not in warnings]
        return {
            "table": table,
            "pictures": [p.told for p in pictures],
            "report": str(page),
            "warnings": warnings,
            "resumed": folder.resumed,
        }


def as_compared(job: StitchJob) -> StitchJob:
    """Return a job as it is compared: nothing is moved in the user's project, so annotations are no hindrance."""
    return replace(job, images_only=True)


def _run_name(matcher: str, section: str, many: bool) -> str:
    return f"{matcher}, {section}" if many else matcher


def _in_all_versions(
    layout: Layout,
    jobs: Sequence[StitchJob],
    many: bool,
    folder: RunFolder,
    store: TileStore,
    tell: Progress,
    say: Callable[[str], None],
) -> tuple[_Section, list[str]]:
    """Return a section stitched by every matcher, and what is to be said of it."""
    turned, warnings = oriented(layout, jobs[0].config, jobs[0].stage_axes, store, tell, folder)
    runs: dict[str, StitchResult] = {}
    for job in jobs:
        name = _run_name(job.config.matcher, layout.section, many)
        say(name)
        result = stitch(turned, job.config, store=store, memory=folder.memory(name), progress=tell)
        warnings += [f"{name}: {w}" for w in result.warnings]
        runs[job.config.matcher] = result
    return _Section(usable(layout, jobs[0].config)[0], runs), warnings


# --- the table --------------------------------------------------------------------------------------------------------


def _rows(section: _Section, many: bool, store: TileStore) -> list[dict[str, Any]]:
    """Return one row a version, that of the layout as it was last."""
    seen = witnesses(section.runs.values())
    fits = {name: seam_fit(layout, seen, store) for name, layout in section.layouts.items()}
    rows = []
    for name, r in section.runs.items():
        believed = [p for p in r.pairs if isinstance(p, PairMatch)]
        residual = [v for v in r.solution.pair_residual_px.values() if np.isfinite(v)]
        rows.append(
            {
                "matcher": _run_name(name, section.name, many),
                "section": section.name,
                "pairs": len(r.pairs),
                "accepted": len(believed),
                "inliers": int(np.median([p.inliers for p in believed])) if believed else None,
                "residual_px": float(np.median(residual)) if residual else None,
                "components": len(r.solution.component_sizes),
                "s_per_pair": r.timings_s["match"] / max(1, len(r.pairs)),
                **_told(fits[name]),
            }
        )
    nobody = dict.fromkeys(("pairs", "accepted", "inliers", "residual_px", "components", "s_per_pair"))
    name = _run_name(AS_IT_WAS, section.name, many)
    return [*rows, {"matcher": name, "section": section.name, **nobody, **_told(fits[AS_IT_WAS])}]


def _told(fit: SeamFit) -> dict[str, Any]:
    """Return a fit as columns of the table."""
    known = {"seam_median_px": fit.median_px, "seam_max_px": fit.max_px, "likeness": fit.likeness}
    return {"seams": fit.seams, **{name: v if np.isfinite(v) else None for name, v in known.items()}}


# --- the pictures -----------------------------------------------------------------------------------------------------


def _pictures(
    section: _Section,
    many: bool,
    folder: RunFolder,
    job: StitchJob,
    store: TileStore,
    tell: Progress,
    say: Callable[[str], None],
) -> tuple[list[Picture], list[str]]:
    """Draw every version into one frame, so that the pictures lie on top of each other, each with its view.

    Returns the pictures, that of the layout as it was last, and what is to be said of them.
    """
    frames = _frames(section.layouts)
    shown = []
    said: list[str] = []
    for name, layout in section.layouts.items():
        canvas = frames[name]
        say(_run_name(name, section.name, many))
        stem = slug(f"{name}_{section.name}" if many else name)
        path = folder.path / f"mosaic_{stem}.tif"
        state = fingerprint([[t.id, t.to_world.rows] for t in layout] + [[canvas.origin, canvas.shape]])
        if not folder.is_done(f"mosaic-{stem}", state, [path]):
            done = draw_mosaic(layout, {"imagej": path}, job.render, store, canvas=canvas, progress=tell)
            folder.mark_done(f"mosaic-{stem}", state, done.warnings)
        said += folder.notes(f"mosaic-{stem}")
        frame = Frame.of(canvas, job.render.picture_max_px)
        if name == AS_IT_WAS:
            shown.append(_show_as_it_was(section, path, frame))
        else:
            shown.append(show_mosaic(name, section.runs[name], path, frame, f"{name}: section {section.name}"))
    say("")
    return [*shown[1:], shown[0]], said


def _frames(layouts: Mapping[str, Layout]) -> dict[str, Canvas]:
    """Return one canvas for all layouts; each its own when they lie in different places (flipped axes)."""
    own = {name: Canvas.of(layout) for name, layout in layouts.items()}
    common = common_canvas(list(layouts.values()))
    largest = max(c.shape[0] * c.shape[1] for c in own.values())
    if common.shape[0] * common.shape[1] > 1.5 * largest:
        return own
    return dict.fromkeys(layouts, common)


def _show_as_it_was(section: _Section, path: Path, frame: Frame) -> Picture:
    """Write the view of the layout as it was, with the first matcher's pairs measured in it."""
    layout = section.as_it_was
    pairs = next(iter(section.runs.values())).pairs
    there = [p for p in pairs if isinstance(p, PairMatch) and p.fixed in layout and p.moving in layout]
    nothing_solved = Solution(
        layout,
        dict.fromkeys(layout.ids, 0),
        dict.fromkeys(layout.ids, float("inf")),
        {(p.fixed, p.moving): apart_px(layout, p) for p in there},
    )
    view = views.mosaic_view(
        layout,
        nothing_solved,
        pairs,
        dict.fromkeys(layout.ids, AS_IT_WAS),
        to_picture=frame.from_world,
        shape=frame.shape,
        scale=frame.scale,
        title=f"as it was: section {section.name}",
    )
    return pictured(AS_IT_WAS, section.name, path, view)
