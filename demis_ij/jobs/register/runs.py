"""Two image files in, a run folder out: how one lies on the other, what that looks like, and files for other programs.

::

    run.json            the complete config, the images' digest, the package version
    registration.json   the transform both ways, how sure it is, how it was found
    registered.tif      the moving image, all its channels, on the fixed image's grid; registered_mask.tif: where it is
    red_cyan.png, checkerboard.png
    to_moving.tfm (ITK), trakem2.xml (both images), bunwarpj_raw.txt
    report.html         before and after, and every number
    warp.npz, bunwarpj_elastic.txt and bunwarpj_elastic_inverse.txt, deformation.png: what is bent, with --model elastic
    restyled.png        the image that was restyled, as it was compared, with --style
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij import __version__
from demis_ij.config import to_dict
from demis_ij.config.registering import RegisterConfig
from demis_ij.jobs.register.bending_files import shown_bending, write_bending
from demis_ij.jobs.register.files import write_files
from demis_ij.jobs.register.registering import Progress, Registered, register_files
from demis_ij.report.registration import write_registration
from demis_ij.runs import RunFolder, check_folder, fingerprint, occupied, read_json, write_json


@dataclass(frozen=True, eq=False)
class RegisterResult:
    """What a job found, and what it left.

    Attributes
    ----------
    facts : dict
        `Registered.facts`.
    files : mapping of str to Path
        What was written.
    notes : tuple of str
        What there is to say, one line each.
    resumed : bool
        Whether the run was there already.
    """

    facts: Mapping[str, Any]
    files: Mapping[str, Path]
    notes: tuple[str, ...]
    resumed: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        """What a program wants to know, as JSON types."""
        files = {name: str(path) for name, path in self.files.items()}
        return {**self.facts, "notes": list(self.notes), "files": files, "resumed": self.resumed}


def register_settings(fixed: Path, moving: Path, config: RegisterConfig) -> dict[str, Any]:
    """Return everything that the result depends on, as JSON types."""
    given = (Path(name) for name in (config.weights, config.style, config.landmarks) if name)
    stamps = [_stamp(p) for p in (fixed, moving, *(p for p in given if p.is_file()))]
    kept = {k: v for k, v in to_dict(config).items() if k not in {"threads", "device"}}
    images = {"fixed": str(fixed.absolute()), "moving": str(moving.absolute())}
    return {"job": "register", **images, "tiles_sha256": fingerprint(stamps), **kept}


def _stamp(path: Path) -> list[Any]:
    """Return what says whether a file, or a folder's own entry, is still the same."""
    try:
        found = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), found.st_size if path.is_file() else 0, found.st_mtime_ns]


def run_register(
    fixed: Path, moving: Path, out: Path, config: RegisterConfig, *, progress: Progress | None = None
) -> RegisterResult:
    """Register two files into a run folder; one that is finished is not done again.

    Parameters
    ----------
    fixed, moving : Path
        The images; they are never changed.
    out : Path
        The run folder.
    config : RegisterConfig
    progress : callable, optional
        Told how far the work is.

    Raises
    ------
    InputError
        When something given cannot be used, or somebody else works in the folder; nothing is left in that case.
    WeightsError
        When the weights cannot be used.
    """
    tell = progress or (lambda _what, _done, _all: None)
    settings = register_settings(fixed, moving, config)
    key = fingerprint([__version__, settings])
    if check_folder(out, settings) and (kept := _finished(RunFolder(out, settings), key)) is not None:
        return kept  # also where it may only be read
    with occupied(out):
        tell("registered", 0, 1)
        found = register_files(fixed, moving, config, tell)
        tell("registered", 1, 1)
        return _written(RunFolder(out, settings), key, found, tell)


def _finished(folder: RunFolder, key: str) -> RegisterResult | None:
    """Return what a finished run left, None where it is not finished."""
    path = folder.path / "registration.json"
    if not folder.is_done("registered", key, [path]):
        return None
    told = read_json(path)
    files = {name: folder.path / there for name, there in told.pop("files").items()}
    if not all(p.exists() for p in files.values()):
        return None
    notes = tuple(told.pop("notes"))
    return RegisterResult(told, files, notes, resumed=True)


def _written(folder: RunFolder, key: str, found: Registered, tell: Progress) -> RegisterResult:
    """Write everything, the JSON last."""
    files, said, views = write_files(
        folder.path, found.fixed, found.moving, found.to_moving, found.pixel_ratio,
        lambda done, total: tell("written", done, total),
    )  # fmt: skip
    more, further = write_bending(folder.path, found)
    files, said = files | more, (*said, *further)
    notes = (*found.notes, *said)
    facts = found.facts
    files = {**files, "report": folder.path / "report.html", "registration": folder.path / "registration.json"}
    write_registration(
        files["report"], found.registration, facts, views, settings=folder.settings, notes=notes,
        more=shown_bending(found),
    )  # fmt: skip
    names = {name: path.name for name, path in files.items()}
    write_json(files["registration"], {**facts, "notes": list(notes), "files": names})
    folder.mark_done("registered", key, notes, files=files.values())
    return RegisterResult({k: v for k, v in facts.items() if k != "notes"}, files, notes, resumed=False)


__all__ = ["RegisterResult", "register_settings", "run_register"]
