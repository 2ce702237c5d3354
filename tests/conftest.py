"""What all tests share: repeatable examples, and the one ImageJ."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from demis_ij.imagej import Session

exit_status = pytest.StashKey[int]()

# the same examples on every run: what lands must not depend on the draw (--hypothesis-profile=default explores)
settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.load_profile("repeatable")

collect_ignore_glob = ["*/conftest.py"]
"""They hold fixtures and no doctests; collected as tests, two of one name would stand in each other's way."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Choose the Java, the Groovy and the Fiji of the tests that start ImageJ."""
    group = parser.getgroup("imagej")
    group.addoption("--fiji", help="folder of a Fiji; without it the tests that need one are skipped")
    group.addoption("--java-home", help="Java of the embedded ImageJ (default: the one demis_ij finds)")
    group.addoption(
        "--groovy", type=int, default=4, choices=(3, 4), help="Groovy of the embedded ImageJ (3: Java <= 17)"
    )
    group.addoption("--class-path", action="append", default=[], help="further jar or folder of classes; repeatable")
    parser.addini("fiji", "folder of a Fiji, as --fiji", default="")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests ended, for `pytest_unconfigure`."""
    session.config.stash[exit_status] = int(exitstatus)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once where the tests had Java or elastix in their process.

    Everything has been said by now. Two runs of all tests were ended by signal 11 after their last line, in a process
    that held Java, itk, gtsam and torch; the cause is not known, and parts of the suite did not show it. How a process
    with a session ends is tested in processes of their own (tests/imagej/test_sessions.py).
    """
    if exit_status in config.stash and {"jpype", "itk"} & set(sys.modules):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[exit_status])


@pytest.fixture(scope="session")
def imagej_session(request: pytest.FixtureRequest) -> Session:
    """The one embedded, headless ImageJ of this test run. Mark tests that use it with ``java``."""
    from demis_ij import imagej

    options = request.config.option
    return imagej.start(java_home=options.java_home, groovy=options.groovy, class_path=options.class_path)


@pytest.fixture
def fiji_folder(request: pytest.FixtureRequest) -> Path:
    """The real Fiji of this test run, or a skip with the reason."""
    named = request.config.getoption("--fiji") or request.config.getini("fiji")
    if not named:
        pytest.skip("no real Fiji: name one with --fiji PATH, or fiji = PATH in pytest's settings")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        pytest.fail(f"--fiji: there is no folder {folder}")
    return folder
