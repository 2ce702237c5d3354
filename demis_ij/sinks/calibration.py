"""Units of length, as OME spells them and in metres."""

from __future__ import annotations

_UNITS: dict[str, tuple[str, str, float]] = {
    # what users and layouts write: (OME-XML symbol, OME-Zarr name, metres)
    "nm": ("nm", "nanometer", 1e-9),
    "µm": ("µm", "micrometer", 1e-6),
    "mm": ("mm", "millimeter", 1e-3),
    "cm": ("cm", "centimeter", 1e-2),
    "m": ("m", "meter", 1.0),
    "pm": ("pm", "picometer", 1e-12),
    "Å": ("Å", "angstrom", 1e-10),
    "inch": ("in", "inch", 0.0254),
}
_SPELLINGS = {
    "nanometer": "nm", "nanometers": "nm", "nanometre": "nm", "nanometres": "nm",
    "um": "µm", "μm": "µm", "\\u00b5m": "µm", "micron": "µm", "microns": "µm", "micrometer": "µm",
    "micrometers": "µm", "micrometre": "µm", "micrometres": "µm",
    "millimeter": "mm", "millimeters": "mm", "millimetre": "mm", "millimetres": "mm",
    "centimeter": "cm", "centimeters": "cm", "centimetre": "cm", "centimetres": "cm",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m",
    "picometer": "pm", "picometers": "pm", "picometre": "pm", "picometres": "pm",
    "angstrom": "Å", "angstroms": "Å", "ångström": "Å", "\u212b": "Å",
    "in": "inch", "inches": "inch",
}  # fmt: skip


def _known(unit: str) -> tuple[str, str, float] | None:
    name = unit.strip()
    if name in _UNITS:
        return _UNITS[name]
    return _UNITS.get(_SPELLINGS.get(name.lower(), name.lower()))


def ome_symbol(unit: str) -> str | None:
    """Return the unit as OME-XML writes it ("nm", "µm"), None when it is no length that is known.

    Examples
    --------
    >>> ome_symbol("micron")
    'µm'
    """
    found = _known(unit)
    return None if found is None else found[0]


def zarr_name(unit: str) -> str | None:
    """Return the unit as OME-Zarr writes it ("nanometer"), None when it is no length that is known."""
    found = _known(unit)
    return None if found is None else found[1]


def to_metres(unit: str) -> float | None:
    """Return how many metres a unit is, None when it is no length that is known."""
    found = _known(unit)
    return None if found is None else found[2]
