"""Scenes on disk, and how far an answer is from their truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij import formats as layouts
from demis_ij.errors import FormatError, InputError
from demis_ij.geometry import apply, fit_rigid
from demis_ij.records import Affine, Layout, Points, Tile
from demis_ij.synth.scene import Pair, Scene

TRUTH_FILE = "truth.json"
_FILES = {"trakem2": "project.xml", "tileconfig": "TileConfiguration.txt"}


@dataclass(frozen=True)
class Truth:
    """What `write_scene` remembered.

    Attributes
    ----------
    layout, truth : Layout
        What the stage says, and where the tiles really are; paths as absolute as the folder was.
    resin_pairs, textured_pairs : frozenset of (fixed id, moving id)
    decoy_pair : (fixed id, moving id) or None
    """

    layout: Layout
    truth: Layout
    resin_pairs: frozenset[Pair]
    textured_pairs: frozenset[Pair]
    decoy_pair: Pair | None

    def named_as(self, layout: Layout) -> Truth:
        """Return the truth under the ids of a layout that was read from one of the scene's files.

        Formats name tiles in their own way (TrakEM2 by number, a tile configuration by path); the image file tells
        which is which. Tiles that the layout lacks are left out, and their pairs with them.

        Raises
        ------
        InputError
            When a tile of the layout is not of this scene.
        """
        mine = {t.path.name: t.id for t in self.truth}
        strange = [t.path.name for t in layout if t.path.name not in mine]
        if strange:
            msg = f"tile {strange[0]!r} is not of this scene"
            raise InputError(msg)
        new = {mine[t.path.name]: t.id for t in layout}

        def renamed(tiles: Layout) -> Layout:
            return replace(tiles, tiles=tuple(replace(tiles[old], id=name) for old, name in new.items()))

        def kept(pairs: frozenset[Pair]) -> frozenset[Pair]:
            return frozenset((new[a], new[b]) for a, b in pairs if a in new and b in new)

        decoy = next(iter(kept(frozenset([self.decoy_pair]))), None) if self.decoy_pair else None
        return Truth(
            renamed(self.layout), renamed(self.truth), kept(self.resin_pairs), kept(self.textured_pairs), decoy
        )


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_scene(scene: Scene, folder: Path | str, *, formats: tuple[str, ...] = ("trakem2", "tileconfig")) -> Path:
    """Write tiles as TIFF, what the stage says as layout files, and ``truth.json``; return the folder.

    Parameters
    ----------
    scene : Scene
    folder : Path or str
        Made when missing; must be empty otherwise.
    formats : tuple of str
        ``trakem2`` writes ``project.xml``, ``tileconfig`` writes ``TileConfiguration.txt``.

    Raises
    ------
    InputError
        When a format is unknown, the folder holds something, or it cannot be written.
    """
    unknown = [f for f in formats if f not in _FILES]
    if unknown:
        msg = f"no layout format {unknown[0]!r} for a scene; known: {', '.join(_FILES)}"
        raise InputError(msg)
    folder = Path(folder).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            msg = f"{folder} is not empty: a scene needs a folder of its own"
            raise InputError(msg)
        placed = replace(scene.layout, tiles=tuple(replace(t, path=folder / "tiles" / t.path) for t in scene.layout))
        (folder / "tiles").mkdir()
        for tile in placed:
            tifffile.imwrite(tile.path, scene.images[tile.id], photometric="minisblack")
        for name in formats:
            layouts.write(folder / _FILES[name], [placed], format=name)
        _write_text(folder / TRUTH_FILE, json.dumps(_remembered(scene), indent=1) + "\n")
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror or error}"
        raise InputError(msg) from error
    return folder


def _remembered(scene: Scene) -> dict[str, object]:
    tiles = {
        t.id: {
            "path": f"tiles/{t.path.name}",
            "shape": list(t.shape),
            "to_world": t.to_world.rows,
            "stage_to_world": scene.layout[t.id].to_world.rows,
        }
        for t in scene.truth
    }
    return {
        "format_version": 1,
        "tiles": tiles,
        "resin_pairs": sorted(map(list, scene.resin_pairs)),
        "textured_pairs": sorted(map(list, scene.textured_pairs)),
        "decoy_pair": None if scene.decoy_pair is None else list(scene.decoy_pair),
    }


def read_truth(folder: Path | str) -> Truth:
    """Return what `write_scene` wrote about the truth. Raises `FormatError` when the file is missing or broken."""
    folder = Path(folder)
    path = folder / TRUTH_FILE
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        real = Layout(
            tuple(
                Tile(name, folder / t["path"], (t["shape"][0], t["shape"][1]), Affine.from_matrix(t["to_world"]))
                for name, t in held["tiles"].items()
            )
        )
        said = real.moved({name: Affine.from_matrix(t["stage_to_world"]) for name, t in held["tiles"].items()})
        weak, rich = (frozenset((a, b) for a, b in held[k]) for k in ("resin_pairs", "textured_pairs"))
        decoy = None if held["decoy_pair"] is None else (held["decoy_pair"][0], held["decoy_pair"][1])
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FormatError(path, f"is not the truth of a scene: {error!r}") from error
    return Truth(said, real, weak, rich, decoy)


def true_to_fixed(truth: Layout, fixed: str, moving: str) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that takes px of the moving tile to px of the fixed tile in truth."""
    return (truth[fixed].to_world.inverse @ truth[moving].to_world).matrix


def corner_error_px(to_fixed: NDArray[np.float64], truth: Layout, fixed: str, moving: str) -> NDArray[np.float64]:
    """Return how far a pair's transform puts the moving tile's four corners from where they belong.

    The corner error of DEMIS (Šilling and Španěl 2025,
    https://scitepress.org/publishedPapers/2025/133149/pdf/index.html): its table pools all corners of all pairs.

    Parameters
    ----------
    to_fixed : ndarray of shape (3, 3)
        Moving tile px to fixed tile px, as `PairMatch` holds it.

    Returns
    -------
    ndarray of shape (4,), px
    """
    corners = truth[moving].corners
    off = apply(np.asarray(to_fixed, np.float64), corners) - apply(true_to_fixed(truth, fixed, moving), corners)
    return np.asarray(np.linalg.norm(off, axis=1))


def overlap_points(truth: Layout, fixed: str, moving: str, *, count: int = 64) -> Points:
    """Return (N, 2) px of the moving tile, on a lattice of ``count`` x ``count``, that the fixed tile shows as well."""
    rows, cols = truth[moving].shape
    x, y = np.meshgrid(np.linspace(0, cols - 1, count), np.linspace(0, rows - 1, count))
    points = np.stack([x.ravel(), y.ravel()], 1)
    seen = apply(true_to_fixed(truth, fixed, moving), points)
    h, w = truth[fixed].shape
    return np.asarray(points[((seen >= 0) & (seen <= (w - 1, h - 1))).all(1)])


def overlap_error_px(to_fixed: NDArray[np.float64], truth: Layout, fixed: str, moving: str) -> float:
    """Return the root mean square error of a pair's transform over the true overlap, px; NaN when there is none."""
    points = overlap_points(truth, fixed, moving)
    if not len(points):
        return float("nan")
    off = apply(np.asarray(to_fixed, np.float64), points) - apply(true_to_fixed(truth, fixed, moving), points)
    return float(np.sqrt((off**2).sum(1).mean()))


def global_error_px(
    solved: Layout, truth: Layout, *, components: tuple[tuple[str, ...], ...] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the corner errors of every tile after one robust rigid alignment of a solution onto the truth.

    Parameters
    ----------
    solved, truth : Layout
        Ids of ``solved`` must be in ``truth``.
    components : tuple of tuple of str, optional
        Sets of tiles that are aligned each by itself; all together when not given.

    Returns
    -------
    dict of str to ndarray (4,), px

    Raises
    ------
    InputError
        When a tile has no truth.
    """
    strange = [t for t in solved.ids if t not in truth]
    if strange:
        msg = f"tile {strange[0]!r} has no truth"
        raise InputError(msg)
    out = {}
    for ids in components or (solved.ids,):
        ours = np.stack([solved[i].to_world(truth[i].corners) for i in ids])
        true = np.stack([truth[i].world_corners for i in ids])
        weight = np.ones(len(ids))
        for _ in range(20):  # tiles that are far off must not drag the frame: Cauchy weights on the median error
            frame = fit_rigid(ours.reshape(-1, 2), true.reshape(-1, 2), np.repeat(weight, 4))
            error = np.linalg.norm(apply(frame, ours) - true, axis=2)
            size = error.mean(1)
            weight = 1 / (1 + (size / max(float(np.median(size)), 1e-6)) ** 2)
        out.update(dict(zip(ids, error, strict=True)))
    return out
