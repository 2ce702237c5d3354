"""Two registered images as one self-contained HTML page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import demis_ij
from demis_ij.display.markup import Html, el, join, px, signed
from demis_ij.records import Affine
from demis_ij.register.results import Registration
from demis_ij.report import tables
from demis_ij.report.figures import overlay
from demis_ij.report.page import POLICY
from demis_ij.report.pictures import GREY, CloseUp
from demis_ij.report.registration_pictures import Views
from demis_ij.report.style import CSS, DEFINITIONS, SCRIPT

PICTURE_BYTES = 800_000
"""What one picture of both images may take."""
_QUALITY = 82


@dataclass(frozen=True, eq=False)
class Further:
    """Something else that was done with the images.

    Attributes
    ----------
    title, note : str
    pictures : sequence of (str, ndarray)
        Their names and pixels, grey or colour (red first), uint8.
    rows : mapping
        What there is to tell of it.
    """

    title: str
    note: str = ""
    pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()
    rows: Mapping[str, object] = field(default_factory=dict)


def write_registration(
    path: Path,
    found: Registration,
    facts: Mapping[str, Any],
    views: Views,
    *,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
    more: Sequence[Further] = (),
) -> None:
    """Write one HTML page that shows how two images lie on each other: no other file is needed to read it.

    Parameters
    ----------
    path : Path
        The page. An existing one is replaced when the new one is whole.
    found : Registration
        In px of the files.
    facts : mapping
        What is known besides: ``fixed``, ``moving``, ``shift_px``, ``pixel_ratio``.
    views : Views
        Both images on the fixed image's grid.
    settings : mapping
        Of the run.
    notes : sequence of str
        What else is to be said, one line each.
    more : sequence of Further
        What was restyled or bent.
    """
    page = registration_page(found, facts, views, settings=settings, notes=notes, more=more)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def registration_page(
    found: Registration,
    facts: Mapping[str, Any],
    views: Views,
    *,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
    more: Sequence[Further] = (),
) -> Html:
    """Return the page."""
    paths = [Path(str(facts[k])) for k in ("fixed", "moving")]
    alike = paths[0].name == paths[1].name
    names = [f"{p.parent.name}/{p.name}" if alike else p.name for p in paths]
    heading = f"Registering {names[1]} to {names[0]}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("title", heading),
        el("style", Html(CSS)),
    )
    parts = [
        Html(DEFINITIONS),
        el("header", el("h1", heading), el("p", f"{facts['fixed']} · {facts['moving']}", class_="source")),
        _banner(found, facts),
        _cards(found, facts) if found.matched else None,
        _pictures(views),
        *[_further(part) for part in more],
        el("ul", *[el("li", n) for n in notes], class_="warnings") if notes else None,
        el("h2", "Parameters"),
        _parameters(found, facts),
        el("details", el("summary", "Settings"), tables.name_value_table({k: str(v) for k, v in settings.items()})),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
        el("script", Html(SCRIPT)),
    ]
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *parts), lang="en"), Html("\n"))


def _banner(found: Registration, facts: Mapping[str, Any]) -> Html:
    if found.matched:
        level, word = "good", "✓ Matched."
        said = f"The corners are expected to be {px(found.sigma_px)} px off; the place stands out by "
        said += f"{found.standing:.1f} standard deviations from all others ({found.needed:g} are needed)."
        if not math.isfinite(found.standing):
            said = "How they lie was given, not searched."
        if facts.get("elastic", {}).get("better_than_nothing"):
            said += " That is before what is bent: see below."
    else:
        level, word, said = "bad", "✕ Not matched:", f"{found.reason}."
    return el("section", el("p", el("strong", f"{word} "), said, class_="said"), class_=f"verdict {level}",
              aria_label="Verdict")  # fmt: skip


def _cards(found: Registration, facts: Mapping[str, Any]) -> Html:
    at, (x, y) = found.to_moving or Affine(), facts["shift_px"]
    cards = [
        (f"{signed(math.degrees(at.angle), 2)}°", "turn, x towards y"),
        (f"× {at.scale:.4f}", "scale: moving px for a fixed px"),
        (f"{signed(x, 1)}, {signed(y, 1)} px", "shift x, y from middle to middle, moving px"),
        (f"{px(found.sigma_px)} px", "expected error at the corners, fixed px"),
        (f"{found.overlap:.0%}", "of the fixed image is covered"),
        (f"{found.milliseconds:.0f} ms", "to place it, images in memory"),
    ]
    return el(
        "div", *[el("div", el("b", value), el("span", label), class_="card") for value, label in cards], class_="cards"
    )


def _pictures(views: Views) -> Html:
    shown = [("as they came", views.before)]
    if views.after is not None:
        shown.append(("registered", views.after))
    note = "Fixed image in red, moving image in cyan: grey where they agree. The switches show a checkerboard of the "
    note += "two, each in turn, or one alone."
    cards = [
        el("article", el("h4", when), overlay(_over(views.fixed, moving), f"v{k}", PICTURE_BYTES), class_="pair")
        for k, (when, moving) in enumerate(shown)
    ]
    title = "Before and after" if views.after is not None else "Both as they came"
    return join(el("h2", title), el("p", note, class_="note"), el("div", *cards, class_="pairs"))


def _further(part: Further) -> Html:
    """Return what else was done: its pictures and its numbers."""
    note = el("p", part.note, class_="note") if part.note else None
    rows = tables.name_value_table(dict(part.rows)) if part.rows else None
    shown = [
        el("article", el("h4", name), el("img", src=_uri(image), alt=name, width="100%"), class_="pair")
        for name, image in part.pictures
    ]
    return join(el("h2", part.title), note, el("div", *shown, class_="pairs") if shown else None, rows)


def _uri(image: NDArray[np.uint8]) -> str:
    """Return a picture, grey or red first, as an address that holds it."""
    shown = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    coded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _over(fixed: GREY, moving: GREY) -> CloseUp:
    return CloseUp(fixed, moving, (0.0, 0.0))


def _parameters(found: Registration, facts: Mapping[str, Any]) -> Html:
    at, back = found.to_moving, found.to_fixed
    ratio = facts.get("pixel_ratio")
    rows: dict[str, object] = {
        "matched": "yes" if found.matched else f"no: {found.reason}",
        "turn, °": _numbers(None if at is None else math.degrees(at.angle)),
        "scale": _numbers(None if at is None else at.scale),
        "to_moving: [a b tx], [c d ty]": _matrix(at),
        "to_fixed: [a b tx], [c d ty]": _matrix(back),
        "sigma, fixed px": _numbers(found.sigma_px),
        "score: correlation of the structure": _numbers(found.score),
        "standing, standard deviations": _numbers(found.standing),
        "overlap": f"{found.overlap:.1%}",
        "found by": found.method,
        "pixel size, fixed over moving": "not known" if ratio is None else _numbers(ratio),
        "time to place it, ms": f"{found.milliseconds:.0f}",
    }
    return tables.name_value_table(rows)


def _numbers(*values: float | None) -> str:
    return "  ".join("–" if v is None or not math.isfinite(v) else f"{v:.6g}".replace("-", "−") for v in values)


def _matrix(at: Affine | None) -> str:
    return "–" if at is None else ", ".join(f"[{_numbers(*row)}]" for row in at.rows)


__all__ = ["Further", "registration_page", "write_registration"]
