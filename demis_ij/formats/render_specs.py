"""Tile specs of Render as JSON: finding them in a file, changing them, making new ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document
from demis_ij.formats.files import URL, ImageFinder, encoding_of, section_of, unpack
from demis_ij.formats.lenses import lens_spec, world_bounds
from demis_ij.records import Affine, Lens, Tile

AFFINE_CLASS = "mpicbg.trakem2.transform.AffineModel2D"
Json = dict[str, Any]


@dataclass(frozen=True)
class Specs:
    """A parsed file: the whole of it, the tile specs in it (not copies), and the transforms that have an id."""

    whole: Any
    tiles: tuple[Json, ...]
    shared: Mapping[str, Json]


def parse(path: Path, raw: bytes) -> Specs:
    """Return the tile specs of a file: a list, one object, or Render's collections with maps of specs.

    Raises
    ------
    FormatError
        When it is no JSON (with the line), or holds no tile spec.
    """
    data = unpack(path, raw)
    try:
        whole = json.loads(data.decode(encoding_of(data)))
    except json.JSONDecodeError as error:
        cut = " (truncated?)" if error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise FormatError(path, f"no JSON{cut}: {error.msg}", f"line {error.lineno}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, f"no JSON: {error}") from error
    items = _items(whole)
    tiles = tuple(item for item in items if "tileId" in item)
    if not tiles:
        raise FormatError(path, "holds no tile: a list of tile specs with tileId was needed")
    shared = {str(i["id"]): i for i in items if "id" in i and ("className" in i or "specList" in i)}
    return Specs(whole, tiles, shared)


def _items(whole: Any) -> list[Json]:
    if isinstance(whole, list):
        return [item for item in whole if isinstance(item, dict)]
    if not isinstance(whole, dict):
        return []
    if "tileId" in whole:
        return [whole]
    out: list[Json] = []
    for key in ("tileIdToSpecMap", "transformIdToSpecMap", "tileSpecs", "transformSpecs", "transforms", "tiles"):
        part = whole.get(key)
        if isinstance(part, dict):
            for name, item in part.items():
                if isinstance(item, dict):
                    if "className" in item or "specList" in item:
                        item.setdefault("id", name)
                    out.append(item)
        elif isinstance(part, list):
            out += [item for item in part if isinstance(item, dict)]
    return out


def _data_string(affine: Affine) -> str:
    return " ".join(repr(float(v)) for v in (affine.a, affine.c, affine.b, affine.d, affine.tx, affine.ty))


def _leaf(affine: Affine) -> Json:
    return {"type": "leaf", "className": AFFINE_CLASS, "dataString": _data_string(affine)}


def _url(path: Path) -> str:
    text = path.absolute().as_posix()
    return f"file:{text}" if text.startswith("/") else f"file:/{text}"


def lens_leaf(lens: Lens, shape: tuple[int, int]) -> Json:
    """Return the transform spec of a lens, with an id, as a collection of tile specs shares it."""
    name, data = lens_spec(lens, shape)
    return {"type": "leaf", "id": lens.name, "className": name, "dataString": data}


def _lens_of(lens: Lens, shape: tuple[int, int], *, shared: bool) -> Json:
    """Return a tile's transform by a lens: a reference to the shared one, or all of it."""
    leaf = lens_leaf(lens, shape)
    return {"type": "ref", "refId": lens.name} if shared else {k: v for k, v in leaf.items() if k != "id"}


def put_lens(spec: Json, lens: Lens, shape: tuple[int, int], *, shared: bool) -> None:
    """Put a lens before a tile's transforms; ``shape`` is of its level 0."""
    transforms = spec.get("transforms")
    known = transforms if isinstance(transforms, list) else [] if transforms is None else [transforms]
    if isinstance(transforms, dict) and (transforms.get("type") == "list" or "specList" in transforms):
        known = transforms.get("specList", [])
    spec["transforms"] = {"type": "list", "specList": [_lens_of(lens, shape, shared=shared), *known]}


def new_spec(tile: Tile, tile_id: str, z: float) -> Json:
    """Return a new tile spec: one level, a reference to its lens where it has one, one affine."""
    level: Json = {"imageUrl": _url(tile.path)}
    if tile.mask_path is not None:
        level["maskUrl"] = _url(tile.mask_path)
    spec: Json = {"tileId": tile_id, "layout": {"sectionId": section_of(z)}, "z": z}
    if tile.camera:
        spec["layout"]["camera"] = tile.camera
    if 0 not in tile.shape:
        spec |= {"width": float(tile.shape[1]), "height": float(tile.shape[0])}
        spec |= _bounds(tile)
    spec["mipmapLevels"] = {"0": level}
    before = [] if tile.lens is None else [_lens_of(tile.lens, tile.shape, shared=True)]
    spec["transforms"] = {"type": "list", "specList": [*before, _leaf(tile.to_world)]}
    return spec


def collection(specs: Sequence[Json], tiles: Sequence[Tile]) -> Any:
    """Return a new file's whole: a list of tile specs, or with the lenses that they share, where there are any."""
    lenses = {tile.lens: tile.shape for tile in tiles if tile.lens is not None}
    if not lenses:
        return list(specs)
    shared = {lens.name: lens_leaf(lens, shape) for lens, shape in lenses.items()}
    return {"transformIdToSpecMap": shared, "tileIdToSpecMap": {spec["tileId"]: spec for spec in specs}}


def _bounds(tile: Tile) -> Json:
    """Return minX ... maxY of a tile: the world px of its outermost pixels' centres, as Render's mesh has it."""
    x0, y0, x1, y1 = world_bounds(tile)
    return {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1}


def move(spec: Json, change: Affine) -> None:
    """Put a change of the world behind a tile's transforms: into its last affine leaf, or as a new one."""
    transforms = spec.get("transforms")
    if isinstance(transforms, dict) and (transforms.get("type") == "list" or "specList" in transforms):
        specs = transforms.setdefault("specList", [])
    elif isinstance(transforms, list):
        specs = transforms
    else:
        specs = [] if transforms is None else [transforms]
        spec["transforms"] = {"type": "list", "specList": specs}
    last = specs[-1] if specs else None
    if isinstance(last, dict) and str(last.get("className", "")).rpartition(".")[2] == "AffineModel2D":
        m = [float(v) for v in str(last["dataString"]).split()]
        last["dataString"] = _data_string(change @ Affine(m[0], m[2], m[1], m[3], m[4], m[5]))
    else:
        specs.append(_leaf(change))


def set_bounds(spec: Json, full: Tile) -> None:
    """Bring minX ... maxY of a spec up to date with its level 0; leave none where the size is unknown."""
    if 0 in full.shape:
        for key in ("minX", "minY", "maxX", "maxY"):
            spec.pop(key, None)
        return
    spec.update(_bounds(full))


def keep_urls(specs: Sequence[Json], source: Path, document: Document, *, elsewhere: bool) -> None:
    """Rewrite the image urls: relinked ones, and relative ones when the copy goes to another folder."""
    finder = ImageFinder(source.parent, document.relink)
    for spec in specs:
        holders = [spec, *(c for c in spec.get("channels", []) if isinstance(c, dict))]
        for entry in (e for h in holders for e in (h.get("mipmapLevels") or {}).values() if isinstance(e, dict)):
            for key in ("imageUrl", "maskUrl"):
                url = entry.get(key)
                if not isinstance(url, str) or URL.match(url):
                    continue
                found = finder.find(url) if document.relink is not None else finder.written(url)
                if found != finder.written(url) or (elsewhere and not url.startswith(("/", "file:"))):
                    entry[key] = _url(found)


def dumped(path: Path, whole: Any, *, packed: bool | None = None) -> bytes:
    """Return JSON as bytes, gzip where ``packed`` or, when it is not given, the name says so."""
    try:
        data = (json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except ValueError as error:
        msg = f"{path}: a number in the tile specs is not finite and cannot stand in JSON"
        raise InputError(msg) from error
    if packed if packed is not None else path.name.lower().endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return data
