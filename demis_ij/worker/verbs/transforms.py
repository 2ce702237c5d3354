"""``transforms``: where the tiles of a project that is open in TrakEM2 go, as a solved layout has them.

The open project comes as a file of what TrakEM2 says of its tiles (`demis_ij.formats.trakem2_open`); the answer is a
file of new matrices beside it. Neither the project nor the solved layout is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demis_ij.errors import DemisError, FormatError, InputError
from demis_ij.formats import Document
from demis_ij.formats.files import ImageFinder, read_raw, unpack
from demis_ij.formats.solutions import SolutionFile
from demis_ij.formats.text_list import split_slice
from demis_ij.formats.trakem2_copy import LENS_MARK, new_matrices
from demis_ij.formats.trakem2_matrix import parse_matrix, to_corner_frame
from demis_ij.formats.trakem2_open import Moves, OpenProject, SolvedTile, match_tiles, open_project, six, work_out_moves
from demis_ij.formats.trakem2_project import Patch, Project, parse_project
from demis_ij.jobs.finished import reopen
from demis_ij.records import Affine, Layout
from demis_ij.runs import read_json, read_solution
from demis_ij.worker import inputs
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

SOLVED_COPY = re.compile(r"(?i)^(?P<stem>.+)\.demis(?:-\d+)?(?P<suffix>\.xml(?:\.gz)?)$")
NAMED = 5


@dataclass(frozen=True)
class Solved:
    """A solved layout: the unuid of the project that it was solved for (empty when it was none), its tiles, remarks."""

    unuid: str
    tiles: tuple[SolvedTile, ...]
    warnings: tuple[str, ...] = ()


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Write the new matrices of an open project's tiles beside what it says of them."""
    listed: Path = given["patches"]
    tell("reading the solved layout", 0, 3)
    project = open_project(_json(listed), listed)
    solved = read_solved(given["solved"])
    tell("finding the tiles", 1, 3)
    same = bool(solved.unuid) and solved.unuid == project.unuid
    found = match_tiles(project, solved.tiles, same_project=same)
    if not found:
        raise InputError(_nothing_found(given["solved"], solved, project, same_project=same))
    tell("working out where they go", 2, 3)
    moves = work_out_moves(project, solved.tiles, found)
    target = listed.with_name(f"{listed.stem}.moves.json")
    rows = [{"id": patch, "matrix": six(matrix)} for patch, matrix in moves.matrices.items()]
    target.write_text(json.dumps({"moves": rows}), encoding="utf-8")
    return {
        "file": target,
        "moved": len(moves.matrices),
        "unchanged": moves.unchanged,
        "locked": moves.locked,
        "unknown": moves.unknown,
        "changed": moves.changed,
        "missing": moves.missing,
        "shift": list(moves.shift),
        "largest_px": moves.largest_px,
        "warnings": [*solved.warnings, *remarks(moves)],
    }


def remarks(moves: Moves) -> list[str]:
    """Return what a user must know of the moves, one line each."""
    out = []
    if moves.unknown:
        out.append(f"{len(moves.unknown)} open tile(s) are not in the solution and stay: {_some(moves.unknown)}")
    if moves.locked:
        out.append(f"{len(moves.locked)} tile(s) are locked, or linked to locked ones, and stay: {_some(moves.locked)}")
    if moves.changed:
        out.append(f"{len(moves.changed)} tile(s) were moved in TrakEM2 since they were solved: {_some(moves.changed)}")
    if any(moves.shift):
        x, y = moves.shift
        out.append(
            f"the open project lies ({x:g}, {y:g}) px from where it was solved; the solution was shifted with it"
        )
    return out


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _nothing_found(path: Path, solved: Solved, project: OpenProject, *, same_project: bool) -> str:
    how = "by number and image name" if same_project else "by the paths of their images"
    example = solved.tiles[0].path if solved.tiles else None
    return (
        f"{path}: none of its {len(solved.tiles)} tile(s) is among the {len(project.patches)} open one(s), compared"
        f" {how} (one of its images: {example}): choose the solution of this project"
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: what TrakEM2 says of its tiles could not be read: {error}"
        raise InputError(msg) from error


# --- what was solved --------------------------------------------------------------------------------------------------


def read_solved(path: Path) -> Solved:
    """Return a solved layout: a solved project, a run folder, or the ``solution.json`` of one.

    Raises
    ------
    InputError, FormatError
        When it is none of these.
    """
    if path.is_dir() or path.suffix.lower() == ".json":
        return _from_run(path if path.is_dir() else path.parent, path)
    if path.name.lower().endswith((".xml", ".xml.gz")):
        return _from_project(path)
    msg = f"{path}: a solved project (.xml, .xml.gz), a run folder or a solution.json was needed"
    raise InputError(msg)


def _project(path: Path) -> Project:
    return parse_project(path, unpack(path, read_raw(path)))


def _patches(project: Project) -> Iterator[Patch]:
    return (patch for layer in project.layers for patch in layer.patches)


def _has_transform(patch: Patch) -> bool:
    return bool(patch.specs) or patch.attributes.get("ct_id", "").strip() not in {"", "0", "-1"}


def _from_project(path: Path) -> Solved:
    """Return what a solved project says; where its tiles were, the project beside it that it is a copy of."""
    project = _project(path)
    _refuse_lens(path, unpack(path, read_raw(path)).count(LENS_MARK))
    before, warnings = _original(path, project)
    finder = ImageFinder(path.absolute().parent)
    tiles = []
    for patch in _patches(project):
        name, page = split_slice(patch.attributes.get("file_path", ""))
        image = finder.written(name) if name else None
        tiles.append(
            SolvedTile(patch.oid, image, page, before.get(patch.oid), parse_matrix(path, patch), _has_transform(patch))
        )
    if not tiles:
        raise FormatError(path, "holds no tile: a t2_patch in a t2_layer was needed")
    return Solved(project.attributes.get("unuid", ""), tuple(tiles), warnings)


def _refuse_lens(path: Path, tiles: int) -> None:
    """Refuse a solution with a lens that the open project lacks: a move of the tiles alone would put them wrong."""
    if tiles:
        msg = (
            f"{path}: {tiles} tile(s) were solved behind a lens, which an open project cannot be given: open the solved"
            " project of the run (.demis.xml) in TrakEM2 instead"
        )
        raise InputError(msg)


def _original(path: Path, solved: Project) -> tuple[dict[str, Affine], tuple[str, ...]]:
    """Return the matrices of the project that a solved copy was made of, or why they are not known."""
    why = "whether tiles were moved in TrakEM2 since they were solved cannot be told"
    named = SOLVED_COPY.match(path.name)
    original = path.with_name(f"{named['stem']}{named['suffix']}") if named else None
    if original is None or not original.is_file():
        return {}, (f"the project that {path.name} was made of is not beside it: {why}",)
    if original.stat().st_mtime_ns > path.stat().st_mtime_ns:
        return {}, (f"{original.name} was saved after {path.name} was made of it: {why}",)
    try:
        project = _project(original)
    except DemisError as error:
        return {}, (f"{error}: {why}",)
    if project.attributes.get("unuid", "") != solved.attributes.get("unuid", ""):
        return {}, (f"{original.name} is another project than {path.name} was made of: {why}",)
    return {patch.oid: parse_matrix(original, patch) for patch in _patches(project)}, ()


def _from_run(folder: Path, named: Path) -> Solved:
    """Return what a run found; where its tiles were, the layout that was solved, if it is still the same file."""
    mosaics, origin = read_solution(named)
    to_world = Affine.translation(*origin)
    layouts = [m.moved({t.id: to_world @ t.to_world for t in m}) for m in mosaics]
    document, warnings = _solved_layout(folder)
    came_with = {t.id for s in document.layouts for t in s if t.lens is not None} if document else set()
    bent = [t.id for m in layouts for t in m if t.lens is not None and t.id.rpartition("/")[2] not in came_with]
    _refuse_lens(named, len(bent))
    if document is None:
        stage = _stage(named, to_world)
        tiles = [
            SolvedTile(t.id, t.path, t.page, stage.get(t.id), to_corner_frame(t.to_world)) for m in layouts for t in m
        ]
        return Solved("", tuple(tiles), warnings)
    layouts = [_with_own_ids(layout, document) for layout in layouts]
    if document.format == "trakem2":
        return _in_own_project(document, layouts, warnings)
    old = {(s.section, t.id): t for s in document.layouts for t in s}
    tiles = [
        SolvedTile(
            t.id,
            t.path,
            t.page,
            to_corner_frame(old[s.section, t.id].to_world) if (s.section, t.id) in old else None,
            to_corner_frame(t.to_world),
        )
        for s in layouts
        for t in s
    ]
    return Solved("", tuple(tiles), warnings)


def _stage(named: Path, to_world: Affine) -> dict[str, Affine]:
    """Return where a ``solution.json`` says that the stage put the tiles, as matrices; older ones do not say it."""
    rows = {name: tile.get("stage_to_world") for s in SolutionFile(named) for name, tile in s.tiles.items()}
    return {name: to_corner_frame(to_world @ Affine.from_matrix(r)) for name, r in rows.items() if r}


def _solved_layout(folder: Path) -> tuple[Document | None, tuple[str, ...]]:
    """Return the layout that a run solved, None with the reason where it is not there as it was."""
    why = "tiles are found by their images, and those with a coordinate transform stay"
    try:
        document, _ = reopen(folder)
        digest_then = read_json(folder / "run.json").get("layout_sha256", "")
    except DemisError as error:
        return None, (f"the layout of this run cannot be read ({error}): {why}",)
    if document.digest and digest_then and document.digest != digest_then:
        return None, (f"{document.path.name} has changed since it was solved: {why}",)
    return document, ()


def _with_own_ids(layout: Layout, document: Document) -> Layout:
    """Return a layout of a run with the ids of the document: ``section/id`` where sections shared ids."""
    known = {t.id for s in document.layouts if s.section == layout.section for t in s}
    prefix = f"{layout.section}/"
    own = [t if t.id in known else replace(t, id=t.id.removeprefix(prefix)) for t in layout]
    return replace(layout, tiles=tuple(own))


def _in_own_project(document: Document, layouts: Sequence[Layout], warnings: tuple[str, ...]) -> Solved:
    """Return what a run found for a TrakEM2 project: the matrices that its solved copy has."""
    project = _project(document.path)
    now = new_matrices(document, project, layouts)
    images = {t.id: t for layout in layouts for t in layout}
    tiles = []
    for patch in (p for p in _patches(project) if p.oid in images):
        before = parse_matrix(document.path, patch)
        tile = images[patch.oid]
        after = now.get(patch.oid, before)
        tiles.append(SolvedTile(patch.oid, tile.path, tile.page, before, after, _has_transform(patch)))
    return Solved(project.attributes.get("unuid", ""), tuple(tiles), warnings)


VERB = Verb(run, inputs={"solved": inputs.existing, "patches": inputs.file}, needed=("solved", "patches"))
