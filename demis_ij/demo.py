"""The whole job on made-up data: make, misplace, stitch by LoFTR and by SIFT, compare with the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import formats, jobs, metrics, synth
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.records import Layout, PairMatch
from demis_ij.report import write_report
from demis_ij.runs import check_folder, make_folder, read_json, write_json
from demis_ij.stitch import Progress, StitchResult

MATCHERS = ("loftr", "sift")
NOTE = "demo.json"
"""Says which demo a folder holds."""


def run_demo(
    out: Path,
    *,
    seed: int = 9,
    progress: Progress | None = None,
    on_stage: Callable[[str], None] | None = None,
    matchers: tuple[str, ...] = MATCHERS,
) -> dict[str, Any]:
    """Make a section, cut it into misplaced tiles as a TrakEM2 project, stitch it, and compare with the truth.

    Parameters
    ----------
    out : Path
        A new or empty folder, or that of an interrupted demo with the same seed.
    seed : int
        Of the section.
    matchers : tuple of str
        Each stitches by itself; the first one's project and mosaic are what the demo leaves.

    Returns
    -------
    dict
        ``table``, one row a matcher, and ``files``.

    Raises
    ------
    InputError
        When the folder holds something else.
    """
    say = on_stage or (lambda _name: None)
    tell = progress or (lambda _what, _done, _all: None)
    data = out / "data"
    _check_demo_folder(out, seed)
    if not data.is_dir():
        _make_data(out, data, seed, tell)
    document = formats.read(data / "project.xml")
    truth = _truth_of(document.layouts[0], data)
    results: dict[str, StitchResult] = {}
    files: dict[str, Path] = {"data": data, "project (misplaced)": data / "project.xml"}
    for k, name in enumerate(matchers):
        say(name)
        job = jobs.StitchJob(
            config=StitchConfig(matcher=name),
            render=RenderConfig(formats=("ome-tiff", "png") if k == 0 else ()),
            project_out=out / name / f"project.{name}.xml",
            write_mosaic=k == 0,
        )
        done = jobs.run_stitch(document, out / name, job, progress=tell, truth=truth)
        results[name] = done.results[0]
        files[f"project ({name})"] = done.files["project"]
        if k == 0:
            files["mosaic"] = done.files["mosaic ome-tiff"]
    say("")
    store = TileStore()
    shown = {"stage": replace_layout(next(iter(results.values()))), **results}
    previews = {name: jobs.make_preview(r, store) for name, r in shown.items()}
    files["report"] = out / "report.html"
    write_report(
        files["report"],
        results,
        previews={name: previews[name] for name in results},
        store=store,
        truth=truth,
        title="demo: a made-up section",
    )
    files["picture"] = out / "demo.png"
    panels = [("as the stage says", previews["stage"].image)]
    panels += [(f"stitched by {name}", previews[name].image) for name in results]
    _write_png(files["picture"], side_by_side(panels))
    table = [_row("stage", shown["stage"], truth), *(_row(name, r, truth) for name, r in results.items())]
    return {"table": table, "files": {name: str(path) for name, path in files.items()}}


def _check_demo_folder(out: Path, seed: int) -> None:
    """Check that a folder is new, empty, or that of a demo with this seed. Raises `InputError`."""
    note = out / NOTE
    if not check_folder(out, {}, known=NOTE):
        return
    told = read_json(note)
    if told != {"demo_seed": seed}:
        msg = f"{out} holds the demo of another seed ({told}): choose another --out"
        raise InputError(msg)


def _make_data(out: Path, data: Path, seed: int, tell: Progress) -> None:
    """Make the section and its tiles, all or nothing: an interruption leaves no half of it under its name."""
    make_folder(out)
    write_json(out / NOTE, {"demo_seed": seed})
    unfinished = out / ".data.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    tell("make a section", 0, 1)
    try:
        synth.write_scene(synth.demo_scene(seed=seed), unfinished)
        unfinished.rename(data)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    tell("make a section", 1, 1)


def _truth_of(layout: Layout, data: Path) -> Layout:
    """Return the true layout under the ids of the project that was read."""
    return synth.read_truth(data).named_as(layout).truth


def replace_layout(result: StitchResult) -> StitchResult:
    """Return the result with every tile back where the stage put it, for the picture "before"."""
    return replace(result, solution=replace(result.solution, layout=result.layout))


def _row(name: str, result: StitchResult, truth: Layout) -> dict[str, Any]:
    solved = result.solution.layout
    linked = [p for p in result.pairs if isinstance(p, PairMatch)]
    error = np.concatenate(list(metrics.global_error_px(solved, truth).values()))
    return {
        "placed by": name,
        "pairs agreed": "-" if name == "stage" else f"{len(linked)} of {len(result.pairs)}",
        "error median px": float(np.median(error)),
        "error max px": float(error.max()),
        "seconds": None if name == "stage" else float(sum(result.timings_s.values())),
    }


def side_by_side(panels: list[tuple[str, NDArray[np.uint8]]], height_px: int = 900) -> NDArray[np.uint8]:
    """Return pictures beside each other, each under its title."""
    drawn = []
    for title, image in panels:
        scale = height_px / image.shape[0]
        small = cv2.resize(image, (round(image.shape[1] * scale), height_px), interpolation=cv2.INTER_AREA)
        framed = cv2.copyMakeBorder(small, 48, 12, 12, 12, cv2.BORDER_CONSTANT, value=(255,))
        cv2.putText(framed, title, (14, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (30,), 2, cv2.LINE_AA)
        drawn.append(framed)
    return np.asarray(np.hstack(drawn), np.uint8)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    ok, encoded = cv2.imencode(".png", image)
    if not ok:
        msg = f"{path} cannot be encoded as PNG"
        raise InputError(msg)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(encoded.tobytes())
    part.replace(path)
