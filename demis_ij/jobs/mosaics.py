"""Mosaics on disk: of a run, each once; of any layouts as they stand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demis_ij import __version__, images
from demis_ij.config import RenderConfig, to_dict
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.jobs.plans import check_file_names, read_one, with_pixel_size
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pools import Pool
from demis_ij.protocols import SINKS, Sink
from demis_ij.records import Layout
from demis_ij.render import Canvas, Rendered, check_memory, common_dtype, preview, render, solve_intensity
from demis_ij.report import Preview
from demis_ij.runs import RunFolder, fingerprint, occupied, slug, stamp_of, write_json
from demis_ij.stitch import Progress, StitchResult

SUFFIX = {"ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr", "png": ".png", "imagej": ".tif"}


def common_canvas(layouts: Sequence[Layout], scale: float = 1.0) -> Canvas:
    """Return one canvas for all sections, so that their mosaics lie on top of each other."""
    each = [Canvas.of(layout, scale) for layout in layouts]
    x0, y0 = min(c.origin[0] for c in each), min(c.origin[1] for c in each)
    x1 = max(c.origin[0] + c.shape[1] for c in each)
    y1 = max(c.origin[1] + c.shape[0] for c in each)
    return Canvas((x0, y0), (y1 - y0, x1 - x0), scale)


def part_of(canvas: Canvas, region: Box, scale: float) -> Canvas:
    """Return the canvas of a part of a mosaic at a scale.

    Parameters
    ----------
    canvas : Canvas
        Of the whole mosaic at full size.
    region : Box
        Px of that mosaic.
    scale : float
        Px of the part per px of the mosaic.

    Raises
    ------
    InputError
        When the region lies outside of the mosaic.
    """
    inside = region & Box.of_shape(canvas.shape)
    if inside.is_empty:
        has = f"the mosaic has {canvas.shape[1]} x {canvas.shape[0]} px"
        msg = f"region {region.x0},{region.y0},{region.width},{region.height} lies outside: {has}"
        raise InputError(msg)
    left, top = ((n + o) * scale for n, o in zip((inside.x0, inside.y0), canvas.origin, strict=True))
    origin = round(left), round(top)
    shape = (
        max(1, round(top + inside.height * scale) - origin[1]),
        max(1, round(left + inside.width * scale) - origin[0]),
    )
    return Canvas(origin, shape, scale)


def make_preview(
    result: StitchResult, store: TileStore, max_side_px: int = 1600, *, folder: Path | None = None
) -> Preview:
    """Return a small picture of the mosaic for the report; tiles that cannot be read are left out of it.

    In ``folder``, a run's, it is known what the tiles' overlaps say of their brightness, if they were looked at before.
    """
    layout = result.solution.layout
    known = brightness_file(folder, layout.section) if folder is not None and os.access(folder, os.W_OK) else None
    image, scale = preview(
        layout,
        store,
        max_side_px=max_side_px,
        intensity=solve_intensity(layout, store, threads=0, remember=known),
        on_unreadable=lambda _tile, _error: None,  # named once, where the mosaic is drawn
    )
    x, y = Canvas.of(layout, scale).from_world.inverse([0.0, 0.0])
    return Preview(image, scale, (float(x), float(y)))


def mosaic_targets(folder: RunFolder, results: Sequence[StitchResult], job: StitchJob) -> list[dict[str, Path]]:
    """Return, for each section, the files of its mosaic by kind."""
    names = ["mosaic" if len(results) == 1 else f"mosaic_{slug(r.layout.section)}" for r in results]
    return [{kind: folder.path / (name + SUFFIX[kind]) for kind in job.render.formats} for name in names]


def all_paths(targets: Sequence[Mapping[str, Path]]) -> list[Path]:
    """Return the files of all sections."""
    return [path for each in targets for path in each.values()]


def draw_mosaics(
    folder: RunFolder,
    results: Sequence[StitchResult],
    targets: Sequence[Mapping[str, Path]],
    canvas: Canvas,
    job: StitchJob,
    store: TileStore,
    tell: Progress,
    state: str,
    pool: Pool | None = None,
) -> list[str]:
    """Draw the mosaics that are not there yet; return what there is to say of any of them.

    A mosaic that was left half done is gone on with; of an earlier OME-Zarr only what has changed is drawn.
    """
    if folder.is_done("mosaic", state, all_paths(targets)):
        return folder.notes("mosaic")
    notes: list[str] = []
    for r, paths in zip(results, targets, strict=True):
        stage = f"mosaic-{slug(r.layout.section)}"
        if not folder.is_done(stage, state, paths.values()):
            known = brightness_file(folder.path, r.layout.section)
            done = draw_mosaic(
                r.solution.layout, paths, job.render, store, canvas=canvas, progress=tell, pool=pool, remember=known
            )
            folder.mark_done(stage, state, done.warnings)
        notes += folder.notes(stage)
    folder.mark_done("mosaic", state, notes)
    return notes


def brightness_file(folder: Path, section: str) -> Path:
    """Return where it is kept what the overlaps of a section say of the brightness of its tiles."""
    return folder / f".brightness-{slug(section)}.jsonl"


def draw_mosaic(
    layout: Layout,
    targets: Mapping[str, Path],
    config: RenderConfig,
    store: TileStore,
    *,
    canvas: Canvas | None = None,
    progress: Progress | None = None,
    pool: Pool | None = None,
    remember: Path | None = None,
    threads: int = 0,
) -> Rendered:
    """Draw one section into files, by the kind of sink; by workers, where there is a pool of them, else in threads."""
    tell = progress or (lambda _what, _done, _all: None)
    dtype, _ = common_dtype(layout)  # a tile of another type is named where tiles are read
    return render(
        layout,
        store,
        [(make_sink(kind, config), path) for kind, path in targets.items()],
        correct_intensity=config.correct_intensity,
        block_px=config.block_px,
        interpolation=config.interpolation,
        blend=config.blend,
        canvas=canvas,
        dtype=dtype,
        threads=threads,
        pool=pool,
        remember=remember,
        progress=lambda done, total: tell("render", done, total),
    )


def make_sink(kind: str, config: RenderConfig) -> Sink:
    """Return a sink by name, set up as the config says."""
    options: dict[str, Any] = {
        "imagej": {"max_px": config.picture_max_px},
        "ome-zarr": {"version": config.zarr_format, "compression": config.compression},
        "ome-tiff": {"compression": config.compression},
    }
    return SINKS[kind](**options.get(kind, {}))  # type: ignore[no-any-return]


def run_render(
    layouts: Sequence[Layout],
    out: Path,
    config: RenderConfig,
    *,
    progress: Progress | None = None,
    keep_frame: bool = False,
    region: Box | None = None,
    scale: float = 1.0,
    pool: Pool | None = None,
) -> tuple[list[Path], list[str]]:
    """Draw layouts as they stand, and return the files and the warnings; existing files are not overwritten.

    What was stopped is gone on with by the same call, section by section and region by region.

    Parameters
    ----------
    layouts : sequence of Layout
        One a section.
    out : Path
        Folder for the mosaics.
    keep_frame : bool
        The layouts are in mosaic px already (from ``solution.json``): pixel (0, 0) stays where it is.
    region : Box, optional
        Only this part, px of the whole mosaic at full size.
    scale : float
        Px drawn per px of the mosaic at full size.
    pool : Pool, optional
        Workers that draw.

    Raises
    ------
    InputError
        When no tile can be read, the region is outside, a file exists already, another process works in the folder,
        or the memory is too small; nothing was written then.
    """
    store = TileStore()
    drawn, warnings = _drawable(layouts, store)
    canvas, found = _canvas(drawn, keep_frame, region, scale)
    warnings += found
    check_file_names([layout.section for layout in drawn])
    names = ["mosaic" if len(layouts) == 1 else f"mosaic_{slug(layout.section)}" for layout in drawn]
    targets = [{kind: out / (name + SUFFIX[kind]) for kind in config.formats} for name in names]
    if not config.formats:
        msg = "nothing to draw: name a --mosaic format"
        raise InputError(msg)
    key = fingerprint([__version__, [_facts(layout) for layout in drawn], canvas, to_dict(config)])
    _begun(out, key, targets)  # refused before anything is made
    if pool is not None:
        for layout in drawn:
            check_memory(layout, config.block_px, pool)
    with occupied(out):
        begun = _begun(out, key, targets)  # once more: somebody may have been at work there until now
        for layout, paths in zip(drawn, targets, strict=True):
            if not begun.has(layout.section, paths.values()):
                known = brightness_file(out, layout.section)
                done = draw_mosaic(
                    layout, paths, config, store, canvas=canvas, progress=progress, pool=pool, remember=known
                )
                known.unlink(missing_ok=True)
                begun.finish(layout.section, done.warnings)
            warnings += begun.warnings[layout.section]
        begun.end()
    return all_paths(targets), warnings


def _facts(layout: Layout) -> list[Any]:
    """Return what a mosaic depends on of a section, as JSON types, without reading its images."""
    of_tiles = []
    for tile in layout:
        mask = stamp_of(replace(tile, path=tile.mask_path)) if tile.mask_path else None
        of_tiles.append([stamp_of(tile), mask, tile.shape, tile.page, tile.visible, repr(tile.lens)])
    return [layout.section, layout.pixel_size, of_tiles]


def _begun(out: Path, key: str, targets: Sequence[Mapping[str, Path]]) -> _Begun:
    """Return what an earlier call has left. Raises `InputError` when one of the files is there, of no such call."""
    begun = _Begun(out, key)
    there = next((path for path in all_paths(targets) if path.exists()), None)
    if there is not None and not begun.goes_on:
        msg = f"{there} exists already: choose another --out"
        raise InputError(msg)
    return begun


class _Begun:
    """What an earlier call for the same mosaics has left in their folder: ``.render.json``, until all are drawn.

    Parameters
    ----------
    out : Path
        The folder; it need not be there.
    key : str
        What the mosaics depend on.

    Attributes
    ----------
    goes_on : bool
        Whether files that are there are those of an earlier call.
    warnings : dict of str to list of str
        Of the sections that are finished.
    """

    def __init__(self, out: Path, key: str) -> None:
        self._path, self._key = out / ".render.json", key
        self.warnings: dict[str, list[str]] = {}
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            self.goes_on = held["key"] == key
            if self.goes_on:
                self.warnings = {str(name): [str(line) for line in said] for name, said in held["done"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.goes_on = False

    def has(self, section: str, files: Iterable[Path]) -> bool:
        """Return whether a section is finished; that it is begun is written down where it is not."""
        if section in self.warnings and all(file.exists() for file in files):
            return True
        write_json(self._path, {"key": self._key, "done": self.warnings})
        return False

    def finish(self, section: str, warnings: Iterable[str]) -> None:
        """Remember that a section is finished, and what there is to say of it."""
        self.warnings[section] = list(warnings)
        write_json(self._path, {"key": self._key, "done": self.warnings})

    def end(self) -> None:
        """Forget it: what is there now is not to be replaced."""
        self._path.unlink(missing_ok=True)


def _canvas(layouts: Sequence[Layout], keep_frame: bool, region: Box | None, scale: float) -> tuple[Canvas, list[str]]:
    """Return what is to be drawn, and a warning where its first pixel is not that of the solution."""
    whole = common_canvas(layouts)
    warnings: list[str] = []
    if keep_frame:
        rows, cols = whole.origin[1] + whole.shape[0], whole.origin[0] + whole.shape[1]
        origin = min(0, whole.origin[0]), min(0, whole.origin[1])
        whole = Canvas(origin, (rows - origin[1], cols - origin[0]))
        if origin != (0, 0):
            warnings.append(f"pixel (0, 0) of the mosaic is pixel {origin} of the solution's: tiles lie there")
    if region is None and scale == 1:
        return whole, warnings
    if not 0 < scale < float("inf"):
        msg = f"a mosaic's scale is a positive number, found {scale!r}"
        raise InputError(msg)
    return part_of(whole, region or Box.of_shape(whole.shape), scale), warnings


def _drawable(layouts: Sequence[Layout], store: TileStore) -> tuple[list[Layout], list[str]]:
    """Return the sections with the tiles that can be read, and a warning for what cannot. Raises `InputError`."""
    drawn: list[Layout] = []
    warnings: list[str] = []
    problem: InputError | None = None
    for layout in layouts:
        known, found, bad = images.with_shapes(with_pixel_size(layout))
        usable_ones = replace(known, tiles=tuple(t for t in known if t.id not in bad))
        try:
            read_one(usable_ones if len(usable_ones) else known, store)
        except InputError as error:
            problem = problem or error
            warnings.append(f"{error}; the section is left out")
        else:
            drawn.append(usable_ones)
            warnings += found
    if problem and not drawn:
        raise problem
    return drawn, warnings
