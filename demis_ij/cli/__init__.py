"""The command line: one thin command a verb. Parse, call, say what happened."""

from demis_ij.cli.app import main

__all__ = ["main"]
