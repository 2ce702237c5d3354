"""A run folder: everything a run needs to go on after an interruption, and everything people look at.

::

    run.json         the complete config, the layout's digest, the package version
    tiles/           of which size and time the image of each tile was
    matches/         a store of pairs for each section, written as they come
    solution.json    where every tile lies, and every pair with its reason
    mosaic.ome.tif   (mosaic.ome.zarr, preview.png)
    report.html      seams.csv
    .lock            who works in it now

A stage is skipped only when the hash of what it depends on agrees.
"""

from demis_ij.formats.files import slug
from demis_ij.runs.files import (
    BROKEN_DISK,
    ends_as_written,
    fingerprint,
    make_folder,
    read_json,
    whole_file,
    write_json,
    write_text,
)
from demis_ij.runs.folder import RunFolder, check_folder, differences, settings_in
from demis_ij.runs.lock import occupant, occupied
from demis_ij.runs.matches import MatchStore
from demis_ij.runs.solutions import FORMAT_VERSION, read_sections, read_solution, solution_json
from demis_ij.runs.tiles import changed_tiles, other_tiles, remember_tiles, stamp_of

__all__ = [
    "BROKEN_DISK", "FORMAT_VERSION", "MatchStore", "RunFolder", "changed_tiles", "check_folder", "differences",
    "ends_as_written", "fingerprint", "make_folder", "occupant", "occupied", "other_tiles", "read_json",
    "read_sections", "read_solution", "remember_tiles", "settings_in", "slug", "solution_json", "stamp_of",
    "whole_file", "write_json", "write_text",
]  # fmt: skip
