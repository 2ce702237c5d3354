"""``check``: what this installation has, and the remedy for what it lacks."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from demis_ij import __version__, jobs
from demis_ij.worker.verbs import Verb

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell


def run(_given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the findings, and whether all is well."""
    tell("looking at the installation", 0, 1)
    found = jobs.examine()
    return {
        "findings": [asdict(f) for f in found],
        "ok": all(f.ok for f in found),
        "version": __version__,
        "python": f"{platform.python_version()} {sys.executable}",
    }


VERB = Verb(run)
