"""Whether edges are bright or dark in images of an instrument: what greys mean, as far as that is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demis_ij.nets.style_contrast import polarity_look
from demis_ij.nets.style_look import from_bytes
from demis_ij.train.style_crops import Seen

_SHARE = 0.1  # of the images that may lie beyond, to either side


def polarities(images: Sequence[Seen]) -> tuple[float, float]:
    """Return between what most images of an instrument lie (`demis_ij.nets.style_contrast.polarity_of`)."""
    found = [polarity_look(from_bytes(np.asarray(one.look)), np.asarray(one.mask) > 0) for one in images]
    low, high = np.quantile(found, (_SHARE, 1 - _SHARE))
    return float(low), float(high)


__all__ = ["polarities"]
