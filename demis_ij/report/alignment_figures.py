"""Figures of an alignment: cuts before and after, curves along the stack, maps of what the warps do."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.align.results import AlignResult, Round
from demis_ij.display.colours import GRADE_COLOURS
from demis_ij.display.markup import Html, el, join, px
from demis_ij.errors import InputError
from demis_ij.fields import jacobian
from demis_ij.records import Field, Stack
from demis_ij.report.alignment_pictures import Cut, Cuts, bending
from demis_ij.report.pictures import data_uri
from demis_ij.report.training_figures import Curve, chart

CUT_BYTES = 330_000
"""What one cut may take."""
MAP_NODES = 72
"""Longest side of a map, nodes; larger ones are reduced."""
CURVE_POINTS = 2000
"""More sections than these are thinned out in the curves."""

_BLUE, _ORANGE, _PURPLE = GRADE_COLOURS[0], GRADE_COLOURS[3], GRADE_COLOURS[4]
LENGTHS = ("#10243b", *GRADE_COLOURS)
"""Stops of the colours of lengths, none to most."""
AREAS = (_BLUE, "#f2f2f2", _ORANGE)
"""Stops of the colours of areas: half, as it was, double."""

ALIGNMENT_CSS = """
.cuts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:.8rem;margin:.5rem 0}
.cuts img{display:block;width:100%;background:#000;border-radius:3px;image-rendering:pixelated}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.8rem;margin:.5rem 0}
.maps figure{break-inside:avoid} .maps h4{margin:0 0 .2rem}
.maps .two{display:grid;grid-template-columns:1fr 1fr;gap:.3rem}
.maps img{display:block;width:100%;border-radius:3px;background:var(--plate)}
.ramp{display:inline-block;width:7rem;height:.8em;border-radius:2px;margin:0 .4em;vertical-align:-.06em}
.overlay h5{margin:0 0 .3rem;font-size:.86rem;color:var(--soft)}
"""


# --- cuts -----------------------------------------------------------------------------------------------------------


def cut_figures(stack: Stack, cuts: Cuts) -> Html:
    """Return the cuts, before and after beside each other."""
    return join(*[_cut_pair(stack, cut) for cut in cuts.cuts])


def _cut_pair(stack: Stack, cut: Cut) -> Html:
    tall = _tall(stack, cut)
    where = f"row {cut.at}" if cut.name == "xz" else f"column {cut.at}"
    pictures = [
        el("figure", _cut_image(picture, tall, f"{cut.name}, {when}"), el("figcaption", f"{cut.name} {when}"))
        for picture, when in ((cut.before, "as given"), (cut.after, "aligned"))
    ]
    note = f"{cut.name}: cut along {where} of the canvas, first section on top; "
    return join(el("div", *pictures, class_="cuts"), el("p", note, _scale_said(stack, tall), class_="note"))


def _cut_image(picture: NDArray[np.uint8], tall: float, said: str) -> Html:
    rows, cols = picture.shape
    shape = f"aspect-ratio:{cols}/{max(1.0, rows * tall):.1f}"
    # repeated rows keep their edges through JPEG's blocks of 8
    times = max(1, min(8, 900 // rows))
    return el("img", src=data_uri(np.repeat(picture, times, axis=0), CUT_BYTES), style=shape, alt=said)


def _true_ratio(stack: Stack) -> float | None:
    """Return how many pixels a section is thick; None when that is not known."""
    if stack.pixel_size is None or stack.thickness is None or stack.pixel_size[1] != stack.thickness[1]:
        return None
    return float(stack.thickness[0] / stack.pixel_size[0])


def _tall(stack: Stack, cut: Cut) -> float:
    """Return how many pixels of a cut a section is drawn high: true to scale unless the cut would be a thread."""
    rows, cols = cut.before.shape
    least = 0.22 * cols / rows
    return float(max(least, min(_true_ratio(stack) or least, 1.2 * cols / rows)))


def _scale_said(stack: Stack, tall: float) -> str:
    true = _true_ratio(stack)
    if true is not None and abs(tall / true - 1) < 0.05:
        return "true to scale."
    return f"a section is drawn {tall:.1f} px high" + (f" (it is {true:.1f} px thick)." if true else ".")


# --- curves ---------------------------------------------------------------------------------------------------------


def along_the_stack(result: AlignResult, cuts: Cuts) -> Html:
    """Return correlation, residual and displacement along the stack, and how the solution went: rounds, losses."""
    every = max(1, math.ceil(len(result.sections) / CURVE_POINTS))
    chosen = result.sections[::every]
    steps = [1 + every * i for i in range(len(chosen))]

    def curve(name: str, values: Sequence[float]) -> Curve:
        return Curve(name, steps, [v if math.isfinite(v) else None for v in values])

    likeness = [
        curve("as given", [s.ncc_before for s in chosen]),
        curve("aligned", [s.ncc_after for s in chosen]),
    ]
    residual = [
        curve("as given", [s.residual_before_px for s in chosen]),
        curve("aligned", [s.residual_after_px for s in chosen]),
    ]
    moved = [
        curve("median", [s.displacement_px for s in chosen]),
        curve("largest", [s.displacement_max_px for s in chosen]),
    ]
    shift = [curve("shift", [s.shift_px for s in chosen])] if any(s.moved_coarsely for s in chosen) else []
    along = "section, counted from 1"
    drawn = [
        *([_grey_likeness(cuts)] if cuts.sections == len(result.sections) else []),
        chart(
            "Correlation with the neighbours, brightness evened out (NCC)",
            likeness,
            levels=_levels(likeness),
            across=along,
        ),
        chart("Displacement against sections that did not steer, px", residual, levels=_levels(residual), across=along),
        chart("What the section was moved by, px", [*moved, *shift], levels=_levels([*moved, *shift]), across=along),
    ]
    if result.rounds:
        drawn.append(_rounds(result.rounds))
    if any(result.losses):
        drawn.append(_losses(result.losses))
    return el("div", *drawn, class_="charts")


def _grey_likeness(cuts: Cuts) -> Html:
    steps = list(range(1, len(cuts.likeness) + 1))
    curves = [
        Curve(name, steps, [v[k] if math.isfinite(v[k]) else None for v in cuts.likeness])
        for k, name in enumerate(("as given", "aligned"))
    ]
    title = "Correlation with the section before, grey values as they are"
    return chart(title, curves, levels=_levels(curves), across="section, counted from 1")


def _rounds(rounds: Sequence[Round]) -> Html:
    steps = list(range(1, len(rounds) + 1))
    curves = [
        Curve("moved by the round", steps, [r.moved_px or None for r in rounds]),
        Curve("misfit of the pairs", steps, [r.misfit_px or None for r in rounds]),
    ]
    levels = ", ".join(dict.fromkeys("full size" if r.level == 1 else f"1/{r.level}" for r in rounds))
    return chart(f"Rounds of the solution, px (at {levels})", curves, log=True, across="round")


def _losses(losses: Sequence[Sequence[float]]) -> Html:
    """Return the loss of the sections at each step, median and highest; one that has ended keeps its last."""
    longest = max(map(len, losses))
    every = max(1, math.ceil(longest / CURVE_POINTS))
    steps = list(range(0, longest, every))
    at = np.array([[own[min(k, len(own) - 1)] for k in steps] for own in losses if own])
    curves = [
        Curve(name, [k + 1 for k in steps], [float(v) if v > 0 else None for v in values])
        for name, values in (("median of the sections", np.median(at, axis=0)), ("highest", at.max(axis=0)))
    ]
    return chart("Loss of a section", curves, log=True, across="step")


def _levels(curves: Sequence[Curve]) -> list[float]:
    """Return round levels from 0, or from below it, to the largest value."""
    values = [v for c in curves for v in c.values if v is not None]
    high, low = max(values, default=1.0), min([0.0, *values])
    span = max(high - low, 1e-6)
    unit = 10.0 ** math.floor(math.log10(span / 4))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= span / 4)
    first = math.floor(low / step)
    last = max(first + 1, math.ceil(high / step - 1e-6))  # equal sections: everything is 0
    return [round(step * k, 9) for k in range(first, last + 1)]


# --- maps -----------------------------------------------------------------------------------------------------------


def maps(result: AlignResult, shown: Sequence[int]) -> Html | None:
    """Return displacement and Jacobian of sections as small pictures on one scale; None when nothing bends."""
    fields = {i: f for i in shown if (f := bending(result, i)) is not None}
    if not fields:
        return None
    lengths = {i: np.hypot(*f.offsets) for i, f in fields.items()}
    known = np.concatenate([v[np.isfinite(v)] for v in lengths.values()])
    most = max(1.0, float(np.quantile(known, 0.995))) if known.size else 1.0
    figures = [_map_pair(result, i, fields[i], lengths[i], most) for i in fields]
    keys = [
        el("span", "displacement 0", _ramp(LENGTHS), f"{px(most)} px and more", class_="key"),
        el("span", "area ½", _ramp(AREAS), "double", class_="key"),
        el("span", el("i", class_="swatch", style=f"background:{_PURPLE}"), "folded", class_="key"),
    ]
    note = "Left what the field adds, without turn and shift; right the area of input for an area of output (Jacobian)."
    return join(el("p", *keys, class_="note"), el("div", *figures, class_="maps"), el("p", note, class_="note"))


def _map_pair(result: AlignResult, index: int, field: Field, length: NDArray[np.float32], most: float) -> Html:
    verdict = result.sections[index]
    displacement = coloured_lengths(length, most)
    pictures = [
        _png(displacement, f"{verdict.id}: displacement"),
        _png(coloured_areas(field), f"{verdict.id}: Jacobian"),
    ]
    said = f"up to {px(verdict.displacement_max_px)} px; area at least × {verdict.min_jacobian:.2f}"
    return el("figure", el("h4", verdict.id), el("div", *pictures, class_="two"), el("figcaption", said))


def coloured_lengths(length: NDArray[np.floating[Any]], most: float) -> NDArray[np.uint8]:
    """Return colours (rows, cols, BGR) of lengths from 0 to ``most``; grey where unknown."""
    return _coloured(length / most, LENGTHS)


def coloured_areas(field: Field) -> NDArray[np.uint8]:
    """Return colours (rows, cols, BGR) of a field's Jacobian: half to double, purple where it folds."""
    area = jacobian(field)
    colours = _coloured(np.log2(np.maximum(area, 1e-3)) / 2 + 0.5, AREAS)
    colours[area <= 0] = _bgr(_PURPLE)
    return colours


def _coloured(share: NDArray[np.floating[Any]], stops: Sequence[str]) -> NDArray[np.uint8]:
    """Return colours (rows, cols, BGR) of shares from 0 to 1 between stops; grey where unknown."""
    known = np.isfinite(share)
    at = np.clip(np.where(known, share, 0), 0, 1) * (len(stops) - 1)
    table = np.array([_bgr(s) for s in stops], np.float32)
    places = np.arange(len(stops))
    mixed = np.stack([np.interp(at, places, table[:, k]) for k in range(3)], axis=-1)
    mixed[~known] = 128
    return np.asarray(np.rint(mixed), np.uint8)


def _bgr(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)


def _png(colours: NDArray[np.uint8], said: str) -> Html:
    rows, cols = colours.shape[:2]
    ratio = MAP_NODES / max(rows, cols)
    if ratio < 1:
        size = (max(1, round(cols * ratio)), max(1, round(rows * ratio)))
        colours = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, coded = cv2.imencode(".png", colours)
    if not done:  # OpenCV says no more than this
        msg = f"OpenCV could not code a picture of {colours.shape} as PNG"
        raise InputError(msg)
    return el("img", src="data:image/png;base64," + base64.b64encode(coded.tobytes()).decode("ascii"), alt=said)


def _ramp(stops: Sequence[str]) -> Html:
    return el("i", class_="ramp", style=f"background:linear-gradient(90deg,{','.join(stops)})")
