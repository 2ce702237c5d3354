"""A whole Fiji through PyImageJ: how it is asked for (with doubles), and a real one where there is one (--fiji)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from demis_ij.errors import InputError
from demis_ij.imagej.by_pyimagej import Plan, launch, plan
from demis_ij.imagej.java_home import JavaHome

JAVA = JavaHome(Path("/some/java"), "21.0.8", "argument")


class Config:
    """A double of scyjava.config."""

    def __init__(self):
        self.endpoints = ["net.imglib2:imglib2-imglyb:1.1.0"]
        self.options: list[str] = []
        self.constraints: dict[str, str] = {}
        self.class_path: list[str] = []

    def set_java_constraints(self, **given):
        self.constraints.update(given)

    def add_options(self, options):
        self.options += options

    def add_classpath(self, *paths):
        self.class_path += paths


class PyImageJ:
    """A double of the module imagej: keeps what it was called with."""

    def __init__(self, answer: object):
        self.answer = answer
        self.calls: list[tuple[object, str]] = []

    def init(self, target, mode):
        self.calls.append((target, mode))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def this_java(monkeypatch):
    monkeypatch.setattr("demis_ij.imagej.by_pyimagej.find_java", lambda home=None, **_: JAVA)
    monkeypatch.setenv("JAVA_HOME", "/before")


def make_fiji(folder: Path, *, bridge: bool) -> Path:
    (folder / "jars").mkdir(parents=True)
    (folder / "jars" / "ij-1.54p.jar").touch()
    if bridge:
        (folder / "jars" / "imglib2-imglyb-1.1.0.jar").touch()
    return folder


@pytest.mark.parametrize(
    ("named", "target"),
    [
        ("2.17.0", ["net.imagej:imagej:2.17.0"]),
        ("sc.fiji:fiji", ["sc.fiji:fiji"]),
        ("sc.fiji:fiji:2.17.0+sc.fiji:TrakEM2_", ["sc.fiji:fiji:2.17.0", "sc.fiji:TrakEM2_"]),
    ],
)
def test_versions_and_coordinates_become_a_list(named, target):
    wanted = plan(named)

    assert (wanted.target, wanted.mode, wanted.is_folder) == (target, "headless", False)


def test_trakem2_comes_as_a_further_endpoint():
    assert plan("2.17.0", endpoints=("sc.fiji:TrakEM2_",)).target == ["net.imagej:imagej:2.17.0", "sc.fiji:TrakEM2_"]


@pytest.mark.parametrize("bridge", [True, False])
def test_a_folder_that_holds_every_jar_asks_nobody_else(tmp_path, bridge):
    fiji = make_fiji(tmp_path / "Fiji", bridge=bridge)
    config, imagej = Config(), PyImageJ(SimpleNamespace())

    launch(
        plan(str(fiji), headless=False), java_options=("-Xmx2g",), class_path=("my.jar",), imagej=imagej, config=config
    )

    assert imagej.calls == [(str(fiji), "interactive")]
    assert config.endpoints == ([] if bridge else ["net.imglib2:imglib2-imglyb:1.1.0"])
    assert config.constraints["fetch"] == "auto"
    assert config.options == ["-Xrs", "-Xmx2g"]
    assert config.class_path == ["my.jar"]
    assert os.environ["JAVA_HOME"] == "/some/java"


def test_the_java_that_a_fiji_brought_is_its_own(tmp_path, monkeypatch):
    fiji = make_fiji(tmp_path / "Fiji", bridge=True)
    home = fiji / "java" / "linux-x64" / "jdk-21"
    home.mkdir(parents=True)
    (home / "release").touch()
    asked = []
    monkeypatch.setattr("demis_ij.imagej.by_pyimagej.find_java", lambda home=None, **_: asked.append(home) or JAVA)

    plan(str(fiji))
    monkeypatch.delenv("JAVA_HOME")
    plan(str(fiji))
    plan(str(fiji), java_home="/mine")

    assert asked == [None, home, "/mine"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (None, "needs fiji="),
        ("", "needs fiji="),
        ("/nowhere/Fiji", "there is no folder '/nowhere/Fiji'"),
        ("newest", "neither a version"),
    ],
)
def test_what_is_no_fiji_is_refused(named, said):
    with pytest.raises(InputError, match=said):
        plan(named)


def test_a_folder_that_is_no_fiji_is_refused(tmp_path):
    with pytest.raises(InputError, match="it has no folder 'jars'"):
        plan(str(tmp_path))
    with pytest.raises(InputError, match="belong into its folders"):
        plan(str(make_fiji(tmp_path / "Fiji", bridge=True)), endpoints=("sc.fiji:TrakEM2_",))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            Plan(["sc.fiji:fiji"], "headless", False, False, JAVA),
            r"sc\.fiji:fiji does not start \(404\).*folder of a Fiji",
        ),
        (Plan("/a/Fiji", "headless", True, False, JAVA), r"put imglib2-imglyb-1\.1\.0\.jar"),
        (Plan("/a/Fiji", "headless", True, True, JAVA), r"another Java \(java_home=; now 21\.0\.8\)"),
    ],
)
@pytest.mark.parametrize("answer", [RuntimeError("404\nand more"), None])
def test_what_does_not_start_names_the_remedy_in_one_line(wanted, said, answer):
    expected = said if answer else said.replace(r" \(404\)", "")

    with pytest.raises(InputError, match=expected) as refused:
        launch(wanted, java_options=(), class_path=(), imagej=PyImageJ(answer), config=Config())

    assert "\n" not in str(refused.value)


REAL = """
import json, sys
import numpy as np
from demis_ij import imagej
session = imagej.start(mode="pyimagej", fiji=sys.argv[1])
script = "#@ String name\\n#@output String said\\nsaid = ij.IJ.getVersion() + ' ' + name\\n"
said = session.run_script(script, {"name": "x"})
array = np.arange(12, dtype=np.uint16).reshape(3, 4)
back = session.to_imageplus(array).to_numpy()
print(json.dumps({"said": said["said"], "same": bool((back == array).all())}))
sys.exit(4)
"""


@pytest.mark.java
def test_a_real_fiji_runs_scripts_and_takes_pictures(fiji_folder, monkeypatch):
    monkeypatch.undo()

    done = subprocess.run(
        [sys.executable, "-c", REAL, str(fiji_folder)], capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 4, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["same"]
    assert told["said"].endswith(" x")
