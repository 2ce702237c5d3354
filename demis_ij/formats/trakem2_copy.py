"""The solved copy of a TrakEM2 project: the user's bytes, with the matrices of the tiles that moved.

A patch with a coordinate transform keeps it exactly: its matrix is multiplied from the left by what the solution did
to the world, ``A_new = (new to_world) (old to_world)^-1 A_old``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import hypot
from pathlib import Path

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.document import Document
from demis_ij.formats.files import URL, WINDOWS_DRIVE, ImageFinder, relative_or_absolute, same_folder
from demis_ij.formats.lenses import deformed_box, lens_spec
from demis_ij.formats.text_list import split_slice
from demis_ij.formats.trakem2_bytes import StartTag, escape, replaced, start_tags, value, xml_encoding
from demis_ij.formats.trakem2_matrix import format_matrix, parse_matrix, to_corner_frame
from demis_ij.formats.trakem2_project import Patch, Project
from demis_ij.records import Affine, Layout, Lens, Tile

LENS_MARK = b"<!--demis_ij lens-->"
"""Stands behind a coordinate transform that a solved copy has and the user's file has not."""
EMPTY = re.compile(rb"/\s*>\Z")
LENS = rb'\n\t\t\t\t<ict_transform class="[^"]*" data="[^"]*"/><!--demis_ij lens-->'
LENS_OF_EMPTY = re.compile(rb">" + LENS + rb"</[^>]*><!--demis_ij lens-->")
LENS_INSIDE = re.compile(LENS)
MOVED_PX = 1e-9
"""A tile whose corners all stay within this has not moved: its text stays as it was written."""


def corner_displacement(tile: Tile, to_world: Affine) -> float:
    """Return how far the farthest corner of a tile moves, world px."""
    old, new = tile.to_world, to_world
    rows, columns = tile.shape
    a, b, tx = new.a - old.a, new.b - old.b, new.tx - old.tx  # the way a point goes is affine, too
    c, d, ty = new.c - old.c, new.d - old.d, new.ty - old.ty
    corners = ((x, y) for x in (-0.5, columns - 0.5) for y in (-0.5, rows - 0.5))
    return max(hypot(a * x + b * y + tx, c * x + d * y + ty) for x, y in corners)


def new_matrices(document: Document, project: Project, layouts: Sequence[Layout]) -> dict[str, Affine]:
    """Return the new matrix of every tile that moved and may move."""
    old = {tile.id: tile for layout in document.layouts for tile in layout}
    patches = {patch.oid: patch for layer in project.layers for patch in layer.patches}
    out = {}
    for tile in (tile for layout in layouts for tile in layout):
        if tile.id not in old:
            msg = f"{document.path}: tile {tile.id!r} of the solution is not in the project"
            raise InputError(msg)
        before = old[tile.id]
        if tile.lens is not None and before.lens is None:
            x, y, _, _ = deformed_box(tile.lens, tile.shape)
            out[tile.id] = to_corner_frame(tile.to_world @ Affine.translation(x, y))
            continue
        if before.locked or corner_displacement(before, tile.to_world) <= MOVED_PX:
            continue
        patch = patches[tile.id]
        if _has_transform(patch):
            change = to_corner_frame(tile.to_world @ before.to_world.inverse)
            out[tile.id] = change @ parse_matrix(document.path, patch)
        else:
            out[tile.id] = to_corner_frame(tile.to_world)
    return out


def _has_transform(patch: Patch) -> bool:
    return bool(patch.specs) or patch.attributes.get("ct_id", "") not in {"", "0", "-1"}


def new_lenses(document: Document, project: Project, layouts: Sequence[Layout]) -> dict[str, Lens]:
    """Return the lens of every tile that had none. Raises `InputError` where it cannot be put in."""
    old = {tile.id: tile for layout in document.layouts for tile in layout}
    found = {t.id: t.lens for layout in layouts for t in layout if t.lens is not None and t.id in old}
    new = {name: lens for name, lens in found.items() if old[name].lens is None}
    patches = {patch.oid: patch for layer in project.layers for patch in layer.patches}
    has_own = [name for name in new if _has_transform(patches[name])]
    changed = [name for name, lens in found.items() if old[name].lens not in (None, lens)]
    if has_own or changed:
        msg = (
            f"{document.path}: {len(has_own) + len(changed)} patch(es) have a coordinate transform of their own (first:"
            f" oid {(has_own + changed)[0]}), a lens cannot be put before it: write a new project instead (convert)"
        )
        raise InputError(msg)
    return new


def without_matrices(data: bytes) -> bytes:
    """Return the bytes of a project without what solved copies change: patches' matrices and sizes, and new lenses."""
    edits = {
        (at.start, at.end): b""
        for tag in start_tags(data, frozenset({"t2_patch"}))
        for name in ("transform", "width", "height")
        if (at := tag.attributes.get(name)) is not None
    }
    return LENS_INSIDE.sub(b"", LENS_OF_EMPTY.sub(b"/>", replaced(data, edits)))


class Copy:
    """The user's bytes, and what must change in them."""

    def __init__(self, document: Document, data: bytes, target: Path) -> None:
        self.document = document
        self.data = data
        self.target = target
        self.source_folder = document.path.parent
        self.encoding = xml_encoding(data)
        self.elsewhere = not same_folder(target.parent, self.source_folder)
        self.finder = ImageFinder(self.source_folder)
        self.edits: dict[tuple[int, int], bytes] = {}

    def edited(self, matrices: Mapping[str, Affine], lenses: Mapping[str, Lens] | None = None) -> bytes:
        """Return the bytes of the copy. Raises `FormatError` when a tile that moved is not found in them."""
        tiles = {tile.id: tile for layout in self.document.layouts for tile in layout}
        todo = dict(matrices)
        for tag in start_tags(self.data, frozenset({"t2_patch", "t2_stack", "project"})):
            if tag.name == "project":
                self.keep_folders(tag)
                continue
            oid = self.text(tag, "oid").strip()
            if tag.name == "t2_patch" and oid in todo:
                self.put(tag, "transform", format_matrix(todo.pop(oid)))
                if lenses and oid in lenses:
                    self.put_lens(tag, lenses[oid], tiles[oid].shape)
            self.keep_paths(tag, tiles.get(oid) if tag.name == "t2_patch" else None)
        if todo:
            raise FormatError(
                self.document.path, f"{len(todo)} moved tile(s) not found as start tags, first oid {next(iter(todo))}"
            )
        return replaced(self.data, self.edits)

    def text(self, tag: StartTag, name: str) -> str:
        """Return an attribute's text, empty where it is missing."""
        return value(self.data, tag.attributes[name], self.encoding) if name in tag.attributes else ""

    def put(self, tag: StartTag, name: str, text: str) -> None:
        """Replace an attribute's text, or add the attribute behind the tag's name."""
        new = escape(text, self.encoding)
        if name in tag.attributes:
            at = tag.attributes[name]
            self.edits[at.start, at.end] = new
        else:
            key = (tag.after_name, tag.after_name)
            self.edits[key] = self.edits.get(key, b"") + b" " + name.encode() + b'="' + new + b'"'

    def put_lens(self, tag: StartTag, lens: Lens, shape: tuple[int, int]) -> None:
        """Give a patch that has no coordinate transform that of a lens, and the size of its box."""
        name, data = lens_spec(lens, shape)
        _, _, width, height = deformed_box(lens, shape)
        self.put(tag, "width", f"{width}.0")
        self.put(tag, "height", f"{height}.0")
        element = f'\n\t\t\t\t<ict_transform class="{name}" data="{data}"/><!--demis_ij lens-->'.encode("ascii")
        empty = EMPTY.search(self.data, tag.start, tag.end)
        if empty is None:
            self.edits[tag.end, tag.end] = element
        else:
            original = self.data[tag.start + 1 : tag.after_name]
            self.edits[empty.start(), tag.end] = b">" + element + b"</" + original + b"><!--demis_ij lens-->"

    def keep_paths(self, tag: StartTag, tile: Tile | None) -> None:
        """Rewrite the paths of images that were relinked, and relative ones when the copy goes to another folder."""
        if not self.elsewhere and self.document.relink is None:
            return
        for name in ("file_path", "original_path"):
            if name not in tag.attributes:
                continue
            written, page = split_slice(self.text(tag, name))
            path = self.finder.written(written)
            relative = not (URL.match(written) or WINDOWS_DRIVE.match(written) or Path(written).is_absolute())
            relinked = self.document.relink is not None and name == "file_path" and tile is not None
            if relinked and tile is not None and tile.path.absolute() != path.absolute():
                path = tile.path.absolute()
                relative = relative or path.is_relative_to(self.target.parent.absolute())
            elif not (self.elsewhere and relative):
                continue
            text = relative_or_absolute(path, self.target.parent) if relative else path.as_posix()
            self.put(tag, name, text if page is None else f"{text}-----#slice={page + 1}")

    def keep_folders(self, tag: StartTag) -> None:
        """Let a copy in another folder share the original's storage: mipmaps, masks and coordinate transforms."""
        if not self.elsewhere or tag.start != self.first_project():
            return
        for name in ("mipmaps_folder", "storage_folder"):
            written = self.text(tag, name)
            if URL.match(written) or WINDOWS_DRIVE.match(written) or Path(written).is_absolute():
                continue
            if name == "storage_folder" or written:
                folder = self.finder.written(written or ".").absolute()
                self.put(tag, name, folder.as_posix().rstrip("/") + "/")

    def first_project(self) -> int:
        """Return where the project's own tag starts; a template may use the same name further down."""
        return next(tag.start for tag in start_tags(self.data, frozenset({"project"})))
