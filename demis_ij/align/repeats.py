"""Sections that are copies of another: someone has filled a gap, or a file was written twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from demis_ij.align.results import SectionVerdict
from demis_ij.align.sections import Pyramid


def with_repeats(
    verdicts: Sequence[SectionVerdict], pyramid: Pyramid, usable: Sequence[int], levels: Sequence[int]
) -> tuple[SectionVerdict, ...]:
    """Return the verdicts, with a flag for each section whose picture is that of an earlier one.

    Parameters
    ----------
    verdicts : sequence of SectionVerdict
        Of all sections.
    pyramid : Pyramid
        What the sections look like; equal at all levels that are compared, they are equal.
    usable : sequence of int
        The sections that are in the pyramid.
    levels : sequence of int
        The reductions there are.
    """
    found = list(verdicts)
    first: dict[str, int] = {}
    for index in usable:
        small = hashlib.sha256(b"".join(part.tobytes() for part in pyramid.get(index, max(levels)))).hexdigest()
        one = first.setdefault(small, index)
        if one != index and _equal(pyramid, one, index, min(levels)):
            flag = f"the same picture as section {verdicts[one].id}"
            found[index] = replace(found[index], flags=(*found[index].flags, flag))
    return tuple(found)


def _equal(pyramid: Pyramid, one: int, other: int, level: int) -> bool:
    pairs = zip(pyramid.get(one, level), pyramid.get(other, level), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
