"""What matchers are measured on: layouts with their truth, made or read when their turn comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij import synth
from demis_ij.errors import FormatError, InputError
from demis_ij.images import TileStore
from demis_ij.metrics import overlap_points
from demis_ij.records import Layout, Tile
from demis_ij.synth.dataset import DemisGrid, check_dataset, read_demis_dataset

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Known:
    """A section whose truth is known.

    Attributes
    ----------
    name : str
        As it is called in tables.
    layout, truth : Layout
        What the stage says, and where the tiles really are.
    textured, weak : tuple of (fixed id, moving id)
        Neighbours that share tissue, and those that share only resin.
    images : mapping of str to ndarray, optional
        Tile id to grey values; read from the tiles' files when not given.
    """

    name: str
    layout: Layout
    truth: Layout
    textured: tuple[Pair, ...]
    weak: tuple[Pair, ...]
    images: Mapping[str, NDArray[Any]] | None = None

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All known neighbours, textured ones first."""
        return self.textured + self.weak

    def kind(self, pair: Pair) -> str:
        """Return ``textured`` or ``weak``."""
        return "weak" if pair in self.weak else "textured"

    def store(self, clip: float) -> TileStore:
        """Return a new store of its images, normalised with a contrast limit."""
        return TileStore(clip=clip) if self.images is None else _MemoryStore(self.images, clip)


@contextmanager
def on_disk(known: Known) -> Iterator[Known]:
    """Give a section whose tiles are files, for as long as it is used: stitching looks at their headers."""
    if known.images is None:
        yield known
        return
    with TemporaryDirectory(prefix="demis-ij-evaluate-") as folder:
        for name, image in known.images.items():
            tifffile.imwrite(Path(folder) / f"{name}.tif", image, photometric="minisblack")

        def there(layout: Layout) -> Layout:
            return replace(layout, tiles=tuple(replace(t, path=Path(folder) / f"{t.id}.tif") for t in layout))

        yield replace(known, layout=there(known.layout), truth=there(known.truth), images=None)


class _MemoryStore(TileStore):
    """A store of images that are already there."""

    def __init__(self, images: Mapping[str, NDArray[Any]], clip: float) -> None:
        super().__init__(clip=clip)
        self._images = images

    def _read(self, tile: Tile) -> NDArray[Any]:
        return self._images[tile.id].copy()


@dataclass(frozen=True, eq=False)
class Source:
    """A section that can be had.

    Attributes
    ----------
    name : str
    fingerprint : str
        Changes when the section does.
    load : callable
        Returns it.
    """

    name: str
    fingerprint: str
    load: Callable[[], Known]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def generated(names: Sequence[str], seed: int) -> list[Source]:
    """Return generated sets (`demis_ij.synth.SETS`) by name. Raises `InputError` for a name that there is not."""
    unknown = next((n for n in names if n not in synth.SETS), None)
    if unknown is not None:
        msg = f"no set {unknown!r}; there are {', '.join(synth.SETS)}"
        raise InputError(msg)
    return [
        Source(f"{name} seed {seed}", _digest("set", synth.SETS[name], seed), partial(_made, name, seed))
        for name in dict.fromkeys(names)
    ]


@lru_cache(maxsize=4)  # making one takes half a minute, and the page wants it once more
def _made(name: str, seed: int) -> Known:
    scene = synth.make_scene(synth.SETS[name], seed)
    return of_scene(scene, f"{name} seed {seed}")


def of_scene(scene: synth.Scene, name: str) -> Known:
    """Return a scene in memory as something to measure on."""
    placed = replace(scene.layout, tiles=tuple(replace(t, path=Path(name) / t.path.name) for t in scene.layout))
    truth = replace(scene.truth, tiles=tuple(replace(t, path=Path(name) / t.path.name) for t in scene.truth))
    weak = tuple(p for p in scene.pairs if p in scene.resin_pairs)
    textured = tuple(p for p in scene.pairs if p not in scene.resin_pairs)
    return Known(name, placed, truth, textured, weak, scene.images)


def of_folder(folder: Path) -> Source:
    """Return a folder that `demis_ij.synth.write_scene` wrote.

    Raises
    ------
    InputError
        When there is no such folder, it holds no truth, or a tile's file is missing.
    """
    if not folder.is_dir():
        msg = f"{folder}: there is no such folder"
        raise InputError(msg)
    path = folder / synth.truth.TRUTH_FILE
    if not path.is_file():
        msg = f"{folder} holds no {path.name}: only tiles whose truth is known can be evaluated on"
        raise InputError(msg)
    known = _read(folder)
    return Source(known.name, _digest("folder", folder.resolve(), path.read_bytes()), lambda: known)


def _read(folder: Path) -> Known:
    held = synth.read_truth(folder.resolve())
    if not held.textured_pairs and not held.resin_pairs:
        raise FormatError(folder / synth.truth.TRUTH_FILE, "names no neighbours: there is nothing to measure")
    gone = next((t.path for t in held.truth if not t.path.is_file()), None)
    if gone is not None:
        msg = f"{folder}: the tile {gone} is missing"
        raise InputError(msg)
    return Known(
        folder.name, held.layout, held.truth, tuple(sorted(held.textured_pairs)), tuple(sorted(held.resin_pairs))
    )


def of_dataset(folder: Path, split: str | None = None) -> list[Source]:
    """Return the grids of a dataset in DEMIS's layout (`demis_ij.synth.dataset`), all or those of one split.

    Raises
    ------
    InputError
        When a file is missing or broken, there is no such split, one image is in two splits, or no grid has two
        neighbours.
    """
    check_dataset(folder)
    found = [_of_grid(folder, grid) for grid in read_demis_dataset(folder.resolve(), split=split) if grid.pairs]
    if not found:
        msg = f"{folder}: no grid has two tiles beside each other: there is nothing to measure"
        raise InputError(msg)
    return found


def _of_grid(folder: Path, grid: DemisGrid) -> Source:
    truth = grid.truth
    known = Known(
        grid.name, truth.layout, truth.truth, tuple(sorted(truth.textured_pairs)), tuple(sorted(truth.resin_pairs))
    )
    places = [(t.id, t.path.name, t.to_world, truth.layout[t.id].to_world) for t in truth.truth]
    return Source(grid.name, _digest("grid", folder.resolve(), places, known.pairs), lambda: known)


def of_path(path: Path, split: str | None = None) -> list[Source]:
    """Return what a folder holds: a dataset (it has ``labels/``), or one scene. Raises `InputError`."""
    if (path / "labels").is_dir():
        return of_dataset(path, split)
    if split is not None:
        msg = f"{path}: --split {split} needs a dataset (with labels/ and splits/), and this is none"
        raise InputError(msg)
    return [of_folder(path)]


def true_share(known: Known, pair: Pair) -> float:
    """Return the share of the moving tile that its neighbour shows as well."""
    return len(overlap_points(known.truth, *pair)) / 64**2


def spread_out(pairs: Sequence[Pair], count: int) -> tuple[Pair, ...]:
    """Return at most ``count`` pairs, evenly spread over their order."""
    if count >= len(pairs):
        return tuple(pairs)
    return tuple(pairs[int(i)] for i in np.unique(np.linspace(0, len(pairs) - 1, max(count, 0)).round()))
