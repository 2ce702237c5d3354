"""Plugins of a Fiji: finding their jars, loading their classes into the one ImageJ, calling them quietly.

A plugin needs the jars it was written with, and ImageJ. So it runs in the session of this process, whichever that is:
in a Fiji that PyImageJ has started its classes are there already; to the embedded ImageJ only its own jars are added,
from the folder of the Fiji that the user names. Nothing of that folder is changed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij.errors import DemisError, InputError
from demis_ij.imagej.session import Session, running_or_started, running_session

_one_at_a_time = threading.RLock()
"""What a plugin prints is kept back by exchanging Java's standard output, of which there is one."""

_loaded_from: dict[Plugin, Path] = {}
"""The Fiji whose jars were added for a plugin: classes of Java are not exchanged while it runs."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that Fiji brings.

    Attributes
    ----------
    name : str
        As Fiji's menu says.
    proof : str
        A class without which it is not there.
    jars : tuple of str
        Patterns of the names of all jars it needs besides ImageJ; a Fiji has one of each.
    """

    name: str
    proof: str
    jars: tuple[str, ...]


BUNWARPJ = Plugin("bUnwarpJ", "bunwarpj.bUnwarpJ_", (r"bUnwarpJ_.*\.jar",))
ELASTIC = Plugin(
    "Elastic Stack Alignment", "mpicbg.ij.blockmatching.BlockMatching", (r"mpicbg-\d.*\.jar", r"jama-\d.*\.jar")
)


class PluginFailed(DemisError):
    """A plugin threw an exception.

    Attributes
    ----------
    trace : str
        The stack trace, as Java printed it.
    """

    def __init__(self, plugin: str, reason: str, trace: str) -> None:
        super().__init__(f"{plugin} failed in Java: {reason}")
        self.trace = trace


def check_plugin(plugin: Plugin, fiji: str) -> None:
    """Say now, without starting Java, whether a plugin can be had.

    Parameters
    ----------
    plugin : Plugin
    fiji : str
        The folder of a Fiji; empty where one that runs in this process will do.

    Raises
    ------
    InputError
        No Fiji is named and none runs, the folder is no Fiji, or it lacks the plugin.
    """
    if fiji:
        _jars(plugin, Path(fiji))
        return
    session = running_session()
    if session is None or _loaded(session, plugin.proof) is None:
        msg = (
            f"{plugin.name} is a plugin of Fiji, and no Fiji was named: give the folder of one "
            "(--fiji PATH, or --set fiji=PATH; from Python fiji=PATH)"
        )
        raise InputError(msg)


@dataclass(frozen=True)
class Classes:
    """The classes of a plugin, by name."""

    session: Session
    plugin: Plugin

    def __call__(self, name: str) -> Any:
        """Return a class. Raises `InputError` when this version of the plugin lacks it."""
        found = _loaded(self.session, name)
        if found is None:
            msg = f"the {self.plugin.name} that was found has no class {name}: update that Fiji"
            raise InputError(msg)
        return found


@contextmanager
def running(plugin: Plugin, fiji: str) -> Iterator[Classes]:
    """Give the classes of a plugin, one caller at a time; what they print is kept back.

    ImageJ is started when it does not run yet.

    Raises
    ------
    InputError
        The plugin cannot be had; see `check_plugin`.
    PluginFailed
        What was called threw an exception.
    """
    check_plugin(plugin, fiji)
    session = running_or_started()
    import jpype

    with _one_at_a_time, session._class_path.of_this_thread(), _quiet():
        try:
            _load(session, plugin, fiji)
            yield Classes(session, plugin)
        except jpype.JException as error:
            raise PluginFailed(plugin.name, _reason(error), str(error.stacktrace())) from None


def _load(session: Session, plugin: Plugin, fiji: str) -> None:
    """Add the jars of a plugin where its classes are not there yet. Raises `InputError`."""
    if not fiji:
        return
    folder = Path(fiji).expanduser().resolve()
    earlier = _loaded_from.get(plugin)
    if earlier is not None and earlier != folder:
        msg = f"{plugin.name} was loaded from {earlier} already, and {folder} was asked for: start Python anew"
        raise InputError(msg)
    if _loaded(session, plugin.proof) is None:
        for jar in _jars(plugin, folder):
            session._class_path.add(jar)
        _loaded_from[plugin] = folder


def _jars(plugin: Plugin, folder: Path) -> list[Path]:
    """Return the jars of a plugin below a Fiji, one of each kind, the newest. Raises `InputError`."""
    folder = folder.expanduser()
    if not (folder / "jars").is_dir():
        what = "is no Fiji: it has no folder 'jars'" if folder.is_dir() else "is not there"
        msg = f"the folder {folder} {what}; needed that of a Fiji, with jars/ and plugins/"
        raise InputError(msg)
    there = [p for name in ("jars", "plugins") for p in sorted((folder / name).rglob("*.jar"))]
    found = []
    for pattern in plugin.jars:
        fitting = [p for p in there if re.fullmatch(pattern, p.name)]
        if not fitting:
            kind = re.sub(r"\\d|\.\*|\\", "", pattern).removesuffix(".jar").rstrip("-_")
            msg = f"the Fiji in {folder} has no {plugin.name} (no jar {kind}): run Help > Update... in it"
            raise InputError(msg)
        found.append(max(fitting, key=_version))
    return found


def _version(jar: Path) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", jar.stem))


def _loaded(session: Session, name: str) -> Any | None:
    """Return a class that the session can load, or None. Raises `InputError` when it is for another Java."""
    import jpype

    try:
        return jpype.JClass(session._class_path.loader.loadClass(name))
    except jpype.JException as error:
        kind = str(error.getClass().getSimpleName())
        if kind == "UnsupportedClassVersionError":
            msg = f"{name} needs a newer Java than {session.java.version}: set JAVA_HOME to the one of that Fiji"
            raise InputError(msg) from None
        if kind in {"ClassNotFoundException", "NoClassDefFoundError"}:
            return None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Java prints: it would end up between the lines of Python's own output."""
    import jpype

    system = jpype.JClass("java.lang.System")
    before = system.out
    system.setOut(jpype.JClass("java.io.PrintStream")(jpype.JClass("java.io.OutputStream").nullOutputStream()))
    try:
        yield
    finally:
        system.setOut(before)


def _reason(error: Any) -> str:
    """Return the first line of what the innermost cause says."""
    while error.getCause() is not None:
        error = error.getCause()
    lines = str(error.toString()).splitlines()
    return lines[0] if lines else "no reason given"
