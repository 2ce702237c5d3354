"""TrakEM2 projects (``.xml``, ``.xml.gz``), read tolerantly and copied byte for byte.

The solved copy differs from the user's file in the ``transform`` of the tiles that moved, and in nothing else.

Pixel to world of a patch: ``A (CT(p) - box)``, with its coordinate transform CT on pixel centres (integers), the
origin of the transformed image's box, and its matrix A. TrakEM2 draws A with integers at pixel *corners*; here world
points are centres, so A is read as ``T(-1/2) A T(1/2)`` and written back the other way.

A section is named by its layer's z ("3"), and by z and oid ("3_17") where several layers share a z.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from demis_ij.errors import FormatError, InputError
from demis_ij.formats import trakem2_new
from demis_ij.formats.document import Document
from demis_ij.formats.files import (
    URL,
    ImageFinder,
    digest,
    finite,
    mask_losses,
    packed,
    read_head,
    section_losses,
    solved_path,
    unpack,
    write_new,
)
from demis_ij.formats.lenses import behind_lens
from demis_ij.formats.text_list import split_slice
from demis_ij.formats.trakem2_bytes import start_tags, value
from demis_ij.formats.trakem2_copy import Copy, new_lenses, new_matrices, without_matrices
from demis_ij.formats.trakem2_ct import (
    Spec,
    UnknownTransformError,
    bounding_box,
    parse_transforms,
)
from demis_ij.formats.trakem2_matrix import from_corner_frame, parse_matrix
from demis_ij.formats.trakem2_project import Patch, Project, parse_project
from demis_ij.records import Affine, Layout, Lens, Tile

OID = re.compile(r"-?\d+")


class TrakEM2Format:
    """Reads TrakEM2 projects, writes solved copies and new projects."""

    name = "trakem2"

    def recognises(self, path: Path) -> bool:
        """Return whether a file's first bytes are those of a TrakEM2 project; a damaged ``.xml.gz`` counts, too."""
        head = read_head(path)
        if b"\x00" in head[:64]:
            head = head.replace(b"\x00", b"")
        name = path.name.lower()
        if not head.strip():
            return name.endswith((".xml", ".xml.gz"))
        return b"<trakem2" in head.lower() or b"trakem2_" in head[:4096]

    def read(self, path: Path) -> list[Layout]:
        """Return one layout a layer."""
        return list(self.read_document(path, path.read_bytes(), None).layouts)

    def read_document(self, path: Path, raw: bytes, relink: Path | None) -> Document:
        """Return the layers of a project; `demis_ij.formats.read` says the rest."""
        project = parse_project(path, unpack(path, raw))
        if not any(layer.patches for layer in project.layers):
            raise FormatError(path, "holds no tile: a t2_patch in a t2_layer was needed")
        placer = _Placer(path, project, ImageFinder(path.parent, relink))
        pixel_size = placer.pixel_size()
        layouts = []
        for i, section in project.sections().items():
            tiles = tuple(placer.tile(patch, section) for patch in project.layers[i].patches)
            if tiles:
                layouts.append(Layout(tiles, section, pixel_size, path))
        return Document(
            tuple(layouts),
            self.name,
            path,
            (*project.warnings, *placer.all_warnings()),
            project.annotation_counts(),
            digest(raw),
            relink,
        )

    def losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return what a new TrakEM2 project cannot hold."""
        return (*section_losses(layouts), *mask_losses(layouts))

    def solved_losses(self, layouts: Sequence[Layout]) -> tuple[str, ...]:
        """Return nothing: a solved copy holds every affine, and keeps all else that is in the file."""
        return ()

    def write(self, path: Path, layouts: Sequence[Layout]) -> None:
        """Write a new project."""
        self.write_new(path, layouts, overwrite=False)

    def write_new(self, path: Path, layouts: Sequence[Layout], *, overwrite: bool) -> Path:
        """Write a new project with a unuid of its own, one layer a layout."""
        data = trakem2_new.project_xml(path, layouts)
        return write_new(path, packed(path, data), overwrite=overwrite)

    def write_solved(
        self, document: Document, raw: bytes, layouts: Sequence[Layout], out: Path | None, *, overwrite: bool
    ) -> Path:
        """Write the solved copy of a project; `demis_ij.formats.write_solved` says the rest."""
        source = document.path
        target = solved_path(source, out, solved_name(source.name))
        if target.absolute() == source.absolute() or (target.exists() and target.samefile(source)):
            msg = f"{target} is the original, which is never overwritten"
            raise InputError(msg)
        data = unpack(source, raw)
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise FormatError(source, "is UTF-16: save it as ISO-8859-1 (as TrakEM2 does) or UTF-8 first")
        project = parse_project(source, data)
        lenses = new_lenses(document, project, layouts)
        matrices = new_matrices(document, project, layouts)
        copy = Copy(document, data, target).edited(matrices, lenses)
        return write_new(target, packed(target, copy), overwrite=overwrite)


def is_solved_copy(document: Document, path: Path) -> bool:
    """Return whether a file is a solved copy of a project, with which a user has done nothing since.

    It is one when it differs from what `TrakEM2Format.write_solved` writes there in the ``transform`` of patches at
    most; a project that TrakEM2 has saved differs in much more. Such a copy may be replaced by a newer one.
    """
    if path.samefile(document.path):
        return False
    try:
        there = unpack(path, path.read_bytes())
        data = unpack(document.path, document.path.read_bytes())
    except (OSError, FormatError):
        return False
    return without_matrices(there) == without_matrices(Copy(document, data, path).edited({}))


def solved_name(name: str) -> str:
    """Return ``p.demis.xml`` for ``p.xml`` and ``p.demis.xml.gz`` for ``p.xml.gz``."""
    for suffix in (".xml.gz", ".gz", ".xml"):
        if name.lower().endswith(suffix):
            return f"{name[: -len(suffix)]}.demis{name[-len(suffix) :]}"
    return f"{name}.demis.xml"


# --- reading: where a patch lies --------------------------------------------------------------------------------------


class _Placer:
    """Makes tiles of patches; equal coordinate transforms are worked out once."""

    def __init__(self, path: Path, project: Project, finder: ImageFinder) -> None:
        self.path = path
        self.project = project
        self.finder = finder
        self.warnings: list[str] = []
        self.notes: dict[str, list[str]] = {}
        self.known: dict[tuple[tuple[Spec, ...], int, tuple[int, int]], tuple[Affine, Lens | None, float]] = {}

    def note(self, kind: str, oid: str) -> None:
        """Remember a tile for a warning that is given once for all of them."""
        self.notes.setdefault(kind, []).append(oid)

    def all_warnings(self) -> list[str]:
        """Return one line for each kind of thing that was noticed."""
        said = [f"{len(oids)} tile(s) {kind} (first: oid {oids[0]})" for kind, oids in self.notes.items()]
        return [*self.warnings, *said, *self.finder.warnings()]

    def pixel_size(self) -> tuple[float, str] | None:
        """Return the calibration of the project, None when it is in pixels or missing."""
        given = self.project.calibration
        unit = given.get("unit", "").strip().replace("\\u00B5", "µ")
        if not given or unit.lower() in {"", "pixel", "pixels", "null"}:
            return None
        width, height = (
            finite(given.get(key, "1"), self.path, "t2_calibration", key) for key in ("pixelwidth", "pixelheight")
        )
        if width <= 0 or height <= 0:
            self.warnings.append(f"t2_calibration: a pixel of {width} x {height} {unit} is none, and was left out")
            return None
        if abs(width - height) > 1e-6 * width:
            self.warnings.append(f"t2_calibration: pixels are {width} x {height} {unit}; {width} is used")
        return width, unit

    def tile(self, patch: Patch, section: str) -> Tile:
        """Return a patch as a tile. Raises `FormatError` naming line and oid."""
        given = patch.attributes
        name, page = split_slice(given.get("file_path", ""))
        if not name:
            raise FormatError(self.path, "a t2_patch without file_path", patch.where)
        if URL.match(name):
            self.note("are at a web address and are not fetched", patch.oid)
        if "alpha_mask_id" in given and given["alpha_mask_id"] not in {"", "0"}:
            self.note("have an alpha mask, which is not read", patch.oid)
        if not OID.fullmatch(patch.oid):
            self.note("have an oid that is no number, which TrakEM2 itself refuses", patch.oid)
        shape = self.shape(patch)
        to_world = from_corner_frame(parse_matrix(self.path, patch))
        box, lens = self.image_to_box(patch, shape)
        return Tile(
            id=patch.oid,
            path=self.finder.find(name),
            shape=shape,
            to_world=to_world if box is None else to_world @ box,
            section=section,
            page=page,
            locked=given.get("locked", "").strip().lower() == "true",
            visible=given.get("visible", "").strip().lower() != "false",
            lens=lens,
        )

    def shape(self, patch: Patch) -> tuple[int, int]:
        """Return (rows, cols) of the raw image as the patch says, (0, 0) where it says nothing."""
        out = []
        for raw, drawn in (("o_height", "height"), ("o_width", "width")):
            key = raw if raw in patch.attributes else drawn
            size = finite(patch.attributes.get(key, "0"), self.path, patch.where, key)
            if size < 0:
                raise FormatError(self.path, f"{key}={size:g} is no size", patch.where)
            out.append(round(size))
        return out[0], out[1]

    def image_to_box(self, patch: Patch, shape: tuple[int, int]) -> tuple[Affine | None, Lens | None]:
        """Return raw pixels to the pixels of the transformed image's box: an affine map after a lens, or None each.

        The nearest affine stands for what is neither an affine map nor a lens and an affine map.
        """
        specs = patch.specs or self.side_file(patch)
        if not specs:
            return None, None
        if 0 in shape:
            raise FormatError(self.path, "a coordinate transform, but no o_width and o_height", patch.where)
        columns = int(finite(patch.attributes.get("mres", "32"), self.path, patch.where, "mres"))
        key = (tuple(specs), columns, shape)
        if key not in self.known:
            self.known[key] = self.work_out(patch, specs, columns, shape)
        affine, lens, departure = self.known[key]
        if departure > 0:
            self.note(
                f"have a coordinate transform that is not affine: inside, the nearest affine stands for it, up to"
                f" {departure:.2g} px away; it is kept exactly in the project",
                patch.oid,
            )
        return affine, lens

    def work_out(
        self, patch: Patch, specs: Sequence[Spec], columns: int, shape: tuple[int, int]
    ) -> tuple[Affine, Lens | None, float]:
        """Return raw pixels to box pixels, an affine map after a lens, and how far the transform departs from both."""
        try:
            transform = parse_transforms(specs)
            x, y, _, _ = bounding_box(transform, columns, shape)
            affine, lens, departure = behind_lens(transform, shape)
        except UnknownTransformError as error:
            self.warnings.append(f"{patch.where}: {error}; inside, a plain scaling to the patch's size stands for it")
            return self.scaling(patch, shape), None, 0.0
        except ValueError as error:
            raise FormatError(self.path, f"coordinate transform: {error}", patch.where) from error
        return Affine.translation(-x, -y) @ affine, lens, departure

    def scaling(self, patch: Patch, shape: tuple[int, int]) -> Affine:
        """Return the stretch of the raw image to the patch's width and height."""
        width = finite(patch.attributes.get("width", str(shape[1])), self.path, patch.where, "width")
        height = finite(patch.attributes.get("height", str(shape[0])), self.path, patch.where, "height")
        stretch = Affine(a=max(width, 1) / shape[1], d=max(height, 1) / shape[0])
        return from_corner_frame(stretch)

    def side_file(self, patch: Patch) -> list[Spec]:
        """Return the transforms of the side file that ``ct_id`` names. Raises `FormatError` when it is not there."""
        ct_id = patch.attributes.get("ct_id", "").strip()
        if ct_id in {"", "0", "-1"}:
            return []
        unuid = self.project.attributes.get("unuid", "")
        storage = self.finder.written(self.project.attributes.get("storage_folder", "") or ".")
        pairs = "/".join(ct_id[i : i + 2] for i in range(0, len(ct_id), 2))
        file = storage / f"trakem2.{unuid}" / "trakem2.cts" / f"{pairs}.{patch.oid}.ct"
        try:
            data = file.read_bytes()
        except OSError as error:
            problem = f"its coordinate transform (ct_id={ct_id}) is not in the project and not in {file}"
            raise FormatError(self.path, problem, patch.where) from error
        specs = [
            (value(data, tag.attributes["class"], "latin-1"), value(data, tag.attributes["data"], "latin-1"))
            for tag in start_tags(data, frozenset({"ict_transform", "iict_transform"}))
            if {"class", "data"} <= tag.attributes.keys()
        ]
        if not specs:
            raise FormatError(file, "holds no coordinate transform", patch.where)
        return specs
