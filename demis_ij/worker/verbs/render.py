"""``render``: mosaics of a solved run, or of any layout as it stands, also in part, smaller, or with other images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from demis_ij import jobs
from demis_ij.config import RenderConfig, from_dict
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.jobs.memory import size_in_bytes
from demis_ij.jobs.rendering import drawable
from demis_ij.pools import open_pool
from demis_ij.worker import inputs
from demis_ij.worker.given import READ, WHO, read_options
from demis_ij.worker.inputs import Check
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

INPUTS: Mapping[str, Check] = {
    "source": inputs.existing,
    "out": inputs.path,
    "mosaic": inputs.texts,
    "settings": inputs.anything,
    "sections": inputs.texts,
    "replace": inputs.text,
    "region": inputs.anything,
    "scale": inputs.number(1e-6, 1e6),
    "read": inputs.table(READ),
    "relink": inputs.folder,
    **WHO,
}
"""``source`` is what ``demis-ij render`` takes: a run folder, a solution.json or a layout."""


def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Draw, or go on with what an earlier request began; files that are there already are not overwritten."""
    tell("reading the layout", 0, 1)
    config, box = _config(given), _box(given.get("region"))
    memory = size_in_bytes(given.get("memory"))
    read = {name: value for name, value in read_options(given).items() if value is not None}
    found = drawable(
        given["source"], sections=given.get("sections", ()), replaced=given.get("replace"),
        relink=given.get("relink"), **read,
    )  # fmt: skip
    with open_pool(given.get("workers", 1), given.get("dask"), memory_bytes=memory) as pool:
        files, warnings = jobs.run_render(
            found.layouts, given["out"], config, progress=tell, keep_frame=found.is_solution, region=box,
            scale=given.get("scale", 1.0), pool=pool,
        )  # fmt: skip
    return {"files": files, "out": given["out"], "warnings": [*found.warnings, *warnings]}


def _config(given: Mapping[str, Any]) -> RenderConfig:
    """Return how a request wants it drawn. Raises `InputError`."""
    settings = given.get("settings", {})
    if not isinstance(settings, dict):
        msg = f"settings: {settings!r} is not an object of names and values"
        raise InputError(msg)
    if "formats" in settings:
        msg = "settings: 'formats' is the input 'mosaic' here"
        raise InputError(msg)
    values = {name: value for name, value in settings.items() if inputs.is_given(value)}
    return from_dict(RenderConfig, values | ({"formats": given["mosaic"]} if "mosaic" in given else {}))


def _box(value: Any) -> Box | None:
    """Return the px of the whole mosaic that are wanted: [x, y, width, height]. Raises `InputError`."""
    if not inputs.is_given(value):
        return None
    numbers = [v for v in value if isinstance(v, int) and not isinstance(v, bool)] if isinstance(value, list) else []
    if len(numbers) != 4 or len(value) != 4 or min(numbers[2:]) < 1:
        msg = f"region: {value!r} is not [x, y, width, height] in whole pixels, such as [0, 0, 2048, 1024]"
        raise InputError(msg)
    x, y, width, height = numbers
    return Box(x, y, x + width, y + height)


VERB = Verb(run, INPUTS, needed=("source", "out"))
