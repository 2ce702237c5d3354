"""The size of a pixel, from what microscopes and ImageJ write into image files."""

from __future__ import annotations

import html
import re
from pathlib import Path

import tifffile

from demis_ij.images.metaimage import is_metaimage, open_metaimage
from demis_ij.images.reading import (
    TIFF_MAGIC,
    first_bytes,
    translated,
)

_NM = {"m": 1e9, "cm": 1e7, "mm": 1e6, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3,
       "micrometer": 1e3, "nm": 1.0, "nanometer": 1.0, "pm": 1e-3, "fm": 1e-6, "å": 0.1, "angstrom": 0.1,
       "inch": 2.54e7, "in": 2.54e7}  # fmt: skip
_COARSEST_NM = 5000.0  # a resolution tag coarser than this (5080 dpi) is a printer's, not a microscope's


def _length(value: float, unit: str) -> tuple[float, str] | None:
    """Return a length as nm, or as µm from 1000 nm on; None for what is no length."""
    factor = _NM.get(unit.strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ").lower())
    if factor is None or not 0 < value * factor < float("inf"):
        return None
    nm = float(f"{value * factor:.9g}")
    return (nm, "nm") if nm < 1000 else (float(f"{nm / 1000:.9g}"), "µm")


def _vendor_pixel_size(tiff: tifffile.TiffFile) -> tuple[float, str] | None:
    """Return the pixel size of Thermo Fisher (FEI), Zeiss and TESCAN headers."""
    fei = tiff.fei_metadata or {}
    for part in ("Scan", "EScan", "IScan"):
        if isinstance(width := fei.get(part, {}).get("PixelWidth"), int | float):
            return _length(width, "m")
    zeiss = tiff.sem_metadata or {}
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        if len(entry := zeiss.get(name, ())) == 3:
            return _length(float(entry[1]), str(entry[2]))
    tags = tiff.pages[0].aspage().tags
    if 50431 in tags and (found := re.search(rb"PixelSizeX=([0-9.eE+-]+)", bytes(tags[50431].value))):
        return _length(float(found[1]), "m")
    return None


def _ome_pixel_size(text: str) -> tuple[float, str] | None:
    if (value := re.search(r'PhysicalSizeX="([^"]+)"', text)) is None:
        return None
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
    return _length(float(value[1]), html.unescape(unit[1]) if unit else "µm")


def _resolution_pixel_size(tiff: tifffile.TiffFile) -> tuple[float, str] | None:
    """Return the pixel size of the TIFF resolution tags, in ImageJ's unit where it wrote one."""
    tags = tiff.pages[0].aspage().tags
    if "XResolution" not in tags or not (resolution := tags["XResolution"].value)[0]:
        return None
    side = resolution[1] / resolution[0]
    if "unit" in (imagej := tiff.imagej_metadata or {}):
        return _length(side, str(imagej["unit"]))
    unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2, "")
    return _length(side, unit) if side * _NM.get(unit, 0.0) < _COARSEST_NM else None


def pixel_size(path: Path) -> tuple[float, str] | None:
    """Return the side of a pixel and its unit (nm, or µm from 1000 nm on) as the file says, or None.

    Looked for in this order: Thermo Fisher (FEI), Zeiss SmartSEM and TESCAN headers, OME-XML, ImageJ, and the TIFF
    resolution tags, which are believed only below 5 µm: coarser ones are a printer's or a screen's. Of a MetaImage
    the spacing counts, which ITK takes as mm, below 1 mm: 1 is what is written when nobody said.

    Raises
    ------
    InputError
        When the file is missing or broken; it names the file.
    """
    path = Path(path)
    if is_metaimage(path):
        side = open_metaimage(path).pixel_mm
        return None if side is None else _length(side, "mm")
    if first_bytes(path, 4) not in TIFF_MAGIC:
        return None

    def look() -> tuple[float, str] | None:
        with tifffile.TiffFile(path) as tiff:
            ome = _ome_pixel_size(tiff.ome_metadata) if tiff.ome_metadata else None
            return _vendor_pixel_size(tiff) or ome or _resolution_pixel_size(tiff)

    found: tuple[float, str] | None = translated(path, look)
    return found
