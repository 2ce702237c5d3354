"""Which GPU a worker gets: one each, in turn, told by ``CUDA_VISIBLE_DEVICES`` before anything looks for one."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")


def devices() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use: those its environment allows, else all of NVIDIA's.

    Empty where there is none, or where the driver does not say (it does on Linux): nothing is chosen there then.
    """
    allowed = os.environ.get(VARIABLE)
    if allowed is not None:
        return tuple(name.strip() for name in allowed.split(",") if name.strip())
    try:
        return tuple(map(str, range(len(list(DRIVER.iterdir())))))
    except OSError:
        return ()


def device_of(worker: int, there: tuple[str, ...]) -> dict[str, str]:
    """Return what the environment of a worker says of GPUs; nothing where there is none to choose among.

    Examples
    --------
    >>> device_of(3, ("0", "1")), device_of(3, ("0",))
    ({'CUDA_VISIBLE_DEVICES': '1'}, {})
    """
    return {VARIABLE: there[worker % len(there)]} if len(there) > 1 else {}
