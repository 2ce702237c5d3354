"""ImageJ's windows, on a screen in memory (Xvfb)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytestmark = [
    pytest.mark.java,
    pytest.mark.skipif(sys.platform != "linux", reason="Xvfb is of Linux"),
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb to open windows on (Debian: xvfb)"),
]

SHOW = """
import sys, time
import numpy as np
from demis_ij import imagej, views
from demis_ij.views import ArrowView, MosaicView, TileView

session = imagej.start(headless=False, java_home=sys.argv[2] or None, java_options=["-XX:TieredStopAtLevel=1"])
square = ((40.0, 30.0), (360.0, 30.0), (360.0, 270.0), (40.0, 270.0))
tile = TileView("1", "one.tif", square, "#ff0000", "loftr", 0.1, 3.0)
arrow = ArrowView("1", (100.0, 150.0), (300.0, 150.0), 200.0)
view = MosaicView("made up", 400, 300, 1.0, (4.0, "nm"), (tile,), (arrow,))
picture = imagej.show_mosaic(view, np.full((300, 400), 90, np.uint8))
capture = '''
#@output Integer windows
import java.awt.*
Thread.sleep(1500)
Dimension size = Toolkit.defaultToolkit.screenSize
def seen = new Robot().createScreenCapture(new Rectangle(size))
javax.imageio.ImageIO.write(seen, "png", new File("%s"))
windows = Window.getWindows().count { it.isShowing() }
''' % sys.argv[1]
print(session.run_script(capture))
picture.close()
sys.exit(5)
"""


@pytest.fixture
def screen() -> Iterator[str]:
    seeing, telling = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(telling), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
        pass_fds=(telling,), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(telling)
    with os.fdopen(seeing) as told:
        number = told.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(timeout=20)


def test_a_mosaic_is_seen_in_a_window_and_python_ends_with_its_own_code(screen, tmp_path, request):
    captured = tmp_path / "screen.png"
    home = request.config.getoption("--java-home") or ""

    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(captured), home], env={**os.environ, "DISPLAY": screen}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 5, done.stderr
    assert "'windows': 2" in done.stdout  # ImageJ's own and the picture's
    seen = cv2.imread(str(captured)).astype(int)
    red = (seen[..., 2] > 200) & (seen[..., :2].max(axis=2) < 60)
    white = seen.min(axis=2) > 250
    assert red.sum() > 600  # px: most of an outline 2 x (320 + 240) px long
    assert ((seen == 90).all(axis=2)).sum() > 70_000  # px of the 120 000 of the picture
    assert white.sum() > 100


def test_without_a_screen_windows_are_refused_before_java_runs():
    code = "from demis_ij import imagej\nimagej.start(headless=False)\n"
    bare = {k: v for k, v in os.environ.items() if k != "DISPLAY"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, timeout=120, check=False
    )

    assert "there is no screen (DISPLAY is not set): use headless=True, or run under xvfb-run" in done.stderr


def test_windows_that_java_cannot_open_are_refused_with_what_it_lacks(tmp_path: Path):
    code = "from demis_ij import imagej\nimagej.start(headless=False)\n"

    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "DISPLAY": ":4711"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Java cannot open windows here" in done.stderr
    assert "libXtst" in done.stderr
