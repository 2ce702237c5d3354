"""The ``demis-ij`` command: options common to all, and how every failure becomes one line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import NoReturn

import click
import typer

from demis_ij import __version__
from demis_ij.cli import layouts, stitching, support
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
layouts.add_to(app)
support.add_to(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"demis-ij {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of a failure."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write("demis-ij: " + " ".join(message.split()) + "\n")
    sys.exit(code)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 1 our fault or the machine's (a full disk); 2 something the user gave; 3 done, but
    ``--strict`` and there were warnings; 130 interrupted.
    """
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(error.format_message() + "\n")
        sys.exit(0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        where = f" (see 'demis-ij {error.ctx.info_name} --help')" if error.ctx and error.ctx.parent else ""
        _fail(error.format_message() + where, 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        _fail("interrupted; what is done is kept: the same command goes on from there", 130)
    except (InputError, WeightsError) as error:
        if debug:
            raise
        _fail(str(error), 2)
    except DemisError as error:
        if debug:
            raise
        _fail(str(error), 1)
    except OSError as error:
        if debug:
            raise
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            where = f" ({error.filename})" if error.filename else ""
            _fail(f"the disk is full{where}; what is done is kept: free some space and run the same command again", 1)
        if error.errno == errno.EPIPE:
            os._exit(1)
        _fail(f"{error.strerror or error}: {error.filename or ''}", 1)
    except Exception as error:
        if debug:
            raise
        _fail(f"internal error, please report it: {type(error).__name__}: {error} (--debug shows where)", 1)


__all__ = ["app", "main"]
