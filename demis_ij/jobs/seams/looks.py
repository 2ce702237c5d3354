"""Pictures of the worst seams of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.jobs.seams.worst import FAILED, RunSeams, SeamRow
from demis_ij.report.seam_pictures import seam_picture
from demis_ij.runs import make_folder


def draw_seams(seams: RunSeams, rows: Sequence[SeamRow], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw seams into a folder, each as one PNG; return the files, and a line for each that cannot be drawn.

    Parameters
    ----------
    seams : RunSeams
        Where they are from.
    rows : sequence of SeamRow
        Worst first; names of files begin with their place in it.
    folder : Path
        Made when it is not there. Files of the same names are replaced.

    Raises
    ------
    InputError
        When the folder cannot be made or written.
    """
    make_folder(folder)
    tiles = seams.tiles({name for row in rows for name in (row.fixed, row.moving)})
    store = TileStore()
    digits = max(2, len(str(len(rows))))
    files, problems = [], []
    for number, row in enumerate(rows, 1):
        try:
            picture = seam_picture(store, tiles[row.fixed], tiles[row.moving], _lines(row))
        except KeyError as error:
            problems.append(f"seam {row.fixed} - {row.moving} cannot be drawn: the solution has no tile {error}")
            continue
        except InputError as error:
            problems.append(f"seam {row.fixed} - {row.moving} cannot be drawn: {error}")
            continue
        if picture is None:
            problems.append(f"seam {row.fixed} - {row.moving} cannot be drawn: the two tiles lie apart")
            continue
        path = folder / f"{number:0{digits}}_{_short(row.fixed)}--{_short(row.moving)}.png"
        done, coded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if not done:  # OpenCV says no more than this
            msg = f"OpenCV could not code a picture of {picture.shape} as PNG"
            raise InputError(msg)
        path.write_bytes(coded.tobytes())
        files.append(path)
    return files, problems


def _lines(row: SeamRow) -> tuple[str, ...]:
    if row.state == FAILED:
        return f"{row.fixed} (red) - {row.moving} (cyan)", f"failed: {row.reason}"
    error = "?" if row.error_px is None else f"{row.error_px:.2f}"
    sigma = "" if row.sigma_px is None else f", {row.sigma_px:.2f} px expected"
    return f"{row.fixed} (red) - {row.moving} (cyan)", f"{error} px{sigma}; {row.matcher}, {row.state}"


def _short(name: str) -> str:
    """Return the end of a tile's name, safe for a file."""
    return re.sub(r"[^\w.-]+", "_", Path(name).name)[-60:] or "tile"


__all__ = ["draw_seams"]
