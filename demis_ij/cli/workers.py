"""Who does the work, on the command line: ``--workers``, ``--dask`` and ``--memory``. None of them changes a result."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from demis_ij.errors import InputError

Workers_ = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that work side by side; 0 is one a core.", show_default=True)
]
Dask_ = Annotated[
    str | None,
    typer.Option("--dask", metavar="ADDRESS", help="A dask scheduler, e.g. tcp://node:8786; 'local' starts one here."),
]
Memory_ = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="What all processes of a machine may use together, e.g. 8G."),
]

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?")


def size_in_bytes(text: str | None) -> int | None:
    """Return what ``--memory`` says, None where nothing was said. Raises `InputError`.

    Examples
    --------
    >>> size_in_bytes("8G"), size_in_bytes("1.5 GiB"), size_in_bytes(None)
    (8589934592, 1610612736, None)
    """
    if text is None:
        return None
    found = SIZE.fullmatch(text.strip().upper())
    if found is None or float(found[1]) == 0:
        msg = f"--memory {text}: needed a size such as 8G, 500M or 1.5G"
        raise InputError(msg)
    return round(float(found[1]) * UNITS[found[2]])
