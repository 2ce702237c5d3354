"""Render's TileSpec JSON (Janelia): transforms, image pyramids and masks of tiles.

A tile's transforms map pixel centres (integers) of its level-0 image to world px. Where the level-0 image is not there
but a smaller level is, the tile *is* that level: its pixel p of level k is at ``2^k (p + 1/2) - 1/2`` of level 0, and
that is part of its ``to_world``. World px stay those of level 0.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document
from demis_ij.formats.files import (
    GZIP_MAGIC,
    URL,
    ImageFinder,
    digest,
    encoding_of,
    finite,
    heights,
    read_head,
    section_of,
    solved_path,
    unpack,
    write_new,
)
from demis_ij.formats.tileconfig import geometry_losses
from demis_ij.formats.trakem2_ct import CoordinateTransform, Spec, nearest_affine, parse_transforms
from demis_ij.records import Affine, Layout, Tile

AFFINE_CLASS = "mpicbg.trakem2.transform.AffineModel2D"
Json = dict[str, Any]


@dataclass(frozen=True)
class Level:
    """One level of a tile's image pyramid, found."""

    number: int
    image: Path
    mask: Path | None

    @property
    def to_full(self) -> Affine:
        """Pixels of the level to level-0 pixels."""
        scale = float(2**self.number)
        return Affine(a=scale, d=scale, tx=(scale - 1) / 2, ty=(scale - 1) / 2)


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


class RenderJsonFormat:
    """Reads and writes Render TileSpec JSON (``.json``, ``.json.gz``)."""

    name = "render"

    def recognises(self, path: Path) -> bool:
        """Return whether a file starts like JSON and speaks of tiles."""
        head = read_head(path).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head[:1] not in {b"[", b"{"}:
            return False
        return b'"tileId"' in head or path.name.lower().endswith((".json", ".json.gz"))

    def read(self, path: Path) -> list[Layout]:
        """Return one layout a z."""
        return list(self.read_document(path, path.read_bytes(), None).layouts)

    def read_document(self, path: Path, raw: bytes, relink: Path | None) -> Document:
        """Return the sections of a file of tile specs; `demis_ij.formats.read` says the rest."""
        specs = parse(path, raw)
        reader = _Reader(path, specs.shared, ImageFinder(path.parent, relink))
        sections: dict[str, list[Tile]] = {}
        seen: dict[str, int] = {}
        for i, spec in enumerate(specs.tiles):
            tile = reader.tile(spec, i)
            if tile.id in seen:
                raise FormatError(path, f"tileId {tile.id!r} again, first in tile spec {seen[tile.id]}", f"spec {i}")
            seen[tile.id] = i
            sections.setdefault(tile.section, []).append(tile)
        layouts = tuple(Layout(tuple(tiles), section, source=path) for section, tiles in sections.items())
        return Document(layouts, self.name, path, tuple(reader.all_warnings()), digest=digest(raw), relink=relink)

    def losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what tile specs cannot hold."""
        straight = [replace(a, tiles=tuple(replace(t, to_world=Affine()) for t in a)) for a in layouts]
        out = geometry_losses(straight)
        paged = [t.id for layout in layouts for t in layout if t.page]
        if paged:
            out.append(f"the page of {len(paged)} tile(s) of multi-page files (first: {paged[0]})")
        return tuple(out)

    def write(self, path: Path, layouts: Sequence[Layout]) -> None:
        """Write new tile specs."""
        self.write_new(path, layouts, overwrite=False)

    def write_new(self, path: Path, layouts: Sequence[Layout], *, overwrite: bool) -> Path:
        """Write new tile specs, one affine a tile, level 0 only."""
        layouts = [layout for layout in layouts if len(layout)]
        ids = [tile.id for layout in layouts for tile in layout]
        unique = len(set(ids)) == len(ids)
        out = []
        for layout, z in zip(layouts, heights(layouts), strict=True):
            for tile in layout:
                tile_id = tile.id if unique else f"{layout.section}:{tile.id}"
                out.append(_new_spec(tile, tile_id, z))
        return write_new(path, _dumped(path, out), overwrite=overwrite)

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path:
        """Write ``<name>.demis.json``: the original's tile specs, with the last transform of moved tiles changed."""
        source = document.path
        specs = parse(source, raw)
        old = {t.id: t for layout in document.layouts for t in layout}
        new = {t.id: t for layout in layouts for t in layout}
        for spec in specs.tiles:
            before = old[str(spec["tileId"])]
            after = new.get(before.id, before)
            if after.to_world != before.to_world and not before.locked:
                _move(spec, after.to_world @ before.to_world.inverse)
                _set_bounds(spec, after, document)
        stem, suffix = (
            (source.name[:-8], source.name[-8:])
            if source.name.endswith(".json.gz")
            else (
                source.stem,
                source.suffix,
            )
        )
        target = solved_path(source, out, f"{stem}.demis{suffix}")
        elsewhere = target.parent.absolute() != source.parent.absolute()
        if document.relink is not None or elsewhere:
            _keep_urls(specs.tiles, source, document, elsewhere=elsewhere)
        packed = raw.startswith(GZIP_MAGIC)
        return write_new(target, _dumped(target, specs.whole, packed=packed), overwrite=overwrite)


# --- reading ----------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, path: Path, shared: Mapping[str, Json], finder: ImageFinder) -> None:
        self.path = path
        self.shared = shared
        self.finder = finder
        self.notes: dict[str, list[str]] = {}

    def note(self, kind: str, tile_id: str) -> None:
        self.notes.setdefault(kind, []).append(tile_id)

    def all_warnings(self) -> list[str]:
        said = [f"{len(ids)} tile(s) {kind} (first: {ids[0]})" for kind, ids in self.notes.items()]
        return [*said, *self.finder.warnings()]

    def tile(self, spec: Json, index: int) -> Tile:
        """Return a tile spec as a tile. Raises `FormatError` naming the spec."""
        tile_id = str(spec["tileId"])
        where = f"tile spec {index}, tileId {tile_id}"
        full = (self.size(spec, "height", where), self.size(spec, "width", where))
        level = self.level(spec, tile_id, where)
        to_world = self.to_world(spec, full, tile_id, where) @ level.to_full
        if level.number:
            self.note(f"have no level 0 image: level {level.number} stands for it", tile_id)
        if _number(spec, "minIntensity", 0) > _number(spec, "maxIntensity", 1):
            self.note(
                "are shown inverted (minIntensity above maxIntensity); their grey values are used as they are", tile_id
            )
        divided = [v / 2**level.number for v in full]
        shape = (int(divided[0]), int(divided[1])) if all(v == int(v) for v in divided) else (0, 0)
        return Tile(tile_id, level.image, shape, to_world, self.section(spec, where), mask_path=level.mask)

    def size(self, spec: Json, key: str, where: str) -> int:
        value = spec.get(key)
        if value is None:
            return 0
        size = finite(str(value), self.path, where, key)
        if size < 0 or size != int(size):
            raise FormatError(self.path, f"{key} {value!r} is no number of pixels", where)
        return int(size)

    def section(self, spec: Json, where: str) -> str:
        if spec.get("z") is not None:
            return section_of(finite(str(spec["z"]), self.path, where, "z"))
        layout = spec.get("layout")
        given = layout.get("sectionId") if isinstance(layout, dict) else None
        if given is None:
            return "0"
        try:
            return section_of(float(given))
        except (TypeError, ValueError, OverflowError):
            return str(given)

    def level(self, spec: Json, tile_id: str, where: str) -> Level:
        """Return level 0 where its image is there, else the lowest level that is, else level 0."""
        levels = spec.get("mipmapLevels")
        channels = spec.get("channels")
        if not levels and isinstance(channels, list):
            full = [c for c in channels if isinstance(c, dict) and c.get("mipmapLevels")]
            if len(full) > 1:
                self.note("have several channels; the first is used", tile_id)
            levels = full[0]["mipmapLevels"] if full else None
        if not isinstance(levels, dict) or not levels:
            raise FormatError(self.path, "no mipmapLevels with an imageUrl", where)
        try:
            numbered = sorted((int(key), entry) for key, entry in levels.items())
            urls = [(number, str(entry["imageUrl"]), entry.get("maskUrl")) for number, entry in numbered]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(self.path, f"mipmapLevels cannot be read: {error!r}", where) from error
        if urls[0][0] < 0:
            raise FormatError(self.path, f"mipmapLevels: level {urls[0][0]}", where)
        for number, url, mask in urls:
            trial = self.look(url)
            if trial is not None:
                return Level(number, trial, self.mask(mask, tile_id))
        number, url, mask = urls[0]
        if URL.match(url):
            self.note("are at a web address and are not fetched", tile_id)
        return Level(number, self.finder.find(url), self.mask(mask, tile_id))

    def look(self, url: str) -> Path | None:
        """Return where an image is, None when it is nowhere; remembers only what was found."""
        noted = len(self.finder.beside), len(self.finder.not_relinked), len(self.finder.ambiguous)
        path = self.finder.find(url)
        if not URL.match(url) and self.finder.exists(path):
            return path
        del self.finder.beside[noted[0] :], self.finder.not_relinked[noted[1] :], self.finder.ambiguous[noted[2] :]
        return None

    def mask(self, url: Any, tile_id: str) -> Path | None:
        if not isinstance(url, str) or not url:
            return None
        found = self.look(url)
        if found is None:
            self.note("have a mask that is not there: all of their pixels are used", tile_id)
        return found

    def to_world(self, spec: Json, full: tuple[int, int], tile_id: str, where: str) -> Affine:
        """Return level-0 px to world px; the nearest affine, with a note, where the transforms are not affine."""
        leaves = self.leaves(spec.get("transforms"), where, ())
        try:
            transform: CoordinateTransform = parse_transforms(leaves)
            if transform.affine is None and 0 in full:
                raise FormatError(self.path, "a transform that is not affine needs width and height", where)
            affine, departure = nearest_affine(transform, full)
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(self.path, f"transforms: {error}", where) from error
        if departure > 0:
            self.note(
                f"have a transform that is not affine: inside, the nearest affine stands for it, up to {departure:.2g}"
                " px away; it is kept exactly in the file",
                tile_id,
            )
        if affine.determinant == 0:
            raise FormatError(self.path, "transforms flatten the tile", where)
        return affine

    def leaves(self, node: Any, where: str, within: tuple[str, ...]) -> list[Spec]:
        """Return the (class, data) pairs of a transform in order of application, references resolved."""
        if node is None:
            return []
        if isinstance(node, list):
            return [leaf for child in node for leaf in self.leaves(child, where, within)]
        if not isinstance(node, dict):
            raise FormatError(self.path, f"transforms: {node!r} is no transform", where)
        kind = node.get("type", "leaf" if "className" in node else "list")
        if kind == "list":
            return self.leaves(node.get("specList", []), where, within)
        if kind == "ref":
            ref = str(node.get("refId"))
            if ref in within:
                raise FormatError(self.path, f"transform {ref!r} refers to itself", where)
            if ref not in self.shared:
                raise FormatError(
                    self.path,
                    f"transform {ref!r} is not in the file: export the tile specs with their transforms resolved",
                    where,
                )
            return self.leaves(self.shared[ref], where, (*within, ref))
        if kind != "leaf" or "className" not in node or "dataString" not in node:
            raise FormatError(self.path, f"a transform of type {kind!r} cannot be read", where)
        return [(str(node["className"]), str(node["dataString"]))]


def _number(spec: Json, key: str, default: float) -> float:
    value = spec.get(key, default)
    return float(value) if isinstance(value, int | float) and isfinite(value) else default


# --- writing ----------------------------------------------------------------------------------------------------------


def _data_string(affine: Affine) -> str:
    return " ".join(repr(float(v)) for v in (affine.a, affine.c, affine.b, affine.d, affine.tx, affine.ty))


def _leaf(affine: Affine) -> Json:
    return {"type": "leaf", "className": AFFINE_CLASS, "dataString": _data_string(affine)}


def _url(path: Path) -> str:
    text = path.absolute().as_posix()
    return f"file:{text}" if text.startswith("/") else f"file:/{text}"


def _new_spec(tile: Tile, tile_id: str, z: float) -> Json:
    level: Json = {"imageUrl": _url(tile.path)}
    if tile.mask_path is not None:
        level["maskUrl"] = _url(tile.mask_path)
    spec: Json = {"tileId": tile_id, "layout": {"sectionId": section_of(z)}, "z": z}
    if 0 not in tile.shape:
        spec |= {"width": float(tile.shape[1]), "height": float(tile.shape[0])}
        spec |= _bounds(tile.to_world, tile.shape)
    spec["mipmapLevels"] = {"0": level}
    spec["transforms"] = {"type": "list", "specList": [_leaf(tile.to_world)]}
    return spec


def _bounds(to_world: Affine, shape: tuple[int, int]) -> Json:
    """Return minX ... maxY of a tile: the world px of its corner pixels' centres, as Render's mesh has it."""
    h, w = shape
    corners = to_world(np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float))
    (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    return {"minX": float(x0), "minY": float(y0), "maxX": float(x1), "maxY": float(y1)}


def _move(spec: Json, change: Affine) -> None:
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


def _set_bounds(spec: Json, tile: Tile, document: Document) -> None:
    if 0 in tile.shape:
        for key in ("minX", "minY", "maxX", "maxY"):
            spec.pop(key, None)
        return
    spec.update(_bounds(tile.to_world, tile.shape))


def _keep_urls(specs: Sequence[Json], source: Path, document: Document, *, elsewhere: bool) -> None:
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


def _dumped(path: Path, whole: Any, *, packed: bool | None = None) -> bytes:
    try:
        data = (json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except ValueError as error:
        msg = f"{path}: a number in the tile specs is not finite and cannot stand in JSON"
        raise InputError(msg) from error
    if packed if packed is not None else path.name.lower().endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return data
