"""A stitching run as one self-contained HTML page."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import demis_ij
from demis_ij.display.markup import Html, count, el, join, px, seconds
from demis_ij.errors import DemisError, InputError
from demis_ij.records import Layout, Points, Rejected
from demis_ij.report import tables
from demis_ij.report.agreement import pooled, tile_errors
from demis_ij.report.figures import grade_bar, grade_legend, matches_on_pair, mosaic_map, overlay, worst_place
from demis_ij.report.lens import lens_part
from demis_ij.report.pictures import Preview, close_up, strips
from demis_ij.report.seams import Seam, rejected_of, seams_of, stage_tiles
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT
from demis_ij.report.verdict import Verdict, judge, parts_of
from demis_ij.views import is_wide

if TYPE_CHECKING:
    from demis_ij.images import TileStore
    from demis_ij.stitch import StitchResult

MOSAIC_BYTES = 2_400_000
"""What the mosaics on the page may take together."""
PAIR_BYTES = 110_000
"""What one picture of a pair may take."""
ALL_PAIR_BYTES = 3_000_000
"""What all pictures of pairs may take together."""
WORST_SEAMS = 6
"""Seams shown in close-up; several runs share them, one each at least."""
LOST_PAIRS = 4
"""Rejected pairs shown in close-up; several runs share them."""
WARNINGS_SHOWN = 8
"""More warnings than these are folded away."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, eq=False)
class _Run:
    """One result with what the page says about it."""

    name: str
    anchor: str
    result: StitchResult
    seams: Sequence[Seam]
    rejected: Sequence[Rejected]
    verdict: Verdict
    letters: Mapping[tuple[str, str], tuple[str, str]]
    errors: Mapping[str, Points] | None
    pair_bytes: int


def write_report(
    path: Path,
    results: Mapping[str, StitchResult],
    *,
    previews: Mapping[str, Preview],
    store: TileStore | None = None,
    truth: Layout | None = None,
    title: str = "",
) -> None:
    """Write one HTML page that shows whether the mosaic can be trusted: no other file is needed to read it.

    Parameters
    ----------
    path : Path
        The page. An existing one is replaced when the new one is whole.
    results : mapping of str to StitchResult
        Name of the run ("auto"; "loftr" and "sift" side by side) to its result.
    previews : mapping of str to Preview
        Name of the run to its mosaic; a run without one is drawn as outlines.
    store : TileStore, optional
        Where the tiles' pixels come from; without it there are no close-ups of seams.
    truth : Layout, optional
        Where the tiles really lie, for made-up data; tiles are found by id.
    title : str, optional
        Heading; the name of the layout's file when empty.

    Raises
    ------
    InputError
        When there is no result.
    """
    if not results:
        msg = "a report needs one result at least, found none"
        raise InputError(msg)
    shown = len(results) if store is not None else 0
    runs = [_run(f"r{i}", name, result, shown, truth) for i, (name, result) in enumerate(results.items())]
    page = _page(runs, previews, store, truth, title)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _run(anchor: str, name: str, result: StitchResult, sharing: int, truth: Layout | None) -> _Run:
    """Return what the page says about a run; ``sharing`` runs share the close-ups, 0 when there are none."""
    seams, rejected = seams_of(result), rejected_of(result)
    shown: list[tuple[str, str]] = []
    if sharing:
        shown += [s.key for s in seams[: max(1, WORST_SEAMS // sharing)]]
        shown += [(r.fixed, r.moving) for r in rejected[: LOST_PAIRS // sharing]]
    letters = {k: (letter, f"{anchor}-{letter}") for k, letter in zip(shown, string.ascii_uppercase, strict=False)}
    errors = None if truth is None else tile_errors(result, truth)
    pair_bytes = min(PAIR_BYTES, ALL_PAIR_BYTES // max(1, 2 * len(letters) * sharing))
    return _Run(name, anchor, result, seams, rejected, judge(result, seams), letters, errors, pair_bytes)


def _page(
    runs: Sequence[_Run],
    previews: Mapping[str, Preview],
    store: TileStore | None,
    truth: Layout | None,
    title: str,
) -> Html:
    layout = runs[0].result.layout
    heading = title or (f"Stitching {layout.source.name}" if layout.source else "Stitching report")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS)),
    )
    parts: list[Html | None] = [Html(DEFINITIONS), el("header", el("h1", heading), _source(runs))]
    parts += [_banner(run, named=len(runs) > 1) for run in runs]
    if len(runs) > 1:
        parts.append(_side_by_side(runs, truth))
    parts += [_section(run, previews.get(run.name), store, truth, len(runs)) for run in runs]
    parts.append(el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")))
    body = el("body", *parts, el("script", Html(SCRIPT)))
    return join(Html("<!doctype html>\n"), el("html", head, body, lang="en"), Html("\n"))


def _sections(runs: Sequence[_Run]) -> dict[str, Layout]:
    """Return the layouts of the page, each section once."""
    return {run.result.layout.section: run.result.layout for run in runs}


def _source(runs: Sequence[_Run]) -> Html:
    layouts = list(_sections(runs).values())
    layout, tiles = layouts[0], sum(len(one) for one in layouts)
    said = [f"Section {layout.section}" if len(layouts) == 1 else f"{len(layouts)} sections", count(tiles, "tile")]
    if len(layouts) == 1 and layout.tiles:
        x0, y0, x1, y1 = layout.bounds()
        said.append(f"{x1 - x0:.0f} × {y1 - y0:.0f} px")
    if layout.pixel_size is not None:
        said.append("{:g} {} a pixel".format(*layout.pixel_size))
    if layout.source is not None:
        said.append(str(layout.source))
    return el("p", " · ".join(said), class_="source")


def _banner(run: _Run, *, named: bool) -> Html:
    verdict = run.verdict
    mark = {"good": "✓", "check": "!", "bad": "✕"}[verdict.level]
    link = el("a", run.name, href=f"#{run.anchor}") if named else None
    said = el(
        "p", el("strong", f"{mark} {verdict.word}. "), link, ": " if named else None, verdict.sentence, class_="said"
    )
    lines = list(verdict.remarks)
    if run.errors:
        values = pooled(run.errors.values())
        known = f"{px(float(np.median(values)))} px (median) and {px(float(values.max()))} px (worst)"
        lines.insert(0, f"Against the truth, the corners of the tiles that hang together are off by {known}.")
    remarks = el("ul", *[el("li", line) for line in lines]) if lines else None
    return el("section", said, remarks, class_=f"verdict {verdict.level}", aria_label="Verdict")


def _side_by_side(runs: Sequence[_Run], truth: Layout | None) -> Html:
    results = {run.name: run.result for run in runs}
    pairs = None
    if len(_sections(runs)) == 1:
        pairs = el("details", el("summary", "Every pair, run by run"), tables.pair_table(results))
    legend = el("p", "Residuals fall into classes: ", grade_legend(), class_="note")
    return el("section", el("h2", "Side by side"), tables.run_table(results, truth), legend, pairs)


def _section(run: _Run, preview: Preview | None, store: TileStore | None, truth: Layout | None, runs: int) -> Html:
    result = run.result
    parts: list[Html | None] = [el("h2", run.name if runs > 1 else "The mosaic", id=run.anchor), _cards(run)]
    if runs == 1 and truth is not None:
        parts += [el("h3", "Against the truth"), tables.truth_table(result, truth)]
    if result.layout.tiles:
        parts.append(_map(run, preview, MOSAIC_BYTES // runs))
    if result.suspects:
        parts += [el("h3", f"Strange tiles ({len(result.suspects)})"), tables.suspect_table(result.suspects)]
    parts.append(_warnings(result))
    parts.append(lens_part(result.lens, result.solution.layout))
    if run.seams:
        parts += [el("h3", "Seams, worst first"), grade_bar([s.after_px for s in run.seams], "seam")]
        parts.append(_close_ups(run, store, {s.key: s for s in run.seams}))
        parts += [el("h3", "All seams"), tables.seam_table(run.seams, run.letters)]
        parts.append(el("p", "Hover over a heading for its meaning, click it to sort.", class_="note"))
    if run.rejected:
        parts.append(el("h3", f"Pairs that were not believed ({len(run.rejected)})"))
        parts.append(_close_ups(run, store, {(r.fixed, r.moving): r for r in run.rejected}))
        parts.append(tables.rejected_table(run.rejected, run.letters))
    parts += [el("h3", "Parts of the mosaic"), tables.component_table(result, run.seams)]
    opened = len(result.layout) <= 12
    parts.append(el("details", el("summary", "Tiles"), tables.tile_table(result, run.seams, run.errors), open=opened))
    if result.timings_s:
        parts.append(el("details", el("summary", f"Timings ({_total(result)})"), tables.timing_table(result)))
    parts.append(el("details", el("summary", "Settings"), tables.config_table(result)))
    return el("section", *parts)


def _total(result: StitchResult) -> str:
    return seconds(sum(result.timings_s.values()))


def _cards(run: _Run) -> Html:
    result, seams = run.result, run.seams
    residuals = [s.after_px for s in seams if math.isfinite(s.after_px) and not s.is_overruled]
    held = len(result.layout) - len(stage_tiles(result))
    cards = [
        (f"{held} of {len(result.layout)}", "tiles held by a seam"),
        (f"{len(seams)} of {len(result.pairs)}", "pairs matched"),
        (f"{px(float(np.median(residuals)))} px" if residuals else "–", "residual of a believed seam, median"),
        (f"{px(max(residuals))} px" if residuals else "–", "residual of a believed seam, worst"),
        (str(len(parts_of(result))), "connected part" if len(parts_of(result)) == 1 else "connected parts"),
        (_total(result), "computing time"),
    ]
    return el(
        "div", *[el("div", el("b", value), el("span", label), class_="card") for value, label in cards], class_="cards"
    )


def _map(run: _Run, preview: Preview | None, max_bytes: int) -> Html:
    drawn = mosaic_map(
        run.result, run.seams, run.rejected, preview, name=run.anchor, letters=run.letters, max_bytes=max_bytes
    )
    keys: list[object] = ["Seams by residual after the solve: ", grade_legend()]
    if run.rejected:
        keys.append(_key("dash", "pair not matched"))
    if stage_tiles(run.result):
        keys.append(_key("hatch", "tile held by the stage only"))
    note = "An arrow leads from where the stage put a tile to where it was solved. Hover for names and numbers; "
    note += "zoom with the buttons or Ctrl + wheel, then drag."
    return el("figure", drawn, el("figcaption", *keys, el("p", note)))


def _key(kind: str, label: str) -> Html:
    return el("span", " ", el("i", class_=f"swatch {kind}"), label, class_="key")


def _warnings(result: StitchResult) -> Html | None:
    if not result.warnings:
        return None
    lines = [el("li", w) for w in result.warnings]
    first, rest = lines[:WARNINGS_SHOWN], lines[WARNINGS_SHOWN:]
    more = None
    if rest:
        more = el("details", el("summary", f"{len(rest)} more"), el("ul", *rest, class_="warnings"))
    return join(el("h3", f"Warnings ({len(lines)})"), el("ul", *first, class_="warnings"), more)


# --- close-ups ------------------------------------------------------------------------------------------------------


def _close_ups(run: _Run, store: TileStore | None, pairs: Mapping[tuple[str, str], Seam | Rejected]) -> Html | None:
    """Return the pairs that have a letter as cards with pictures; None without a store."""
    if store is None:
        return None
    cards = [_pair_card(run, store, k, pairs[k]) for k in run.letters if k in pairs]
    note = "Red and cyan: where both tiles agree the picture is grey; a red or cyan rim is a step."
    if all(isinstance(p, Seam) for p in pairs.values()):
        note += " The window lies where the matches of the pair disagree most, one mosaic pixel a picture pixel."
    else:
        note += " The tiles lie as in the mosaic."
    return join(el("p", note, class_="note"), el("div", *cards, class_="pairs"))


def _pair_card(run: _Run, store: TileStore, key: tuple[str, str], pair: Seam | Rejected) -> Html:
    letter, anchor = run.letters[key]
    fixed, moving = key
    layout = run.result.solution.layout
    views: Html | None = None
    try:
        if isinstance(pair, Seam):
            views = join(_overlay(run, store, key, worst_place(pair)), _matches(run, store, pair))
        else:
            views = _overlay(run, store, key, None)
    except (DemisError, OSError) as error:  # a tile that cannot be read has no picture; the page says so
        views = el("p", f"No picture: {error}", class_="note")
    if views is None or not views:
        views = el("p", "No picture: the two tiles do not overlap where they lie now.", class_="note")
    title = el("h4", f"{letter}. {fixed} – {moving}")
    wide = "views wide" if is_wide(layout[fixed], layout[moving]) else "views"
    pictures = el("div", views, class_=wide)
    return el("article", title, el("p", _pair_line(pair)), pictures, class_="pair", id=anchor)


def _pair_line(pair: Seam | Rejected) -> str:
    if isinstance(pair, Rejected):
        return f"Not matched: {pair.reason}"
    m = pair.match
    said = f"{px(pair.after_px)} px after the solve ({px(pair.offset_px)} px of it a shift), "
    offered = count(m.matches, "match", "matches")
    agree = f"{m.inliers} of {offered} agree"
    if m.inliers > m.matches:  # the refinement may add points to those that the matcher offered
        agree = f"{offered} offered, {m.inliers} points agree after refinement"
    said += f"{px(m.residual_px)} px alone; {agree}, found by {m.matcher}"
    if math.isfinite(pair.sigma_px):
        said += f"; expected error {px(pair.sigma_px)} px"
    return said + (". Overruled by the other seams." if pair.is_overruled else ".")


def _overlay(run: _Run, store: TileStore, key: tuple[str, str], at_world: Points | None) -> Html | None:
    view = close_up(store, run.result.solution.layout, key, at_world)
    return None if view is None else overlay(view, f"{run.letters[key][1]}-view", run.pair_bytes)


def _matches(run: _Run, store: TileStore, seam: Seam) -> Html | None:
    layout = run.result.solution.layout
    views = strips(store, layout, seam.key)
    if views is None or not seam.match.inliers:
        return None
    return matches_on_pair(views, layout[seam.match.fixed], layout[seam.match.moving], seam, run.pair_bytes)
