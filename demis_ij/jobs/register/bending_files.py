"""What bending and restyling leave in a run folder, and what the report shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.formats.files import write_new
from demis_ij.formats.warps import write_npz
from demis_ij.formats.warps_bunwarpj import write_elastic, write_spline
from demis_ij.jobs.register.bending import Bending, Dressed
from demis_ij.records import Field
from demis_ij.register.bending import drawn_at
from demis_ij.report.pictures import to_grey
from demis_ij.report.registration import Further
from demis_ij.report.style_pictures import deformation_grid

if TYPE_CHECKING:
    from demis_ij.jobs.register.registering import Registered

_WELL_PX = 0.1
"""What a file that is a little off is said to be from."""


def write_bending(folder: Path, found: Registered) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Write what is bent for other programs, and the image that was restyled; return the files, and what to say.

    Parameters
    ----------
    folder : Path
        The run folder; each file is written whole or not at all, and replaced.
    found : Registered
    """
    files: dict[str, Path] = {}
    said: tuple[str, ...] = ()
    if found.dressed is not None:
        files["restyled"] = _write_png(folder / "restyled.png", _shown(found.dressed))
    if found.bending is not None:
        files["warp"] = folder / "warp.npz"
        said = write_npz(files["warp"], found.bending.to_moving, overwrite=True)
        more, further = _write_elastic(folder, found.bending)
        files |= more
        said += further
        files["deformation"] = _write_png(folder / "deformation.png", _grid(found.bending)[..., ::-1])
    return files, said


def _write_elastic(folder: Path, bending: Bending) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Write bUnwarpJ's elastic files: exact, where the images were bent at their own size."""
    names = ("bunwarpj_elastic.txt", "bunwarpj_elastic_inverse.txt")
    files = {f"elastic{way}": folder / name for way, name in zip(("", " inverse"), names, strict=True)}
    splines = bending.bent.splines if bending.reduced == 1 else None
    if splines is not None:
        for path, spline in zip(files.values(), splines, strict=True):
            write_spline(path, spline, overwrite=True)
        return files, ()
    said = []
    for path, warp in zip(files.values(), (bending.to_moving, bending.to_fixed), strict=True):
        departs = write_elastic(path, warp, overwrite=True)
        if departs.most_px > _WELL_PX:
            said.append(f"{path.name} departs from what was found by {departs}; warp.npz holds it whole")
    return files, tuple(said)


def shown_bending(found: Registered) -> list[Further]:
    """Return what the report shows of a style, and of what is bent."""
    parts = []
    if found.dressed is not None:
        parts.append(
            Further(
                "Style",
                f"The {found.dressed.which} image as it was compared. {_sentence(found.dressed.said)} It is looked at "
                "and thrown away: what is registered is the image as it came.",
                [("restyled", _small(_shown(found.dressed)))],
            )
        )
    if found.bending is not None:
        told = found.bending.facts
        parts.append(
            Further(
                "Bending",
                "Lines of the moving image that become a square grid when it is registered.",
                [("deformation", _small(_grid(found.bending)))],
                {said: _told(told[name]) for name, said in _NAMES.items() if name != _ASKED or told[name] is not None},
            )
        )
    return parts


_ASKED = "marks_stand_out"  # only where there are but a few marks
_NAMES = {
    "tier": "how well structures lie on each other (poor, bad, decent, good)",
    "tier_reason": "because",
    "bent_px": "bent by, median, fixed px",
    "bent_most_px": "bent by, at most, fixed px",
    "folded_frac": "share that is folded",
    "least_jacobian": "least Jacobian determinant",
    "inverse_consistency_px": "there and back misses by, median, fixed px",
    "similarity_before": "similarity before",
    "similarity_after": "similarity after",
    "gain_standard_errors": "what did not steer has become more alike, standard errors",
    _ASKED: "few marks are more alike than strangers of them, standard deviations",
    "milliseconds": "time to bend it, ms",
}


def _told(value: Any) -> str:
    return "not known" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _sentence(said: str) -> str:
    return said[:1].upper() + said[1:] + "."


def _shown(dressed: Dressed) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(np.nan_to_num(dressed.shown)), 0, 255), np.uint8)


def _grid(bending: Bending) -> NDArray[np.uint8]:
    """Return the deformation on the fixed image's grid, without the turn, scale and shift; red first."""
    bent = bending.bent
    drawn, mask = drawn_at(bent.moving, bent.start, bent.fixed.image.shape)
    grey = to_grey(drawn, mask)
    offsets = bent.offsets if bent.better_than_nothing else np.zeros_like(bent.offsets)
    return deformation_grid(np.repeat(grey[..., None], 3, axis=2), Field(offsets).offsets)


def _small(picture: NDArray[np.uint8], side_px: int = 800) -> NDArray[np.uint8]:
    """Return a picture no larger than a page shows it."""
    times = side_px / max(picture.shape[:2])
    if times >= 1:
        return picture
    rows, cols = (max(1, round(n * times)) for n in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _write_png(path: Path, image: NDArray[np.uint8]) -> Path:
    return write_new(path, cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes(), overwrite=True)


__all__ = ["shown_bending", "write_bending"]
