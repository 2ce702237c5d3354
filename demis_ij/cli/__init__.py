"""The command line: one thin command a verb. Parse, call, say what happened."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line (`demis_ij.cli.app.main`); a Ctrl-C while it is being loaded is no traceback either."""
    try:
        from demis_ij.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("demis-ij: interrupted before anything was done\n")
        sys.exit(130)
    run()


__all__ = ["main"]
