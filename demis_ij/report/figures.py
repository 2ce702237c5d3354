"""Figures drawn by hand: SVG over embedded pictures, no script needed to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from demis_ij.display.colours import GRADE_LABELS, grade
from demis_ij.display.markup import Html, count, el, join, px
from demis_ij.records import Layout, Points, Rejected, Tile
from demis_ij.report.pictures import CloseUp, Preview, Strip, data_uri, shrink
from demis_ij.report.seams import Seam, stage_tiles
from demis_ij.report.verdict import parts_of
from demis_ij.views import seam_line

if TYPE_CHECKING:
    from demis_ij.stitch import StitchResult

FIGURE = 1000.0
"""Width or height, whichever is larger, of the mosaic figure in its own units."""
SINGLY = 3000
"""More tiles, moves or seams than these are not drawn one by one, which keeps the page small and quick."""
MATCH_LINES = 80
"""Matches drawn on a pair."""


def grade_legend() -> Html:
    """Return the colour classes with their bounds."""
    return el("span", *[_key(f"g{i}", label) for i, label in enumerate(GRADE_LABELS)], class_="legend")


def _key(kind: str, label: str) -> Html:
    return el("span", el("i", class_=f"swatch {kind}"), label, class_="key")


def grade_bar(values: Sequence[float], noun: str, plural: str = "") -> Html:
    """Return one bar that shows how many values fall into each colour class."""
    numbers = [0] * len(GRADE_LABELS)
    for v in values:
        numbers[grade(v)] += 1
    parts = [
        el("span", str(n), class_=f"g{i}", style=f"flex-grow:{n}", title=f"{count(n, noun, plural)} {GRADE_LABELS[i]}")
        for i, n in enumerate(numbers)
        if n
    ]
    said = ", ".join(f"{n} {GRADE_LABELS[i]}" for i, n in enumerate(numbers) if n)
    return el("div", *parts, class_="bar", role="img", aria_label=said or "nothing to count")


# --- the mosaic -----------------------------------------------------------------------------------------------------


class _Plan:
    """World px to the figure's own units."""

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]]) -> None:
        around = np.array(boxes, float)
        self.low = around[:, :2].min(0)
        size = np.maximum(around[:, 2:].max(0) - self.low, 1)
        margin = 0.015 * float(size.max())
        self.low = self.low - margin
        self.unit = FIGURE / float(size.max() + 2 * margin)
        self.width, self.height = (float(v) for v in (size + 2 * margin) * self.unit)

    def __call__(self, world: Points) -> Points:
        return np.asarray((np.asarray(world, float) - self.low) * self.unit)


def _numbers(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def mosaic_map(
    result: StitchResult,
    seams: Sequence[Seam],
    rejected: Sequence[Rejected],
    preview: Preview | None,
    *,
    name: str,
    letters: Mapping[tuple[str, str], tuple[str, str]],
    max_bytes: int,
) -> Html:
    """Return the mosaic with tile outlines, moves, seams by residual and rejected pairs, each layer with a switch.

    Parameters
    ----------
    result, seams, rejected
        The run and its pairs.
    preview : Preview or None
        The mosaic; outlines stand alone without it.
    name : str
        Unique on the page; used in ids.
    letters : mapping of (str, str) to (str, str)
        Pairs shown in close-up: the letter and the id of the element to lead to.
    max_bytes : int
        What the mosaic's picture may take.
    """
    layout = result.solution.layout
    plan = _Plan([layout.bounds(), result.layout.bounds(), *([preview.world_box] if preview else [])])
    times = _exaggeration(result.layout, layout)
    layers = [("mosaic", "mosaic"), ("tiles", "tile outlines"), ("moves", f"moves (drawn × {times:g})")]
    layers += [("seams", "seams")] + ([("lost", "pairs not matched")] if rejected else [])
    svg = el(
        "svg",
        _mosaic_image(preview, plan, max_bytes),
        el("g", *_outlines(result, plan), class_="tiles"),
        el("g", *_moves(result, plan, times), class_="moves"),
        el("g", *[_lost(layout, r, plan) for r in rejected], class_="lost"),
        el(
            "g", *_rest(layout, seams[SINGLY:], plan), *[_seam(layout, s, plan) for s in seams[:SINGLY]], class_="seams"
        ),
        el("g", *_letters(layout, letters, plan), class_="seams"),
        viewBox=f"0 0 {plan.width:.1f} {plan.height:.1f}",
        role="img",
        aria_label=f"Mosaic of {count(len(layout), 'tile')} with its seams coloured by residual",
    )
    crowded = len(layout) > SINGLY
    hidden = {"moves"} if crowded else set()
    switches = [
        join(
            el("input", type="checkbox", checked=key not in hidden, id=f"{name}-{key}", class_=f"on-{key}"),
            el("label", label, for_=f"{name}-{key}"),
        )
        for key, label in layers
    ]
    # lines keep their width on the screen; among many small tiles they are drawn finer
    width = f"--w:{min(1.0, max(0.5, _side(layout) * plan.unit / 75)):.2f}"
    kind = "map crowded" if crowded else "map"
    return el("div", *switches, _zoom_buttons(), svg, _scale_note(result.layout), class_=kind, style=width)


def _zoom_buttons() -> Html:
    buttons = [
        el("button", label, type="button", data_zoom=factor, title=title)
        for label, factor, title in (("+", "0.7", "closer"), ("−", "1.43", "farther"), ("all", "0", "the whole mosaic"))
    ]
    return el("span", *buttons, class_="zoom", hidden=True)


def _scale_note(layout: Layout) -> Html | None:
    if layout.pixel_size is None:
        return None
    size, unit = layout.pixel_size
    return el("p", f"One mosaic pixel is {size:g} {unit}.", class_="note")


def _mosaic_image(preview: Preview | None, plan: _Plan, max_bytes: int) -> Html | None:
    if preview is None:
        return None
    x0, y0, x1, y1 = preview.world_box
    corners = plan(np.array([[x0, y0], [x1, y1]]))
    (x, y), (width, height) = corners[0], corners[1] - corners[0]
    return el(
        "image",
        href=data_uri(shrink(preview.image, 1600), max_bytes),
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        preserveAspectRatio="none",
        class_="mosaic",
    )


def _side(layout: Layout) -> float:
    """Return the shorter side of a typical tile in world px."""
    return float(np.median([np.ptp(t.world_corners, axis=0).min() for t in layout]))


def _exaggeration(stage: Layout, solved: Layout) -> float:
    """Return how much longer moves are drawn, so that typical ones can be seen and the longest stay near their tile."""
    moves = [
        float(np.linalg.norm(after.world_corners.mean(0) - before.world_corners.mean(0)))
        for before, after in zip(stage, solved, strict=True)
    ]
    longest = float(np.quantile(moves, 0.95))
    room = 0.35 * _side(solved)
    return next((k for k in (100.0, 50.0, 20.0, 10.0, 5.0, 2.0) if k * longest <= room), 1.0)


def short_label(layout: Layout, row: int) -> str:
    """Return what fits on a tile: its id when all ids are short, else its number in the table of tiles."""
    return layout.tiles[row].id if all(len(t.id) <= 6 for t in layout) else str(row + 1)


def _outlines(result: StitchResult, plan: _Plan) -> list[Html]:
    layout, alone = result.solution.layout, set(stage_tiles(result))
    largest = set(parts_of(result)[0]) if parts_of(result) else set(layout.ids)
    parts = {i: n for i, n in result.solution.component.items() if i not in largest and i not in alone}
    size, crowded = plan.unit * _side(layout), len(layout) > SINGLY
    out: list[Html] = []
    plain: list[str] = []
    for row, tile in enumerate(layout):
        part = f"part {parts[tile.id] + 1}" if tile.id in parts else ""
        kind = "alone" if tile.id in alone else "other" if part else None
        said = f"{tile.id}: placed by {result.placed_by.get(tile.id, 'stage')}" + (f", {part}" if part else "")
        if kind is None and crowded:
            plain.append("M" + _numbers(plan(tile.world_corners)) + "z")
        else:
            out.append(el("polygon", el("title", said), points=_numbers(plan(tile.world_corners)), class_=kind))
        if size > 40:
            # between the corner and the centre: clear of the seams, and of the arrow that ends in the centre
            x, y = plan(tile.world_corners.min(0) * 0.72 + tile.world_corners.max(0) * 0.28)
            font = min(20.0, size / 8)
            label = short_label(layout, row) + (f" ({part})" if part else "")
            out.append(el("text", label, x=float(x), y=float(y), font_size=font))
    return [el("path", d="".join(plain)), *out] if plain else out


def _moves(result: StitchResult, plan: _Plan, times: float) -> list[Html]:
    out: list[Html] = []
    plain: list[str] = []
    for before, after in zip(result.layout, result.solution.layout, strict=True):
        world = after.world_corners.mean(0) - before.world_corners.mean(0)
        head = plan(after.world_corners.mean(0))
        step = world * plan.unit * times
        length = float(np.hypot(*step))
        if length < 1.5:
            continue
        along = step / length
        side = np.array([-along[1], along[0]])
        wing = min(9.0, 0.4 * length)
        barbs = [head - wing * (along + 0.45 * side), head, head - wing * (along - 0.45 * side)]
        said = f"{after.id}: moved {px(world[0])} px right, {px(world[1])} px down"
        d = f"M{_numbers(np.array([head - step, head]))}M{_numbers(np.array(barbs))}"
        if len(result.layout) > SINGLY:
            plain.append(d)
        else:
            out.append(el("path", el("title", said), d=d))
    return [el("path", d="".join(plain))] if plain else out


def _seam(layout: Layout, seam: Seam, plan: _Plan) -> Html:
    fixed, moving = (layout[i] for i in seam.key)
    (x1, y1), (x2, y2) = plan(seam_line(fixed, moving))
    m = seam.match
    doubt = " (overruled)" if seam.is_overruled else ""
    said = (
        f"{m.fixed} – {m.moving}: {px(seam.after_px)} px, {count(m.inliers, 'match', 'matches')} by {m.matcher}{doubt}"
    )
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return el(
        "g",
        el("title", said),
        el("line", class_="under", **ends),
        el("line", class_=f"g{grade(seam.after_px)}" + (" overruled" if seam.is_overruled else ""), **ends),
    )


def _rest(layout: Layout, seams: Sequence[Seam], plan: _Plan) -> list[Html]:
    """Return the seams of each colour class as one path: among thousands, only the worst can be pointed at."""
    drawn: dict[int, list[str]] = {}
    for s in seams:
        drawn.setdefault(grade(s.after_px), []).append("M" + _numbers(plan(seam_line(*(layout[i] for i in s.key)))))
    return [el("path", class_=f"g{n}", d="".join(d)) for n, d in sorted(drawn.items())]


def _lost(layout: Layout, pair: Rejected, plan: _Plan) -> Html:
    fixed, moving = layout[pair.fixed], layout[pair.moving]
    (x1, y1), (x2, y2) = plan(seam_line(fixed, moving))
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    said = f"{pair.fixed} – {pair.moving}: not matched. {pair.reason}"
    return el("g", el("title", said), el("line", class_="under", **ends), el("line", class_="dashed", **ends))


def _letters(layout: Layout, letters: Mapping[tuple[str, str], tuple[str, str]], plan: _Plan) -> list[Html]:
    out = []
    for (fixed, moving), (letter, target) in letters.items():
        x, y = plan(seam_line(layout[fixed], layout[moving]).mean(0))
        circle = el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=11)
        out.append(
            el("a", circle, el("text", letter, x=f"{x:.1f}", y=f"{y + 5:.1f}"), href=f"#{target}", class_="letter")
        )
    return out


# --- a pair ---------------------------------------------------------------------------------------------------------


def overlay(view: CloseUp, name: str, max_bytes: int) -> Html:
    """Return the two tiles over each other: red and cyan, in a checkerboard, in turn, or one alone.

    Grey where they agree; a red or cyan rim where they do not. Switching needs no script.
    """
    height, width = view.fixed.shape
    size = {"width": width, "height": height}
    svg = el(
        "svg",
        el("image", href=data_uri(view.fixed, max_bytes // 2), class_="fixed", **size),
        el("image", href=data_uri(view.moving, max_bytes // 2), class_="moving", **size),
        viewBox=f"0 0 {width} {height}",
        style=f"max-width:{max(7.0, 24 * width / height):.1f}rem",
        role="img",
        aria_label="Both tiles over each other, fixed in red, moving in cyan",
    )
    modes = (
        ("colours", "red/cyan"),
        ("checker", "checkerboard"),
        ("blink", "blink"),
        ("first", "fixed"),
        ("second", "moving"),
    )
    switches = [
        join(
            el("input", type="radio", name=name, id=f"{name}-{mode}", class_=f"as-{mode}", checked=mode == "colours"),
            el("label", label, for_=f"{name}-{mode}"),
        )
        for mode, label in modes
    ]
    return el("div", *switches, svg, class_="overlay")


def matches_on_pair(views: tuple[Strip, Strip], fixed: Tile, moving: Tile, seam: Seam, max_bytes: int) -> Html:
    """Return the overlap as each tile holds it, with lines between the matches coloured by residual."""
    sides = [(views[0], seam.match.fixed_xy, "fixed"), (views[1], seam.match.moving_xy, "moving")]
    step = moving.world_corners.mean(0) - fixed.world_corners.mean(0)
    stacked = all(v.image.shape[1] >= v.image.shape[0] for v in views)
    if step[1 if stacked else 0] < 0:
        sides.reverse()
    (first, first_xy, first_name), (second, second_xy, second_name) = sides
    shapes = [np.array(v.image.shape[::-1], float) for v in (first, second)]
    gap = 56.0
    shift = np.array([0, shapes[0][1] + gap]) if stacked else np.array([shapes[0][0] + gap, 0])
    start, end = first.crop.from_tile(first_xy) + 0.5, second.crop.from_tile(second_xy) + 0.5 + shift
    width, height = np.maximum(shapes[0], shapes[1] + shift)
    order = np.argsort(seam.distances_px)
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MATCH_LINES)).round().astype(int))]
    lines = [_match(start[i], end[i], float(seam.distances_px[i])) for i in shown]
    pictures = [
        el(
            "image",
            href=data_uri(v.image, max_bytes // 2),
            x=float(s[0]),
            y=float(s[1]),
            width=v.image.shape[1],
            height=v.image.shape[0],
        )
        for v, s in ((first, np.zeros(2)), (second, shift))
    ]
    where = ("above", "below") if stacked else ("left", "right")
    svg = el(
        "svg",
        *pictures,
        *lines,
        viewBox=f"-2 -2 {width + 4:.0f} {height + 4:.0f}",
        style=f"max-width:{36 if stacked else max(7.0, 24 * width / height):.1f}rem",
        role="img",
        aria_label="Matches between the two tiles",
        class_="matches",
    )
    number = (
        f"{len(shown)} of {count(len(order), 'match', 'matches')}"
        if len(shown) < len(order)
        else count(len(order), "match", "matches")
    )
    caption = f"{number}, coloured by what is left after the solve; {first_name} {where[0]}, {second_name} {where[1]}"
    return el("figure", svg, el("figcaption", caption))


def _match(start: Points, end: Points, distance_px: float) -> Html:
    (x1, y1), (x2, y2) = start, end
    kind = f"g{grade(distance_px)}"
    return join(
        el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind),
        el("circle", cx=f"{x1:.1f}", cy=f"{y1:.1f}", r=2, class_=kind),
        el("circle", cx=f"{x2:.1f}", cy=f"{y2:.1f}", r=2, class_=kind),
    )


def worst_place(seam: Seam) -> Points | None:
    """Return the world point (2,) around which the matches disagree most on average; None without matches."""
    where = (seam.fixed_world + seam.moving_world) / 2
    if not len(where):
        return None
    pick = np.linspace(0, len(where) - 1, min(len(where), 400)).astype(int)
    points, distances = where[pick], seam.distances_px[pick]
    near = np.linalg.norm(points[:, None] - points[None], axis=2) < 64
    average = (near @ distances) / near.sum(1)
    return np.asarray(points[int(np.argmax(average))])
