"""Running scripts with ``#@`` parameters in SciJava's script service, and macros."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demis_ij.errors import DemisError, InputError
from demis_ij.imagej.values import from_java, to_java

LOOK_EVERY_S = 0.02
"""How often a running script is looked at: Python must come up for air to notice Ctrl-C."""

PLAIN = (
    "java.lang.Number", "java.lang.Boolean", "java.lang.Character", "java.lang.String", "java.io.File",
    "[Ljava.io.File;", "ij.ImagePlus",
)  # fmt: skip
"""Kinds of input that a caller must give; others (services, the context) SciJava finds by itself."""


class ScriptFailed(DemisError):
    """A script threw an exception.

    Attributes
    ----------
    trace : str
        The stack trace, as Java printed it.
    """

    def __init__(self, script: str, trace: str) -> None:
        super().__init__(f"script {script} failed: {_sentence(trace)}")
        self.trace = trace


def _sentence(trace: str) -> str:
    lines = [line for line in trace.splitlines() if line.strip() and not line.startswith("\tat ")]
    if len(lines) > 1 and lines[0].endswith("startup failed:"):  # Groovy's compiler: the next line is what it found
        return lines[1]
    return lines[0] if lines else "no reason given"


def run_script(
    context: Any, script: Path | str, inputs: Mapping[str, Any], *, language: str, headless: bool
) -> dict[str, Any]:
    """Run a script file or a script's text and return its outputs by name; see `Session.run_script`."""
    import jpype

    name, info = _script_info(context, script, language)
    _refuse_unknown(name, info, inputs)
    if headless:
        _refuse_missing(name, info, inputs)
    module = info.createModule()
    context.inject(module)
    printed, failed = jpype.JClass("java.io.StringWriter")(), jpype.JClass("java.io.StringWriter")()
    module.setOutputWriter(printed)
    module.setErrorWriter(failed)
    values = jpype.JClass("java.util.HashMap")()
    for key, value in inputs.items():
        values.put(key, to_java(value))
    future = context.service("org.scijava.module.ModuleService").run(module, True, values)
    try:
        said = 0
        while not future.isDone():
            time.sleep(LOOK_EVERY_S)
            said = _say(printed, said)
    except KeyboardInterrupt:
        future.cancel(True)
        raise
    _say(printed, said)
    try:
        future.get()
    except jpype.JException as error:
        raise ScriptFailed(name, str(error.stacktrace())) from None
    trace = str(failed.toString())
    if "\n\tat " in trace:
        raise ScriptFailed(name, trace)
    sys.stderr.write(trace)
    return {str(e.getKey()): from_java(e.getValue()) for e in module.getOutputs().entrySet()}


def imagej_version() -> str:
    """Return the version of ImageJ that runs, ``"1.54p"``."""
    import jpype

    return str(jpype.JClass("ij.IJ").getVersion()).split("/")[-1]  # ImageJ2 puts its own version before it


def run_macro(macro: Path | str, argument: str) -> str:
    """Run a macro file or a macro's text; see `Session.run_macro`."""
    import jpype

    text, name = macro, "text"
    if isinstance(macro, Path):
        if not macro.is_file():
            msg = f"there is no macro {macro}"
            raise InputError(msg)
        text, name = macro.read_text(encoding="utf-8"), macro.name
    interpreter = jpype.JClass("ij.macro.Interpreter")()
    interpreter.setIgnoreErrors(True)
    try:
        returned = interpreter.run(str(text), argument)
    except jpype.JException as error:
        raise ScriptFailed(name, str(error.stacktrace())) from None
    failure = interpreter.getErrorMessage()
    if failure is not None:
        raise ScriptFailed(name, str(failure))
    return "" if returned is None else str(returned)


def _script_info(context: Any, script: Path | str, language: str) -> tuple[str, Any]:
    import jpype

    kind = jpype.JClass("org.scijava.script.ScriptInfo")
    if isinstance(script, Path) or ("\n" not in script and Path(script).suffix and Path(script).is_file()):
        path = Path(script).absolute()
        if not path.is_file():
            msg = f"there is no script {path}"
            raise InputError(msg)
        name, info = path.name, kind(context, jpype.JClass("java.io.File")(str(path)))
    else:
        name = f"script.{language}"
        info = kind(context, name, jpype.JClass("java.io.StringReader")(script))
    if info.getLanguage() is None:
        languages = context.service("org.scijava.script.ScriptService").getLanguages()
        offered = sorted(str(x.getLanguageName()) for x in languages)
        msg = f"no script language for {name}: offered are {', '.join(offered)}"
        raise InputError(msg)
    return name, info


def _refuse_unknown(name: str, info: Any, inputs: Mapping[str, Any]) -> None:
    known = [str(item.getName()) for item in info.inputs()]
    for key in inputs:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its inputs are {', '.join(known) or 'none'}"
            msg = f"script {name} has no input {key!r}: {hint}"
            raise InputError(msg)


def _refuse_missing(name: str, info: Any, inputs: Mapping[str, Any]) -> None:
    """SciJava says nothing of a required input that is missing: it runs with 0, or does not run at all."""
    import jpype

    plain = tuple(jpype.JClass(k).class_ for k in PLAIN)
    missing = [
        f"{item.getName()} ({item.getType().getSimpleName()})"
        for item in info.inputs()
        if item.isRequired()
        and str(item.getName()) not in inputs
        and item.getDefaultValue() is None
        and str(item.getVisibility()) != "MESSAGE"
        and (item.getType().isPrimitive() or any(kind.isAssignableFrom(item.getType()) for kind in plain))
    ]
    if missing:
        msg = f"script {name} was not run: it needs a value for {', '.join(missing)}"
        raise InputError(msg)


def _say(printed: Any, said: int) -> int:
    text = str(printed.toString())
    if len(text) > said:
        sys.stdout.write(text[said:])
        sys.stdout.flush()
    return len(text)
