"""What a worker does in place of matching, in tests: it dies on the pair that a file names."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from demis_ij.stitch import asking

MARK = "mark:"
REAL = asking.match_batch


def DEADLY(batch):  # noqa: N802 - stands for a constant
    deadly = tuple(Path(batch.config.weights.removeprefix(MARK)).read_text().split())
    if deadly in batch.pairs:
        os.kill(os.getpid(), signal.SIGKILL)
    return REAL(batch)
