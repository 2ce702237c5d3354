"""Render's TileSpec JSON (Janelia): transforms, image pyramids and masks of tiles.

A tile's transforms map pixel centres (integers) of its level-0 image to world px. Where the level-0 image is not there
but a smaller level is, the tile *is* that level: its pixel p of level k is at ``2^k (p + 1/2) - 1/2`` of level 0, and
that is part of its ``to_world``. World px stay those of level 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document
from demis_ij.formats.files import (
    GZIP_MAGIC,
    URL,
    ImageFinder,
    digest,
    finite,
    heights,
    read_head,
    same_folder,
    section_losses,
    section_of,
    solved_path,
    write_new,
)
from demis_ij.formats.lenses import behind_lens
from demis_ij.formats.render_specs import (
    Json,
    collection,
    dumped,
    keep_urls,
    lens_leaf,
    move,
    new_spec,
    parse,
    put_lens,
    set_bounds,
)
from demis_ij.formats.trakem2_ct import CoordinateTransform, Spec, parse_transforms
from demis_ij.records import Affine, Layout, Tile


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
        reader = _Reader(path, dict(specs.shared), ImageFinder(path.parent, relink))
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
        paged = [t.id for layout in layouts for t in layout if t.page]
        pages = (f"the page of {len(paged)} tile(s) of multi-page files (first: {paged[0]})",) if paged else ()
        return (*section_losses(layouts), *pages)

    def solved_losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return nothing: a solved copy holds every affine, and keeps all else that is in the file."""
        return ()

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
                out.append(new_spec(tile, tile_id, z))
        tiles = [tile for layout in layouts for tile in layout]
        return write_new(path, dumped(path, collection(out, tiles)), overwrite=overwrite)

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path:
        """Write ``<name>.demis.json``: the original's tile specs, with the last transform of moved tiles changed."""
        source = document.path
        specs = parse(source, raw)
        old = {t.id: t for layout in document.layouts for t in layout}
        new = {t.id: t for layout in layouts for t in layout}
        shared = specs.whole.get("transformIdToSpecMap") if isinstance(specs.whole, dict) else None
        known = dict(specs.shared)
        reader = _Reader(source, known, ImageFinder(source.parent))
        for i, spec in enumerate(specs.tiles):
            before = old[str(spec["tileId"])]
            after = new.get(before.id, before)
            if after.to_world != before.to_world:
                move(spec, after.to_world @ before.to_world.inverse)
            if after.lens != before.lens:
                self._put_lens(spec, before, after, reader, shared)
            if after != before:
                set_bounds(spec, reader.full(spec, i))
        stem, suffix = (
            (source.name[:-8], source.name[-8:])
            if source.name.endswith(".json.gz")
            else (
                source.stem,
                source.suffix,
            )
        )
        target = solved_path(source, out, f"{stem}.demis{suffix}")
        elsewhere = not same_folder(target.parent, source.parent)
        if document.relink is not None or elsewhere:
            keep_urls(specs.tiles, source, document, elsewhere=elsewhere)
        packed = raw.startswith(GZIP_MAGIC)
        return write_new(target, dumped(target, specs.whole, packed=packed), overwrite=overwrite)

    def _put_lens(self, spec: Json, before: Tile, after: Tile, reader: _Reader, shared: Json | None) -> None:
        """Put a new lens before a spec's transforms. Raises `InputError` where it has another one already."""
        if before.lens is not None or after.lens is None:
            msg = f"tile {after.id!r} has a lens correction of its own: write a new file instead (convert)"
            raise InputError(msg)
        full, level = reader.size_of(spec), reader.level(spec, after.id, f"tileId {after.id}").number
        lens = after.lens.reduced(0.5**level)
        if shared is not None and lens.name not in shared:
            shared[lens.name] = lens_leaf(lens, full)
            reader.shared[lens.name] = shared[lens.name]
        put_lens(spec, lens, full, shared=shared is not None)


# --- reading ----------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, path: Path, shared: dict[str, Json], finder: ImageFinder) -> None:
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
        level = self.level(spec, tile_id, where)
        whole = self.full(spec, index)
        full, to_world = whole.shape, whole.to_world @ level.to_full
        if level.number:
            self.note(f"have no level 0 image: level {level.number} stands for it", tile_id)
        if _number(spec, "minIntensity", 0) > _number(spec, "maxIntensity", 1):
            self.note(
                "are shown inverted (minIntensity above maxIntensity); their grey values are used as they are", tile_id
            )
        divided = [v / 2**level.number for v in full]
        shape = (int(divided[0]), int(divided[1])) if all(v == int(v) for v in divided) else (0, 0)
        lens = None if whole.lens is None else whole.lens.reduced(2**level.number)
        camera = whole.camera
        section = self.section(spec, where)
        return Tile(tile_id, level.image, shape, to_world, section, mask_path=level.mask, lens=lens, camera=camera)

    def camera(self, spec: Json) -> str:
        """Return what a tile's layout calls its camera."""
        layout = spec.get("layout")
        given = layout.get("camera") if isinstance(layout, dict) else None
        return "" if given is None else str(given)

    def size_of(self, spec: Json) -> tuple[int, int]:
        """Return (rows, cols) of level 0, 0 where it is not given."""
        where = f"tileId {spec['tileId']}"
        return self.size(spec, "height", where), self.size(spec, "width", where)

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

    def full(self, spec: Json, index: int) -> Tile:
        """Return a tile spec's level 0 as a tile: level-0 px to world px, an affine map after a lens.

        The nearest affine, with a note, where the transforms are no such thing.
        """
        tile_id = str(spec["tileId"])
        where = f"tile spec {index}, tileId {tile_id}"
        full = (self.size(spec, "height", where), self.size(spec, "width", where))
        leaves = tuple(self.leaves(spec.get("transforms"), where, ()))
        camera = self.camera(spec)
        try:
            transform: CoordinateTransform = parse_transforms(leaves)
            if transform.affine is None and 0 in full:
                raise FormatError(self.path, "a transform that is not affine needs width and height", where)
            affine, lens, departure = behind_lens(transform, full, camera)
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
        return Tile(tile_id, self.path, full, affine, lens=lens, camera=camera)

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
