"""A dataset made, grid by grid: one source in memory at a time, what is done is kept, nothing foreign is touched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij import formats as layouts
from demis_ij.config import GridsConfig, to_dict
from demis_ij.errors import InputError
from demis_ij.records import Affine
from demis_ij.synth.dataset.card import card_text
from demis_ij.synth.dataset.checking import check_sources
from demis_ij.synth.dataset.demis import (
    FOLDERS,
    Labels,
    grid_name,
    label_of,
    labels_text,
    tile_file,
    write_indices,
    write_splits,
)
from demis_ij.synth.dataset.files import get_json, put_bytes, put_json, put_png, put_text, put_tiff
from demis_ij.synth.dataset.gaps import parts
from demis_ij.synth.dataset.pictures import Look, contact_sheet
from demis_ij.synth.dataset.plans import GridPlan, misfit, pixels_rng, plan_grids, section_rng, smallest
from demis_ij.synth.dataset.sources import Source, find_images, read_grey, survey
from demis_ij.synth.dataset.splits import SPLITS, assign
from demis_ij.synth.scene import Plan, cut_tiles, plan_scene, tile_id
from demis_ij.synth.section import section
from demis_ij.synth.styles import STYLES
from demis_ij.synth.truth import TRUTH_FILE, placed_in, remembered

DATASET_FILE = "dataset.json"
CARD_FILE = "DATASET.md"
SHEET_FILE = "contact_sheet.png"
FORMAT_VERSION = 1
_LAYOUTS = {"trakem2": "project.xml", "tileconfig": "TileConfiguration.txt"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes
    ----------
    folder : Path
    record : dict
        What ``dataset.json`` holds.
    warnings : tuple of str
        Images left out and splits left empty, one line each.
    kept : int
        Grids that were there already.
    """

    folder: Path
    record: dict[str, Any]
    warnings: tuple[str, ...]
    kept: int


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def make_dataset(
    folders: Sequence[Path], out: Path, config: GridsConfig, *, seed: int = 1, preset: str = "ours",
    progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """Cut images into grids of overlapping tiles with exact truth, and write them in every layout.

    Parameters
    ----------
    folders : sequence of Path
        Searched for images, with their sub-folders.
    out : Path
        New, empty, or begun by the same call: then it goes on.
    config : GridsConfig
    seed : int
        Of everything random. The same seed, settings and images give the same dataset on every machine.
    preset : str
        Where the settings come from; for the record.
    progress : callable, optional
        Called with (what, done, all).

    Raises
    ------
    InputError
        When there is no image that can be cut, or ``out`` holds something else.
    """
    _refuse_foreign(out)
    known, warnings = _look_through(folders, out, config, progress)
    identity = _identity(config, seed, known)
    _begin(out, identity, preset)
    known += _made_up(out, config, seed, progress)
    split_of = _splits(known, config, seed)
    check_sources((s.name, s.pixels_sha256, split_of[s.name]) for s in known)
    warnings += _thin_splits(config, split_of)
    plans = plan_grids(known, config, seed)
    kept = _cut_all(out, plans, config, seed, split_of, progress)
    record = _record(identity, preset, known, plans, split_of, warnings, config)
    if kept < len(plans) or not get_json(out / DATASET_FILE).get("complete"):
        _finish(out, record, progress)
    return Made(out, record, tuple(warnings), kept)


def plan_dataset(
    folders: Sequence[Path], out: Path, config: GridsConfig, *, seed: int = 1, progress: Progress = no_progress
) -> Made:
    """Return what `make_dataset` would make; nothing is written. Parameters and errors are those of `make_dataset`."""
    _refuse_foreign(out)
    known, warnings = _look_through(folders, out, config, progress)
    identity = _identity(config, seed, known)
    _refuse_other(out, identity)
    side = config.generated_px
    known += [Source(path, path.stem, (side, side), "", "", key) for path, key in _made_up_files(out, config).items()]
    split_of = _splits(known, config, seed)
    warnings += _thin_splits(config, split_of)
    plans = plan_grids(known, config, seed)
    kept = sum(_is_whole(out, plan, config) for plan in plans)
    return Made(out, _record(identity, "", known, plans, split_of, warnings, config), tuple(warnings), kept)


def _splits(known: Sequence[Source], config: GridsConfig, seed: int) -> dict[str, str]:
    return assign(known, seed, validation_frac=config.validation_frac, test_frac=config.test_frac, by=config.split_by)


def _look_through(
    folders: Sequence[Path], out: Path, config: GridsConfig, progress: Progress
) -> tuple[list[Source], list[str]]:
    """Return the images that can be cut, and a line for each other one. Raises `InputError` when nothing is left."""
    need = max(smallest(config).source_shape)
    if config.style and config.style not in STYLES:
        msg = f"style: no {config.style!r}; known: {', '.join(STYLES)}"
        raise InputError(msg)
    if config.generated and config.generated_px < need:
        msg = f"generated_px: {config.generated_px} is too small for these grids, needed {need}"
        raise InputError(msg)
    found = find_images(folders, leave_out=out)
    if not found and not config.generated:
        where = ", ".join(map(str, folders))
        msg = f"{where}: holds no image" if folders else "no source: give a folder of images, or --generated N"
        raise InputError(msg)
    seen = list(survey(found, lambda shape: misfit(config, shape), progress=lambda d, t: progress("images", d, t)))
    known = [s for s in seen if isinstance(s, Source)]
    left_out = [s for s in seen if isinstance(s, str)]
    if not known and not config.generated:
        more = f" (and {len(left_out) - 1} more that cannot)" if len(left_out) > 1 else ""
        msg = f"no image can be cut: {left_out[0]}{more}"
        raise InputError(msg)
    return known, left_out


def _refuse_foreign(out: Path) -> None:
    """Raise `InputError` when a folder holds anything that is no dataset of ours."""
    if not out.exists():
        return
    if not out.is_dir():
        msg = f"{out} is a file, needed a folder: choose another --out"
        raise InputError(msg)
    if any(out.iterdir()) and not (out / DATASET_FILE).is_file():
        msg = f"{out} is not empty and holds no {DATASET_FILE}: choose another --out"
        raise InputError(msg)


def _identity(config: GridsConfig, seed: int, known: Sequence[Source]) -> dict[str, Any]:
    """Return what must agree for a dataset to be gone on with."""
    return {
        "format_version": FORMAT_VERSION,
        "demis_ij": __version__,
        "seed": seed,
        "config": to_dict(config),
        "images": {s.name: s.sha256 for s in known},
    }


def _begin(out: Path, identity: dict[str, Any], preset: str) -> None:
    """Make the folders and mark them as ours, or find that they are this dataset's."""
    path = out / DATASET_FILE
    _refuse_other(out, identity)
    try:
        for name in (*FOLDERS, "grids"):
            (out / name).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        msg = f"output folder {out} cannot be made: {error.strerror}"
        raise InputError(msg) from error
    if not path.is_file():
        put_json(path, {**identity, "preset": preset, "complete": False})


def _refuse_other(out: Path, identity: dict[str, Any]) -> None:
    """Raise `InputError` when a folder holds a dataset of another seed, setting, version or set of images."""
    if not (out / DATASET_FILE).is_file():
        return
    held = get_json(out / DATASET_FILE)
    held = held if isinstance(held, dict) else {}
    for key, value in identity.items():
        if held.get(key) != value:
            msg = f"{out} holds another dataset ({_difference(key, held.get(key), value)}): choose another --out"
            raise InputError(msg)


def _difference(key: str, held: Any, wanted: Any) -> str:
    """Return in words how two datasets differ."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        for name in sorted(held.keys() | wanted.keys()):
            if held.get(name) != wanted.get(name):
                if key == "images":
                    what = "is new" if name not in held else "is gone" if name not in wanted else "has changed"
                    return f"image {name} {what}"
                return f"{name} {held.get(name)}, not {wanted.get(name)}"
    return f"{key} {held}, not {wanted}"


def _made_up(out: Path, config: GridsConfig, seed: int, progress: Progress) -> list[Source]:
    """Return the sections of the own generator, which lie in ``sources/`` as 8-bit images like any other."""
    if not config.generated:
        return []
    (out / "sources").mkdir(exist_ok=True)
    keys = _made_up_files(out, config)
    progress("sections", 0, config.generated)
    for k, (path, key) in enumerate(keys.items(), 1):
        if not path.is_file():
            side = config.generated_px
            grey = section((side, side), section_rng(seed, key), style=config.style or None)
            put_tiff(path, np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        progress("sections", k, config.generated)
    files = [(path, path.stem) for path in keys]
    seen = list(survey(files, lambda shape: misfit(config, shape), keys=keys))
    bad = next((s for s in seen if isinstance(s, str)), None)
    if bad:
        msg = f"{bad} (made by an earlier run: delete it, and run the same command again)"
        raise InputError(msg)
    return [s for s in seen if isinstance(s, Source)]


def _made_up_files(out: Path, config: GridsConfig) -> dict[Path, str]:
    """Return where made-up sections lie, and their keys."""
    return {
        out / "sources" / f"generated_{k:05d}.tif": hashlib.sha256(f"section {k}".encode()).hexdigest()
        for k in range(config.generated)
    }


def _thin_splits(config: GridsConfig, split_of: dict[str, str]) -> list[str]:
    """Return a line for each split that was asked for and got no source."""
    asked = {"val": config.validation_frac, "test": config.test_frac}
    names = {"val": "validation", "test": "testing"}
    what = "folders" if config.split_by == "folder" else "sources"
    return [
        f"too few {what} for the splits asked for: none is left for {names[split]}"
        for split, frac in asked.items()
        if frac > 0 and split not in split_of.values()
    ]


def _cut_all(
    out: Path, plans: Sequence[GridPlan], config: GridsConfig, seed: int, split_of: dict[str, str], progress: Progress
) -> int:
    """Cut every grid that is not there yet; return how many were."""
    total = sum(len(p.spec.positions) for p in plans)
    done = kept = 0
    progress("tiles", 0, total)
    for source, group in groupby(plans, key=lambda p: p.source):
        todo = []
        for plan in group:
            if _is_whole(out, plan, config):
                kept += 1
                done += len(plan.spec.positions)
            else:
                todo.append(plan)
        if not todo:
            progress("tiles", done, total)
            continue
        image, digest = read_grey(source.path)
        if digest != source.pixels_sha256:
            msg = f"{source.path}: changed while the dataset was made: run the same command again, with another --out"
            raise InputError(msg)
        for plan in todo:
            for _ in _cut(out, plan, image, config, seed, split_of[source.name]):
                done += 1
                progress("tiles", done, total)
        del image
    return kept


def _is_whole(out: Path, plan: GridPlan, config: GridsConfig) -> bool:
    name = grid_name(config.name, plan.index)
    files = [out / "images" / tile_file(name, p, plan.spec.cols) for p in plan.spec.positions]
    files += [out / "labels" / f"{name}.txt", out / "indices" / f"{name}.npz"]
    files += [out / "grids" / name / n for n in (*_LAYOUTS.values(), "look.png", TRUTH_FILE)]
    return all(f.is_file() for f in files)


def _cut(out: Path, plan: GridPlan, image: NDArray[Any], config: GridsConfig, seed: int, split: str) -> Iterator[None]:
    """Write one grid, its truth last; gives back control after each tile."""
    name = grid_name(config.name, plan.index)
    folder = out / "grids" / name
    folder.mkdir(exist_ok=True)
    for file in (*_LAYOUTS.values(), TRUTH_FILE):
        (folder / file).unlink(missing_ok=True)  # of this grid, from a run that was interrupted
    scene = plan_scene(plan.spec, pixels_rng(seed, plan), image)
    files = {tile_id(p): tile_file(name, p, plan.spec.cols) for p in plan.spec.positions}
    look = Look(scene, title=f"{name}  {split}", subtitle=plan.source.name)
    for tile, pixels in cut_tiles(scene):
        put_tiff(out / "images" / files[tile], pixels)
        look.add(tile, pixels)
        yield
    to_source = Affine.translation(scene.source_at[1], scene.source_at[0]) @ scene.to_source
    labels = _labels(name, plan, scene, files, to_source)
    put_text(out / "labels" / f"{name}.txt", labels_text(labels))
    write_indices(out / "indices" / f"{name}.npz", labels)
    put_png(folder / "look.png", look.drawn())
    images = folder / ".." / ".." / "images"  # left as it is: layout files name images as seen from their folder
    stage = placed_in(scene.layout, {tile: images / file for tile, file in files.items()})
    for kind, file in _LAYOUTS.items():
        layouts.write(folder / file, [stage], format=kind)
    _settle_project(folder / _LAYOUTS["trakem2"], f"{seed} {plan.source.key} {plan.number}")
    facts = {
        **remembered(scene, {tile: f"../../images/{file}" for tile, file in files.items()}),
        "source": plan.source.name,
        "source_sha256": plan.source.sha256,
        "world_to_source": to_source.rows,
    }
    put_json(folder / TRUTH_FILE, facts)


def _settle_project(path: Path, what: str) -> None:
    """Give a TrakEM2 project an id that says what it is of, instead of one of the clock: the same on every run."""
    data = path.read_bytes()
    drawn = re.search(rb'unuid="([^"]+)"', data)
    if drawn:
        numbers = [int(hashlib.sha256(f"{what} {k}".encode()).hexdigest()[:7], 16) for k in range(3)]
        settled = data.replace(drawn[1], ".".join(map(str, numbers)).encode())
        put_bytes(path, settled)


def _labels(name: str, plan: GridPlan, scene: Plan, files: dict[str, str], to_source: Affine) -> Labels:
    spec = plan.spec
    tiles = tuple(
        label_of(files[tile_id(p)], p, to_source @ scene.truth[tile_id(p)].to_world, spec.tile_px)
        for p in spec.positions
    )
    return Labels(name, (spec.rows, spec.cols), (spec.tile_px, spec.tile_px), tiles)


def _record(
    identity: dict[str, Any], preset: str, known: Sequence[Source], plans: Sequence[GridPlan],
    split_of: dict[str, str], warnings: Sequence[str], config: GridsConfig,
) -> dict[str, Any]:  # fmt: skip
    """Return what ``dataset.json`` holds of a dataset that is complete."""
    sources = [
        {
            "name": s.name, "rows_px": s.shape[0], "cols_px": s.shape[1], "sha256": s.sha256,
            "pixels_sha256": s.pixels_sha256, "split": split_of[s.name],
        }
        for s in known
    ]  # fmt: skip
    grids = [
        {
            "name": grid_name(config.name, p.index), "source": p.source.name, "split": split_of[p.source.name],
            "rows": p.spec.rows, "cols": p.spec.cols, "tiles": len(p.spec.positions), "pairs": len(p.spec.neighbours),
            "missing": len(p.spec.missing), "resin": len(p.spec.resin), "decoy": p.spec.decoy,
            "components": parts(p.spec.rows, p.spec.cols, p.spec.missing),
        }
        for p in plans
    ]  # fmt: skip
    return {
        **identity, "preset": preset, "complete": True, "sources": sources, "grids": grids, "left_out": list(warnings)
    }  # fmt: skip


def _finish(out: Path, record: dict[str, Any], progress: Progress) -> None:
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    for grid in record["grids"]:
        names[grid["split"]].append(grid["name"])
    write_splits(out / "splits", names)
    progress("contact sheet", 0, 1)
    looks = [out / "grids" / grid["name"] / "look.png" for grid in record["grids"]]
    put_png(out / SHEET_FILE, contact_sheet(looks))
    put_text(out / CARD_FILE, card_text(record))
    put_json(out / DATASET_FILE, json.loads(json.dumps(record)))
    progress("contact sheet", 1, 1)
