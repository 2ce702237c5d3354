"""A run done anew where something has changed, and only there.

The order makes it safe to end at any time: first what will be done is written down; then what is out of date is taken
out of the match store and the marks of finished files; then the run gets its new settings; then ``stitch`` goes on
with it as with any run that was interrupted. So the run is always one that ``redo`` or ``stitch`` can go on with, and
its result the same bytes as that of a new run with these tiles and settings.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from demis_ij.config import RenderConfig, StitchConfig, from_dict, to_dict
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import Document
from demis_ij.images import TileStore
from demis_ij.jobs.finished import cut_off, is_finished, reopen
from demis_ij.jobs.memory import checked_bytes
from demis_ij.jobs.mosaics import SUFFIX
from demis_ij.jobs.plans import chosen_sections, ready_sections, settings_of
from demis_ij.jobs.redo.count import Again, Remembered
from demis_ij.jobs.redo.plan import From, RedoPlan, Wish, plan_redo
from demis_ij.jobs.seams.worst import RunSeams, SeamChoice, SeamRow
from demis_ij.jobs.stitch_job import JobResult, StitchJob
from demis_ij.jobs.stitching import run_stitch
from demis_ij.pools import open_pool
from demis_ij.records import Layout, PairMatch, Rejected, Tile
from demis_ij.runs import MatchStore, RunFolder, fingerprint, occupied, redone, slug
from demis_ij.stitch import AUTO, Outcome, Pair, Progress, match_first

AGAIN = "redo"
"""Folder of what was found of single seams, until it is taken over."""
ACROSS = "matches_across"


@dataclass(frozen=True, eq=False)
class Redone:
    """What `redo` did.

    Attributes
    ----------
    plan : RedoPlan
    result : JobResult or None
        The run as it is now; None where there was nothing to do.
    better, worse : int
        Of seams matched by themselves: those for which a match was found that was taken, and those where the old
        one stays.
    again : Again or None
        What was done again of the rest, and what was kept.
    """

    plan: RedoPlan
    result: JobResult | None
    better: int = 0
    worse: int = 0
    again: Again | None = None


def opened(run: Path) -> tuple[Document, StitchJob]:
    """Return the layout and the settings of a run, finished or not. Raises `InputError` when there is none."""
    if not (run / "run.json").is_file():
        there = "holds no run of 'stitch'" if run.is_dir() else "is no folder"
        msg = f"{run} {there}: name the run folder that 'stitch' made"
        raise InputError(msg)
    return reopen(run, may_be_unfinished=True)


def prepare(run: Path, wish: Wish) -> tuple[Document, StitchJob, RedoPlan]:
    """Return the run's layout, its settings to come, and what has to be done. Nothing is changed.

    Raises
    ------
    InputError
        When the folder holds no run, its layout cannot be read, or the wish does not fit; or seams are chosen of a
        run that is not finished.
    """
    document, old = opened(run)
    begun = _interrupted(run, wish)
    wish = _wish_of(run, begun, old) if begun else wish
    damaged = cut_off(run)
    if damaged is not None and wish.is_of_seams:
        msg = f"{damaged} is cut off, and says nothing of seams: 'demis-ij redo {run}' alone writes it anew"
        raise InputError(msg)
    new = old
    if not wish.is_of_seams:
        render = wish.render or old.render
        new = replace(old, config=wish.config or old.config, render=render)
        new = replace(new, write_mosaic=bool(render.formats) if wish.render else old.write_mosaic)
    plan = plan_redo(run, document, old, new, wish)
    plan = replace(plan, is_unfinished=damaged is None and not is_finished(run), damaged=damaged)
    return document, new, replace(plan, dropped=_dropped(run, old, new, begun))


def _interrupted(run: Path, wish: Wish) -> Mapping[str, Any]:
    """Return what was begun and not finished, where nothing else is asked for now; empty where there is none."""
    last = redone.history(run)[-1:]
    asks = wish.is_of_seams or wish.config or wish.render
    return last[0] if last and not asks and last[0].get("state") == "begun" else {}


def _wish_of(run: Path, begun: Mapping[str, Any], old: StitchJob) -> Wish:
    """Return the wish that was begun: seams and how they were matched, or settings that the run may not have yet."""
    try:
        if begun.get("seams"):
            pairs = [(str(fixed), str(moving)) for _, fixed, moving, *_ in begun["seams"]]
            return Wish(pairs=pairs, margin=begun["margin"], config=from_dict(StitchConfig, begun["matched_by"]))
        wanted = {name: new for name, (_, new) in begun.get("settings", {}).items()}
        known = {f.name for f in fields(StitchConfig)}
        config = {name: value for name, value in wanted.items() if name in known}
        render = {name: value for name, value in wanted.items() if name not in known}
        return Wish(
            config=from_dict(StitchConfig, {**to_dict(old.config), **config}) if config else None,
            render=from_dict(RenderConfig, {**to_dict(old.render), **render}) if render else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(run / redone.FILE, f"does not say what was begun to be done anew: {error!r}") from error


def _dropped(run: Path, old: StitchJob, new: StitchJob, begun: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the mosaics of formats that are not asked for any more, now or by what was begun."""
    gone = [kind for kind in old.render.formats if kind not in new.render.formats]
    found = [path for kind in gone for path in sorted(run.glob(f"mosaic*{SUFFIX[kind]}"))]
    named = {Path(path).name for path in begun.get("dropped", ())}
    found += [path for path in sorted(run.glob("mosaic*")) if path.name in named]
    kept = [SUFFIX[kind] for kind in new.render.formats]
    return tuple(path for path in dict.fromkeys(found) if not _is_of(path, kept))


def _is_of(path: Path, suffixes: Iterable[str]) -> bool:
    """Return whether a mosaic is of a format; ``.tif`` is the end of ``.ome.tif``, too."""
    return any(path.name.endswith(suffix) for suffix in suffixes if suffix != ".tif" or ".ome." not in path.name)


def redo(
    run: Path,
    wish: Wish,
    *,
    progress: Progress | None = None,
    workers: int = 1,
    memory_bytes: int | None = None,
) -> Redone:
    """Do anew what has to be, and only that.

    Parameters
    ----------
    run : Path
        A run of ``stitch``, or one whose redoing was interrupted. One that is not finished is finished.
    wish : Wish
    progress : callable, optional
        Told how far the work is.
    workers, memory_bytes : int
        As for ``stitch``.

    Raises
    ------
    InputError
        When the folder holds no run, the wish does not fit, or the memory is too small; nothing was changed then.
    """
    opened(run)  # refused before anything is written
    with occupied(run):
        return _redone(run, wish, progress, workers, memory_bytes)


def _redone(run: Path, wish: Wish, progress: Progress | None, workers: int, memory_bytes: int | None) -> Redone:
    """Do anew what has to be, in a folder that nobody else works in."""
    document, job, plan = prepare(run, wish)
    job = replace(job, workers=workers, memory_bytes=memory_bytes)
    if plan.is_empty and not redone.is_open(run):
        return Redone(plan, None)
    check_job(document, job)  # refused before anything is changed
    if not plan.is_empty:
        redone.note(run, "begun", plan.facts())
    better = worse = 0
    if plan.seams:
        better, worse = _match_seams(run, job, plan, progress)
    sections = chosen_sections(document, job)
    names = [section.section for section in sections]
    _forget(run, names, plan)
    before = Remembered(run, names)
    RunFolder.adopted(run, settings_of(document, job), sections=sections)
    result = run_stitch(document, run, job, progress=progress)
    again = before.since()
    for path in plan.dropped:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    redone.note(run, "done", {"better": better, "worse": worse} if plan.seams else {})
    return Redone(plan, result, better, worse, again)


def check_job(document: Document, job: StitchJob) -> None:
    """Raise `InputError` when the tiles cannot be read, or the memory is too small for what is to be done."""
    ready = ready_sections(document, job, TileStore(1 << 26))[0]
    with open_pool(job.workers, memory_bytes=job.memory_bytes) as pool:
        checked_bytes(job, pool, ready[0], len(ready))


# --- what is out of date --------------------------------------------------------------------------------------------


def _forget(run: Path, names: Sequence[str], plan: RedoPlan) -> None:
    """Take out of a run what does not hold any more; once more where that was interrupted changes nothing."""
    touched = {row.section for row in plan.seams} | set(plan.tiles) | _begun(run)
    for name in dict.fromkeys([*names, *touched]):
        if plan.moves_all or name in touched:
            _forget_section(run, name, plan)
    if plan.moves_all:
        shutil.rmtree(run / ACROSS, ignore_errors=True)
    across = {slug("~".join(two)) for name in touched for other in names for two in ((name, other), (other, name))}
    for found in (run / ACROSS).glob("*"):  # what crops show, and how sections lie on each other, follows from places
        if found.name.removesuffix(".json") in across:
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    _unmark(run, plan, {slug(name) for name in touched} | across)


def _begun(run: Path) -> set[str]:
    """Return the sections of the seams that were being matched again when redoing was interrupted."""
    last = redone.history(run)[-1:]
    return {str(row[0]) for line in last if line.get("state") == "begun" for row in line.get("seams", ())}


def _forget_section(run: Path, name: str, plan: RedoPlan) -> None:
    """Forget the answers that do not hold any more: all of later passes, and those of the first that are concerned."""
    memory = RunFolder.remembered(run, name)
    tiles = set(plan.tiles.get(name, ()))
    stays = {f"first-{matcher}" for matcher in (plan.kept_matchers if plan.start == From.MATCH else AUTO)}
    memory.forget_where(lambda key: key[0] not in stays or key[1] in tiles or key[2] in tiles)
    if tiles:
        (run / f".axes-{slug(name)}.done").unlink(missing_ok=True)


def _unmark(run: Path, plan: RedoPlan, touched: Collection[str]) -> None:
    """Remove the marks of files that may change; of those that turn out not to, the bytes are the same again."""
    several = (run / "sections").is_dir()
    for mark in run.glob(".*.done"):
        kind, dash, name = mark.name.removeprefix(".").removesuffix(".done").partition("-")
        of_one = several and bool(dash)
        if kind in {"axes", "project"}:
            gone = False
        elif kind in {"plane", "across"}:  # sections by themselves, and what they have in common
            gone = plan.moves_all
        elif kind == "section":
            gone = plan.start >= From.SOLVE
        else:
            gone = plan.start > From.NOTHING or (bool(touched) and not of_one)
        if gone or (of_one and kind not in {"axes", "project"} and name in touched):
            mark.unlink()


# --- single seams ---------------------------------------------------------------------------------------------------


def _match_seams(run: Path, job: StitchJob, plan: RedoPlan, progress: Progress | None) -> tuple[int, int]:
    """Match single seams again where the solution lays their tiles; return for how many that helped, and did not.

    What is found is kept beside the run's own store until all are matched, so that nothing is matched twice after an
    interruption. Then it takes the place of what the first pass knew, whatever matcher it is from.
    """
    found_in = RunSeams(run, SeamChoice())
    tiles = found_in.tiles({name for row in plan.seams for name in (row.fixed, row.moving)})
    config = replace(plan.config, stage_error_frac=plan.margin)
    again = run / AGAIN / fingerprint([plan.facts()["seams"], repr(config)])[:16]
    store = TileStore(clip=config.clahe_clip)
    better = worse = 0
    first = f"first-{_chain(job.config)[0]}"
    for section in dict.fromkeys(row.section for row in plan.seams):
        rows = [row for row in plan.seams if row.section == section]
        memory = RunFolder.remembered(run, section)
        layout, pairs = _as_remembered(section, rows, tiles, memory)
        scratch = MatchStore(again / slug(section))
        new = match_first(layout, pairs, config, store=store, memory=scratch, progress=progress)
        taken = list(_taken(new, memory, job.config))
        memory.put(first, taken)
        better, worse = better + len(taken), worse + len(new) - len(taken)
    shutil.rmtree(run / AGAIN, ignore_errors=True)
    return better, worse


def _as_remembered(
    section: str, rows: Iterable[SeamRow], tiles: Mapping[str, Tile], memory: MatchStore
) -> tuple[Layout, list[Pair]]:
    """Return tiles and pairs as the match store names them, where the solution puts them."""
    table = memory.columns(("fixed", "moving"))
    known = set(zip(table.column("fixed").to_pylist(), table.column("moving").to_pylist(), strict=True))
    pairs: list[Pair] = []
    named: dict[str, Tile] = {}
    for row in rows:
        whole = row.fixed, row.moving
        own = row.fixed.removeprefix(f"{section}/"), row.moving.removeprefix(f"{section}/")
        pair = whole if whole in known else own
        for name, of_solution in zip(pair, whole, strict=True):
            named[name] = replace(tiles[of_solution], id=name)
        pairs.append(pair)
    return Layout(tuple(named.values()), section), pairs


def _taken(new: Iterable[Outcome], memory: MatchStore, config: StitchConfig) -> Iterable[Outcome]:
    """Yield the outcomes that take the place of older ones: those that agree."""
    for outcome in new:
        if isinstance(outcome, PairMatch):
            before = [memory.get(f"first-{name}", (outcome.fixed, outcome.moving)) for name in _chain(config)]
            last = next((o for o in reversed(before) if o is not None), None)
            tried = (*last.tried, (last.matcher, last.reason)) if isinstance(last, Rejected) else ()
            yield replace(outcome, tried=(*tried, *outcome.tried))


def _chain(config: StitchConfig) -> tuple[str, ...]:
    return AUTO if config.matcher == "auto" else (config.matcher,)


__all__ = ["Redone", "check_job", "opened", "prepare", "redo"]
