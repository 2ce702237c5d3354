"""The folder of one run, and whether it may be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from demis_ij import __version__
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.files import slug
from demis_ij.records import Layout
from demis_ij.runs.files import make_folder, read_json, refuse, to_disk, write_json
from demis_ij.runs.matches import MatchStore
from demis_ij.runs.tiles import changed_tiles, remember_tiles

MATCHES = "matches"


def check_folder(
    path: Path, settings: Mapping[str, Any], *, known: str = "run.json", sections: Iterable[Layout] = ()
) -> bool:
    """Return whether a run with these settings is in a folder already, to be gone on with; nothing is written.

    ``known`` is the file by which a run is known; the settings are compared with those in ``run.json`` only. Of
    ``sections``, the tiles that have changed since are named.

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
            refuse(path, error, "read")
        if inside and known not in inside:
            msg = f"output folder {path} is not empty and holds no run: choose an empty or a new folder"
            raise InputError(msg)
        if inside and known == "run.json":
            _check_same(path, {"demis_ij": __version__, **settings}, sections)
        return bool(inside)
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        problem = "cannot be written" if parent.is_dir() else "is a file"
        msg = f"output folder {path} cannot be made: {parent} {problem}"
        raise InputError(msg)
    return False


def settings_in(path: Path) -> dict[str, Any]:
    """Return the settings of the run in a folder. Raises `FormatError` when they cannot be read."""
    there = read_json(path / "run.json")
    if not isinstance(there, dict):
        raise FormatError(path / "run.json", "holds no settings of a run: choose a new folder")
    return there


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Return by what the settings of two runs differ, each in words that call the first one's past."""
    old, new = _flat(one), _flat(other)
    differs = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    return {k: _difference(k, old.get(k), new.get(k)) for k in differs}


def _check_same(path: Path, settings: Mapping[str, Any], sections: Iterable[Layout]) -> None:
    differs = differences(settings_in(path), json.loads(json.dumps(settings)))
    if differs:
        changed = _changed(path, sections) if "tiles_sha256" in differs else ""
        if changed:  # says more than that the tiles, and so perhaps the layout's file, have another digest
            differs = {k: said for k, said in differs.items() if not k.endswith("_sha256")}
        said = [changed] * bool(changed) + list(differs.values())
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        todo = "Choose a new folder, or the same settings"
        if changed and not differs:
            todo = f"'demis-ij redo {path}' does anew only what depends on that; or choose a new folder"
        msg = f"output folder {path} holds another run: {'; '.join(said[:3])}{more}. {todo}"
        raise InputError(msg)


def _changed(path: Path, sections: Iterable[Layout]) -> str:
    """Return which tiles are not what they were, in words; empty when the run does not know."""
    found = [
        (section.section, tile, what) for section in sections for tile, what in changed_tiles(path, section).items()
    ]
    if not found:
        return ""
    several = len({section for section, *_ in found}) > 1
    told = [f"tile {f'{section}/{tile}' if several else tile} {what}" for section, tile, what in found[:3]]
    return ", ".join(told) + (f" and {len(found) - 3} more tiles have changed" if len(found) > 3 else "")


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
    sections : iterable of Layout
        As read; what their tiles are is written down (`demis_ij.runs.tiles`), so that a change can be named later.

    Attributes
    ----------
    resumed : bool
        Whether an earlier run is gone on with.

    Raises
    ------
    InputError
        When it cannot be written, or holds something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, sections: Iterable[Layout] = ()) -> None:
        self.path = path
        self.settings = {"demis_ij": __version__, **settings}
        self.resumed = check_folder(path, settings, sections=sections)
        if not (self.resumed and os.access(path, os.W_OK)):
            make_folder(path)
        try:
            if not self.resumed:
                write_json(path / "run.json", self.settings)
            remember_tiles(path, sections)
        except OSError as error:
            refuse(path, error, "written")

    @classmethod
    def adopted(cls, path: Path, settings: Mapping[str, Any], *, sections: Iterable[Layout] = ()) -> RunFolder:
        """Return a run folder that goes on under new settings, whatever the old ones were.

        For those who have taken out of it what does not fit the new settings any more (`MatchStore.forget`), and only
        after they have: a run that was adopted is believed.

        Parameters
        ----------
        path : Path
            Of a run.
        settings, sections
            As for the folder itself.
        """
        write_json(path / "run.json", {"demis_ij": __version__, **settings})
        remember_tiles(path, sections, anew=True)
        return cls(path, settings)

    def memory(self, section: str) -> MatchStore:
        """Return what is remembered of the pairs of one section. Raises `FormatError`."""
        return self.remembered(self.path, section)

    @staticmethod
    def remembered(path: Path, section: str) -> MatchStore:
        """Return what the run in a folder remembers of the pairs of one section. Raises `FormatError`."""
        return MatchStore(path / MATCHES / slug(section))

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

    def mark_done(self, stage: str, depends_on: str, notes: Iterable[str] = (), *, files: Iterable[Path] = ()) -> None:
        """Remember that a stage is finished, and what it had to say; its files are on the disk before that is."""
        for file in files:
            to_disk(file)
        write_json(self.path / f".{stage}.done", {"depends_on": depends_on, "notes": list(notes)})

    def _mark(self, stage: str) -> dict[str, Any]:
        try:
            mark = json.loads((self.path / f".{stage}.done").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # not finished, or cut off while it was written: done again
        return mark if isinstance(mark, dict) else {}
