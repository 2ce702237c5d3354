"""Real images beside the checkout, where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """Return a folder of real images, or skip with the reason."""
    root = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"real images {name!r} are not on this machine (set DEMIS_IJ_DATA to the folder that holds them)")
    return folder
