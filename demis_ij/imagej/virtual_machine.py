"""Starting the one Java virtual machine of this process, and ending it so that the process ends too."""

from __future__ import annotations

import atexit
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


def refuse_second_jvm() -> None:
    """Raise `InputError` when Java runs in this process already: it takes no other jars and is not started twice."""
    import jpype

    if jpype.isJVMStarted():
        msg = "a Java virtual machine runs in this process already: start ImageJ first, in a fresh process or kernel"
        raise InputError(msg)


def start_embedded_jvm(java: JavaHome, jars: Sequence[Path], options: Sequence[str], *, headless: bool) -> None:
    """Start the virtual machine on jars that lie on this machine; nothing is fetched.

    Raises
    ------
    InputError
        Another virtual machine runs in this process already, or Java does not start with these options.
    """
    import_torch_first()
    import jpype

    refuse_second_jvm()
    arguments = [
        "-Xrs",  # signals stay Python's: Ctrl-C raises KeyboardInterrupt, SIGTERM ends the process
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        f"-Djava.awt.headless={'true' if headless else 'false'}",
        *options,
    ]
    if not any("GC" in option for option in options):
        arguments.insert(0, "-XX:+UseParallelGC")  # Java's own choice, G1, takes 30 ms for each array of 32 MB
    if java.major >= 22:
        arguments.insert(0, "--enable-native-access=ALL-UNNAMED")
    try:
        jpype.startJVM(*arguments, jvmpath=str(java.library), classpath=[str(p) for p in jars], interrupt=True)
    except (OSError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"Java {java.version} of {java.home} does not start with {arguments}: {first}"
        raise InputError(msg) from error
    end_with_python()


def end_with_python() -> None:
    """Let the process end when Python does, with Python's exit code.

    Java would have it wait for every thread of Java that is not a daemon: those of ImageJ's patch and of SciJava, of
    windows, and the thread that started the virtual machine, even when Python has ended it. So Java is not asked. But
    the thread in which JPype lets go of Python objects must not need a Python that is no more (the process aborts).
    """
    import jpype.config

    jpype.config.destroy_jvm = False
    atexit.register(_stop_reference_queue)


def _stop_reference_queue() -> None:
    import jpype

    if jpype.isJVMStarted():
        jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()


class ClassPath:
    """The class loader of everything that runs in the session; it takes further jars and folders later on."""

    def __init__(self) -> None:
        import jpype

        system = jpype.JClass("java.lang.ClassLoader").getSystemClassLoader()
        self._loader = jpype.JClass("groovy.lang.GroovyClassLoader")(system)

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
