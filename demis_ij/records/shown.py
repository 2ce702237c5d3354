"""What a notebook shows of a record, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import degrees, inf, isfinite, nan
from statistics import median
from typing import TYPE_CHECKING

from demis_ij import display
from demis_ij.display import Html

if TYPE_CHECKING:
    from demis_ij.records.affine import Affine, Points
    from demis_ij.records.matches import Correspondences, PairMatch, Rejected
    from demis_ij.records.solution import Solution
    from demis_ij.records.stack import Stack
    from demis_ij.records.tiles import Layout, Tile
    from demis_ij.records.warps import Field, Warp

Fact = tuple[str, object]

MOST_POINTS = 5
"""Rows of a table of points."""


def tile_card(tile: Tile) -> Html:
    """Return what is known of a tile."""
    rows, cols = tile.shape
    x, y = tile.to_world((0.0, 0.0))
    marks = [word for word, holds in (("locked", tile.locked), ("hidden", not tile.visible)) if holds]
    turn = degrees(tile.to_world.angle)
    lines: list[Fact] = [
        ("file", tile.path if tile.page is None else f"{tile.path}, page {tile.page}"),
        ("size", f"{cols} x {rows} px" if min(tile.shape) > 0 else "unknown"),
        ("pixel (0, 0) lies at", f"{display.px(x)}, {display.px(y)} px of the mosaic"),
        ("turned by", f"{turn:.3f}°" if turn else None),
        ("section", tile.section),
        ("marks", ", ".join(marks)),
        ("mask", tile.mask_path),
    ]
    return display.card(f"Tile {tile.id}", display.facts(lines))


def layout_card(layout: Layout) -> Html:
    """Return the outlines of a layout as a picture, and counts."""
    known = [t for t in layout if min(t.shape) > 0]
    outlines = [_outline(t) for t in known]
    said = f"Outlines of {display.count(len(outlines), 'tile')}"
    sizes = Counter(t.shape for t in known).most_common(3)
    x0, y0, x1, y1 = replace(layout, tiles=tuple(known)).bounds() if known else (0.0, 0.0, 0.0, 0.0)
    lines: list[Fact] = [
        ("tiles", len(layout)),
        ("size of a tile", ", ".join(f"{cols} x {rows} px" for (rows, cols), _ in sizes)),
        ("of unknown size", (len(layout) - len(known)) or None),
        ("extent", f"{x1 - x0:.0f} x {y1 - y0:.0f} px" if known else None),
        ("locked", sum(t.locked for t in layout) or None),
        ("hidden", sum(not t.visible for t in layout) or None),
        ("pixel size", "{:g} {}".format(*layout.pixel_size) if layout.pixel_size else None),
        ("read from", layout.source),
    ]
    return display.card(
        f"Layout, section {layout.section}",
        display.drawing(outlines, pixel_size=layout.pixel_size, said=said),
        display.legend(kinds=[o.kind for o in outlines]),
        display.facts(lines),
    )


def stack_card(stack: Stack) -> Html:
    """Return what is known of a stack of sections."""
    sizes = Counter(t.shape for t in stack).most_common(3)
    lines: list[Fact] = [
        ("sections", len(stack)),
        ("numbers", f"{stack.z[0]:g} to {stack.z[-1]:g}"),
        ("missing between", len(stack.missing) or None),
        ("size", ", ".join(f"{cols} x {rows} px" for (rows, cols), _ in sizes)),
        ("with a mask", sum(t.mask_path is not None for t in stack) or None),
        ("pixel size", "{:g} {}".format(*stack.pixel_size) if stack.pixel_size else None),
        ("thickness", "{:g} {}".format(*stack.thickness) if stack.thickness else None),
        ("read from", stack.source),
        *(("note", line) for line in stack.warnings),
    ]
    return display.card("Stack", display.facts(lines))


def field_card(field: Field) -> Html:
    """Return how a displacement field is kept, and how far it reaches."""
    rows, cols = field.grid
    lines: list[Fact] = [
        ("nodes", f"{cols} x {rows}, {field.stride:g} px apart"),
        ("unknown", int((~field.known).sum()) or None),
        ("displacement", _reach(field)),
    ]
    return display.card("Field: output pixel to input point", display.facts(lines))


def warp_card(warp: Warp) -> Html:
    """Return the canvas of a warp and what its parts do, in their order."""
    rows, cols = warp.shape
    lines: list[Fact] = [
        ("canvas", f"{cols} x {rows} px, its pixel (0, 0) at {warp.origin_xy[0]:g}, {warp.origin_xy[1]:g}"),
        *(("then", _part_said(part)) for part in warp.parts),
        ("then", None if warp.parts else "nothing: the image stays as it is"),
    ]
    return display.card("Warp: output pixel to input point", display.facts(lines))


def _part_said(part: Affine | Field) -> str:
    from demis_ij.records.warps import Field  # which imports this module

    if isinstance(part, Field):
        return f"bent: {_reach(part)}"
    (x, y), turn = part((0.0, 0.0)), degrees(part.angle)
    return f"turned by {turn:.3f}°, pixel (0, 0) to {display.px(float(x))}, {display.px(float(y))} px"


def _reach(field: Field) -> str | None:
    lengths = [float(v) for v in (field.offsets[:, field.known] ** 2).sum(axis=0) ** 0.5]
    return _median_and_largest(lengths)


def points_card(points: Correspondences) -> Html:
    """Return how many points there are, and the first of them."""
    if not len(points):
        return display.card("Correspondences", display.facts([("points", 0)]))
    columns = (*points.fixed_xy.T, *points.moving_xy.T, points.score)
    rows = [[float(v) for v in row] for row in zip(*(c.tolist() for c in columns), strict=True)]
    lines: list[Fact] = [("points", len(points)), ("median score", display.px(median(points.score.tolist())))]
    head = ("fixed x", "fixed y", "moving x", "moving y", "score")
    table = display.table(head, rows, noun="point", most=MOST_POINTS)
    return display.card("Correspondences", display.facts(lines), table)


def match_card(pair: PairMatch) -> Html:
    """Return what two tiles agree on."""
    x, y = pair.to_fixed[:2, 2]
    lines: list[Fact] = [
        ("found by", pair.matcher),
        ("matches that agree", f"{pair.inliers} of {pair.matches}" if pair.matches else pair.inliers),
        ("residual", f"{display.px(pair.residual_px)} px"),
        ("model", pair.model),
        ("moving pixel (0, 0) lies at", f"{display.px(x)}, {display.px(y)} px of the fixed tile"),
        ("asked before", _tried(pair.tried)),
    ]
    return display.card(f"Match {pair.fixed} – {pair.moving}", display.facts(lines))


def rejected_card(pair: Rejected) -> Html:
    """Return why a pair was not believed."""
    lines: list[Fact] = [
        ("reason", pair.reason),
        ("asked", pair.matcher),
        ("matches that agree", f"{pair.inliers} of {pair.matches}"),
        ("asked before", _tried(pair.tried)),
    ]
    return display.card(f"Not matched: {pair.fixed} – {pair.moving}", display.facts(lines))


def solution_card(solution: Solution) -> Html:
    """Return how far to trust a solution: the whole, the links as a picture, and the worst of them."""
    title = f"Solution, section {solution.layout.section}"
    return display.card(title, display.facts(solution_facts(solution)), links_drawing(solution), link_table(solution))


def solution_facts(solution: Solution) -> list[Fact]:
    """Return what there is to say of a solution as a whole, as (name, value)."""
    links = solution.pair_residual_px
    sizes = solution.component_sizes
    groups = f"{len(sizes)} groups, the largest of {display.count(sizes[0], 'tile')}" if len(sizes) > 1 else "one group"
    return [
        ("tiles", len(solution.layout)),
        ("connected in", groups if sizes else None),
        ("links", len(links)),
        ("overruled", sum(not solution.believes(*pair) for pair in links) or None),
        ("residual of a link", _median_and_largest([v for v in links.values() if isfinite(v)])),
        ("uncertainty of a tile", _median_and_largest([v for v in solution.sigma_px.values() if isfinite(v)])),
    ]


def links_drawing(solution: Solution, lost: Sequence[tuple[str, str]] = ()) -> Html:
    """Return the tiles and the links between them, coloured by residual; ``lost`` are pairs that were not matched."""
    known = [t for t in solution.layout if min(t.shape) > 0]
    outlines = [_outline(t) for t in known]
    outlines = [
        replace(o, kind="stage") if not o.kind and not isfinite(solution.sigma_px.get(t.id, inf)) else o
        for t, o in zip(known, outlines, strict=True)
    ]
    middle = {t.id: (float(x), float(y)) for t in known for x, y in [t.world_corners.mean(0)]}
    links = [
        display.Link(middle[f], middle[m], r if isfinite(r) else None, solution.believes(f, m))
        for (f, m), r in solution.pair_residual_px.items()
        if f in middle and m in middle
    ]
    gone = [display.Link(middle[f], middle[m], None) for f, m in lost if f in middle and m in middle]
    said = f"{display.count(len(known), 'tile')} joined by {display.count(len(links), 'link')}"
    picture = display.drawing(outlines, [*gone, *links], pixel_size=solution.layout.pixel_size, said=said)
    return display.join(picture, display.legend(kinds=[o.kind for o in outlines], residuals=True))


def link_table(solution: Solution) -> Html | None:
    """Return the links as a table, the worst first; None when there are none."""
    worst_first = sorted(
        solution.pair_residual_px.items(), key=lambda kv: kv[1] if isfinite(kv[1]) else -1, reverse=True
    )
    rows = [
        (*pair, display.swatch(r), solution.pair_sigma_px.get(pair, nan), solution.pair_weight.get(pair, 1.0),
         "yes" if solution.believes(*pair) else "no")
        for pair, r in worst_first
    ]  # fmt: skip
    head = ("fixed", "moving", "residual, px", "expected error, px", "weight", "used")
    return display.table(head, rows, noun="link") if rows else None


def _outline(tile: Tile) -> display.Outline:
    kind = "hidden" if not tile.visible else "locked" if tile.locked else ""
    return display.Outline(_xy(tile.world_corners), tile.id, kind)


def _xy(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _tried(tried: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in tried)


def _median_and_largest(values: Sequence[float]) -> str | None:
    return f"median {display.px(median(values))} px, largest {display.px(max(values))} px" if values else None
