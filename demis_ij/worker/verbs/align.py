"""``align``: a stack of sections in, a run folder out, with the volume that ImageJ opens and a verdict a section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.config import from_dict
from demis_ij.config.aligning import AlignConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.records import Stack
from demis_ij.worker import inputs
from demis_ij.worker.given import run_folder
from demis_ij.worker.inputs import Check
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

ENDING = ".aligned"

INPUTS: Mapping[str, Check] = {
    "layout": inputs.existing,
    "format": inputs.text,
    "pattern": inputs.text,
    "masks": inputs.folder,
    "out": inputs.path,
    "method": inputs.text,
    "settings": inputs.anything,
    "ssemnet": inputs.anything,
    "sections": inputs.texts,
    "first": inputs.number(-1e9, 1e9),
    "last": inputs.number(-1e9, 1e9),
    "labels": inputs.existing,
    "channels": inputs.paths,
    "volume": inputs.texts,
    "warps": inputs.texts,
}
"""``layout`` is the stack: whatever ``demis-ij align`` takes."""


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Align, or go on with what an earlier request began."""
    tell("reading the stack", 0, 1)
    whole = read_stack(
        given["layout"], format=given.get("format"), pattern=given.get("pattern"), masks=given.get("masks")
    )
    span = (given.get("first", float("-inf")), given.get("last", float("inf")))
    stack = jobs.chosen_of_stack(whole, sections=given.get("sections", ()), span=span)
    job = _job(given, whole, stack)
    out = run_folder(given, jobs.align_settings(stack, job), ENDING)
    result = jobs.run_align(stack, out, job, progress=tell)
    facts = jobs.align_summary(result)
    files = facts["files"]
    return {
        "summary": facts,
        "out": out,
        "verdicts": jobs.verdicts_json(stack, job, result.result, result.warnings)["sections"],
        "volumes": [path for name, path in files.items() if name.split()[-1] in job.volumes],
        "files": files,
        "warnings": facts["warnings"],
        "notes": facts["notes"],
    }


def _job(given: Mapping[str, Any], whole: Stack, stack: Stack) -> jobs.AlignJob:
    """Return what a request asks for. Raises `InputError`."""
    config = dict(_table(given, "settings"))
    if "method" in given:
        config["method"] = given["method"]
    labels = jobs.companion_of(read_stack(given["labels"]), whole, stack) if "labels" in given else None
    channels: tuple[Path, ...] = given.get("channels", ())
    return jobs.AlignJob(
        config=from_dict(AlignConfig, config),
        ssemnet=from_dict(SsemnetConfig, _table(given, "ssemnet")),
        volumes=given.get("volume", ("tiff",)),
        warps=given.get("warps", ()),
        labels=labels,
        channels=jobs.channels_of(channels, whole, stack),
    )


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table of settings; what says nothing is left out. Raises `InputError`."""
    table = given.get(name, {})
    if not isinstance(table, dict):
        msg = f"{name}: {table!r} is not an object of names and values"
        raise InputError(msg)
    return {key: value for key, value in table.items() if inputs.is_given(value)}


VERB = Verb(run, INPUTS, needed=("layout",))
