"""One affine map as ITK keeps it, ``.tfm``: for SimpleITK, ITK-SNAP, 3D Slicer, elastix and ANTs.

ITK's transforms are pull maps as ours are: a point of the fixed (output) image goes to a point of the moving (input)
one, ``y = A (x - c) + t + c`` with a fixed centre ``c``. What is written is in px with pixel centres at integers and
the centre at 0, as ITK sees images whose spacing is 1 and whose origin is 0; an image that carries a spacing is to be
given the spacing 1 before the transform is applied.
"""

from __future__ import annotations

from pathlib import Path

from demis_ij.errors import FormatError
from demis_ij.formats.files import finite, read_raw, read_text, write_new
from demis_ij.records import Affine

HEAD = "#Insight Transform File V1.0"
KIND = "AffineTransform_double_2_2"
_READ = (KIND, "MatrixOffsetTransformBase_double_2_2")


def write_itk(path: Path, to_moving: Affine, *, overwrite: bool = False) -> Path:
    """Write a map from px of the fixed image to px of the moving one.

    Raises
    ------
    InputError
        When the file exists, unless it may be overwritten, or cannot be written.
    """
    t = to_moving
    numbers = " ".join(repr(float(v)) for v in (t.a, t.b, t.c, t.d, t.tx, t.ty))
    lines = (HEAD, "#Transform 0", f"Transform: {KIND}", f"Parameters: {numbers}", "FixedParameters: 0 0", "")
    return write_new(Path(path), "\n".join(lines).encode("ascii"), overwrite=overwrite)


def read_itk(path: Path) -> Affine:
    """Return the map of a ``.tfm`` file that holds one affine transform of the plane.

    Raises
    ------
    FormatError
        When it holds something else; it names what.
    """
    path = Path(path)
    lines = read_text(path, read_raw(path)).lines
    if not lines or not lines[0].startswith("#Insight Transform File"):
        raise FormatError(path, f"does not begin with {HEAD!r}: no transform of ITK", "line 1")
    found = [line.partition(":") for line in lines if ":" in line and not line.startswith("#")]
    kinds = [value.strip() for name, _, value in found if name.strip() == "Transform"]
    if len(kinds) != 1 or kinds[0] not in _READ:
        raise FormatError(path, f"holds {', '.join(kinds) or 'no transform'}: one of {', '.join(_READ)} is needed")
    told = {name.strip(): value.split() for name, _, value in found}
    numbers, centre = (
        [finite(v, path, name, name) for v in told.get(name, [])] for name in ("Parameters", "FixedParameters")
    )
    if len(numbers) != 6 or len(centre) != 2:
        said = f"{len(numbers)} Parameters and {len(centre)} FixedParameters"
        raise FormatError(path, f"holds {said}: an affine map of the plane has 6 and 2")
    return Affine.about(Affine(*numbers), centre)


__all__ = ["HEAD", "KIND", "read_itk", "write_itk"]
