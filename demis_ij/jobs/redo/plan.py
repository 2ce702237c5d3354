"""What has to be done anew in a run: because of tiles that have changed, of other settings, or of single seams."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

from demis_ij.config import RenderConfig, StitchConfig, to_dict
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.jobs.plans import chosen_sections
from demis_ij.jobs.seams.worst import FAILED, RunSeams, SeamChoice, SeamRow
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.runs import changed_tiles
from demis_ij.stitch import AUTO


class From(IntEnum):
    """The first step that has to be done anew; all that follow come after it."""

    NOTHING = 0
    DRAW = 1
    SOLVE = 2
    MATCH = 3


SOLVED_BY = {"solver", "largest_graph_only", "stage_search_frac", "include_hidden", "lens", "across_z"}
"""Settings of ``stitch`` that no first match depends on. Every other one does, also one that is not known here."""
OF_THE_VOLUME = {"across_z"}
"""Those of them on which no section by itself depends."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user asks for.

    Attributes
    ----------
    config, render : StitchConfig or None, RenderConfig or None
        Other settings: of the run, or, of single seams, those by which they are matched. None: as they are.
    worse_than : float or None
        Seams whose error is larger.
    failed : bool
        Seams that failed.
    pairs : sequence of (str, str)
        Seams by the names of their tiles, in any order.
    margin : float or None
        How far off their tiles may lie, as a part of a tile's longer side.
    """

    config: StitchConfig | None = None
    render: RenderConfig | None = None
    worse_than: float | None = None
    failed: bool = False
    pairs: Sequence[tuple[str, str]] = ()
    margin: float | None = None

    @property
    def is_of_seams(self) -> bool:
        """Whether it is about single seams, and not about the run."""
        return self.worse_than is not None or self.failed or bool(self.pairs)


@dataclass(frozen=True)
class RedoPlan:
    """What will be done.

    Attributes
    ----------
    tiles : mapping of str to mapping of str to str
        By section, tiles that have changed, and what has become of them.
    settings : mapping of str to (old, new)
        Settings of the run that change.
    start : From
        The first step that these settings change.
    kept_matchers : tuple of str
        Matchers whose answers stay, where the run is matched again.
    seams : tuple of SeamRow
        Seams that are matched again by themselves.
    margin : float
        For those, how far off their tiles may lie.
    config : StitchConfig
        For those, how they are matched.
    dropped : tuple of Path
        Mosaics of formats that are not asked for any more.
    is_unfinished : bool
        Whether the run never came to a solution; it is finished then, whatever else there is to do.
    damaged : Path or None
        A solution that was cut off by a loss of power or a copy that was stopped; it is written anew.
    """

    tiles: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, tuple[Any, Any]]
    start: From
    kept_matchers: tuple[str, ...]
    seams: tuple[SeamRow, ...] = ()
    margin: float = 0.0
    config: StitchConfig = field(default_factory=StitchConfig)
    dropped: tuple[Path, ...] = ()
    is_unfinished: bool = False
    damaged: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.tiles or self.settings or self.seams or self.is_unfinished or self.damaged)

    @property
    def moves_all(self) -> bool:
        """Whether the tiles of every section may come to lie elsewhere in it."""
        return self.start == From.MATCH or bool(self.settings.keys() & (SOLVED_BY - OF_THE_VOLUME))

    def lines(self) -> list[str]:
        """Return what will be done, one line each, in the order in which it is done."""
        out = ["the run was not finished: it goes on"] if self.is_unfinished else []
        if self.damaged:
            out.append(f"{self.damaged} is cut off: it is written anew from what the run remembers")
        for section, tiles in self.tiles.items():
            out += [
                f"section {section}: tile {tile} {what}: its seams are matched again" for tile, what in tiles.items()
            ]
        for name, (old, new) in self.settings.items():
            out.append(f"{name} was {json.dumps(old)}, will be {json.dumps(new)}")
        if self.start == From.MATCH:
            kept = f"; what {', '.join(self.kept_matchers)} found stays" if self.kept_matchers else ""
            out.append(f"all seams are matched again{kept}")
        for row in self.seams:
            error = "failed" if row.state == FAILED else f"{_px(row.error_px)} px"
            out.append(f"seam {row.fixed} - {row.moving} ({error}) is matched again")
        if self.seams:
            who = ", ".join(AUTO) if self.config.matcher == "auto" else self.config.matcher
            out.append(f"these seams are matched by {who}, within {100 * self.margin:.0f} % of a tile of where it lies")
        if self.tiles or self.seams or self.start >= From.SOLVE:
            out.append(f"{self._solved()} solved again, and mosaics and report made where they change")
        elif self.start == From.DRAW:
            out.append("nothing is matched or solved again; mosaics and report are made where they change")
        return out + [f"{path} is removed: its format is not asked for any more" for path in self.dropped]

    def _solved(self) -> str:
        """Return whose tiles are solved again, in words."""
        touched = [*dict.fromkeys([*self.tiles, *(row.section for row in self.seams)])]
        if self.start >= From.SOLVE or not touched:
            return "the tiles are"
        some = ", ".join(touched[:5]) + (f" and {len(touched) - 5} more" if len(touched) > 5 else "")
        return f"the tiles of section{'' if len(touched) == 1 else 's'} {some} are"

    def facts(self) -> dict[str, Any]:
        """Return the same as JSON types."""
        return {
            "tiles": {section: dict(tiles) for section, tiles in self.tiles.items()},
            "settings": {name: list(change) for name, change in self.settings.items()},
            "from": self.start.name.lower(),
            "kept_matchers": list(self.kept_matchers),
            "seams": [[row.section, row.fixed, row.moving, row.state, row.error_px] for row in self.seams],
            "margin": self.margin if self.seams else None,
            "matched_by": to_dict(self.config) if self.seams else None,
            "dropped": [str(path) for path in self.dropped],
            "unfinished": self.is_unfinished,
            "damaged": None if self.damaged is None else str(self.damaged),
        }


def _px(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


def plan_redo(run: Path, document: Document, old: StitchJob, new: StitchJob, wish: Wish) -> RedoPlan:
    """Return what a wish means for a run; nothing is changed.

    Parameters
    ----------
    run : Path
        The run folder.
    document : Document
        Its layout, as it is now.
    old, new : StitchJob
        The run's settings, and those that it will have.
    wish : Wish

    Raises
    ------
    InputError
        When there are no such seams, or a setting belongs to the whole run and single seams are named.
    """
    sections = chosen_sections(document, new)
    changed = {section.section: found for section in sections if (found := changed_tiles(run, section))}
    settings = _differences(old, new)
    start, kept = _start(settings, old.config, new.config)
    seams = _seams(run, wish) if wish.is_of_seams else ()
    config = wish.config or new.config
    if wish.is_of_seams:
        _refuse_run_settings(new.config, config, wish)
    failed = any(row.state == FAILED for row in seams)
    usual = config.stage_search_frac if failed or wish.pairs else min(1.0, 2 * config.stage_error_frac)
    margin = usual if wish.margin is None else wish.margin
    return RedoPlan(changed, settings, start, kept, seams, margin, config)


def _differences(old: StitchJob, new: StitchJob) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, old and new, as JSON types."""
    before = {**_json(to_dict(old.render)), **_json(to_dict(old.config))}
    after = {**_json(to_dict(new.render)), **_json(to_dict(new.config))}
    return {name: (before[name], after[name]) for name in after if before[name] != after[name]}


def _json(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def _start(settings: Mapping[str, Any], old: StitchConfig, new: StitchConfig) -> tuple[From, tuple[str, ...]]:
    """Return the first step that settings change, and the matchers whose answers stay true."""
    stitching = {f.name for f in fields(StitchConfig)}
    matching = {name for name in settings if name in stitching} - SOLVED_BY
    kept: list[str] = []
    if matching == {"matcher"}:
        for before, after in zip(_chain(old), _chain(new), strict=False):
            if before != after:
                break
            kept.append(before)
    if matching:
        return From.MATCH, tuple(kept)
    if settings.keys() & stitching:
        return From.SOLVE, ()
    return (From.DRAW if settings else From.NOTHING), ()


def _chain(config: StitchConfig) -> tuple[str, ...]:
    return AUTO if config.matcher == "auto" else (config.matcher,)


def _refuse_run_settings(run: StitchConfig, config: StitchConfig, wish: Wish) -> None:
    """Raise `InputError` for settings that single seams cannot have by themselves."""
    before, after = to_dict(run), to_dict(config)
    wrong = [name for name in after if before[name] != after[name] and (name in SOLVED_BY or name in {"model"})]
    if wish.render is not None:
        wrong.append("a setting of [render]")
    if wrong:
        msg = f"{wrong[0]} is a setting of the whole run, and single seams are named: do one after the other"
        raise InputError(msg)


def _seams(run: Path, wish: Wish) -> tuple[SeamRow, ...]:
    """Return the seams that are meant. Raises `InputError` when there is none of those named."""
    found: dict[tuple[str, str, str], SeamRow] = {}
    if wish.worse_than is not None:
        rows = RunSeams(run, SeamChoice(worse_than=wish.worse_than)).rows()
        found |= {(row.section, row.fixed, row.moving): row for row in rows}
    if wish.failed:
        found |= {(row.section, row.fixed, row.moving): row for row in RunSeams(run, SeamChoice(failed=True)).rows()}
    if wish.pairs:
        wanted = {frozenset(pair) for pair in wish.pairs}
        met = set()
        for choice in (SeamChoice(), SeamChoice(failed=True)):
            for row in RunSeams(run, choice).rows():
                if (key := frozenset((row.fixed, row.moving))) in wanted:
                    found[(row.section, row.fixed, row.moving)] = row
                    met.add(key)
        missing = next((pair for pair in wish.pairs if frozenset(pair) not in met), None)
        if missing is not None:
            msg = (
                f"{run}: no seam {missing[0]} - {missing[1]} was looked at: 'demis-ij seams {run} --csv FILE' lists all"
            )
            raise InputError(msg)
    return tuple(found.values())


__all__ = ["From", "RedoPlan", "Wish", "plan_redo"]
