"""The same scripts under Groovy 3 and a Java of at most 17, as an older Fiji has them: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demis_ij.errors import InputError
from demis_ij.imagej.jars import fetch, jars_of
from demis_ij.imagej.java_home import find_java

pytestmark = pytest.mark.java
HERE = Path(__file__).resolve().parent
CHOSEN = (
    "a_wrong_input or a_trakem2_project_is_stitched or two_slices or what_does_not_exist_yet or installation_is_checked"
)


def test_every_script_fails_well_and_stitches_under_groovy_3(request: pytest.FixtureRequest) -> None:
    options = request.config.option
    if options.groovy == 3 or options.fiji:
        pytest.skip("this run is about one Groovy already")
    try:
        java = find_java(None, groovy=3, headless=True)
        fetch(jars_of(3))
    except InputError as error:
        pytest.skip(f"Groovy 3 needs a Java of at most 17 and its jars: {error}")
    files = [HERE / f"test_menu_{name}.py" for name in ("refuses", "stitches", "shows")]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", CHOSEN, "--groovy", "3",
         "--java-home", str(java.home)],
        cwd=HERE.parents[1], capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
