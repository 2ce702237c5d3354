"""Plugins of a Fiji: finding their jars, loading them, and calling them; a made-up plugin stands for the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from demis_ij.errors import InputError
from demis_ij.imagej.plugins import BUNWARPJ, ELASTIC, Plugin, PluginFailed, check_plugin, running

PARAM = """
package bunwarpj
class Param {
  List given
  Param(int mode, int subsample, int first, int last, double div, double curl, double landmark, double image,
        double consistency, double stop) {
    given = [mode, subsample, first, last, div, curl, landmark, image, consistency, stop]
  }
}
"""
RESULT = """
package bunwarpj
class Transformation {
  double[][] x, y
  double[][] getDirectDeformationCoefficientsX() { x }
  double[][] getDirectDeformationCoefficientsY() { y }
}
"""
PLUGIN = """
package bunwarpj
class bUnwarpJ_ {
  static Transformation computeTransformationBatch(ij.ImagePlus target, ij.ImagePlus source,
      ij.process.ImageProcessor targetMask, ij.process.ImageProcessor sourceMask, Param asked) {
    System.out.println("Registering...")
    if (asked.given[9] == 7.0d) throw new IllegalStateException("the images have no overlap")
    double[][] x = new double[10][10], y = new double[10][10]
    x[0] = asked.given as double[]
    x[1] = [target.getProcessor().get(1, 2), source.getProcessor().get(1, 2), targetMask.get(1, 2),
            sourceMask.get(1, 2), 0, 0, 0, 0, 0, 0] as double[]
    y[3][0] = 5
    new Transformation(x: x, y: y)
  }
}
"""
CALL = """
import json, sys
import numpy as np
from demis_ij.aligners.bunwarpj import BunwarpjAligner
from demis_ij.imagej.plugins import PluginFailed
from demis_ij.imagej.registration import BunwarpjSettings, bunwarpj_coefficients
one, two = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
one[2, 1], two[2, 1] = 200, 90
known, hidden = np.ones((40, 50), bool), np.ones((40, 50), bool)
hidden[2, 1] = False
def call(**settings):
    return bunwarpj_coefficients(sys.argv[1], one, two, fixed_mask=known, moving_mask=hidden,
                                 settings=BunwarpjSettings(**settings))
x, y = call(final_deformation="very fine", curl_weight=0.25)
said = {"given": x[0].tolist(), "seen": x[1, :4].tolist(), "y": y[3, 0]}
try:
    call(stop_threshold=7.0)
except PluginFailed as error:
    said["failed"], said["trace"] = str(error), error.trace
said["again"] = BunwarpjAligner().name  # the plugin is in this process now: it need not be named
try:
    bunwarpj_coefficients(sys.argv[2], one, two, fixed_mask=known, moving_mask=known, settings=BunwarpjSettings())
except ValueError as error:
    said["other"] = str(error)
print(json.dumps(said))
"""


def make_fiji(folder: Path, *names: str) -> Path:
    (folder / "plugins").mkdir(parents=True)
    (folder / "jars").mkdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def made_up_plugin(jar: Path) -> None:
    """Write a jar of classes named as bUnwarpJ's, as Groovy sources, which the session compiles."""
    with zipfile.ZipFile(jar, "w") as file:
        for name, text in (("Param", PARAM), ("Transformation", RESULT), ("bUnwarpJ_", PLUGIN)):
            file.writestr(f"bunwarpj/{name}.groovy", text)


def test_a_fiji_with_all_jars_of_a_plugin_is_taken(tmp_path):
    fiji = make_fiji(tmp_path / "Fiji", "plugins/bUnwarpJ_-2.6.13.jar", "jars/mpicbg-1.5.0.jar", "jars/jama-1.0.3.jar")

    check_plugin(BUNWARPJ, str(fiji))
    check_plugin(ELASTIC, str(fiji))


def test_of_several_versions_the_newest_is_taken(tmp_path):
    from demis_ij.imagej.plugins import _jars

    names = ("plugins/bUnwarpJ_-2.6.9.jar", "plugins/bUnwarpJ_-2.6.13.jar", "plugins/bUnwarpJ_.txt")
    fiji = make_fiji(tmp_path / "Fiji", *names)

    assert [p.name for p in _jars(BUNWARPJ, fiji)] == ["bUnwarpJ_-2.6.13.jar"]


@pytest.mark.parametrize(
    ("plugin", "names", "reason"),
    [
        (BUNWARPJ, ("jars/mpicbg-1.5.0.jar",), r"has no bUnwarpJ \(no jar bUnwarpJ\): run Help > Update"),
        (ELASTIC, ("jars/mpicbg-1.5.0.jar",), r"has no Elastic Stack Alignment \(no jar jama\)"),
        (ELASTIC, ("jars/jama-1.0.3.jar", "plugins/mpicbg_-1.5.0.jar"), r"no jar mpicbg"),
    ],
)
def test_a_fiji_without_the_plugin_is_named_with_the_jar_and_the_remedy(tmp_path, plugin, names, reason):
    with pytest.raises(InputError, match=reason):
        check_plugin(plugin, str(make_fiji(tmp_path / "Fiji", *names)))


def test_a_folder_that_is_no_fiji_and_one_that_is_not_there_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="is no Fiji: it has no folder 'jars'"):
        check_plugin(BUNWARPJ, str(tmp_path))
    with pytest.raises(InputError, match="is not there"):
        check_plugin(BUNWARPJ, str(tmp_path / "nowhere"))


@pytest.mark.java
def test_a_plugin_that_runs_already_needs_no_folder_and_what_it_prints_is_kept_back(imagej_session, capfd):
    import jpype

    here = Plugin("Lists", "java.util.ArrayList", ())
    check_plugin(here, "")
    with running(here, "") as classes:
        jpype.JClass("java.lang.System").out.println("chatter")
        assert classes("java.util.ArrayList")().size() == 0
        with pytest.raises(InputError, match=r"has no class java\.util\.Nothing: update that Fiji"):
            classes("java.util.Nothing")
    jpype.JClass("java.lang.System").out.println("after")

    assert capfd.readouterr().out == "after\n"


@pytest.mark.java
def test_an_exception_of_java_is_one_line_with_its_innermost_cause(imagej_session):
    import jpype

    here = Plugin("Lists", "java.util.ArrayList", ())
    kind = jpype.JClass("java.lang.IllegalStateException")

    with pytest.raises(PluginFailed) as said, running(here, ""):
        raise kind("outside", kind("no overlap\nat all"))

    assert str(said.value) == "Lists failed in Java: java.lang.IllegalStateException: no overlap"
    assert "outside" in said.value.trace


@pytest.mark.java
def test_a_plugin_that_no_running_imagej_has_must_be_named(imagej_session):
    with pytest.raises(InputError, match=r"Nothing is a plugin of Fiji, and no Fiji was named.*--fiji PATH"):
        check_plugin(Plugin("Nothing", "no.such.Plugin", ()), "")


@pytest.mark.java
def test_bunwarpj_is_called_with_settings_pictures_and_masks_and_its_failure_is_told(tmp_path, request):
    """In a process of its own: the made-up plugin must not stay where a real one may be asked for later."""
    fiji = make_fiji(tmp_path / "Fiji")
    made_up_plugin(fiji / "plugins" / "bUnwarpJ_-0.1.jar")
    other = make_fiji(tmp_path / "Other", "plugins/bUnwarpJ_-9.jar")
    home = request.config.getoption("--java-home")

    ended = subprocess.run(
        [sys.executable, "-c", CALL, str(fiji), str(other)], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, **({"JAVA_HOME": home} if home else {})},
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)  # nothing but this was printed
    np.testing.assert_allclose(said["given"], [2, 0, 0, 3, 0.1, 0.25, 0, 1, 10, 0.01])
    assert said["seen"] == [200, 90, 255, 0]
    assert said["y"] == 5
    assert said["failed"] == "bUnwarpJ failed in Java: java.lang.IllegalStateException: the images have no overlap"
    assert "bUnwarpJ_" in said["trace"]
    assert said["again"] == "bunwarpj"
    assert "was loaded from" in said["other"]
    assert "start Python anew" in said["other"]
