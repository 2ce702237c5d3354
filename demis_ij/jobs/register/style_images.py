"""Images for style networks, read with all their channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.jobs.register.pictures import all_samples


def read_channels(path: Path) -> NDArray[Any]:
    """Return an image as (H, W), or (H, W, C) of more than one channel; uint8, uint16 or float32.

    Parameters
    ----------
    path : Path
        Whatever the project reads; of several pages the first.

    Raises
    ------
    InputError
        When it cannot be read: one line that names the file.
    """
    path = Path(path)
    if not path.exists():
        msg = f"no such image: {path}"
        raise InputError(msg)
    samples = all_samples(path)
    planes = [np.asarray(plane[:, :]) for plane in samples.planes]
    return planes[0] if len(planes) == 1 else np.stack(planes, -1)


__all__ = ["read_channels"]
