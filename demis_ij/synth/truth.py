"""Scenes on disk, and their truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tifffile

from demis_ij import formats as layouts
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile
from demis_ij.synth.scene import Pair, Plan, Scene

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
        placed = placed_in(scene.layout, {t.id: folder / "tiles" / t.path for t in scene.layout})
        (folder / "tiles").mkdir()
        for tile in placed:
            tifffile.imwrite(tile.path, scene.images[tile.id], photometric="minisblack")
        for name in formats:
            layouts.write(folder / _FILES[name], [placed], format=name)
        _write_text(folder / TRUTH_FILE, json.dumps(remembered(scene, _own_files(scene)), indent=1) + "\n")
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror or error}"
        raise InputError(msg) from error
    return folder


def placed_in(layout: Layout, paths: Mapping[str, Path]) -> Layout:
    """Return a layout whose tiles' images lie at ``paths``, by id."""
    return replace(layout, tiles=tuple(replace(t, path=paths[t.id]) for t in layout))


def _own_files(scene: Scene) -> dict[str, str]:
    return {t.id: f"tiles/{t.path.name}" for t in scene.truth}


def remembered(scene: Scene | Plan, files: Mapping[str, str]) -> dict[str, object]:
    """Return what ``truth.json`` holds: poses in truth and by the stage, and what kind each pair is.

    Parameters
    ----------
    scene : Scene or Plan
    files : mapping of str to str
        Each tile's image as seen from the folder of ``truth.json``.
    """
    tiles = {
        t.id: {
            "path": files[t.id],
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
