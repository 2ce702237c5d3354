"""The run folder of tiles that are still coming: what was found, of which files, under which settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from demis_ij import __version__
from demis_ij.config import to_dict
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import Document
from demis_ij.jobs.plans import chosen_sections, settings_of
from demis_ij.jobs.sections import axes_mark
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.jobs.watch.files import Stamp
from demis_ij.runs import MatchStore, RunFolder, check_folder, make_folder, occupied, read_json, write_json
from demis_ij.runs.stamps import known_stamps
from demis_ij.stitch import Pair

ARRIVED = "arrived.jsonl"
"""One line a tile and file: appended before the tile is matched, so that a file replaced since is always seen."""


class WatchedRun:
    """A run folder whose tiles come one by one; nobody else works in it until it is closed.

    Parameters
    ----------
    path : Path
        New, empty, or one that was watched before with the same settings.
    job : StitchJob

    Raises
    ------
    InputError
        When it holds something else, or a run with other settings, or somebody else works there.
    FormatError
        When what it holds cannot be read.
    """

    def __init__(self, path: Path, job: StitchJob) -> None:
        self.path, self._job = path, job
        self._settings = {"stitch": to_dict(job.config), "stage_axes": job.stage_axes}
        self._alone = ExitStack()
        self._check()
        make_folder(path)
        self._alone.enter_context(occupied(path))
        try:
            self.resumed = self._check()  # once more: somebody may have been at work there until now
            if not self.resumed:
                write_json(path / "run.json", {"demis_ij": __version__, **self._settings})
            self._arrived = self._read_arrived()
        except BaseException:  # nobody closes what was never made
            self._alone.close()
            raise
        self._before: dict[str, dict[str, Stamp]] = {}
        """Of which size and time the tiles were for a run of ``stitch`` that is watched on: it noted no arrivals."""
        self._memories: dict[str, MatchStore] = {}

    def _check(self) -> bool:
        """Return whether an earlier watch is gone on with."""
        if not (self.path / "run.json").is_file():
            return check_folder(self.path, {})  # refused where something else lies there
        there = read_json(self.path / "run.json")
        if not isinstance(there, dict) or "stitch" not in there:
            raise FormatError(self.path / "run.json", "holds no settings of a run: choose a new folder")
        wanted = json.loads(json.dumps({"demis_ij": __version__, **self._settings}))
        for key, value in wanted.items():
            if there.get(key) != value:
                what = _first_difference(key, there.get(key), value)
                msg = f"output folder {self.path} holds another run: {what}. Choose a new folder, or the same settings"
                raise InputError(msg)
        return True

    def _read_arrived(self) -> dict[tuple[str, str], Stamp]:
        path = self.path / ARRIVED
        if not path.is_file():
            return {}
        found = {}
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                section, tile, size, time_ns = json.loads(line)
                found[(str(section), str(tile))] = (int(size), int(time_ns))
            except (ValueError, TypeError) as error:
                raise FormatError(path, f"is no list of tiles: {error}") from error
        if len(whole) < len(raw):  # cut off by a crash
            path.write_bytes(whole)
        return found

    def memory(self, section: str) -> MatchStore:
        """Return what is remembered of the pairs of a section."""
        if section not in self._memories:
            self._memories[section] = RunFolder.remembered(self.path, section)
        return self._memories[section]

    def stamp(self, section: str, tile: str) -> Stamp | None:
        """Return of which size and time a tile's file was when its seams were matched, None when they were not."""
        if (section, tile) in self._arrived:
            return self._arrived[section, tile]
        if section not in self._before:
            self._before[section] = known_stamps(self.path, section)
        return self._before[section].get(tile)

    def remember(self, section: str, tile: str, stamp: Stamp) -> None:
        """Note of which size and time a tile's file is, on disk before this returns."""
        if self._arrived.get((section, tile)) == stamp:
            return
        self._arrived[(section, tile)] = stamp
        with (self.path / ARRIVED).open("ab") as file:
            file.write(json.dumps([section, tile, *stamp]).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, section: str, pairs: Iterable[Pair]) -> None:
        """Forget what is known of some pairs."""
        self.memory(section).forget(set(pairs))

    def forget_tile(self, section: str, tile: str, pairs: Iterable[Pair]) -> None:
        """Forget what is known of all pairs of a tile, those of an earlier watch, too."""
        memory = self.memory(section)
        table = memory.columns(("fixed", "moving"))
        known = zip(table.column("fixed").to_pylist(), table.column("moving").to_pylist(), strict=True)
        memory.forget({*pairs, *(pair for pair in known if tile in pair)})

    def save(self, document: Document | None) -> None:
        """Write the settings under which ``stitch`` finishes this run, with the files that are there now."""
        if document is not None:
            RunFolder.adopted(
                self.path, settings_of(document, self._job), sections=chosen_sections(document, self._job)
            )

    def axes(self, section: str) -> list[str]:
        """Return the stage axes that were found for a section and how well they fit, nothing where none were."""
        return RunFolder.noted(self.path, axes_mark(section))

    def remember_axes(self, section: str, found: Sequence[str]) -> None:
        """Note which stage axes a section has, where ``stitch`` finds it."""
        write_json(self.path / f".{axes_mark(section)}.done", {"depends_on": "", "notes": list(found)})

    def close(self) -> None:
        """Let others work in the folder."""
        self._alone.close()

    def abandon(self) -> None:
        """Take back what was made for a run that never got a tile."""
        if self.resumed or self._arrived:
            return
        for name in ("run.json", "live.html"):
            (self.path / name).unlink(missing_ok=True)


def _first_difference(key: str, there: object, now: object) -> str:
    if isinstance(there, dict) and isinstance(now, dict):
        name = next(n for n in sorted({*there, *now}) if there.get(n) != now.get(n))
        return f"{name} was {json.dumps(there.get(name))}, now {json.dumps(now.get(name))}"
    return f"{key} was {json.dumps(there)}, now {json.dumps(now)}"


__all__ = ["ARRIVED", "WatchedRun"]
