"""The TIFF stack of a volume, opened by ImageJ itself: with a directory a slice, and with one for all."""

import numpy as np
import pytest

from demis_ij.geometry import Box
from demis_ij.sinks import volume_tiff
from demis_ij.sinks.volume import VolumeKind
from demis_ij.sinks.volume_tiff import TiffVolumeSink

OPEN = """
#@String path
#@output java.util.Map found
def imp = ij.IJ.openImage(path)
def at = { z, x, y -> imp.getStack().getVoxel(x, y, z) as double }
found = imp == null ? [opened: false] : [
  opened: true, width: imp.width, height: imp.height, slices: imp.NSlices, bits: imp.bitDepth,
  unit: imp.calibration.unit, side: imp.calibration.pixelWidth, deep: imp.calibration.pixelDepth,
  first: at(0, 0, 0), inner: at(2, 33, 21), last: at(imp.stackSize - 1, imp.width - 1, imp.height - 1)]
"""


@pytest.mark.java
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("most", [volume_tiff.MOST_OFFSET, 100], ids=["small", "as if larger than 4 GiB"])
def test_imagej_opens_a_volume_with_its_calibration(imagej_session, tmp_path, monkeypatch, dtype, most):
    monkeypatch.setattr(volume_tiff, "MOST_OFFSET", most)
    made = (np.random.default_rng(0).uniform(0, 1, (4, 50, 60)) * 250).astype(dtype)
    sink, path = TiffVolumeSink(), tmp_path / f"Präparat #1 & {dtype}.tif"
    sink.open(path, VolumeKind(made.shape, made.dtype, (4.0, "nm"), (40.0, "nm")), block=64)
    for z, section in enumerate(made):
        sink.write(z, section, np.ones(section.shape, bool), Box.of_shape(section.shape))
        sink.finish(z)
    sink.close()

    found = imagej_session.run_script(OPEN, {"path": str(path)})["found"]

    assert found["opened"]
    assert (found["width"], found["height"], found["slices"]) == (60, 50, 4)
    assert found["bits"] == made.itemsize * 8
    assert (found["unit"], found["side"], found["deep"]) == ("nm", pytest.approx(4), pytest.approx(40))
    for name, value in (("first", made[0, 0, 0]), ("inner", made[2, 21, 33]), ("last", made[-1, -1, -1])):
        assert found[name] == pytest.approx(float(value))
