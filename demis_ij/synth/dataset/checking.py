"""Whether a dataset keeps its promises: nothing missing, and no source in two splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.errors import FormatError, InputError
from demis_ij.synth.dataset.demis import (
    DemisGrid,
    indices_of,
    read_demis_dataset,
    read_indices,
    read_splits,
)
from demis_ij.synth.dataset.files import get_json
from demis_ij.synth.dataset.sources import digest_of
from demis_ij.synth.dataset.splits import SPLITS

_POSE_PX = 0.01


def check_sources(sources: Iterable[tuple[str, str, str]]) -> None:
    """Raise `InputError` when one image is in two splits.

    Parameters
    ----------
    sources : iterable of (name, digest of its pixels, split)
    """
    seen: dict[str, tuple[str, str]] = {}
    for name, digest, split in sources:
        other, where = seen.setdefault(digest, (name, split))
        if where != split:
            same = f"source {name} is" if other == name else f"{other} and {name}, the same image, are"
            msg = f"the split leaks: {same} in {where} and in {split}"
            raise InputError(msg)


def check_dataset(
    folder: Path, *, progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None
) -> dict[str, Any]:
    """Return what a dataset in DEMIS's layout holds, after looking for what must not be.

    Looked at: every labels file; that each image exists; that each split lists grids that exist, each grid once, and
    grids of one source in one split only (by ``dataset.json``, where two files with equal pixels are one source; a
    dataset without one is searched for image files with equal content in two splits); that indices agree with labels.

    Returns
    -------
    dict
        ``folder``, ``grids``, ``tiles``, ``pairs``, ``splits`` (grids of each) and ``warnings`` (a list of lines).

    Raises
    ------
    InputError
        When anything is missing, broken, or leaks.
    """
    grids = read_demis_dataset(folder)
    splits = read_splits(folder / "splits")
    split_of = _split_of(folder, splits, grids)
    warnings = [f"grid {g.name} is in no split" for g in grids if g.name not in split_of]
    for k, grid in enumerate(grids):
        progress("grids", k, len(grids))
        _check_images(folder, grid)
        warnings += _check_indices(folder, grid)
    progress("grids", len(grids), len(grids))
    if (folder / "dataset.json").is_file():
        check_sources(_recorded(folder, split_of))
    else:
        check_sources(_files(folder, grids, split_of, progress))
    return {
        "folder": str(folder),
        "grids": len(grids),
        "tiles": sum(len(g.labels.tiles) for g in grids),
        "pairs": sum(len(g.pairs) for g in grids),
        "splits": {name: len(splits[name]) for name in SPLITS if name in splits},
        "warnings": warnings,
    }


def _split_of(folder: Path, splits: dict[str, list[str]], grids: Sequence[DemisGrid]) -> dict[str, str]:
    known = {g.name for g in grids}
    out: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            if name not in known:
                msg = f"{folder}: split {split!r} lists {name!r}, and labels/ has no {name}.txt"
                raise InputError(msg)
            if name in out:
                where = "twice in" if out[name] == split else f"in {out[name]} and in"
                msg = f"{folder}: the split leaks: grid {name} is {where} {split}"
                raise InputError(msg)
            out[name] = split
    return out


def _check_images(folder: Path, grid: DemisGrid) -> None:
    for label in grid.labels.tiles:
        if not (folder / "images" / label.file).is_file():
            msg = f"{folder}: grid {grid.name}: images/{label.file} is missing"
            raise InputError(msg)


def _check_indices(folder: Path, grid: DemisGrid) -> list[str]:
    """Return a line when there are no indices; poses that contradict the labels are refused."""
    path = folder / "indices" / f"{grid.name}.npz"
    if not path.is_file():
        return [f"grid {grid.name} has no indices"]
    held, own = read_indices(path), indices_of(grid.labels)
    names = [str(v) for v in held["image_paths"]]
    row_of = {label.file: k for k, label in enumerate(grid.labels.tiles)}
    strange = next((n for n in names if n not in row_of), None)
    if strange is not None or held["poses"].shape != (len(names), 4, 4):
        raise FormatError(
            path, f"names {strange!r}, which the labels do not" if strange else "a pose a tile was needed"
        )
    high, wide = grid.labels.tile_shape
    corners = np.array([[0, 0, 0, 1], [wide - 1, 0, 0, 1], [0, high - 1, 0, 1], [wide - 1, high - 1, 0, 1]], float).T
    wanted = own["poses"][[row_of[n] for n in names]]
    off = np.asarray((held["poses"] - wanted) @ corners, float)
    far = np.linalg.norm(off[:, :2], axis=1).max(1)
    if far.max(initial=0.0) > _POSE_PX:
        worst = int(far.argmax())
        return [f"grid {grid.name}: the pose of {names[worst]} in indices/ is {far[worst]:.1f} px from its label"]
    return []


def _recorded(folder: Path, split_of: dict[str, str]) -> list[tuple[str, str, str]]:
    path = folder / "dataset.json"
    held = get_json(path)
    try:
        digest = {s["name"]: s["pixels_sha256"] for s in held["sources"]}
        return [(g["source"], digest[g["source"]], split_of[g["name"]]) for g in held["grids"] if g["name"] in split_of]
    except (KeyError, TypeError) as error:
        msg = "is not the record of a whole dataset: run the command that made it once more"
        raise FormatError(path, msg) from error


def _files(
    folder: Path, grids: Sequence[DemisGrid], split_of: dict[str, str], progress: Callable[[str, int, int], None]
) -> list[tuple[str, str, str]]:
    """Return every tile's file with its digest: of a dataset that does not say what it was cut from."""
    out = []
    listed = [g for g in grids if g.name in split_of]
    for k, grid in enumerate(listed):
        progress("files", k, len(listed))
        for label in grid.labels.tiles:
            out.append((label.file, digest_of(folder / "images" / label.file), split_of[grid.name]))
    if listed:
        progress("files", len(listed), len(listed))
    return out
