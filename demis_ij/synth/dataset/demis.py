"""The layout on disk of the DEMIS dataset (EM424): names, labels, indices and splits, written and read.

Facts of https://github.com/PSilling/demis at fa8cebe (2025-12-29), ``docs/datasets.md`` and the scripts that write and
read it; no code of it is used.

::

    images/<name>_g00000_t00003_s00000.tif   grid, tile (row * columns + column) and slice; five digits each
    labels/<name>_g00000.txt                 "rows cols tile_width tile_height", then a tile a line:
                                             "../images/<file> row col x y degrees", parted by tabs
    indices/<name>_g00000.npz                image_paths (N,) file names; pair_infos (P, 2) their rows, of each tile and
                                             the one below, then the one to the right; poses (N, 4, 4) tile to grid
    splits/train_list.txt, val_list.txt, test_list.txt      a grid's name a line

x and y are where the tile's first pixel is in the source image before the tile is turned by ``degrees`` (x towards y)
about its pixel (tile_width // 2, tile_height // 2). A pose is that map with the first tile's (x, y) as the origin, its
third axis idle: columns 0, 1 and 3 of rows 0 and 1 are the affine map.

EM424 knows whole px and whole degrees only. Grids that are not drawn in such steps have decimals in their labels: what
reads EM424 refuses them instead of rounding the truth away. Two more things that its own reader cannot have: missing
tiles, and, because it sorts tiles by the text of row and column, more than ten rows or columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from math import degrees, radians
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile
from demis_ij.synth.dataset.files import put_bytes, put_text
from demis_ij.synth.dataset.splits import SPLITS
from demis_ij.synth.grid import Position
from demis_ij.synth.scene import Pair, tile_id
from demis_ij.synth.truth import TRUTH_FILE, Truth, read_truth

FOLDERS = ("images", "indices", "labels", "splits")
_EXACT = 1e-9  # px and degrees: a pose drawn in whole steps comes back from its matrix as near as this


@dataclass(frozen=True)
class Label:
    """One line of a labels file: a tile's file, its place in the grid and in the source, and its turn.

    Attributes
    ----------
    file : str
        Name of the image, without its folder.
    position : (row, column)
    xy : tuple of float
        Source px of the tile's first pixel before it is turned.
    turn_deg : float
        x towards y, about the tile's pixel (width // 2, height // 2).
    """

    file: str
    position: Position
    xy: tuple[float, float]
    turn_deg: float


@dataclass(frozen=True)
class Labels:
    """A labels file.

    Attributes
    ----------
    name : str
        Of the grid.
    shape : tuple of int
        (rows, columns) of the grid.
    tile_shape : tuple of int
        (rows, cols) of a tile, px.
    tiles : tuple of Label
        Row by row; missing tiles have none.
    """

    name: str
    shape: tuple[int, int]
    tile_shape: tuple[int, int]
    tiles: tuple[Label, ...]

    def to_grid(self, label: Label) -> Affine:
        """Return the map from a tile's px to px of the source with the first tile's (x, y) as the origin."""
        first = self.tiles[0].xy
        middle = (self.tile_shape[1] // 2, self.tile_shape[0] // 2)
        turn = Affine.about(Affine.rigid(radians(label.turn_deg)), middle)
        return Affine.translation(label.xy[0] - first[0], label.xy[1] - first[1]) @ turn


@dataclass(frozen=True)
class DemisGrid:
    """One grid of a dataset.

    Attributes
    ----------
    name : str
    split : str or None
        train, val or test; None when no split lists it.
    labels : Labels
    truth : Truth
        Poses and pairs, tiles named r00_c00 and so on. Of a dataset that was made here with the stage's positions and
        the pairs that share only resin; of any other with a regular grid of the true steps' medians for a stage, and
        all pairs taken for textured.
    """

    name: str
    split: str | None
    labels: Labels
    truth: Truth

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All neighbours, fixed first: of each tile that exists the one to its right and the one below."""
        there = {label.position for label in self.labels.tiles}
        return tuple(
            (tile_id((r, c)), tile_id(other))
            for r, c in sorted(there)
            for other in ((r, c + 1), (r + 1, c))
            if other in there
        )


def grid_name(name: str, grid: int) -> str:
    """Return the name of a grid's files without their endings."""
    return f"{name}_g{grid:05d}"


def tile_file(grid: str, position: Position, cols: int) -> str:
    """Return the file name of a tile."""
    return f"{grid}_t{position[0] * cols + position[1]:05d}_s00000.tif"


def label_of(file: str, position: Position, to_source: Affine, tile_px: int) -> Label:
    """Return the label of a tile that lies at ``to_source``; numbers within 1e-9 of a whole one become that."""
    middle = tile_px // 2
    x, y = to_source((middle, middle)) - middle
    values = [float(x), float(y), degrees(to_source.angle)]
    x, y, turn = (float(round(v)) if abs(v - round(v)) < _EXACT else v for v in values)
    return Label(file, position, (x, y), turn)


def labels_text(labels: Labels) -> str:
    """Return the text of a labels file: whole numbers as such, others with 9 and 12 digits after the point."""
    rows, cols = labels.shape
    high, wide = labels.tile_shape
    lines = [f"{rows:<2d}\t{cols:<2d}\t{wide:<5d}\t{high:<5d}"]
    for t in labels.tiles:
        x, y = (_number(v, 9) for v in t.xy)
        turn = _number(t.turn_deg, 12)
        place = f"{t.position[0]:<2d}\t{t.position[1]:<2d}\t{x:<5s}\t{y:<5s}"
        lines.append(f"../images/{t.file}\t{place}\t{'' if turn.startswith('-') else ' '}{turn} ")
    return "\n".join(lines) + "\n"


def _number(value: float, digits: int) -> str:
    return f"{int(value)}" if value == int(value) else f"{value:.{digits}f}"


def read_labels(path: Path) -> Labels:
    """Return a labels file. Raises `FormatError` naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    head = lines[0].split() if lines else []
    if len(head) != 4 or not all(re.fullmatch(r"\d+", word) and int(word) > 0 for word in head):
        msg = "needed 'rows columns tile_width tile_height', four whole numbers above 0"
        raise FormatError(path, msg, "line 1")
    rows, cols, wide, high = map(int, head)
    tiles = [_label(path, k, line, (rows, cols)) for k, line in enumerate(lines[1:], 2) if line.strip()]
    if not tiles:
        raise FormatError(path, "holds no tile: lines '../images/FILE row column x y degrees' were needed")
    places = [t.position for t in tiles]
    twice = next((p for p in places if places.count(p) > 1), None)
    if twice is not None:
        raise FormatError(path, f"two tiles at row {twice[0]}, column {twice[1]}")
    tiles.sort(key=lambda t: t.position)
    return Labels(path.stem, (rows, cols), (high, wide), tuple(tiles))


def _label(path: Path, number: int, line: str, shape: tuple[int, int]) -> Label:
    where = f"line {number}"
    words = line.rsplit(maxsplit=5)
    try:
        row, col, x, y, turn = int(words[1]), int(words[2]), *(float(w) for w in words[3:])
        finite = bool(np.isfinite([x, y, turn]).all())
    except (ValueError, IndexError):
        finite = False
    if not finite:
        raise FormatError(path, f"needed 'FILE row column x y degrees', found {line.strip()[:80]!r}", where)
    if not (0 <= row < shape[0] and 0 <= col < shape[1]):
        raise FormatError(path, f"row {row}, column {col} is outside the grid of {shape[0]} x {shape[1]}", where)
    return Label(words[0].strip().replace("\\", "/").rpartition("/")[2], (row, col), (x, y), turn)


def write_indices(path: Path, labels: Labels) -> Path:
    """Write the pairs and poses of a grid as LoFTR's training code of DEMIS reads them."""
    arrays: dict[str, Any] = dict(indices_of(labels))
    held = BytesIO()
    np.savez_compressed(held, **arrays)
    return put_bytes(path, held.getvalue())


def indices_of(labels: Labels) -> dict[str, NDArray[Any]]:
    """Return ``image_paths``, ``pair_infos`` and ``poses`` of a grid."""
    row_of = {t.position: k for k, t in enumerate(labels.tiles)}
    pairs = [
        (k, row_of[other]) for (r, c), k in row_of.items() for other in ((r + 1, c), (r, c + 1)) if other in row_of
    ]
    poses = np.tile(np.eye(4), (len(labels.tiles), 1, 1))
    for pose, tile in zip(poses, labels.tiles, strict=True):
        matrix = labels.to_grid(tile).matrix
        pose[:2, :2], pose[:2, 3] = matrix[:2, :2], matrix[:2, 2]
    return {
        "image_paths": np.array([t.file for t in labels.tiles]),
        "pair_infos": np.array(pairs, np.int64).reshape(-1, 2),
        "poses": poses,
    }


def read_indices(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an indices file. Raises `FormatError`."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in ("image_paths", "pair_infos", "poses")}
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError, EOFError, BadZipFile) as error:
        raise FormatError(path, f"is no index of pairs and poses: {error}") from error


def write_splits(folder: Path, splits: dict[str, list[str]]) -> None:
    """Write ``train_list.txt``, ``val_list.txt`` and ``test_list.txt``; an empty split is an empty file."""
    for name in SPLITS:
        put_text(folder / f"{name}_list.txt", "".join(f"{grid}\n" for grid in splits.get(name, [])))


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Return the grids of each split that there is; none when there is no such folder."""
    out = {}
    for name in SPLITS:
        path = folder / f"{name}_list.txt"
        if path.is_file():
            out[name] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return out


def read_demis_dataset(folder: Path | str, *, split: str | None = None) -> tuple[DemisGrid, ...]:
    """Return the grids of a dataset in DEMIS's layout: one made by ``demis-ij synth grids``, or the authors' EM424.

    Parameters
    ----------
    folder : Path or str
        Holds ``images/`` and ``labels/``; images are not opened.
    split : str, optional
        Only the grids of ``train``, ``val`` or ``test``.

    Raises
    ------
    InputError
        When the folder has another structure, a labels file is broken, or a split is missing or names no grid.
    """
    folder = Path(folder)
    lacking = next((name for name in ("images", "labels") if not (folder / name).is_dir()), None)
    if lacking:
        msg = f"{folder}: no DEMIS dataset, there is no folder {lacking!r} in it"
        raise InputError(msg)
    splits = read_splits(folder / "splits")
    if split is not None and split not in splits:
        known = ", ".join(splits) or "none"
        msg = f"{folder}: no split {split!r}; there are {known}"
        raise InputError(msg)
    owner = {grid: name for name in SPLITS for grid in splits.get(name, [])}
    paths = {p.stem: p for p in sorted((folder / "labels").glob("*.txt"))}
    names = sorted(splits[split]) if split is not None else list(paths)
    strange = next((name for name in names if name not in paths), None)
    if strange:
        msg = f"{folder}: split {split!r} lists {strange!r}, and labels/ has no {strange}.txt"
        raise InputError(msg)
    if not names:
        msg = f"{folder}: {f'split {split!r} is empty' if split else 'labels/ holds no .txt file'}"
        raise InputError(msg)
    return tuple(_read_grid(folder, read_labels(paths[name]), owner.get(name)) for name in names)


def _read_grid(folder: Path, labels: Labels, split: str | None) -> DemisGrid:
    remembered = folder / "grids" / labels.name
    truth = read_truth(remembered) if (remembered / TRUTH_FILE).is_file() else _truth_of(folder, labels)
    return DemisGrid(labels.name, split, labels, truth)


def _truth_of(folder: Path, labels: Labels) -> Truth:
    """Return the truth that labels hold; the stage is a regular grid of the true steps' medians."""
    tiles = tuple(
        Tile(tile_id(t.position), folder / "images" / t.file, labels.tile_shape, labels.to_grid(t))
        for t in labels.tiles
    )
    real = Layout(tiles)
    dx, dy = _steps(labels)
    first = labels.tiles[0].position
    said = {
        tile_id(t.position): Affine.translation((t.position[1] - first[1]) * dx, (t.position[0] - first[0]) * dy)
        for t in labels.tiles
    }
    pairs = DemisGrid(labels.name, None, labels, Truth(real, real, frozenset(), frozenset(), None)).pairs
    return Truth(real.moved(said), real, frozenset(), frozenset(pairs), None)


def _steps(labels: Labels) -> tuple[float, float]:
    """Return the median distance of neighbours along x and along y; of a tile where there are none."""
    at = {t.position: t.xy for t in labels.tiles}
    along_x = [at[r, c + 1][0] - xy[0] for (r, c), xy in at.items() if (r, c + 1) in at]
    along_y = [at[r + 1, c][1] - xy[1] for (r, c), xy in at.items() if (r + 1, c) in at]
    high, wide = labels.tile_shape
    return float(np.median(along_x or [wide])), float(np.median(along_y or [high]))
