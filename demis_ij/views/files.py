"""Views as JSON: what Fiji's scripts read.

::

    {"kind": "mosaic", "version": 1, "title", "width", "height", "scale", "pixel_size": [4.0, "nm"] | null,
     "tiles": [{"id", "name", "outline": [[x, y] x 4], "colour", "placed_by", "sigma_px", "moved_px"}],
     "arrows": [{"id", "from": [x, y], "to": [x, y], "moved_px"}],
     "seams": [{"tile A", "tile B", "matches", "inliers", "dx", "dy", "residual px", "weight", "used": "yes" | "no",
                "reason", "line": [x1, y1, x2, y2], "colour"}]}
    {"kind": "pair", "version": 1, "title", "fixed", "moving", "width", "height",
     "lines": [[x1, y1, x2, y2, residual_px]], "colours": ["#rrggbb"], "residual_px", "inliers", "matches"}

The keys of a seam are the columns of its table in Fiji.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from demis_ij.errors import FormatError
from demis_ij.views.mosaic import ArrowView, MosaicView, SeamView, TileView
from demis_ij.views.pair import PairView

VERSION = 1

View = MosaicView | PairView

_SEAM_KEYS = {"tile_a": "tile A", "tile_b": "tile B", "residual_px": "residual px", "is_used": "used"}
_ARROW_KEYS = {"start": "from", "end": "to"}


def as_json(view: View) -> dict[str, Any]:
    """Return a view as JSON types."""
    if isinstance(view, PairView):
        return {"kind": "pair", "version": VERSION, **_lists(asdict(view))}
    told = _lists(asdict(view))
    told["arrows"] = [_renamed(a, _ARROW_KEYS) for a in told["arrows"]]
    told["seams"] = [_renamed({**s, "is_used": "yes" if s["is_used"] else "no"}, _SEAM_KEYS) for s in told["seams"]]
    return {"kind": "mosaic", "version": VERSION, **told}


def _lists(value: Any) -> Any:
    """Return the value with every tuple a list, as JSON has them."""
    if isinstance(value, dict):
        return {key: _lists(v) for key, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def _renamed(row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in row.items()}


def from_json(told: Any, source: Path) -> View:
    """Return the view that JSON types tell of.

    Parameters
    ----------
    told : mapping
        What `as_json` made.
    source : Path
        Named in errors.

    Raises
    ------
    FormatError
        When it is no view, or one of another version.
    """
    if not isinstance(told, dict) or told.get("kind") not in {"mosaic", "pair"}:
        raise FormatError(source, "holds no view: 'kind' is neither 'mosaic' nor 'pair'")
    if told.get("version") != VERSION:
        found = told.get("version")
        raise FormatError(source, f"is a view of version {found!r}, {VERSION} is needed: make it again")
    try:
        return _pair(told) if told["kind"] == "pair" else _mosaic(told)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(source, f"is not a complete view: {error!r}") from error


def _pair(told: dict[str, Any]) -> PairView:
    values = {f.name: _tuples(told[f.name]) for f in fields(PairView)}
    return PairView(**values)


def _mosaic(told: dict[str, Any]) -> MosaicView:
    values = {f.name: _tuples(told[f.name]) for f in fields(MosaicView) if f.name not in {"tiles", "arrows", "seams"}}
    tiles = tuple(TileView(**_read(t, TileView, {})) for t in told["tiles"])
    arrows = tuple(ArrowView(**_read(a, ArrowView, _ARROW_KEYS)) for a in told["arrows"])
    seams = tuple(SeamView(**_used(_read(s, SeamView, _SEAM_KEYS))) for s in told["seams"])
    return MosaicView(**values, tiles=tiles, arrows=arrows, seams=seams)


def _read(row: dict[str, Any], kind: type[TileView | ArrowView | SeamView], names: dict[str, str]) -> dict[str, Any]:
    return {f.name: _tuples(row[names.get(f.name, f.name)]) for f in fields(kind)}


def _used(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "is_used": {"yes": True, "no": False}[row["is_used"]]}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def write(view: View, path: Path) -> None:
    """Write a view as JSON, all or nothing; an existing file is replaced."""
    text = json.dumps(as_json(view), ensure_ascii=False, allow_nan=False)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> View:
    """Return the view that a file holds.

    Raises
    ------
    FormatError
        When the file cannot be read or is no view.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    return from_json(told, path)
