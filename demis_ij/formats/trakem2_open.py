"""A project that is open in TrakEM2, and where the tiles of a solved layout go in it.

The open project is what TrakEM2 says of itself; nothing of it is read from disk, because it may have been changed
since it was saved. Matrices are TrakEM2's own here: integers at pixel corners, from the box of a patch to the world.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from demis_ij.errors import InputError
from demis_ij.records import Affine

Place = tuple[str, int | None]
It = TypeVar("It")

SAME_PX = 0.01
"""A tile whose corners all lie within this of a place is at that place."""

MOVED_PX = 1e-6
"""A tile whose corners all stay within this has not moved."""


@dataclass(frozen=True)
class OpenPatch:
    """A tile of a project that is open in TrakEM2.

    Attributes
    ----------
    id, title : str
        TrakEM2's number of it, and its name.
    path, page : Path and int, or None
        Its image, absolute, and the 0-based page of a stack; None where TrakEM2 does not find it.
    matrix : Affine
        Where it lies now.
    size : tuple of float
        (width, height) of its box, px: of the image after its coordinate transform.
    coordinate_transform, locked : bool
        Whether it has one; whether it, or a tile linked to it, is locked.
    layer : float
        z of its layer.
    """

    id: str
    title: str
    path: Path | None
    page: int | None
    matrix: Affine
    size: tuple[float, float]
    coordinate_transform: bool
    locked: bool
    layer: float

    def name(self) -> str:
        """Return how a message names it."""
        return f"{self.title} (id {self.id})" if self.title else f"id {self.id}"

    def distance(self, one: Affine, other: Affine) -> float:
        """Return the largest distance of a corner placed by ``one`` from where ``other`` places it, px."""
        width, height = self.size
        a, b, tx = one.a - other.a, one.b - other.b, one.tx - other.tx
        c, d, ty = one.c - other.c, one.d - other.d, one.ty - other.ty
        return max(hypot(a * x + b * y + tx, c * x + d * y + ty) for x in (0.0, width) for y in (0.0, height))


@dataclass(frozen=True)
class OpenProject:
    """What is open in TrakEM2: the project's unuid, its file (empty when it was never saved), and tiles of it."""

    unuid: str
    path: str
    patches: tuple[OpenPatch, ...]


@dataclass(frozen=True)
class SolvedTile:
    """Where a solved layout puts a tile.

    Attributes
    ----------
    id : str
        Its id in the layout that was solved.
    path, page : Path and int, or None
        Its image.
    before : Affine or None
        Its matrix when it was solved; None where that is not known any more.
    after : Affine
        Its matrix now.
    coordinate_transform : bool
        Whether both count from a coordinate transform's box.
    """

    id: str
    path: Path | None
    page: int | None
    before: Affine | None
    after: Affine
    coordinate_transform: bool = False


@dataclass
class Moves:
    """What is to be done in an open project.

    Attributes
    ----------
    matrices : dict of str to Affine
        Id of each tile that moves to its new matrix.
    unchanged : int
        Tiles that are where they belong already.
    locked, unknown, changed : list of str
        Names of tiles that would move but are locked; that the solution does not know; that lie neither where they
        were when they were solved nor where they go.
    missing : int
        Tiles of the solution that are not among the open ones.
    shift : tuple of float
        What the whole project was shifted by since it was solved, px; the new matrices follow it.
    largest_px : float
        The largest distance that a corner of a moved tile goes.
    """

    matrices: dict[str, Affine] = field(default_factory=dict)
    unchanged: int = 0
    locked: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    missing: int = 0
    shift: tuple[float, float] = (0.0, 0.0)
    largest_px: float = 0.0


# --- what TrakEM2 says ------------------------------------------------------------------------------------------------


def open_project(value: Any, source: Path) -> OpenProject:
    """Return an open project from its JSON object.

    Raises
    ------
    InputError
        When it is no such object; names the patch.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("patches"), list):
        msg = f"{source}: the tiles of an open project were needed: an object with a list 'patches'"
        raise InputError(msg)
    patches = tuple(_patch(entry, i, source) for i, entry in enumerate(value["patches"]))
    twice = [one for one, n in Counter(p.id for p in patches).items() if n > 1]
    if twice:
        msg = f"{source}: patch id {twice[0]} occurs twice: ids must differ"
        raise InputError(msg)
    return OpenProject(str(value.get("unuid") or ""), str(value.get("path") or ""), patches)


def _patch(entry: Any, index: int, source: Path) -> OpenPatch:
    try:
        path, page = entry.get("path"), entry.get("slice")
        size = (float(entry["width"]), float(entry["height"]))
        if not all(isfinite(v) and v >= 0 for v in size):
            raise ValueError(size)
        return OpenPatch(
            id=str(entry["id"]),
            title=str(entry.get("title") or ""),
            path=Path(str(path)) if path else None,
            page=None if page is None else int(page) - 1,
            matrix=_affine(entry["matrix"]),
            size=size,
            coordinate_transform=entry.get("coordinate_transform") is True,
            locked=entry.get("locked") is True,
            layer=float(entry.get("layer") or 0.0),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"{source}: patch {index} is none ({type(error).__name__}: {error}); id, matrix, width, height were needed"
        )
        raise InputError(msg) from error


def _affine(numbers: Sequence[Any]) -> Affine:
    m00, m10, m01, m11, m02, m12 = (float(v) for v in numbers)
    found = Affine(m00, m01, m10, m11, m02, m12)
    _ = found.inverse  # refuses a matrix that flattens the tile
    return found


def six(matrix: Affine) -> list[float]:
    """Return a matrix as TrakEM2 and Java's AffineTransform order it: m00, m10, m01, m11, m02, m12."""
    return [v + 0.0 for v in (matrix.a, matrix.c, matrix.b, matrix.d, matrix.tx, matrix.ty)]


# --- who is who -------------------------------------------------------------------------------------------------------


def match_tiles(project: OpenProject, tiles: Sequence[SolvedTile], *, same_project: bool) -> dict[str, SolvedTile]:
    """Return patch id to the solved tile that it is: by id in the same project, by image and page in another.

    In the same project a tile of another image than the one that was solved is not the same tile. An image that
    occurs more than once on either side is nobody in particular.
    """
    if same_project:
        by_id = {t.id: t for t in tiles}
        pairs = ((p, by_id.get(p.id)) for p in project.patches)
        return {p.id: t for p, t in pairs if t is not None and _same_image(p, t)}
    solved = _once((_place(t.path, t.page), t) for t in tiles)
    here = _once((_place(p.path, p.page), p) for p in project.patches)
    return {patch.id: solved[place] for place, patch in here.items() if place in solved}


def _same_image(patch: OpenPatch, tile: SolvedTile) -> bool:
    if patch.path is None or tile.path is None:
        return True
    return patch.path.name == tile.path.name and patch.page == tile.page


def _place(path: Path | None, page: int | None) -> Place | None:
    return None if path is None else (os.path.normcase(os.path.realpath(path)), page)


def _once(pairs: Iterable[tuple[Place | None, It]]) -> dict[Place, It]:
    """Return a dictionary of what occurs once."""
    listed = list(pairs)
    count = Counter(place for place, _ in listed)
    return {place: it for place, it in listed if place is not None and count[place] == 1}


# --- where they go ----------------------------------------------------------------------------------------------------


def work_out_moves(project: OpenProject, tiles: Sequence[SolvedTile], found: Mapping[str, SolvedTile]) -> Moves:
    """Return what is to be done in an open project; ``found`` is what `match_tiles` returned."""
    fits = {
        p.id: t for p in project.patches if (t := found.get(p.id)) and t.coordinate_transform == p.coordinate_transform
    }
    moves = Moves(shift=common_shift(project, fits), missing=len(tiles) - len({id(t) for t in found.values()}))
    shift = Affine.translation(*moves.shift)
    for patch in project.patches:
        tile = fits.get(patch.id)
        if tile is None:
            why = ", with another coordinate transform than the one that was solved" if patch.id in found else ""
            moves.unknown.append(patch.name() + why)
            continue
        target = shift @ tile.after
        way = patch.distance(patch.matrix, target)
        if way <= MOVED_PX:
            moves.unchanged += 1
            continue
        if patch.locked:
            moves.locked.append(patch.name())
            continue
        if tile.before is not None and not _at(patch, shift @ tile.before) and way > SAME_PX:
            moves.changed.append(patch.name())
        moves.matrices[patch.id] = target
        moves.largest_px = max(moves.largest_px, way)
    return moves


def common_shift(project: OpenProject, found: Mapping[str, SolvedTile]) -> tuple[float, float]:
    """Return the shift of the whole project under which most tiles lie where they were, or where they go.

    TrakEM2 shifts everything when it resizes its canvas; that is no change of the layout.
    """
    known = [(p, t) for p in project.patches if (t := found.get(p.id)) and t.before is not None]
    best, most = (0.0, 0.0), _in_place(known, (0.0, 0.0))
    for places in ([t.before for _, t in known], [t.after for _, t in known]):
        ways = [(p.matrix.tx - m.tx, p.matrix.ty - m.ty) for (p, _), m in zip(known, places, strict=True) if m]
        if not ways:
            continue
        x, y = (float(v) for v in np.median(np.array(ways), axis=0))
        count = _in_place(known, (x, y))
        if count > most:
            best, most = (x, y), count
    return best


def _in_place(known: Sequence[tuple[OpenPatch, SolvedTile]], shift_xy: tuple[float, float]) -> int:
    shift = Affine.translation(*shift_xy)
    return sum(_at(p, shift @ t.after) or (t.before is not None and _at(p, shift @ t.before)) for p, t in known)


def _at(patch: OpenPatch, matrix: Affine) -> bool:
    return patch.distance(patch.matrix, matrix) <= SAME_PX
