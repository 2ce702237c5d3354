"""The matrix of a TrakEM2 patch: its text, and its frame.

TrakEM2 draws a patch with integers at pixel *corners*; here points are pixel centres. ``A`` is read as
``T(-1/2) A T(1/2)`` and written back the other way.
"""

from __future__ import annotations

import re
from pathlib import Path

from demis_ij.errors import FormatError
from demis_ij.formats.files import finite
from demis_ij.formats.trakem2_project import Patch
from demis_ij.records import Affine

MATRIX = re.compile(r"^\s*matrix\s*\(([^()]*)\)\s*$")
SEPARATOR = re.compile(r"[\s,]+")


def from_corner_frame(matrix: Affine) -> Affine:
    """Return a patch matrix (integers at pixel corners) in the frame with integers at pixel centres."""
    m = matrix
    return Affine(m.a, m.b, m.c, m.d, m.tx + (0.5 * (m.a + m.b) - 0.5), m.ty + (0.5 * (m.c + m.d) - 0.5))


def to_corner_frame(affine: Affine) -> Affine:
    """Return the matrix that TrakEM2 needs for an affine between pixel centres."""
    m = affine
    return Affine(m.a, m.b, m.c, m.d, m.tx - (0.5 * (m.a + m.b) - 0.5), m.ty - (0.5 * (m.c + m.d) - 0.5))


def parse_matrix(path: Path, patch: Patch) -> Affine:
    """Return the ``transform`` of a patch, ``matrix(a,b,c,d,e,f)``: x' = a x + c y + e, y' = b x + d y + f.

    Raises `FormatError` when it is not six finite numbers, or flattens the plane.
    """
    text = patch.attributes.get("transform", "matrix(1,0,0,1,0,0)")
    found = MATRIX.match(text)
    fields = SEPARATOR.split(found[1].strip()) if found else []
    if len(fields) != 6:
        raise FormatError(path, f"transform {text!r}, 'matrix(a,b,c,d,e,f)' was needed", patch.where)
    try:
        a, b, c, d, e, f = map(float, fields)
        matrix = Affine(a, c, b, d, e, f)
    except ValueError:  # say which
        a, b, c, d, e, f = (finite(field, path, patch.where, "transform") for field in fields)
        matrix = Affine(a, c, b, d, e, f)
    if matrix.determinant == 0:
        raise FormatError(path, f"transform {text!r} flattens the tile", patch.where)
    return matrix


def format_matrix(matrix: Affine) -> str:
    """Return a matrix as TrakEM2 writes it."""
    m = matrix
    return "matrix(" + ",".join(repr(float(v) + 0.0) for v in (m.a, m.c, m.b, m.d, m.tx, m.ty)) + ")"
