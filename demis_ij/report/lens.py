"""What a report says of the lens that tiles share: a picture of it, and what it did for pairs that took no part."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from demis_ij.display.markup import Html, count, el, px
from demis_ij.display.tables import facts, table
from demis_ij.records import Layout, Lens, Points
from demis_ij.solvers.lens import LensFit

SIDE = 260.0
MARGIN = 24.0
LINES = 9
STEPS = 33
LEAST_SHARE = 0.05
"""The longest displacement is drawn about so long, as a share of the tile."""


def lens_part(fit: LensFit | None, layout: Layout) -> Html | None:
    """Return the part of a report on lenses; None where none was looked for and no tile has one."""
    lenses = list(dict.fromkeys(t.lens for t in layout if t.lens is not None))
    if fit is None and not lenses:
        return None
    pictures = [lens_picture(lens) for lens in lenses[:6]]
    said = el("p", "The tiles come with a lens correction of the layout file, which is used as it is.")
    if fit is not None:
        verdict = "is used" if fit.used else "is not used"
        why = fit.reason[:1].upper() + fit.reason[1:]
        said = el("p", el("strong", f"A lens that the tiles share {verdict}. "), why, ".")
    numbers = None if fit is None or not fit.pairs else facts(_numbers(fit))
    degrees = None if fit is None or not fit.held_out_px else _degrees(fit.held_out_px)
    return el("div", el("h3", "Lens"), said, *pictures, numbers, degrees, class_="lens")


def _numbers(fit: LensFit) -> list[tuple[str, object]]:
    def change(before: float, after: float) -> str:
        return "–" if math.isnan(before) else f"{px(before)} px without, {px(after)} px with"

    looked = f"{count(fit.pairs, 'pair')} of {count(fit.tiles, 'tile')}"
    rows: list[tuple[str, object]] = [
        ("looked at", looked),
        ("pairs left out, typical distance", change(fit.before_px, fit.after_px)),
        ("a pair by itself, moved rigidly", change(fit.own_before_px, fit.own_after_px)),
    ]
    if fit.used:
        rows += [
            ("pairs left out that come nearer", f"{100 * fit.improved_frac:.0f} %"),
            ("known to (standard deviation)", f"{px(fit.sigma_px)} px"),
        ]
    return rows


def _degrees(held_out_px: Mapping[int, float]) -> Html:
    rows = [[str(degree) if degree else "no lens", px(off)] for degree, off in sorted(held_out_px.items())]
    found = table(["degree", "pairs left out, px"], rows, noun="degree")
    return el("details", el("summary", "Degrees that were tried"), found)


def lens_picture(lens: Lens) -> Html:
    """Return a tile's lattice as it is (grey) and as the lens corrects it (dark), the change drawn larger."""
    longest = lens.largest_px
    side = 2 * max(lens.half)
    times = _round(LEAST_SHARE * side / longest) if longest > 0 else 1.0
    unit = SIDE / side
    width, height = 2 * lens.half[0] * unit + 2 * MARGIN, 2 * lens.half[1] * unit + 2 * MARGIN
    raw, bent = [], []
    for line in _lattice(lens):
        raw.append(_path(lens, line, unit))
        bent.append(_path(lens, line + times * lens.displacement(line), unit))
    drawn = el(
        "svg",
        el("title", f"{lens}, drawn {times:g} times as large"),
        el("path", d="".join(raw), fill="none", stroke="#b9c0c8", stroke_width=1),
        el("path", d="".join(bent), fill="none", stroke="#3b82c4", stroke_width=1.4),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
    )
    whose = f"Camera {lens.camera}: " if lens.camera else ""
    told = (
        f"{whose}degree {lens.degree}; moves pixels by {px(lens.rms_px)} px (root mean square), {px(longest)} px at"
        f" most. Grey: as taken. Blue: corrected, the change drawn {times:g} times."
    )
    return el("figure", drawn, el("figcaption", told))


def _lattice(lens: Lens) -> list[Points]:
    """Return the lines of a lattice over the tile, raw px."""
    at, along = np.linspace(-1, 1, LINES), np.linspace(-1, 1, STEPS)
    upright = [np.stack([np.full(STEPS, v), along], 1) for v in at]
    level = [line[:, ::-1] for line in upright]
    return [line * lens.half + lens.centre for line in (*upright, *level)]


def _path(lens: Lens, points_xy: Points, unit: float) -> str:
    at = (points_xy - lens.centre + lens.half) * unit + MARGIN
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in at)


def _round(value: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not above a value; at least 1."""
    if value <= 1:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return float(next(k * power for k in (5, 2, 1) if k * power <= value))
