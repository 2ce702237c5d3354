"""Starting the one Java virtual machine of this process, and ending it so that the process ends too."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError
from demis_ij.imagej.java_home import JavaHome


def import_torch_first() -> None:
    """Import torch, where it is installed: its threads and its OpenMP must be there before those of Java."""
    if importlib.util.find_spec("torch") is not None:
        import torch  # noqa: F401


def start_embedded_jvm(java: JavaHome, jars: Sequence[Path], options: Sequence[str], *, headless: bool) -> None:
    """Start the virtual machine on jars that lie on this machine; nothing is fetched.

    Raises
    ------
    InputError
        Another virtual machine runs in this process already, or Java does not start with these options.
    """
    import jpype

    if jpype.isJVMStarted():
        msg = "a Java virtual machine runs in this process already: start ImageJ first, in a fresh process or kernel"
        raise InputError(msg)
    import_torch_first()
    arguments = [
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        f"-Djava.awt.headless={'true' if headless else 'false'}",
        *options,
    ]
    if java.major >= 22:
        arguments.insert(0, "--enable-native-access=ALL-UNNAMED")
    try:
        jpype.startJVM(
            *arguments, jvmpath=str(java.library), classpath=[str(p) for p in jars], convertStrings=False,
            interrupt=False,
        )  # fmt: skip
    except (OSError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"Java {java.version} of {java.home} does not start with {arguments}: {first}"
        raise InputError(msg) from error


class ClassPath:
    """The class loader of everything that runs in the session; it takes further jars and folders later on."""

    def __init__(self) -> None:
        import jpype

        self._system = jpype.JClass("java.lang.ClassLoader").getSystemClassLoader()
        urls = jpype.JArray(jpype.JClass("java.net.URL"))(0)
        self._loader = jpype.JClass("groovy.lang.GroovyClassLoader")(self._system)
        del urls

    @property
    def loader(self) -> Any:
        """The java.lang.ClassLoader."""
        return self._loader

    def add(self, path: Path) -> None:
        """Add a jar, or a folder of classes."""
        import jpype

        self._loader.addURL(jpype.JClass("java.io.File")(str(path)).toURI().toURL())

    @contextlib.contextmanager
    def of_this_thread(self) -> Iterator[None]:
        """Make it the context class loader of the calling thread: a thread that comes from Python has none."""
        import jpype

        thread = jpype.JClass("java.lang.Thread").currentThread()
        before = thread.getContextClassLoader()
        thread.setContextClassLoader(self._loader)
        try:
            yield
        finally:
            thread.setContextClassLoader(before)
