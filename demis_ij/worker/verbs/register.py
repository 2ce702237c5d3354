"""``register``: two images in, a run folder out, with the transform and the pictures that ImageJ opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demis_ij.config import from_dict
from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError
from demis_ij.jobs.register.runs import register_settings, run_register
from demis_ij.worker import inputs
from demis_ij.worker.given import run_folder
from demis_ij.worker.inputs import Check
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

ENDING = ".registered"
PICTURES = ("registered", "red-cyan", "checkerboard")
"""What ImageJ opens, by the names of the files."""
NAMED = ("method", "model", "weights", "style", "landmarks")
"""Settings that have a name of their own in a request."""

INPUTS: Mapping[str, Check] = {
    "fixed": inputs.existing,
    "moving": inputs.existing,
    "out": inputs.path,
    "method": inputs.text,
    "model": inputs.text,
    "weights": inputs.text,
    "style": inputs.text,
    "landmarks": inputs.text,
    "settings": inputs.anything,
}


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Register, or say what an earlier request for the same has found."""
    tell("reading the images", 0, 1)
    config = _config(given)
    fixed, moving = given["fixed"], given["moving"]
    where = {"layout": moving, **{k: v for k, v in given.items() if k == "out"}}
    out = run_folder(where, register_settings(fixed, moving, config), ENDING)
    result = run_register(fixed, moving, out, config, progress=tell)
    facts = result.summary
    return {
        "summary": facts,
        "table": [_row(facts)],
        "files": facts["files"],
        "pictures": [facts["files"][name] for name in PICTURES if name in facts["files"]],
        "report": facts["files"]["report"],
        "out": out,
        "warnings": [],
        "notes": facts["notes"],
    }


def _config(given: Mapping[str, Any]) -> RegisterConfig:
    """Return what a request asks for. Raises `InputError`."""
    settings = given.get("settings", {})
    if not isinstance(settings, dict):
        msg = f"settings: {settings!r} is not an object of names and values"
        raise InputError(msg)
    values = {key: value for key, value in settings.items() if inputs.is_given(value)}
    return from_dict(RegisterConfig, values | {k: given[k] for k in NAMED if k in given})


def _row(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a table of results: numbers that are not known are None."""
    (a, b, tx), (c, d, ty) = facts["to_moving"] or [[None] * 3] * 2
    x, y = facts["shift_px"] or (None, None)
    return {
        "fixed": Path(facts["fixed"]).name, "moving": Path(facts["moving"]).name, "matched": facts["matched"],
        "turn deg": facts["angle_deg"], "scale": facts["scale"], "shift x px": x, "shift y px": y,
        "error px": facts["sigma_px"], "a": a, "b": b, "tx": tx, "c": c, "d": d, "ty": ty,
        "standing": facts["standing"], "overlap": facts["overlap"], "found by": facts["method"],
        "reason": facts["reason"],
    }  # fmt: skip


VERB = Verb(run, INPUTS, needed=("fixed", "moving"))
