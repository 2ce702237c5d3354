"""With a screen the results open as ImageJ's own windows: the whole picture, the table under a title of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fiji_menu import made_fiji

from demis_ij import fiji

pytestmark = pytest.mark.java


@pytest.fixture
def display() -> Iterator[str]:
    """Return the name of a screen."""
    if not shutil.which("Xvfb"):
        if os.environ.get("DISPLAY"):
            yield os.environ["DISPLAY"]
            return
        pytest.skip("there is no screen and no Xvfb to make one")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    yield f":{os.read(reading, 20).decode().strip()}"
    server.terminate()
    server.wait(20)


def test_results_open_as_windows_and_a_failure_does_not_block(display: str, scene: Path, tmp_path: Path) -> None:
    home = made_fiji(tmp_path / "Fiji")
    fiji.install(home)

    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("windows.py"), home / "scripts" / fiji.MENU, scene / "project.xml"],
        env={**os.environ, "DISPLAY": display}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["done"].startswith("4 tiles (4 by sift)"), done.stderr[-3000:]
    (picture,) = told["images"]
    assert picture["shown"] == pytest.approx(
        [picture["width"], picture["height"]], abs=1
    )  # px: a window is whole pixels
    assert 0 <= picture["screen"][0] < picture["screen"][2] <= 1280
    assert 0 <= picture["screen"][1] < picture["screen"][3] <= 900
    assert picture["marks"] > 12
    assert "DEMIS seams" in told["tables"]
    assert told["opened"] == str(scene / "project.demis.xml")
    assert told["failed"].startswith("FAILED: Layout: there is no file or folder")
    assert told["failed"].removeprefix("FAILED: ") in told["log"]
