"""What is common to verbs that work on a layout: their inputs, and the document, job and folder that these name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from demis_ij import jobs
from demis_ij.config import RenderConfig, StitchConfig, from_dict
from demis_ij.errors import InputError
from demis_ij.formats import Document
from demis_ij.jobs.memory import size_in_bytes
from demis_ij.runs import check_folder
from demis_ij.worker import inputs
from demis_ij.worker.inputs import Check

READ: Mapping[str, Check] = {
    "format": inputs.text,
    "rows": inputs.whole(1, 100_000),
    "cols": inputs.whole(1, 100_000),
    "overlap": inputs.number(0, 1),
    "order": inputs.text,
    "start": inputs.text,
    "pattern": inputs.text,
}
"""How a layout is read; all but ``format`` describe a folder of tiles."""

LAYOUT: Mapping[str, Check] = {
    "layout": inputs.existing,
    "read": inputs.table(READ),
    "relink": inputs.folder,
    "stage_axes": inputs.text,
}

STITCH: Mapping[str, Check] = {
    **LAYOUT,
    "out": inputs.path,
    "matcher": inputs.anything,
    "model": inputs.anything,
    "solver": inputs.anything,
    "weights": inputs.text,
    "device": inputs.anything,
    "settings": inputs.anything,
    "sections": inputs.texts,
    "project_out": inputs.path,
    "images_only": inputs.flag,
    "include_hidden": inputs.flag,
    "mosaic": inputs.texts,
    "never_write": inputs.paths,
    "picture_max_px": inputs.anything,
}
"""Inputs of the verbs that stitch. What the config checks is not checked twice."""

WHO: Mapping[str, Check] = {"workers": inputs.whole(0, 10_000), "dask": inputs.text, "memory": inputs.text}
"""Who does the work, and what it may use (`demis_ij.pools.open_pool`). None of them changes a result."""

NAMED = ("matcher", "model", "solver", "weights", "device", "include_hidden")
"""Settings that are inputs of their own."""

MOST_FOLDERS = 1000


@dataclass(frozen=True)
class Wanted:
    """What a request asks to be stitched.

    Attributes
    ----------
    document : Document
        The layout.
    job : StitchJob
        How.
    """

    document: Document
    job: jobs.StitchJob


def read_document(given: Mapping[str, Any]) -> Document:
    """Return the layout of the inputs. Raises `InputError`."""
    return jobs.read_layout(given["layout"], relink=given.get("relink"), **read_options(given))


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a layout is read, by the names that `demis_ij.jobs.read_layout` has for it."""
    read = given.get("read", {})
    return {"format_name" if name == "format" else name: read.get(name) for name in READ}


def wanted(given: Mapping[str, Any], *, matcher: str | None = None) -> Wanted:
    """Return the document and the job that inputs ask for.

    Parameters
    ----------
    given : mapping
        Checked by `STITCH`, perhaps by `WHO`.
    matcher : str, optional
        Instead of the one that is given.

    Raises
    ------
    InputError
        When a setting is wrong or the layout cannot be read.
    """
    named = {name: given[name] for name in NAMED if name in given}
    if matcher is not None:
        named["matcher"] = matcher
    stitch, render = configs(given.get("settings", {}), named, given.get("mosaic", ()), given.get("picture_max_px"))
    job = jobs.StitchJob(
        config=stitch,
        render=render,
        sections=given.get("sections", ()),
        stage_axes=given.get("stage_axes"),
        images_only=given.get("images_only", False),
        project_out=given.get("project_out"),
        relink=given.get("relink"),
        read_options=read_options(given),
        never_write=given.get("never_write", ()),
        workers=given.get("workers", 1),
        dask=given.get("dask"),
        memory_bytes=size_in_bytes(given.get("memory")),
    )
    return Wanted(read_document(given), job)


def configs(
    settings: Any, named: Mapping[str, Any], mosaic: tuple[str, ...], picture_max_px: Any
) -> tuple[StitchConfig, RenderConfig]:
    """Return the configs: defaults, then ``settings``, then what was named by itself.

    Raises
    ------
    InputError
        When a setting is unknown (with the nearest name), of a wrong type or out of range.
    """
    if not isinstance(settings, dict):
        msg = f"settings: {settings!r} is not an object of names and values"
        raise InputError(msg)
    tables: dict[str, dict[str, Any]] = {"stitch": {}, "render": {}}
    known = {f.name: "stitch" for f in fields(StitchConfig)} | {f.name: "render" for f in fields(RenderConfig)}
    for name, value in settings.items():
        if name == "formats":
            msg = "settings: 'formats' is the input 'mosaic' here"
            raise InputError(msg)
        if name not in known:
            msg = f"settings: unknown setting {name!r}{inputs.nearest(name, known)}"
            raise InputError(msg)
        if inputs.is_given(value):
            tables[known[name]][name] = value
    tables["stitch"] |= named
    tables["render"]["formats"] = ("imagej", *mosaic)
    if picture_max_px is not None:
        tables["render"]["picture_max_px"] = picture_max_px
    return from_dict(StitchConfig, tables["stitch"]), from_dict(RenderConfig, tables["render"])


def run_folder(given: Mapping[str, Any], settings: Mapping[str, Any], ending: str) -> Path:
    """Return the folder that a run goes to: the one that is given, else one beside the layout that is free for it.

    That is ``NAME<ending>``, or ``NAME-2<ending>`` and so on, the first that does not exist or holds a run with these
    settings, to be gone on with.

    Raises
    ------
    InputError
        When there are too many already.
    """
    if "out" in given:
        return Path(given["out"])
    layout: Path = given["layout"]
    stem = layout.name if layout.is_dir() else stem_of(layout.name)
    for number in range(1, MOST_FOLDERS + 1):
        folder = layout.parent / f"{stem}{'' if number == 1 else f'-{number}'}{ending}"
        if not folder.exists() and not folder.is_symlink():
            return folder
        try:
            check_folder(folder, settings)
        except InputError:
            continue  # something else is in it
        return folder
    msg = f"{layout.parent} holds {MOST_FOLDERS} runs of {layout.name} already: name a folder in 'out'"
    raise InputError(msg)


def stem_of(name: str) -> str:
    """Return a layout's name without what tells its format.

    Examples
    --------
    >>> stem_of("cells.xml.gz"), stem_of("TileConfiguration.txt"), stem_of("v1.2.json")
    ('cells', 'TileConfiguration', 'v1.2')
    """
    for suffix in (".gz", ".xml", ".json", ".txt", ".tsv", ".csv"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
    return name
