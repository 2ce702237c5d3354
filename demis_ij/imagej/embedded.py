"""ImageJ and SciJava from their jars, without a Fiji: the patch, the context, the script language."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from demis_ij.errors import InputError

GROOVY_LANGUAGE = """
class Groovy extends org.scijava.script.AdaptedScriptLanguage {
  Groovy() { super(new org.codehaus.groovy.jsr223.GroovyScriptEngineFactory()) }
  String getLanguageName() { 'Groovy' }
}
"""
"""Fiji's own class of this kind is in a jar that is not on Maven Central; this one does the same."""

ALIASES = ("ij.ImagePlus", "ij.measure.ResultsTable", "ij.gui.Roi", "ij.gui.Overlay", "ij.plugin.frame.RoiManager")
"""What a script may write short, ``#@ ImagePlus imp``, as in Fiji."""

DISPLAY = "org.scijava.display.DisplayPostprocessor"
"""Outputs go to Python; this one would warn of each that it has no window for."""

REMEMBERING = (
    "org.scijava.module.process.LoadInputsPreprocessor",
    "org.scijava.module.process.SaveInputsPreprocessor",
)
"""What fills inputs from an earlier run, even without a dialog: the same call must give the same result."""

X_LIBRARIES = "libX11, libXext, libXrender, libXtst, libXi, libfreetype and fontconfig"


def patch_imagej() -> None:
    """Let ImageJ's macros and plugins run without a screen; must come before any class of ``ij`` is touched."""
    import jpype

    system = jpype.JClass("java.lang.ClassLoader").getSystemClassLoader()
    jpype.JClass("net.imagej.patcher.LegacyInjector").preinit(system)


def open_toolbar() -> None:
    """Open ImageJ's main window with its menus; closing it does not end Python.

    Raises
    ------
    InputError
        Java cannot open windows here; with what it lacks.
    """
    import jpype

    try:
        jpype.JClass("ij.ImageJ")(1)  # ImageJ.EMBEDDED: quitting it does not end the process
    except jpype.JException as error:
        first = str(error).splitlines()[0]
        msg = (
            f"Java cannot open windows here ({first}): start with headless=True; or, on Linux, give it a screen "
            f"(DISPLAY, or xvfb-run) and {X_LIBRARIES}"
        )
        raise InputError(msg) from None


def refuse_windows_without_screen() -> None:
    """Raise `InputError` where no window can be opened: better before Java runs than after."""
    if sys.platform == "darwin":
        msg = "on macOS the embedded ImageJ opens no windows (they need the main thread): use headless=True, or a Fiji"
        raise InputError(msg)
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        msg = "there is no screen (DISPLAY is not set): use headless=True, or run under xvfb-run"
        raise InputError(msg)


def scijava_context(loader: Any, *, headless: bool) -> Any:
    """Return an org.scijava.Context with every service there is, and Groovy as a script language.

    ``Context(False)``: without the argument JPype picks the constructor of a list of services, and there are none.
    """
    import jpype

    context = jpype.JClass("org.scijava.Context")(False)
    _remove_plugins(context.service("org.scijava.plugin.PluginService"), [DISPLAY, *(REMEMBERING if headless else ())])
    scripts = context.service("org.scijava.script.ScriptService")
    language = jpype.JClass("groovy.lang.GroovyClassLoader")(loader).parseClass(GROOVY_LANGUAGE).newInstance()
    context.inject(language)
    scripts.getIndex().add(language, True)
    for name in ALIASES:
        scripts.addAlias(jpype.JClass(name))
    return context


def _remove_plugins(plugins: Any, names: Sequence[str]) -> None:
    import jpype

    for plugin in list(plugins.getPluginsOfType(jpype.JClass("org.scijava.plugin.SciJavaPlugin"))):
        if str(plugin.getClassName()) in names:
            plugins.removePlugin(plugin)
