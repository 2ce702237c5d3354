"""``solution.json``: where every tile lies, and what became of every pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demis_ij.errors import FormatError
from demis_ij.formats.solutions import SolutionFile
from demis_ij.records import Affine, Layout, Rejected, Tile
from demis_ij.stitch import Outcome, StitchResult

FORMAT_VERSION = 1


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
        **_lenses_json(results, left_out),
        "tiles": tiles,
        "pairs": pairs,
        "warnings": [w for r in results for w in r.warnings],
    }


def _lenses_json(results: Sequence[StitchResult], left_out: Mapping[str, Sequence[Tile]]) -> dict[str, Any]:
    """Return the lenses by the names that tiles call them by; nothing where there is none."""
    tiles = (t for r in results for t in (*r.solution.layout, *left_out.get(r.solution.layout.section, ())))
    lenses = dict.fromkeys(t.lens for t in tiles if t.lens is not None)
    return {"lenses": {lens.name: lens.to_json() for lens in lenses}} if lenses else {}


def _tile_json(tile: Tile, to_mosaic: Affine, **told: Any) -> dict[str, Any]:
    return {
        "path": str(tile.path.absolute()),
        "page": tile.page,
        "section": tile.section,
        "shape": list(tile.shape),
        "to_world": (to_mosaic @ tile.to_world).rows,
        **told,
        "mask_path": str(tile.mask_path.absolute()) if tile.mask_path else None,
        **({"lens": tile.lens.name} if tile.lens is not None else {}),
        **({"camera": tile.camera} if tile.camera else {}),
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
        lens=t.get("lens"),
        camera=str(t.get("camera", "")),
    )
