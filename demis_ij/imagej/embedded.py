"""ImageJ and SciJava from their jars, without a Fiji: the patch, the context, the script language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def patch_imagej() -> None:
    """Let ImageJ's macros and plugins run without a screen; must come before any class of ``ij`` is touched."""
    import jpype

    system = jpype.JClass("java.lang.ClassLoader").getSystemClassLoader()
    jpype.JClass("net.imagej.patcher.LegacyInjector").preinit(system)


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
