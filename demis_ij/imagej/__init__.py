"""ImageJ inside Python: one session, numpy to ImagePlus and back. The only room that knows Java.

::

    from demis_ij import imagej

    session = imagej.start()                          # ImageJ 1.54p and SciJava; Java too, if the machine has none
    picture = session.to_imageplus(array, pixel_size=(4.0, "nm"))
    outputs = session.run_script("My_Script.groovy", {"image": picture, "radius": 2})

``start``           starts ImageJ, once in a process
``Session``         runs scripts and macros, makes and opens pictures
``Picture``         an image in ImageJ: pixels back to numpy, overlay, calibration, saving
``show_layout``, ``show_mosaic``, ``show_matches``  results of demis_ij as pictures in ImageJ
``Line`` and so on  what lies over a picture
"""

from demis_ij.imagej.marks import Arrow, Label, Line, Outline, Points
from demis_ij.imagej.picture import Picture
from demis_ij.imagej.scripts import ScriptFailed
from demis_ij.imagej.session import Session, start
from demis_ij.imagej.showing import show_layout, show_matches, show_mosaic

__all__ = [
    "start",
    "Session",
    "Picture",
    "ScriptFailed",
    "show_layout",
    "show_mosaic",
    "show_matches",
    "Line",
    "Arrow",
    "Outline",
    "Points",
    "Label",
]
