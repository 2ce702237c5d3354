"""ImageJ inside Python: one session, numpy to ImagePlus and back. The only room that knows Java."""

from demis_ij.imagej.picture import Picture
from demis_ij.imagej.scripts import ScriptFailed
from demis_ij.imagej.session import Session, start

__all__ = ["start", "Session", "Picture", "ScriptFailed"]
