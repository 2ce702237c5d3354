"""A run folder: everything a run needs to go on after an interruption, and everything people look at.

::

    run.json         the complete config, the layout's digest, the package version
    matches/         one line a pair and matcher, written as they come
    solution.json    where every tile lies, and every pair with its reason
    mosaic.ome.tif   (mosaic.ome.zarr, preview.png)
    report.html      seams.csv

A stage is skipped only when the hash of what it depends on agrees.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import slug as slug
from demis_ij.formats.solutions import SolutionFile
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Tile
from demis_ij.stitch import Memory, Outcome, StitchResult

FORMAT_VERSION = 1
BROKEN_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What is the machine's fault when a folder cannot be written, not the user's."""


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value made of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file all or nothing; one that holds the text already is not touched."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(text.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON all or nothing; numbers that JSON lacks are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def read_json(path: Path) -> Any:
    """Return a JSON file's value. Raises `FormatError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"is not JSON: {error}") from error


def _refuse(path: Path, error: OSError, what: str) -> NoReturn:
    if error.errno in BROKEN_DISK:
        raise error
    msg = f"output folder {path} cannot be {what}: {error.strerror}"
    raise InputError(msg) from error


def make_folder(path: Path) -> None:
    """Make a folder that can be written, with its parents; nothing happens when it is there.

    Raises
    ------
    InputError
        When it cannot be made or written, or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse(path, error, "made")
    if not os.access(path, os.W_OK):
        msg = f"output folder {path} cannot be written: choose another one, or ask for the right to write there"
        raise InputError(msg)


def check_folder(path: Path, settings: Mapping[str, Any], *, known: str = "run.json") -> bool:
    """Return whether a run with these settings is in a folder already, to be gone on with; nothing is written.

    ``known`` is the file by which a run is known; the settings are compared with those in ``run.json`` only.

    Raises
    ------
    InputError
        When the folder holds something else, or cannot be one.
    """
    if path.exists() or path.is_symlink():
        if not path.is_dir():
            msg = f"output folder {path} is a file: choose another name"
            raise InputError(msg)
        try:
            inside = [p.name for p in path.iterdir() if not p.name.startswith(".")]
        except OSError as error:
            _refuse(path, error, "read")
        if inside and known not in inside:
            msg = f"output folder {path} is not empty and holds no run: choose an empty or a new folder"
            raise InputError(msg)
        if inside and known == "run.json":
            _check_same(path, {"demis_ij": __version__, **settings})
        return bool(inside)
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = "cannot be written" if parent.is_dir() else "is a file"
        msg = f"output folder {path} cannot be made: {parent} {problem}"
        raise InputError(msg)
    return False


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    there = read_json(path / "run.json")
    if not isinstance(there, dict):
        raise FormatError(path / "run.json", "holds no settings of a run: choose a new folder")
    old, new = _flat(there), _flat(json.loads(json.dumps(settings)))
    differs = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if differs:
        told = "; ".join(_difference(k, old.get(k), new.get(k)) for k in differs[:3])
        more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
        msg = f"output folder {path} holds another run: {told}{more}. Choose a new folder, or the same settings"
        raise InputError(msg)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= value if key in {"stitch", "render"} and isinstance(value, dict) else {key: value}
    return out


def _difference(key: str, there: Any, now: Any) -> str:
    if key == "demis_ij":
        return f"made by demis_ij {there}, this is {now}"
    if key.endswith("_sha256"):
        return {"layout_sha256": "the layout file has changed since", "tiles_sha256": "the tiles have changed since"}[
            key
        ]
    return f"{key} was {json.dumps(there)}, now {json.dumps(now)}"


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        Made when it does not exist; when it is not empty it must hold a run with the same settings.
    settings : mapping
        Everything that the result depends on, as JSON types.

    Attributes
    ----------
    resumed : bool
        Whether an earlier run is gone on with.

    Raises
    ------
    InputError
        When it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = {"demis_ij": __version__, **settings}
        self.resumed = check_folder(path, settings)
        if self.resumed and os.access(path, os.W_OK):
            return
        make_folder(path)
        try:
            write_json(path / "run.json", self.settings)
        except OSError as error:
            _refuse(path, error, "written")

    def memory(self, section: str) -> DiskMemory:
        """Return what is remembered of the pairs of one section."""
        return DiskMemory(self.path / "matches" / f"{slug(section)}.jsonl")

    def is_done(self, stage: str, depends_on: str, files: Iterable[Path]) -> bool:
        """Return whether a stage was finished with the same dependencies and its files are still there."""
        mark = self._mark(stage)
        return mark.get("depends_on") == depends_on and all(f.exists() for f in files)

    def notes(self, stage: str) -> list[str]:
        """Return what a finished stage had to say."""
        return self.noted(self.path, stage)

    @staticmethod
    def noted(path: Path, stage: str) -> list[str]:
        """Return what a finished stage of the run in a folder had to say, nothing where there is none."""
        try:
            mark = json.loads((path / f".{stage}.done").read_text(encoding="utf-8"))
            return [str(line) for line in mark["notes"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def mark_done(self, stage: str, depends_on: str, notes: Iterable[str] = ()) -> None:
        """Remember that a stage is finished, and what it had to say."""
        write_json(self.path / f".{stage}.done", {"depends_on": depends_on, "notes": list(notes)})

    def _mark(self, stage: str) -> dict[str, Any]:
        try:
            mark = json.loads((self.path / f".{stage}.done").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # not finished, or cut off while it was written: done again
        return mark if isinstance(mark, dict) else {}


class DiskMemory(Memory):
    """Remembers outcomes in a file of one JSON line each; from a line cut off by a crash on, pairs are done again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if not path.is_file():
            return
        raw = path.read_bytes()
        whole = 0
        for line in raw.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                super().put(entry["stage"], [_outcome_from(entry)])
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        if whole != len(raw):
            with path.open("r+b") as file:
                file.truncate(whole)

    def agreed(self, pair: tuple[str, str]) -> list[PairMatch]:
        """Return all that was ever found of a pair of tiles that agreed with itself, the latest last."""
        return [o for (_, *key), o in self._kept.items() if tuple(key) == pair and isinstance(o, PairMatch)]

    def put(self, stage: str, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes, on disk before this returns."""
        kept = list(outcomes)
        super().put(stage, kept)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(json.dumps({"stage": stage, **_outcome_to(o)}).encode() + b"\n" for o in kept))


def _pack(array: NDArray[np.float64]) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode()


def _unpack(text: str, columns: int) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), "<f8").reshape(-1, columns).astype(np.float64)


def _outcome_to(o: Outcome) -> dict[str, Any]:
    common = {"fixed": o.fixed, "moving": o.moving, "matcher": o.matcher, "matches": o.matches, "tried": o.tried}
    if isinstance(o, Rejected):
        return {**common, "reason": o.reason, "inliers": o.inliers}
    return {
        **common,
        "fixed_xy": _pack(o.fixed_xy),
        "moving_xy": _pack(o.moving_xy),
        "to_fixed": _pack(o.to_fixed),
        "covariance": _pack(o.covariance),
        "model": o.model,
        "residual_px": o.residual_px,
        "agreeing": o.agreeing,
    }


def _outcome_from(e: Mapping[str, Any]) -> Outcome:
    tried = tuple((str(a), str(b)) for a, b in e["tried"])
    if "reason" in e:
        return Rejected(e["fixed"], e["moving"], e["reason"], e["matcher"], e["matches"], e["inliers"], tried)
    return PairMatch(
        e["fixed"],
        e["moving"],
        _unpack(e["fixed_xy"], 2),
        _unpack(e["moving_xy"], 2),
        _unpack(e["to_fixed"], 3),
        e["model"],
        _unpack(e["covariance"], 3),
        e["residual_px"],
        e["matcher"],
        e["matches"],
        tried,
        e.get("agreeing", 0),
    )


# --- solution.json --------------------------------------------------------------------------------------------------


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def solution_json(
    results: Sequence[StitchResult],
    world_origin: tuple[float, float],
    pixel_size: tuple[float, str] | None,
    left_out: Mapping[str, Sequence[Tile]] | None = None,
) -> dict[str, Any]:
    """Return ``solution.json``: tile pixel to the mosaic image's own pixel, pixel centres at integers.

    Parameters
    ----------
    results : sequence of StitchResult
        One a section; all mosaics share one frame.
    world_origin : tuple of float
        The layout's coordinate of the mosaic's pixel (0, 0).
    pixel_size : tuple of (float, str) or None
        Side of a pixel and its unit.
    left_out : mapping of str to sequence of Tile, optional
        By section, tiles whose images cannot be used, where the stage puts them beside their neighbours; each is a
        component by itself.
    """
    left_out = left_out or {}
    to_mosaic = Affine.translation(-world_origin[0], -world_origin[1])
    ids = [t.id for r in results for t in (*r.solution.layout, *left_out.get(r.solution.layout.section, ()))]
    several = len(ids) != len(set(ids))
    tiles: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    for r in results:
        section = r.solution.layout.section
        more = left_out.get(section, ())
        name = {t.id: f"{section}/{t.id}" if several else t.id for t in (*r.solution.layout, *more)}
        for t in r.solution.layout:
            tiles[name[t.id]] = _tile_json(
                t,
                to_mosaic,
                component=int(r.solution.component[t.id]),
                placed_by=r.placed_by[t.id],
                sigma_px=_number(r.solution.sigma_px[t.id]),
                stage_to_world=(to_mosaic @ r.layout[t.id].to_world).rows,
            )
        alone = len(r.solution.component_sizes)
        for n, t in enumerate(more):
            tiles[name[t.id]] = _tile_json(
                t, to_mosaic, component=alone + n, placed_by="stage", sigma_px=None, stage_to_world=None
            )
        pairs += [{"section": section, **_pair_json(o, r, name)} for o in r.pairs]
    return {
        "format_version": FORMAT_VERSION,
        "world_origin": [float(v) for v in world_origin],
        "pixel_size": list(pixel_size) if pixel_size else None,
        "tiles": tiles,
        "pairs": pairs,
        "warnings": [w for r in results for w in r.warnings],
    }


def _tile_json(tile: Tile, to_mosaic: Affine, **told: Any) -> dict[str, Any]:
    return {
        "path": str(tile.path.absolute()),
        "page": tile.page,
        "section": tile.section,
        "shape": list(tile.shape),
        "to_world": (to_mosaic @ tile.to_world).rows,
        **told,
        "mask_path": str(tile.mask_path.absolute()) if tile.mask_path else None,
    }


def _pair_json(o: Outcome, r: StitchResult, name: Mapping[str, str]) -> dict[str, Any]:
    key = (o.fixed, o.moving)
    out: dict[str, Any] = {
        "fixed": name[o.fixed],
        "moving": name[o.moving],
        "accepted": False,
        "reason": "",
        "matcher": o.matcher,
        "matches": o.matches,
        "inliers": o.inliers,
        "residual_px": None,
        "tried": [list(t) for t in o.tried],
    }
    if isinstance(o, Rejected):
        return out | {"reason": o.reason}
    weight = float(r.solution.pair_weight.get(key, 1.0))
    believed = r.solution.believes(*key)
    return out | {
        "accepted": believed,
        "reason": "" if believed else "contradicts its neighbours: the solver gave it no weight",
        "residual_px": _number(o.residual_px),
        "to_fixed": o.to_fixed.tolist(),
        "model": o.model,
        "solved_residual_px": _number(r.solution.pair_residual_px.get(key, float("nan"))),
        "sigma_px": _number(r.solution.pair_sigma_px.get(key, float("nan"))),
        "weight": weight,
    }


def read_solution(path: Path) -> tuple[list[Layout], tuple[float, float]]:
    """Return the layouts of a ``solution.json`` (or of the run folder that holds it), in mosaic px, and its origin.

    Raises
    ------
    FormatError
        When it is not such a file.
    """
    solution = SolutionFile(path)
    return list(read_sections(solution)), solution.world_origin


def read_sections(solution: SolutionFile) -> Iterator[Layout]:
    """Yield the layouts of a solution one after the other, in mosaic px. Raises `FormatError`."""
    for section in solution:
        try:
            tiles = tuple(_tile_of(name, t) for name, t in section.tiles.items())
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(solution.path, f"is no solution: {error!r}") from error
        yield Layout(tiles, section.name, solution.pixel_size, solution.path)


def _tile_of(name: str, t: Mapping[str, Any]) -> Tile:
    return Tile(
        name,
        Path(t["path"]),
        (int(t["shape"][0]), int(t["shape"][1])),
        Affine.from_matrix(t["to_world"]),
        t["section"],
        t["page"],
        mask_path=Path(t["mask_path"]) if t.get("mask_path") else None,
    )
