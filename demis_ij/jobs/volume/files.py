"""A stack in its run folder: sections read one at a time, the frame they share, ``solution.json``, names of mosaics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from demis_ij.formats.solutions import INDEX, WHOLE, moved_tile, renamed_pair
from demis_ij.jobs.mosaics import SUFFIX
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.jobs.volume.section_files import FOLDER, SectionFiles, solved_section
from demis_ij.records import Affine, Layout
from demis_ij.render import Canvas
from demis_ij.report.section_facts import SectionFacts
from demis_ij.runs import read_json, slug, write_json

WHOLE_TILES = 10_000
"""A stack of at most so many tiles has everything in one solution.json, a larger one an index of its sections."""


class SectionsByName(Sequence[str]):
    """Sections by their names, each read when it is asked for."""

    def __init__(self, sections: Sequence[Layout]) -> None:
        self._sections = sections
        self._names = getattr(sections, "names", None) or tuple(s.section for s in sections)
        self._row = {name: i for i, name in enumerate(self._names)}

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._names[index]

    def __len__(self) -> int:
        return len(self._names)

    def layout(self, name: str) -> Layout:
        """Return a section."""
        return self._sections[self._row[name]]


class SolvedSections(Sequence[Layout]):
    """The solved sections of a run, each read from its file when it is asked for.

    Parameters
    ----------
    run : Path
        The run folder.
    names : sequence of str
        The sections, in order.
    given : object
        The sections as they were given.
    """

    def __init__(self, run: Path, names: Sequence[str], given: SectionsByName) -> None:
        self._run, self.names, self._given = run, tuple(names), given

    @overload
    def __getitem__(self, index: int) -> Layout: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Layout]: ...
    def __getitem__(self, index: int | slice) -> Layout | Sequence[Layout]:
        if isinstance(index, slice):
            return SolvedSections(self._run, self.names[index], self._given)
        return solved_section(self._run, self._given.layout(self.names[index]))

    def __len__(self) -> int:
        return len(self.names)


def mosaic_targets(run: Path, names: Sequence[str], job: StitchJob) -> dict[str, dict[str, Path]]:
    """Return, for each section, the files of its mosaic by kind."""
    one = len(names) == 1
    return {
        name: {
            kind: run / (("mosaic" if one else f"mosaic_{slug(name)}") + SUFFIX[kind]) for kind in job.render.formats
        }
        for name in names
    }


def canvas_of(facts: Sequence[SectionFacts]) -> Canvas:
    """Return the frame that holds all sections."""
    x0, y0 = min(f.origin[0] for f in facts), min(f.origin[1] for f in facts)
    x1, y1 = max(f.origin[0] + f.shape[1] for f in facts), max(f.origin[1] + f.shape[0] for f in facts)
    return Canvas((x0, y0), (y1 - y0, x1 - x0))


def write_solution(run: Path, facts: Mapping[str, SectionFacts], canvas: Canvas, warnings: Sequence[str]) -> None:
    """Write ``solution.json``: all of a small stack, an index of the sections of a large one."""
    head = {
        "world_origin": [float(v) for v in canvas.origin],
        "pixel_size": next((list(f.pixel_size) for f in facts.values() if f.pixel_size), None),
    }
    files = {name: SectionFiles.of(run, name).solution for name in facts}
    if sum(f.tiles for f in facts.values()) > WHOLE_TILES:
        entries = [
            {"section": name, "file": f"{FOLDER}/{files[name].name}", "tiles": f.tiles, "pairs": f.pairs}
            for name, f in facts.items()
        ]
        value = {"format_version": INDEX, **head, "sections": entries, "warnings": list(warnings)}
    else:
        value = {"format_version": WHOLE, **head, **_whole(files, canvas), "warnings": list(warnings)}
    write_json(run / "solution.json", value)


def _whole(files: Mapping[str, Path], canvas: Canvas) -> dict[str, Any]:
    """Return the lenses, tiles and pairs of all sections in px of the mosaics."""
    sections = {name: read_json(path) for name, path in files.items()}
    ids = [tile for value in sections.values() for tile in value["tiles"]]
    several = len(ids) != len(set(ids))
    shift = Affine.translation(-canvas.origin[0], -canvas.origin[1])
    lenses: dict[str, Any] = {}
    tiles: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    for name, value in sections.items():
        head = f"{name}/" if several else ""
        lenses |= value.get("lenses", {})
        tiles |= {head + key: moved_tile(tile, shift) for key, tile in value["tiles"].items()}
        pairs += [renamed_pair(pair, head) for pair in value["pairs"]]
    return {**({"lenses": lenses} if lenses else {}), "tiles": tiles, "pairs": pairs}
