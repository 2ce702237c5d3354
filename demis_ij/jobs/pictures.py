"""Pictures that plain ImageJ opens, each with the view that lies over it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demis_ij import views
from demis_ij.jobs.stitch_job import JobResult, StitchJob
from demis_ij.records import Affine
from demis_ij.render import Canvas
from demis_ij.sinks.imagej_tiff import reduction
from demis_ij.stitch import StitchResult
from demis_ij.views import MosaicView


@dataclass(frozen=True)
class Picture:
    """A mosaic as ImageJ shows it.

    Attributes
    ----------
    name : str
        What it shows: a matcher, or the layout as it was.
    section : str
        Which section.
    path : Path
        The TIFF.
    width, height : int
        Its px.
    scale : float
        Its px a mosaic px, at most 1.
    view : Path
        JSON: outlines, arrows and seams in px of the picture (`demis_ij.views`).
    """

    name: str
    section: str
    path: Path
    width: int
    height: int
    scale: float
    view: Path

    @property
    def told(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "path": str(self.path), "view": str(self.view)}


@dataclass(frozen=True)
class Frame:
    """How a canvas becomes a picture that is small enough.

    Attributes
    ----------
    shape : tuple of int
        (rows, cols) of the picture.
    scale : float
        Its px a mosaic px.
    from_world : Affine
        World px to px of the picture, pixel centres at integers.
    """

    shape: tuple[int, int]
    scale: float
    from_world: Affine

    @classmethod
    def of(cls, canvas: Canvas, max_px: int) -> Frame:
        """Return the frame of a canvas reduced as `demis_ij.sinks.imagej_tiff` reduces it."""
        factor = reduction(canvas.shape, max_px)
        shift = 0.5 / factor - 0.5
        smaller = Affine(a=1 / factor, d=1 / factor, tx=shift, ty=shift)
        rows, cols = (-(-n // factor) for n in canvas.shape)
        return cls((rows, cols), 1 / factor, smaller @ canvas.from_world)


def show_mosaics(result: JobResult, job: StitchJob) -> list[Picture]:
    """Write the view of each section's picture beside it, and return the pictures; none when none were drawn."""
    shown = []
    for r, files in zip(result.results, result.mosaics, strict=False):
        if "imagej" in files and result.canvas is not None:
            frame = Frame.of(result.canvas, job.render.picture_max_px)
            name = r.config.matcher
            title = f"{files['imagej'].parent.name}: section {r.layout.section}"
            shown.append(show_mosaic(name, r, files["imagej"], frame, title))
    return shown


def show_mosaic(name: str, result: StitchResult, path: Path, frame: Frame, title: str) -> Picture:
    """Write the view of a solved section's picture beside it, and return the picture."""
    view = views.mosaic_view(
        result.layout,
        result.solution,
        result.pairs,
        result.placed_by,
        to_picture=frame.from_world,
        shape=frame.shape,
        scale=frame.scale,
        title=title,
    )
    return pictured(name, result.layout.section, path, view)


def pictured(name: str, section: str, path: Path, view: MosaicView) -> Picture:
    """Write a view beside its picture and return the picture."""
    beside = path.with_name(f"{path.stem}.view.json")
    views.write(view, beside)
    return Picture(name, section, path, view.width, view.height, view.scale, beside)
