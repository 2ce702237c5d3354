"""Tables of the page: seams, rejected pairs, tiles, components, runs side by side, timings and config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from demis_ij.config import to_dict
from demis_ij.display.colours import grade
from demis_ij.display.markup import Html, el, join, px, seconds, signed, text
from demis_ij.records import Layout, Points, Rejected, Suspect
from demis_ij.report.agreement import disagreement, pair_errors, pooled, tile_errors
from demis_ij.report.figures import grade_bar
from demis_ij.report.seams import Seam, rejected_of, seams_of, stage_tiles
from demis_ij.report.verdict import loops_in, parts_of

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult


WIDEST = 5
"""More runs than these are one line each, not one column each."""
MOST_ROWS = 4000
"""Rows of one table; longer ones are cut, and say so."""


def table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Html]], *, sortable: bool = True) -> Html:
    """Return a table.

    Parameters
    ----------
    head : sequence of (str, str)
        Heading and the explanation that hovers over it; no heading is drawn when all are empty.
    rows : sequence of sequence of Html
        Whole ``td`` elements.
    sortable : bool
        Whether a click on a heading sorts.
    """
    kinds = ["n" if c.startswith('<td class="n') and "notes" not in c[:20] else None for c in rows[0]] if rows else []
    kinds += [None] * (len(head) - len(kinds))
    headings = [
        el("th", label, scope="col", title=why or None, class_=kind)
        for (label, why), kind in zip(head, kinds, strict=True)
    ]
    body = el("tbody", *[el("tr", *row) for row in rows[:MOST_ROWS]])
    top = el("thead", el("tr", *headings)) if any(label for label, _ in head) else None
    made = el("table", top, body, class_="sortable" if sortable else None)
    framed = el("div", made, class_="scroll" if sortable else "scroll whole", tabindex=0)
    if len(rows) <= MOST_ROWS:
        return framed
    said = f"The first {MOST_ROWS} of {len(rows)} lines; seams.csv and solution.json hold all."
    return join(framed, el("p", said, class_="note"))


def cell(value: object, kind: str | None = None) -> Html:
    """Return a cell of text."""
    return el("td", value, class_=kind)


def number(value: float, shown: str | None = None, kind: str = "") -> Html:
    """Return a cell with a number in px (or as ``shown``) that sorts by its value; unknown values sort last."""
    key = f"{value:.6g}" if math.isfinite(value) else "inf"
    return el("td", px(value) if shown is None else shown, class_=f"n {kind}".strip(), data_v=key)


def graded(value: float) -> Html:
    """Return a cell with a residual and the swatch of its colour class."""
    if not math.isfinite(value):
        return number(value)
    mark = el("i", class_=f"swatch g{grade(value)}")
    return el("td", mark, px(value), class_="n", data_v=f"{value:.6g}")


def tried_list(tried: Sequence[tuple[str, str]]) -> Html | None:
    """Return who was asked before and why each was rejected; None when nobody was."""
    if not tried:
        return None
    return el("ul", *[el("li", el("b", name), ": ", why) for name, why in tried], class_="tried")


# --- seams ----------------------------------------------------------------------------------------------------------

SEAM_HEAD = (
    ("", "letter of the close-up"),
    ("fixed", "tile"),
    ("moving", "tile"),
    ("found by", "matcher"),
    ("matches", "points offered by the matcher"),
    ("agree", "points that agree with the pair's transform (inliers), those of the refinement among them"),
    ("stage off, px", "median distance of the matches where the stage put the tiles"),
    ("pair alone, px", "root mean square residual of the pair's own fit, before the global solve"),
    ("after solve, px", "root mean square distance of the matches in the mosaic"),
    ("shift left, px", "mean distance vector: what one tile is shifted by against the other in the mosaic"),
    ("expected error, px", "one standard deviation of the seam"),
    ("weight", "final robust weight: 1 believed, 0 overruled by the other seams"),
    ("notes", ""),
)


def seam_table(seams: Sequence[Seam], letters: Mapping[tuple[str, str], tuple[str, str]]) -> Html:
    """Return every seam, worst first."""
    return table(SEAM_HEAD, [_seam_row(s, letters.get(s.key)) for s in seams])


def _seam_row(s: Seam, letter: tuple[str, str] | None) -> list[Html]:
    m = s.match
    link = el("a", letter[0], href=f"#{letter[1]}") if letter else ""
    return [
        cell(link),
        cell(m.fixed, "id"),
        cell(m.moving, "id"),
        cell(m.matcher),
        number(m.matches, str(m.matches)),
        number(m.inliers, str(m.inliers)),
        number(s.stage_px),
        number(m.residual_px),
        graded(s.after_px),
        number(s.offset_px),
        number(s.sigma_px),
        number(s.weight, f"{s.weight:.2f}"),
        cell(_seam_notes(s), "notes"),
    ]


def _seam_notes(s: Seam) -> Html:
    words = []
    if s.is_overruled:
        words.append("overruled by the other seams")
    if s.is_bridge:
        words.append("only link, nothing cross-checks it")
    return join("; ".join(words), tried_list(s.match.tried))


def rejected_table(rejected: Sequence[Rejected], letters: Mapping[tuple[str, str], tuple[str, str]]) -> Html:
    """Return every pair that was not believed, with every matcher's reason."""
    head = (
        ("", "letter of the close-up"),
        ("fixed", "tile"),
        ("moving", "tile"),
        ("reason", ""),
        ("asked last", "matcher"),
        ("matches", "points offered by the last matcher"),
        ("agree", "of which agreed"),
        ("tried before", "matchers and why each was rejected"),
    )
    rows = []
    for r in rejected:
        letter = letters.get((r.fixed, r.moving))
        rows.append(
            [
                cell(el("a", letter[0], href=f"#{letter[1]}") if letter else ""),
                cell(r.fixed, "id"),
                cell(r.moving, "id"),
                cell(r.reason, "notes"),
                cell(r.matcher),
                number(r.matches, str(r.matches)),
                number(r.inliers, str(r.inliers)),
                cell(tried_list(r.tried) or "", "notes"),
            ]
        )
    return table(head, rows)


# --- tiles ----------------------------------------------------------------------------------------------------------


def tile_table(result: StitchResult, seams: Sequence[Seam], errors: Mapping[str, Points] | None) -> Html:
    """Return every tile: who placed it, how far it moved and how sure its position is."""
    head = [
        ("no.", "number on the mosaic"),
        ("tile", ""),
        ("placed by", "matcher of its best seam, or the stage"),
        ("part", "component; parts are placed against each other by the stage"),
        ("seams", "believed pairs it takes part in"),
        ("moved x, px", "centre, to the right of where the stage put it"),
        ("moved y, px", "centre, below where the stage put it"),
        ("turned, °", "against the stage, x towards y"),
        ("sigma, px", "one standard deviation of its position within its part"),
    ]
    if errors is not None:
        head.append(("error, px", "of its worst corner against the truth"))
    degree: dict[str, int] = {}
    for s in seams:
        for tile_id in s.key:
            degree[tile_id] = degree.get(tile_id, 0) + 1
    rows = []
    for row, (before, after) in enumerate(zip(result.layout, result.solution.layout, strict=True)):
        x, y = after.world_corners.mean(0) - before.world_corners.mean(0)
        turn = math.degrees((after.to_world @ before.to_world.inverse).angle)
        sigma = result.solution.sigma_px.get(after.id, math.nan)
        part = result.solution.component.get(after.id, -1)
        by = result.placed_by.get(after.id, "stage")
        cells = [
            number(row + 1, str(row + 1)),
            cell(after.id, "id"),
            cell(by, "alone" if by == "stage" else None),
            number(part + 1, str(part + 1)),
            number(degree.get(after.id, 0), str(degree.get(after.id, 0))),
            number(x),
            number(y),
            number(turn, signed(turn, 2)),
            number(sigma, "stage only" if math.isinf(sigma) else None),
        ]
        if errors is not None:
            cells.append(number(float(errors[after.id].max()) if after.id in errors else math.nan))
        rows.append(cells)
    return table(head, rows)


def suspect_table(suspects: Sequence[Suspect]) -> Html:
    """Return the tiles that are not what their place says."""
    head = (
        ("tile", ""),
        ("looks", "missing, unreadable, blank, duplicate, exchanged or elsewhere"),
        ("like tile", "the other one"),
        ("what was seen", "the tile lies where the stage put it"),
    )
    return table(
        head, [[cell(s.tile, "id"), cell(s.kind), cell(s.other, "id"), cell(s.said, "notes")] for s in suspects]
    )


def component_table(result: StitchResult, seams: Sequence[Seam]) -> Html:
    """Return the connected parts of the mosaic; single tiles are one line together."""
    head = (
        ("part", ""),
        ("tiles", ""),
        ("seams", ""),
        ("loops", "independent loops of tiles that cross-check the seams; without one a wrong seam would not show"),
        ("worst seam, px", "after the solve"),
        ("largest sigma, px", "of a tile's position within the part"),
    )
    rows = []
    for position, ids in enumerate(parts_of(result)):
        inside = set(ids)
        mine = [s for s in seams if s.match.fixed in inside and s.match.moving in inside]
        worst = max((s.after_px for s in mine if math.isfinite(s.after_px)), default=math.nan)
        sigmas = [result.solution.sigma_px.get(i, math.nan) for i in ids]
        sigma = max((v for v in sigmas if math.isfinite(v)), default=math.nan)
        loops = loops_in(len(ids), sum(not s.is_overruled for s in mine))
        label = result.solution.component.get(ids[0], position) + 1
        rows.append(
            [
                number(label, str(label)),
                number(len(ids), str(len(ids))),
                number(len(mine), str(len(mine))),
                number(loops, str(loops)),
                graded(worst),
                number(sigma),
            ]
        )
    single = len(result.layout) - sum(len(ids) for ids in parts_of(result))
    if single:
        rows.append([cell("single tiles"), number(single, str(single)), *[number(0, "0")] * 2, *[number(math.nan)] * 2])
    return table(head, rows, sortable=False)


# --- runs -----------------------------------------------------------------------------------------------------------


def _median(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.median(known)) if known else math.nan


def _worst(values: Sequence[float]) -> float:
    return max((v for v in values if math.isfinite(v)), default=math.nan)


def run_table(results: Mapping[str, StitchResult], truth: Layout | None) -> Html:
    """Return runs side by side: one column a run, or one line a run when there are many."""
    lines = _run_lines(results, truth)
    if len(results) > WIDEST:
        head = [("run", ""), *[(label, "") for label, _ in lines]]
        columns = zip(*[values for _, values in lines], strict=True)
        by_run = zip(results, columns, strict=True)
        return table(head, [[el("th", name, scope="row"), *[cell(v, "n") for v in values]] for name, values in by_run])
    head = [("", ""), *[(name, "") for name in results]]
    rows = [[el("th", label, scope="row"), *[cell(v, "n") for v in values]] for label, values in lines]
    return table(head, rows, sortable=False)


def _run_lines(results: Mapping[str, StitchResult], truth: Layout | None) -> list[tuple[str, list[object]]]:
    runs = list(results.values())
    seams = [seams_of(r) for r in runs]
    lines: list[tuple[str, list[object]]] = [
        ("seams found, of the pairs tried", [f"{len(s)} of {len(r.pairs)}" for r, s in zip(runs, seams, strict=True)]),
        ("tiles held by a seam", [f"{len(r.layout) - len(stage_tiles(r))} of {len(r.layout)}" for r in runs]),
        ("parts", [len(parts_of(r)) for r in runs]),
        ("matches that agree, median of a seam", [_plain(_median([s.match.inliers for s in ss])) for ss in seams]),
        ("residual of a pair alone, median", [_unit(_median([s.match.residual_px for s in ss])) for ss in seams]),
        ("residual after the solve, median", [_unit(_median([s.after_px for s in ss])) for ss in seams]),
        ("residual after the solve, worst", [_unit(_worst([s.after_px for s in ss])) for ss in seams]),
        ("seams overruled", [sum(s.is_overruled for s in ss) for ss in seams]),
    ]
    if truth is not None:
        lines += _truth_lines(runs, truth)
    if len(runs) > 1:
        lines += _against_first(results)
    lines.append(("time", [seconds(sum(r.timings_s.values())) for r in runs]))
    lines.append(("seams by residual", [grade_bar([s.after_px for s in ss], "seam") for ss in seams]))
    return lines


def _plain(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "–"


def _unit(value: float) -> str:
    return f"{px(value)} px" if math.isfinite(value) else "–"


def truth_table(result: StitchResult, truth: Layout) -> Html:
    """Return the errors of one run against the truth."""
    rows = [
        [el("th", what, scope="row"), *[cell(v, "n") for v in values]] for what, values in _truth_lines([result], truth)
    ]
    return table((("", ""), ("", "")), rows, sortable=False)


def _truth_lines(runs: Sequence[StitchResult], truth: Layout) -> list[tuple[str, list[object]]]:
    pairs = [pooled(pair_errors(r, truth).values()).tolist() for r in runs]
    tiles = [pooled(tile_errors(r, truth).values()).tolist() for r in runs]
    return [
        ("error of a pair's corners against the truth, median", [_fine(_median(v)) for v in pairs]),
        ("error of a pair's corners against the truth, worst", [_fine(_worst(v)) for v in pairs]),
        ("error of a tile's corners in the mosaic, median", [_fine(_median(v)) for v in tiles]),
        ("error of a tile's corners in the mosaic, worst", [_fine(_worst(v)) for v in tiles]),
    ]


def _fine(value: float) -> str:
    """Return an error against the truth in px; small ones need three decimals."""
    return f"{value:.3f} px" if value < 0.995 else _unit(value)


def _against_first(results: Mapping[str, StitchResult]) -> list[tuple[str, list[object]]]:
    """Return how far each run is from the first of its section; nothing when every section has one run only."""
    first: dict[str, str] = {}
    shown: list[object] = []
    for name, result in results.items():
        reference = first.setdefault(result.layout.section, name)
        apart = np.empty(0) if reference == name else disagreement(result, results[reference])
        known = f"median {px(float(np.median(apart)))}, worst {px(float(apart.max()))} px" if len(apart) else "–"
        shown.append(known)
    if len(first) == len(results):
        return []
    whose = f"those of {next(iter(first.values()))}" if len(first) == 1 else "the first run of the section"
    return [(f"distance of a tile's corners from {whose}", shown)]


def pair_table(results: Mapping[str, StitchResult]) -> Html:
    """Return every pair with what each run found: matches that agree and the residual after the solve, or why not."""
    head = [("fixed", "tile"), ("moving", "tile")]
    for name in results:
        head += [(f"{name}: agree", "matches that agree"), (f"{name}: after solve, px", "residual in the mosaic")]
    seams = [{frozenset(s.key): s for s in seams_of(r)} for r in results.values()]
    lost = [{frozenset((p.fixed, p.moving)): p for p in rejected_of(r)} for r in results.values()]
    pairs = {frozenset((p.fixed, p.moving)): (p.fixed, p.moving) for r in results.values() for p in r.pairs}
    rows = []
    for key, (fixed, moving) in pairs.items():
        cells = [cell(fixed, "id"), cell(moving, "id")]
        for found, missed in zip(seams, lost, strict=True):
            if key in found:
                cells += [number(found[key].match.inliers, str(found[key].match.inliers)), graded(found[key].after_px)]
            else:
                why = el("small", missed[key].reason if key in missed else "not tried")
                cells += [number(math.inf, "–"), el("td", why, class_="notes", data_v="inf")]
        rows.append(cells)
    return table(head, rows)


def name_value_table(values: Mapping[str, object]) -> Html:
    """Return names and values, as they are."""
    return table((("", ""), ("", "")), [[el("th", k, scope="row"), cell(v)] for k, v in values.items()], sortable=False)


def config_table(result: StitchResult) -> Html:
    """Return every setting of the run."""
    return name_value_table({name: text(value) for name, value in to_dict(result.config).items()})


def timing_table(result: StitchResult) -> Html:
    """Return how long each stage of the work took."""
    return name_value_table({name: seconds(value) for name, value in result.timings_s.items()})
