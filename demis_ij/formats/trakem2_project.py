"""What stands in a TrakEM2 project file: layers, patches and annotations, as they are written.

Reading streams through expat. A file that is not well formed (TrakEM2 escapes neither ``&`` nor ``<`` in values) is
repaired in memory and read again, and that is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from demis_ij.errors import FormatError
from demis_ij.formats.files import finite, section_of
from demis_ij.formats.trakem2_bytes import repair, xml_encoding
from demis_ij.formats.trakem2_ct import Spec

TRANSFORMS = {"ict_transform", "iict_transform"}
NO_ANNOTATION = {"t2_patch", "t2_layer", "t2_layer_set", "t2_calibration", "t2_prop", "t2_linked_prop", "t2_annot"}
KINDS = {
    "t2_treeline": "treelines",
    "t2_areatree": "area trees",
    "t2_area_list": "area lists",
    "t2_connector": "connectors",
    "t2_label": "labels",
    "t2_profile": "profiles",
    "t2_pipe": "pipes",
    "t2_ball": "balls",
    "t2_polyline": "polylines",
    "t2_dissector": "dissectors",
    "t2_stack": "stacks",
}


@dataclass
class Patch:
    """A ``t2_patch`` as written; attribute names in lower case."""

    oid: str
    line: int
    attributes: dict[str, str]
    specs: list[Spec] = field(default_factory=list)

    @property
    def where(self) -> str:
        """How an error names it."""
        return f"line {self.line}, t2_patch oid={self.oid}"


@dataclass
class Layer:
    """A ``t2_layer`` as written."""

    oid: str
    z: float
    line: int
    patches: list[Patch] = field(default_factory=list)


@dataclass
class Project:
    """A project file as written.

    Attributes
    ----------
    attributes, calibration : dict of str to str
        Of ``project`` and of the top ``t2_calibration``.
    layers : list of Layer
        Of the top layer set.
    annotations : list of (kind, layer oids)
        Each annotation and the layers it has data in; None for all layers.
    warnings : list of str
        What was read tolerantly.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, str] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    annotations: list[tuple[str, set[str] | None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def sections(self) -> dict[int, str]:
        """Return the name of each layer (by index): its z, with its oid where several layers share the z."""
        names = [section_of(layer.z) for layer in self.layers]
        count = Counter(names)
        out: dict[int, str] = {}
        for i, (name, layer) in enumerate(zip(names, self.layers, strict=True)):
            out[i] = name if count[name] == 1 else f"{name}_{layer.oid or i}"
        return out

    def annotation_counts(self) -> dict[str, dict[str, int]]:
        """Return section to kind to count; sections without annotations are absent."""
        names = self.sections()
        out: dict[str, dict[str, int]] = {}
        for kind, oids in self.annotations:
            for i, layer in enumerate(self.layers):
                if oids is None or layer.oid in oids:
                    counts = out.setdefault(names[i], {})
                    counts[kind] = counts.get(kind, 0) + 1
        return out


def parse_project(path: Path, data: bytes) -> Project:
    """Return what stands in a project's XML.

    Raises
    ------
    FormatError
        When it is no TrakEM2 project, is truncated or damaged, or has a patch without or with another's oid.
    """
    try:
        return _Reader(path, data).read()
    except _NotWellFormedError as first:
        repaired = repair(data)
        if repaired == data:
            raise first.error from first.cause
        try:
            project = _Reader(path, repaired).read()
        except _NotWellFormedError as second:
            raise second.error from second.cause
        project.warnings.append(f"not well formed ({first.cause}): bare '&' and '<' in values were read as written")
        return project


class _NotWellFormedError(Exception):
    def __init__(self, error: FormatError, cause: expat.ExpatError) -> None:
        super().__init__(str(error))
        self.error = error
        self.cause = cause


class _Reader:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.project = Project()
        self.stack: list[str] = []
        self.layer_sets = 0
        self.patch: Patch | None = None
        self.annotation: tuple[str, set[str], int] | None = None
        self.nested_patches = 0
        self.wrong_lists = 0
        self.seen: dict[str, int] = {}
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        self.parser = expat.ParserCreate(None if wide else xml_encoding(data))
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end

    def read(self) -> Project:
        try:
            self.parser.Parse(self.data, True)
        except expat.ExpatError as error:
            inside = f" inside <{self.stack[-1]}>" if self.stack else ""
            cut = error.code in {3, 5}  # "no element found", "unclosed token": the file ends too early
            what = f"truncated XML: it ends{inside}" if cut else f"not well-formed XML{inside}: {error}"
            raise _NotWellFormedError(FormatError(self.path, what, f"line {error.lineno}"), error) from error
        except (LookupError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(self.path, f"XML in an encoding that cannot be read: {error}") from error
        if self.nested_patches:
            self.project.warnings.append(
                f"{self.nested_patches} tile(s) lie in layer sets inside layers and are left alone"
            )
        if self.wrong_lists:
            self.project.warnings.append(
                f"{self.wrong_lists} patch(es) hold an iict_transform_list, which TrakEM2 itself misreads"
            )
        return self.project

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.lower()
        lower = "".join(attributes).islower()
        given = attributes if lower else {key.lower(): text for key, text in attributes.items()}
        if not self.stack and name != "trakem2":
            raise FormatError(self.path, f"no TrakEM2 project: the root element is <{name}>, <trakem2> was needed")
        parent = self.stack[-1] if self.stack else ""
        self.stack.append(name)
        if self.annotation is not None:
            self.annotation[1].update(_layer_references(given))
        elif self.patch is not None:
            self.inside_patch(name, given)
        elif name == "project" and parent == "trakem2":
            self.project.attributes = given
        elif name == "t2_layer_set":
            self.layer_sets += 1
        elif name == "t2_layer" and self.layer_sets == 1:
            self.start_layer(given)
        elif name == "t2_patch":
            self.start_patch(given)
        elif name == "t2_calibration" and self.layer_sets == 1:
            self.project.calibration = given
        elif self.layer_sets == 1 and parent in {"t2_layer", "t2_layer_set"}:
            self.start_annotation(name, parent, given)

    def start_layer(self, given: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        where = f"line {line}, t2_layer oid={given.get('oid', '')}"
        z = finite(given.get("z", "0"), self.path, where, "z")
        self.project.layers.append(Layer(given.get("oid", ""), z, line))

    def start_patch(self, given: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        oid = given.get("oid", "").strip()
        if not oid:
            raise FormatError(self.path, "a t2_patch without oid", f"line {line}")
        patch = Patch(oid, line, given)
        if oid in self.seen:
            again = f"oid {oid} again, first on line {self.seen[oid]}: oids must differ"
            raise FormatError(self.path, again, patch.where)
        self.seen[oid] = line
        nested = self.layer_sets > 1
        if not nested and (self.layer_sets == 0 or not self.project.layers or "t2_layer" not in self.stack):
            raise FormatError(self.path, "a t2_patch outside any t2_layer", patch.where)
        if nested:
            self.nested_patches += 1
        else:
            self.project.layers[-1].patches.append(patch)
        self.patch = patch

    def inside_patch(self, name: str, given: dict[str, str]) -> None:
        patch = self.patch
        if patch is None:
            return
        if name in TRANSFORMS:
            if "class" not in given:
                raise FormatError(self.path, f"<{name}> without class", patch.where)
            patch.specs.append((given["class"], given.get("data", "")))
        elif name == "iict_transform_list":
            self.wrong_lists += 1

    def start_annotation(self, name: str, parent: str, given: dict[str, str]) -> None:
        if not name.startswith("t2_") or name in NO_ANNOTATION or name == "t2_filter":
            return
        layers = _layer_references(given)
        if parent == "t2_layer":
            layers.add(self.project.layers[-1].oid)
        self.annotation = (KINDS.get(name, name), layers, len(self.stack))

    def end(self, name: str) -> None:
        name = name.lower()
        if self.annotation is not None and len(self.stack) == self.annotation[2]:
            kind, layers, _ = self.annotation
            if kind == KINDS["t2_stack"]:
                self.project.annotations.append((kind, None))  # an image volume: it crosses every layer
            elif layers:
                self.project.annotations.append((kind, layers))
            self.annotation = None
        elif self.annotation is None and name == "t2_patch":
            self.patch = None
        elif self.annotation is None and self.patch is None and name == "t2_layer_set":
            self.layer_sets -= 1
        self.stack.pop()


def _layer_references(given: dict[str, str]) -> set[str]:
    """Return the oids of layers that an annotation's element names."""
    out = {given[key].strip() for key in ("lid", "layer_id") if key in given}
    out.update(oid.strip() for oid in given.get("layer_ids", "").split(","))
    out.discard("")
    return out
