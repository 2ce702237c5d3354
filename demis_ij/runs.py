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
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Tile
from demis_ij.stitch import Memory, Outcome, StitchResult

FORMAT_VERSION = 1


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a value made of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file all or nothing."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
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


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        Made when it does not exist; when it is not empty it must hold a run with the same settings.
    settings : mapping
        Everything that the result depends on, as JSON types.

    Raises
    ------
    InputError
        When it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = {"demis_ij": __version__, **settings}
        self.resumed = False
        try:
            path.mkdir(parents=True, exist_ok=True)
            inside = [p.name for p in path.iterdir() if not p.name.startswith(".")]
        except OSError as error:
            msg = f"output folder {path} cannot be made: {error.strerror}"
            raise InputError(msg) from error
        if inside:
            self._check_same(inside)
            self.resumed = True
        if not os.access(path, os.W_OK):
            msg = f"output folder {path} cannot be written"
            raise InputError(msg)
        write_json(path / "run.json", self.settings)

    def _check_same(self, inside: Sequence[str]) -> None:
        if "run.json" not in inside:
            msg = f"output folder {self.path} is not empty and holds no run: choose an empty or a new folder"
            raise InputError(msg)
        there = read_json(self.path / "run.json")
        differs = [
            k for k in sorted({*there, *self.settings}) if there.get(k) != json.loads(json.dumps(self.settings.get(k)))
        ]
        if differs:
            msg = f"output folder {self.path} holds a run with another {', '.join(differs)}: choose a new folder"
            raise InputError(msg)

    def memory(self, section: str) -> DiskMemory:
        """Return what is remembered of the pairs of one section."""
        return DiskMemory(self.path / "matches" / f"{slug(section)}.jsonl")

    def is_done(self, stage: str, depends_on: str, files: Iterable[Path]) -> bool:
        """Return whether a stage was finished with the same dependencies and its files are still there."""
        mark = self.path / f".{stage}.done"
        return mark.is_file() and mark.read_text(encoding="utf-8") == depends_on and all(f.exists() for f in files)

    def mark_done(self, stage: str, depends_on: str) -> None:
        """Remember that a stage is finished."""
        write_text(self.path / f".{stage}.done", depends_on)


def slug(name: str) -> str:
    """Return a file name for a section; different sections get different names."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "_"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class DiskMemory(Memory):
    """Remembers outcomes in a file of one JSON line each; a line cut off by a crash is dropped on reading."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if not path.is_file():
            return
        raw = path.read_bytes()
        good = raw[: raw.rfind(b"\n") + 1]
        for line in good.splitlines():
            entry = json.loads(line)
            super().put(entry["stage"], [_outcome_from(entry)])
        if len(good) != len(raw):
            with path.open("r+b") as file:
                file.truncate(len(good))

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
    )


# --- solution.json --------------------------------------------------------------------------------------------------


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def solution_json(
    results: Sequence[StitchResult], world_origin: tuple[float, float], pixel_size: tuple[float, str] | None
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
    """
    to_mosaic = Affine.translation(-world_origin[0], -world_origin[1])
    ids = [t.id for r in results for t in r.solution.layout]
    several = len(ids) != len(set(ids))
    tiles: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    for r in results:
        section = r.solution.layout.section
        name = {t.id: f"{section}/{t.id}" if several else t.id for t in r.solution.layout}
        for t in r.solution.layout:
            tiles[name[t.id]] = {
                "path": str(t.path),
                "page": t.page,
                "section": section,
                "shape": list(t.shape),
                "to_world": (to_mosaic @ t.to_world).rows,
                "component": int(r.solution.component[t.id]),
                "placed_by": r.placed_by[t.id],
                "sigma_px": _number(r.solution.sigma_px[t.id]),
                "mask_path": str(t.mask_path) if t.mask_path else None,
            }
        pairs += [{"section": section, **_pair_json(o, r, name)} for o in r.pairs]
    return {
        "format_version": FORMAT_VERSION,
        "world_origin": [float(v) for v in world_origin],
        "pixel_size": list(pixel_size) if pixel_size else None,
        "tiles": tiles,
        "pairs": pairs,
        "warnings": [w for r in results for w in r.warnings],
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
    believed = weight > 0.05
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
    path = path / "solution.json" if path.is_dir() else path
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION or not value.get("tiles"):
        raise FormatError(path, f"is no solution of format version {FORMAT_VERSION}")
    sections: dict[str, list[Tile]] = {}
    try:
        for tile_id, t in value["tiles"].items():
            sections.setdefault(t["section"], []).append(
                Tile(
                    tile_id,
                    Path(t["path"]),
                    (int(t["shape"][0]), int(t["shape"][1])),
                    Affine.from_matrix(t["to_world"]),
                    t["section"],
                    t["page"],
                    mask_path=Path(t["mask_path"]) if t.get("mask_path") else None,
                )
            )
        size = value.get("pixel_size")
        pixel_size = (float(size[0]), str(size[1])) if size else None
        origin = (float(value["world_origin"][0]), float(value["world_origin"][1]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(path, f"is no solution: {error!r}") from error
    return [Layout(tuple(tiles), name, pixel_size, path) for name, tiles in sections.items()], origin
