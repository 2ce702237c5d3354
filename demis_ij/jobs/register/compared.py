"""Pairs of one's own by several methods: what each says, side by side, and both images over each other by each.

::

    comparison.json   every number
    table.csv         one line a pair and method
    overlays_*.png    a pair: as the images came, and by each method, fixed in red, moving in cyan
    report.html       the same, to be looked at
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij import __version__
from demis_ij.config.registering import RegisterConfig
from demis_ij.jobs.register.files import shown_views
from demis_ij.jobs.register.pairs import PROBLEMS, Pair, in_one_line
from demis_ij.jobs.register.registering import FixedImage, Registered, Start
from demis_ij.records import Affine
from demis_ij.report.registration_compared import ComparedView, comparison_page, overlay_sheet
from demis_ij.runs import check_folder, make_folder, occupied, write_json, write_text
from demis_ij.synth.correlative_pairs import corner_error_px

Progress = Callable[[str, int, int], None]
COLUMNS = (
    "pair", "method", "matched", "angle_deg", "scale", "shift_x_px", "shift_y_px", "sigma_px", "standing", "score",
    "apart_px", "milliseconds", "found_by", "said",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ComparedPair:
    """What every method says of a pair.

    Attributes
    ----------
    pair : Pair
    rows : tuple of dict
        One a method, keys as in `COLUMNS`: shifts are of the fixed image's middle from the moving one's, px of that;
        ``apart_px`` is how far the corners lie from where the first method that matched puts them; ``said`` why a
        method has no place.
    found : mapping of str to Registered
        By method; those that could be tried.
    """

    pair: Pair
    rows: tuple[dict[str, Any], ...]
    found: Mapping[str, Registered]


def compare_registrations(
    pairs: Sequence[Pair], methods: Mapping[str, RegisterConfig], out: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Register pairs by several methods and put table, pictures and page into a folder.

    Parameters
    ----------
    pairs : sequence of Pair
    methods : mapping of str to RegisterConfig
        By name; the first that matches is what the others are compared with.
    out : Path
        New, empty, or an earlier comparison of the same pairs; that is made anew.
    progress : callable, optional
        Told how far the work is.

    Returns
    -------
    dict
        ``table``: rows by `COLUMNS`; ``files``: what was written; ``notes``: what else there is to say.

    Raises
    ------
    InputError
        When the folder holds something else.
    WeightsError
        When a method's weights cannot be used.
    """
    settings = {"compare_register": [[str(p.fixed.absolute()), str(p.moving.absolute())] for p in pairs]}
    check_folder(out, settings)
    with occupied(out):
        return _compared_into(out, settings, pairs, methods, progress or (lambda _what, _done, _all: None))


def _compared_into(
    out: Path,
    settings: Mapping[str, Any],
    pairs: Sequence[Pair],
    methods: Mapping[str, RegisterConfig],
    tell: Progress,
) -> dict[str, Any]:
    """Compare into a folder that nobody else works in."""
    starts = {name: Start.of(config) for name, config in methods.items()}
    make_folder(out)
    write_json(out / "run.json", {"demis_ij": __version__, **settings})
    notes = list(dict.fromkeys(n for s in starts.values() for n in s.notes))
    table: list[dict[str, Any]] = []
    views: list[ComparedView] = []
    files: dict[str, str] = {}
    for k, pair in enumerate(pairs):
        tell(pair.name, k, len(pairs))
        done = compared(pair, methods, starts)
        table += done.rows
        view = _view(done)
        views.append(view)
        if view.pictures:
            path = out / f"overlays_{k + 1}_{re.sub(r'[^A-Za-z0-9]+', '_', pair.name)[:60]}.png"
            path.write_bytes(overlay_sheet(view))
            files[f"overlays {k + 1}"] = str(path)
    tell("done", len(pairs), len(pairs))
    for name, text in (("table.csv", _csv(table)), ("report.html", comparison_page(views, list(methods), notes))):
        write_text(out / name, text)
        files[name.partition(".")[0]] = str(out / name)
    write_json(out / "comparison.json", {"table": table, "notes": notes})
    files["comparison"] = str(out / "comparison.json")
    return {"table": table, "files": files, "notes": notes}


def compared(pair: Pair, methods: Mapping[str, RegisterConfig], starts: Mapping[str, Start]) -> ComparedPair:
    """Return what every method says of a pair; one that fails on it says why."""
    found: dict[str, Registered] = {}
    problems: dict[str, str] = {}
    for name, config in methods.items():
        try:
            found[name] = FixedImage(pair.fixed, config, starts[name]).register(pair.moving, pair.sizes)
        except PROBLEMS as error:
            problems[name] = in_one_line(error)
    first = next((r for r in found.values() if r.registration.matched), None)
    return ComparedPair(pair, tuple(_row(pair, n, found.get(n), problems.get(n, ""), first) for n in methods), found)


def _row(pair: Pair, name: str, found: Registered | None, problem: str, first: Registered | None) -> dict[str, Any]:
    """Return a line of the table."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "pair": pair.name, "method": name, "matched": False}
    if found is None:
        return row | {"said": problem}
    facts = found.facts
    row |= {k: facts[k] for k in COLUMNS if k in facts}
    row |= {"found_by": facts["method"], "method": name, "said": facts["reason"]}
    at, by_first = found.registration.to_moving, first.registration.to_moving if first else None
    if at is not None and by_first is not None:
        row["shift_x_px"], row["shift_y_px"] = facts["shift_px"]
        row["apart_px"] = corner_error_px(at, by_first, found.fixed.shape)
    return {k: _plain(v) for k, v in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def _view(done: ComparedPair) -> ComparedView:
    """Return a pair's pictures, all on the fixed image's grid: as they came, then by each method that has a place."""
    if not done.found:
        return ComparedView(done.pair.name, str(done.pair.fixed), str(done.pair.moving), done.rows, None, {})
    some = next(iter(done.found.values()))

    def drawn(at: Affine | None) -> Any:
        return shown_views(some.fixed, some.moving, at, some.pixel_ratio)

    before = drawn(None)
    pictures = {name: drawn(r.registration.to_moving).after for name, r in done.found.items() if r.registration.matched}
    return ComparedView(
        done.pair.name, str(done.pair.fixed), str(done.pair.moving), done.rows, before.fixed,
        {"as they came": before.before, **pictures},
    )  # fmt: skip


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if row[c] is None else row[c] for c in COLUMNS] for row in table)
    return text.getvalue()


def with_models(methods: Mapping[str, RegisterConfig], model: str | None) -> dict[str, RegisterConfig]:
    """Return the methods with another model, where one is asked for."""
    return {n: c if model is None else replace(c, model=model) for n, c in methods.items()}


__all__ = ["COLUMNS", "ComparedPair", "compare_registrations", "compared", "with_models"]
