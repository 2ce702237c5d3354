"""A stack in, a run folder out: warps, verdicts, the aligned volume and what goes with it.

::

    run.json      the complete config, the stack's digest, the package version
    stages/       what an interrupted run goes on from
    warps.npz     the warps; other formats beside it, where asked for
    align.json    every section with its verdict, every pair, every round
    report.html   the same to look at: cuts before and after, curves, maps, the worst sections first
    volume.ome.zarr (or volume.tif), labels.ome.zarr, one more for each channel
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.align import AlignResult, Memory, align
from demis_ij.align.chains import chosen_aligner
from demis_ij.config import to_dict
from demis_ij.config.aligning import VOLUME_FORMATS, WARP_FORMATS, AlignConfig
from demis_ij.config.checks import one_of
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import DemisError, InputError
from demis_ij.formats import warps_bunwarpj, warps_trakem2, warps_virtual_stack
from demis_ij.formats.warps import StackWarps, write_npz
from demis_ij.jobs.align.own_weights import with_own_weights
from demis_ij.jobs.align.shown import aligned_card
from demis_ij.jobs.align.volumes import ENDINGS, check_companion, digest_of, draw_volume, told_of_stack
from demis_ij.records import Stack
from demis_ij.report import write_alignment
from demis_ij.runs import RunFolder, check_folder, fingerprint, make_folder, occupied, slug, write_json
from demis_ij.sinks.pyramid import discard

Progress = Callable[[str, int, int], None]
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AlignJob:
    """What to do with a stack.

    Attributes
    ----------
    config : AlignConfig
        How to align.
    ssemnet : SsemnetConfig
        Settings of the paper's method.
    volumes : tuple of str
        ome-zarr, tiff; none is no volume.
    warps : tuple of str
        Formats of the warps besides ``npz``: trakem2, rvss, bunwarpj.
    labels : Stack or None
        Labels of the sections, drawn by the nearest pixel.
    channels : mapping of str to Stack
        More channels of the same sections, by the name of their volume.

    Raises
    ------
    InputError
        When a format is unknown.
    """

    config: AlignConfig = field(default_factory=AlignConfig)
    ssemnet: SsemnetConfig = field(default_factory=SsemnetConfig)
    volumes: tuple[str, ...] = ("ome-zarr",)
    warps: tuple[str, ...] = ()
    labels: Stack | None = None
    channels: Mapping[str, Stack] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.volumes:
            one_of("volume", name, VOLUME_FORMATS)
        for name in self.warps:
            one_of("warps", name, WARP_FORMATS)
        object.__setattr__(self, "volumes", tuple(v for v in dict.fromkeys(self.volumes) if v != "none"))
        object.__setattr__(self, "warps", tuple(w for w in dict.fromkeys(self.warps) if w != "npz"))
        for name in ("volume", "labels"):
            if name in self.channels:
                msg = f"channel {name!r}: this is the name of another volume, choose another"
                raise InputError(msg)


@dataclass(frozen=True, eq=False)
class AlignJobResult:
    """What a job left.

    Attributes
    ----------
    result : AlignResult
        Warps and verdicts.
    files : mapping of str to Path
        What was written.
    warnings : tuple of str
        One line each.
    notes : tuple of str
        What formats of warps cannot hold.
    resumed : bool
        Whether an earlier run was gone on with.
    """

    result: AlignResult
    files: Mapping[str, Path]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    resumed: bool = False

    def _repr_html_(self) -> str:
        return aligned_card(self)


class DiskMemory(Memory):
    """Remembers what steps leave, in one file a step, written all or nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def get(self, step: str) -> Mapping[str, NDArray[Any]] | None:
        """Return what a step has left, None when it has not begun or its file is damaged."""
        path = self.folder / f"{step}.npz"
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None  # not there, or cut off: the step is done again

    def put(self, step: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep what a step leaves, on disk before this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{step}.part"
        try:
            with part.open("wb") as file:
                np.savez(file, **dict(arrays))  # type: ignore[arg-type]
            part.replace(self.folder / f"{step}.npz")
        finally:
            part.unlink(missing_ok=True)


def align_settings(stack: Stack, job: AlignJob) -> dict[str, Any]:
    """Return everything that the warps depend on, as JSON types."""
    config = {k: v for k, v in to_dict(job.config).items() if k != "threads"}
    return {
        "job": "align",
        "stack": str(stack.source.absolute()) if stack.source else None,
        "tiles_sha256": fingerprint(told_of_stack(stack)),
        **config,
        "rounds": list(job.config.rounds),
        "ssemnet": to_dict(job.ssemnet) if job.config.method == "ssemnet" else None,
    }


def plan_align(stack: Stack, out: Path, job: AlignJob) -> dict[str, Any]:
    """Return what a job would do, without writing anything. Raises `InputError` as the job would."""
    resumes = check_folder(out, align_settings(stack, job))
    _check_companions(stack, job)
    if job.config.aligner:
        chosen_aligner(job.config)
    sides = sorted({(t.shape[1], t.shape[0]) for t in stack})
    return {
        "sections": len(stack),
        "missing": len(stack.missing),
        "sizes_px": [list(s) for s in sides],
        "method": job.config.method,
        "files": [str(p) for p in _volume_paths(out, job).values()],
        "out": str(out),
        "resumes": resumes,
        "warnings": list(stack.warnings),
    }


def _check_companions(stack: Stack, job: AlignJob) -> None:
    """Raise `InputError` when labels or a channel do not suit the stack."""
    if job.labels:
        check_companion("labels", job.labels, stack, labels=True)
    for name, channel in job.channels.items():
        check_companion(f"channel {name}", channel, stack, labels=False)


def _volume_paths(out: Path, job: AlignJob) -> dict[str, Path]:
    """Return where each volume goes, by its name and format."""
    names = ["volume", *(["labels"] if job.labels else []), *job.channels]
    return {f"{name} {kind}": out / f"{slug(name)}{ENDINGS[kind]}" for name in names for kind in job.volumes}


def run_align(stack: Stack, out: Path, job: AlignJob, *, progress: Progress | None = None) -> AlignJobResult:
    """Align a stack into a run folder; a run with the same settings is gone on with.

    Parameters
    ----------
    stack : Stack
        The sections.
    out : Path
        The run folder.
    job : AlignJob
        What to do.
    progress : callable, optional
        Told how far the work is.

    Raises
    ------
    InputError
        When something given cannot be used; nothing of the user's is ever changed.
    """
    tell = progress or (lambda _what, _done, _all: None)
    _check_companions(stack, job)
    settings = align_settings(stack, job)
    check_folder(out, settings)
    with occupied(out):
        return _aligned(stack, RunFolder(out, settings), job, tell)


def _aligned(stack: Stack, folder: RunFolder, job: AlignJob, tell: Progress) -> AlignJobResult:
    """Align a stack into a folder that nobody else works in."""
    memory = DiskMemory(folder.path / "stages")
    with _nothing_left_of_refused(folder), _scratch(folder.path / ".scratch") as scratch:
        paper = job.ssemnet
        if job.config.method == "ssemnet":
            paper = with_own_weights(stack, folder.path, paper, tell)
        result = align(stack, job.config, ssemnet=paper, memory=memory, scratch=scratch, progress=tell)
    warps = StackWarps(result.warps, stack.ids, stack.z)
    files = {"warps": folder.path / "warps.npz", "verdicts": folder.path / "align.json"}
    notes = list(write_npz(files["warps"], warps, overwrite=True))
    warnings = [*stack.warnings, *result.warnings]
    report = folder.path / "report.html"
    key = _told_of_result(stack, job, result, files["warps"])
    is_new = not folder.is_done("report", key, [report, files["verdicts"]])
    if is_new:  # to be read while volumes are drawn
        write_json(files["verdicts"], verdicts_json(stack, job, result, warnings))
    more, said = _other_formats(folder.path, stack, warps, job)
    volumes, problems, drawn = _volumes(folder, stack, warps, job, tell)
    files |= more | volumes | {"report": report}
    warnings = list(dict.fromkeys([*warnings, *problems]))
    if is_new or drawn:
        tell("report", 0, 1)
        write_alignment(report, stack, result, warnings=warnings, settings=_settings(job))
        write_json(files["verdicts"], verdicts_json(stack, job, result, warnings))
        folder.mark_done("report", key, files=[report])
        tell("report", 1, 1)
    return AlignJobResult(result, files, tuple(warnings), (*notes, *said), folder.resumed)


@contextmanager
def _nothing_left_of_refused(folder: RunFolder) -> Iterator[None]:
    """Leave a new folder as it was when its stack or settings are refused: the next try may have others."""
    try:
        yield
    except DemisError:
        if not folder.resumed:
            discard(folder.path / "stages")
            (folder.path / "run.json").unlink(missing_ok=True)
        raise


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Make a folder for what does not fit into memory; one that a killed run has left goes first."""
    discard(path)
    path.mkdir()
    try:
        yield path
    finally:
        discard(path)


def _told_of_result(stack: Stack, job: AlignJob, result: AlignResult, warps: Path) -> str:
    """Return a digest of all that the report shows besides times."""
    parts: tuple[Any, ...] = (*result.sections, *result.pairs, *result.rounds)
    shown = [asdict(part) for part in parts]
    asked = [_settings(job), sorted(job.channels), job.labels is not None, list(result.warnings)]
    return fingerprint(
        [__version__, digest_of(warps), told_of_stack(stack), _finite(shown), _finite(result.losses), asked]
    )


def _settings(job: AlignJob) -> dict[str, Any]:
    """Return what a reader wants to know besides the settings of the alignment."""
    told: dict[str, Any] = {"volumes": ", ".join(job.volumes) or "none", "warps": ", ".join(("npz", *job.warps))}
    return told | (to_dict(job.ssemnet) if job.config.method == "ssemnet" else {})


def _other_formats(
    folder: Path, stack: Stack, warps: StackWarps, job: AlignJob
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Write the warps in the formats asked for besides npz; return where, and what these cannot hold."""
    files: dict[str, Path] = {}
    said: list[str] = []
    if "trakem2" in job.warps:
        files["trakem2"] = folder / "aligned.xml"
        said += warps_trakem2.write_project(files["trakem2"], stack, warps, overwrite=True)
    if "rvss" in job.warps:
        files["rvss"] = folder / "transforms"
        said += warps_virtual_stack.write_transforms(files["rvss"], stack, warps, overwrite=True)
    if "bunwarpj" in job.warps:
        files["bunwarpj"] = folder / "bunwarpj"
        make_folder(files["bunwarpj"])
        for tile, warp in zip(stack, warps.warps, strict=True):
            name = slug(tile.id)
            warps_bunwarpj.write_raw(files["bunwarpj"] / f"{name}_raw.txt", warp, overwrite=True)
            warps_bunwarpj.write_elastic(files["bunwarpj"] / f"{name}_elastic.txt", warp, overwrite=True)
    return files, tuple(said)


def _volumes(
    folder: RunFolder, stack: Stack, warps: StackWarps, job: AlignJob, tell: Progress
) -> tuple[dict[str, Path], list[str], bool]:
    """Draw the volumes asked for; return where they are, what went wrong, and whether any was drawn."""
    paths = _volume_paths(folder.path, job)
    warnings: list[str] = []
    anything = False
    sources = {"volume": stack, **({"labels": job.labels} if job.labels else {}), **job.channels}
    for name, source in sources.items():
        own = {kind: paths[f"{name} {kind}"] for kind in job.volumes}
        problems, drawn = draw_volume(
            folder, source, warps, own, aligned=stack, labels=source is job.labels, threads=job.config.threads,
            progress=lambda done, total, what=name: tell(f"{what} drawn", done, total),  # type: ignore[misc]
        )  # fmt: skip
        warnings += problems
        anything = anything or drawn
    return paths, warnings, anything


def verdicts_json(stack: Stack, job: AlignJob, result: AlignResult, warnings: Sequence[str]) -> dict[str, Any]:
    """Return ``align.json``: what was done, and what is to be said of each section; numbers that are none are null."""
    found: dict[str, Any] = _finite({
        "format_version": FORMAT_VERSION,
        "demis_ij": __version__,
        "stack": str(stack.source) if stack.source else None,
        "pixel_size": stack.pixel_size,
        "thickness": stack.thickness,
        "missing": stack.missing,
        "summary": result.summary,
        "config": to_dict(job.config),
        "ssemnet": to_dict(job.ssemnet) if job.config.method == "ssemnet" else None,
        "sections": [asdict(s) | {"path": str(t.path)} for s, t in zip(result.sections, stack, strict=True)],
        "pairs": [asdict(p) for p in result.pairs],
        "rounds": [asdict(r) for r in result.rounds],
        "losses": [list(own) for own in result.losses],
        "warnings": list(warnings),
    })  # fmt: skip
    return found


def _finite(value: Any) -> Any:
    """Return a value made of JSON types only."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def align_summary(result: AlignJobResult) -> dict[str, Any]:
    """Return what a program wants to know of a job, as JSON types."""
    facts: dict[str, Any] = _finite({
        **result.result.summary,
        "files": {name: str(path) for name, path in result.files.items()},
        "warnings": list(result.warnings),
        "notes": list(result.notes),
        "resumed": result.resumed,
    })  # fmt: skip
    return facts
