"""Scripts with ``#@`` parameters run in SciJava's script service, in a JVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from demis_ij.errors import InputError
from demis_ij.imagej import Picture, ScriptFailed

pytestmark = pytest.mark.java

EVERYTHING = """
#@ String name
#@ File where
#@ Integer (value=3) n
#@ Boolean (value=true) yes
#@ TaskService tasks
#@ StatusService status
#@ UIService ui
#@ LogService log
#@ PrefService prefs
#@ ScriptService scripts
#@output String greeting
#@output ImagePlus picture
#@output ResultsTable table
#@output java.util.List things
import groovy.json.JsonOutput
println "starting"
greeting = JsonOutput.toJson([name: name, where: where.path, n: n, yes: yes, headless: ui.isHeadless()])
picture = ij.IJ.createImage("ramp", "8-bit ramp", 12, 10, 1)
table = new ij.measure.ResultsTable()
table.addRow(); table.addValue("tile A", "r0c0.tif"); table.addValue("dx", 3.25d)
things = [1, 2.5d, "x", [a: 1], null, true]
"""


def test_a_script_gets_its_parameters_and_gives_its_outputs(imagej_session, capfd, tmp_path):
    where = tmp_path / "Präparat #1 & more.xml"

    outputs = imagej_session.run_script(EVERYTHING, {"name": "Ångström", "where": where})

    assert outputs["greeting"].replace("\\u00c5", "Å").replace("\\u00f6", "ö").replace("\\u00e4", "ä") == (
        f'{{"name":"Ångström","where":"{where}","n":3,"yes":true,"headless":true}}'
    )
    assert isinstance(outputs["picture"], Picture)
    assert outputs["table"] == [{"tile A": "r0c0.tif", "dx": 3.25}]
    assert outputs["things"] == [1, 2.5, "x", {"a": 1}, None, True]
    assert "starting" in capfd.readouterr().out


def test_a_script_file_knows_where_it_lies(imagej_session, tmp_path):
    script = tmp_path / "Where_Am_I.groovy"
    script.write_text(
        "#@output String place\n"
        'place = binding.getVariable("org.scijava.script.ScriptModule").info.path\n',
        encoding="utf-8",
    )  # fmt: skip

    assert Path(imagej_session.run_script(script)["place"]) == script


def test_a_script_that_throws_raises_with_its_trace(imagej_session):
    with pytest.raises(ScriptFailed, match="oh no") as failed:
        imagej_session.run_script("#@output String x\nthrow new IllegalStateException('oh no')\n")

    assert "IllegalStateException" in failed.value.trace


def test_a_script_that_does_not_compile_raises(imagej_session):
    with pytest.raises(ScriptFailed, match=r"unexpected|Unexpected"):
        imagej_session.run_script("#@output String x\nx = (\n")


def test_a_missing_input_is_named_not_passed_over(imagej_session):
    with pytest.raises(InputError, match=r"needs a value for seed \(Integer\)"):
        imagej_session.run_script("#@ Integer (persist=false) seed\n#@output String x\nx = 'ran'\n")


def test_a_misspelt_input_is_refused_with_the_nearest_name(imagej_session):
    with pytest.raises(InputError, match="did you mean 'layout'"):
        imagej_session.run_script("#@ String layout\n#@output String x\nx = layout\n", {"layuot": "a"})


def test_inputs_of_an_earlier_run_do_not_fill_those_of_the_next(imagej_session):
    script = "#@ Integer (value=1) count\n#@output Integer given\ngiven = count\n"
    imagej_session.run_script(script, {"count": 7})

    assert imagej_session.run_script(script) == {"given": 1}
