"""What starts with the program, and what only when it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "kornia", "jpype", "scyjava", "imagej", "matplotlib", "gtsam", "graphslam", "dask")

LOADED = """
import sys
import {module}
print(",".join(name for name in {heavy!r} if name in sys.modules))
"""


def loaded_by(module):
    code = LOADED.format(module=module, heavy=HEAVY)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return {name for name in said.stdout.strip().split(",") if name}


@pytest.mark.parametrize(
    "module", ["demis_ij", "demis_ij.cli", "demis_ij.cli.app", "demis_ij.jobs", "demis_ij.demo", "demis_ij.render"]
)
def test_nothing_heavy_is_loaded_by(module):
    assert loaded_by(module) == set()


def test_the_test_above_can_fail():
    assert "torch" in loaded_by("demis_ij.matchers.loftr")


def test_stitching_with_sift_loads_neither_torch_nor_java(tmp_path):
    """Matplotlib comes with the report at the end; what is not asked for never comes."""
    code = f"""
import sys
from demis_ij import synth
from demis_ij.cli import main
spec = synth.GridSpec(rows=1, cols=2, tile_px=256, overlap=0.25)
scene = synth.write_scene(synth.make_scene(spec, 1), {str(tmp_path / "scene")!r})
sys.argv = ["demis-ij", "stitch", str(scene / "project.xml"), "--out", {str(tmp_path / "run")!r}, "--matcher", "sift"]
try:
    main()
except SystemExit as left:
    print("code", left.code)
heavy = ("torch", "kornia", "jpype", "scyjava", "imagej", "gtsam", "graphslam")
print("loaded", [name for name in heavy if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-2:] == ["code 0", "loaded []"]


def test_the_public_names_are_those_that_are_promised():
    import demis_ij

    assert [n for n in demis_ij.__all__ if not hasattr(demis_ij, n)] == []
    assert {"Affine", "Layout", "Tile", "Solution", "PairMatch", "Rejected", "DemisError"} <= set(demis_ij.__all__)
