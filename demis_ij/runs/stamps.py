"""Of which size and time the image of each tile was for a run, without its layout."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demis_ij.errors import FormatError
from demis_ij.formats.files import slug
from demis_ij.runs.tiles import FOLDER


def known_stamps(run: Path, section: str) -> dict[str, tuple[int, int]]:
    """Return size and time (ns) by tile, of those whose file was there; nothing where the run never wrote it down.

    Raises
    ------
    FormatError
        When what the run wrote down cannot be read.
    """
    path = run / FOLDER / f"{slug(section)}.parquet"
    if not path.exists():
        return {}
    try:
        rows = pq.read_table(path, columns=["tile", "size", "mtime_ns"]).to_pylist()
    except pa.ArrowException as error:
        raise FormatError(path, f"is damaged ({str(error).splitlines()[0]}): choose a new folder") from error
    return {row["tile"]: (row["size"], row["mtime_ns"]) for row in rows if row["size"] is not None}
