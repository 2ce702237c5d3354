"""Who does the work, on the command line: ``--workers``, ``--dask`` and ``--memory``. None of them changes a result."""

from __future__ import annotations

from typing import Annotated

import typer

from demis_ij.jobs.memory import size_in_bytes

Workers_ = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that work side by side; 0 is one a core.", show_default=True)
]
Dask_ = Annotated[
    str | None,
    typer.Option("--dask", metavar="ADDRESS", help="A dask scheduler, e.g. tcp://node:8786; 'local' starts one here."),
]
Memory_ = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", help="What all processes here may use together, e.g. 8G; on a cluster, each worker."
    ),
]

__all__ = ["Dask_", "Memory_", "Workers_", "size_in_bytes"]
