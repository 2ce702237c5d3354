"""Where a data bar begins: by all columns, whichever of them miss its step."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.images import data_mask

ROWS, TOP = 160, 140
SCALE = {np.uint8: 1, np.uint16: 257, np.float32: 1e-3}


def with_bar(cols: int, grey: float, missing: np.ndarray, dtype: type) -> np.ndarray:
    """Return tissue above a bar of nearly one grey value, whose step some columns do not have."""
    rng = np.random.default_rng(cols)
    image = rng.integers(40, 216, (ROWS, cols)).astype(float)
    image[0, :2] = 0, 255  # the whole range: a step is one of 255
    image[TOP:] = grey + rng.integers(0, 2, (ROWS - TOP, cols))  # no border of exactly one value
    image[TOP - 1, missing] = image[TOP, missing]
    return (image * SCALE[dtype]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("cols", [64, 65, 203, 1000])
@pytest.mark.parametrize("grey", [10, 240])
def test_a_bar_is_found_wherever_the_columns_lie_that_miss_its_step(cols, grey, dtype):
    few, many = int(0.05 * cols), int(0.05 * cols) + 1
    columns = np.arange(cols)
    shuffled = np.random.default_rng(1).permutation(cols)
    for order in (columns, columns[::-1], np.roll(columns, -cols // 2), shuffled):
        found = data_mask(with_bar(cols, grey, order[:few], dtype))
        assert found[:TOP].all()
        assert not found[TOP:].any()
        assert data_mask(with_bar(cols, grey, order[:many], dtype)).all()
