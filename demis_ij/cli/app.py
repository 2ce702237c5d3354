"""The ``demis-ij`` command: options common to all, and how every failure becomes one line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from typing import Any, NoReturn

import typer

from demis_ij import __version__
from demis_ij.cli import (
    aligning,
    comparing,
    comparing_align,
    comparing_register,
    evaluating_register,
    evaluating_style,
    evaluation,
    fiji,
    imagej,
    layouts,
    merging,
    redoing,
    registering,
    rendering,
    seams,
    stitching,
    support,
    synthesis,
    synthesis_correlative,
    training,
    training_style,
    training_two_headed,
    watching,
)
from demis_ij.errors import DemisError, InputError, WeightsError

app = typer.Typer(
    name="demis-ij",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Put electron microscope images together. 'demis-ij demo' shows the whole job on a made-up section.",
)
stitching.add_to(app)
comparing.add_to(app)
rendering.add_to(app)
seams.add_to(app)
redoing.add_to(app)
merging.add_to(app)
watching.add_to(app)
layouts.add_to(app)
aligning.add_to(app)
registering.add_to(app)
support.add_to(app)
training.add_to(app)
training_style.add_to(app)
training_two_headed.add_to(app)
synthesis.add_to(app)
synthesis_correlative.add_to(app)
evaluation.add_to(app)
comparing_align.add_to(app)
comparing_register.add_to(app)
evaluating_register.add_to(app)
evaluating_style.add_to(app)
fiji.add_to(app)
imagej.add_to(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"demis-ij {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of a failure."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    else:  # what other packages say of a broken image is said by us, in one line
        logging.basicConfig(handlers=[logging.NullHandler()])


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write("demis-ij: " + " ".join(message.split()) + "\n")
    sys.exit(code)


def _named_base(kind: type[Exception], name: str) -> type[Exception]:
    """Return a base class by name: typer brings its own copy of click, or uses click's, by version."""
    return next(c for c in kind.__mro__ if c.__name__ == name and issubclass(c, Exception))


USAGE_ERROR = _named_base(typer.BadParameter, "UsageError")
COMMAND_ERROR = _named_base(typer.BadParameter, "ClickException")
INTERRUPTED = 130
GOES_ON = ("stitch", "redo", "merge", "render", "align", "compare", "demo", "synth", "train", "evaluate")
"""Commands that an interruption leaves in a state from which the same command goes on."""


def _say_usage(error: Any) -> NoReturn:
    """Say what was wrong with the command line; a command alone is a question for its help."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(message + "\n")
        sys.exit(0)
    words = error.ctx.command_path if error.ctx else "demis-ij"
    _fail(f"{message.rstrip('.')} (see '{words} --help')", 2)


def _say_os_error(error: OSError) -> NoReturn:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"the disk is full{where}; what is done is kept: free some space and run the same command again", 1)
    if error.errno == errno.EPIPE:
        os._exit(1)  # nobody reads on; flushing what is left would only raise again
    _fail(f"{error.strerror or error}: {error.filename or 'no file named'}", 1)


def _say_interrupted() -> NoReturn:
    keeps = any(word in GOES_ON for word in sys.argv[1:3]) or ("register" in sys.argv[1:3] and "--out" in sys.argv)
    kept = "what is done is kept: the same command goes on from there" if keeps else "nothing unfinished is left"
    _fail(f"interrupted; {kept}", INTERRUPTED)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 1 our fault or the machine's (a full disk); 2 something the user gave; 3 done, but
    ``--strict`` and there were warnings; 4 done, but images do not match; 130 interrupted.
    """
    debug = "--debug" in sys.argv
    if not debug:
        warnings.simplefilter("ignore")  # those of other packages; ours are lines of the result
    try:
        code = app(standalone_mode=False, prog_name="demis-ij")
        if code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt, without a word
            _say_interrupted()
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _say_interrupted()
    except Exception as error:  # every failure becomes one line
        if debug:
            raise
        if isinstance(error, USAGE_ERROR):
            _say_usage(error)
        if isinstance(error, COMMAND_ERROR):
            _fail(str(error), 2)
        if isinstance(error, InputError | WeightsError):
            _fail(str(error), 2)
        if isinstance(error, DemisError):
            _fail(str(error), 1)
        if isinstance(error, OSError):
            _say_os_error(error)
        _fail(f"internal error, please report it: {type(error).__name__}: {error} (--debug shows where)", 1)


__all__ = ["app", "main"]
