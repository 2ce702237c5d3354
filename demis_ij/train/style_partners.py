"""Partners that do not lie on each other yet: brought into register by their local contrast, then learned from.

A network that is trained on aligned pairs registers best, and a user who needs one has pairs that are not aligned.
Local contrast (`demis_ij.nets.style_contrast`) registers most of them a px or so off without any training; what is left
is within what the losses look for (`tolerance_px`). Pairs of which the registration says that it is no better than none
are left out. That registration and translation help each other is the idea of Arar et al. 2020, arXiv:2003.08073, and
Kong et al. 2021, arXiv:2110.06465, who train both at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.elastic import ElasticAligner
from demis_ij.images import warped
from demis_ij.nets.style_contrast import contrast_look
from demis_ij.nets.style_look import from_bytes, to_bytes
from demis_ij.records import Warp
from demis_ij.train.style_crops import Seen
from demis_ij.train.style_kept import keep_array, kept_array

_NOTHING = 128  # of a look as bytes: its middle, as where there is no data in any look

Progress = Callable[[str, int, int], None]


def brought_into_register(
    sources: Sequence[Seen],
    targets: Sequence[Seen],
    kept: Path,
    progress: Progress = lambda what, done, total: None,
) -> tuple[list[Seen], list[Seen], list[str]]:
    """Return sources moved to where their targets lie, these targets, and a line about each pair that is left out.

    Parameters
    ----------
    sources, targets : sequence of Seen
        Partners at the same places, of the same sizes.
    kept : Path
        Folder for what was moved; what is there is not moved again.
    progress : callable
    """
    aligner = ElasticAligner()
    found: tuple[list[Seen], list[Seen]] = ([], [])
    said = []
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        moved, reason = _moved(source, target, kept, aligner)
        if moved is None:
            said.append(f"{source.name} is left out: it was not brought into register with its partner, {reason}")
        else:
            found[0].append(moved)
            found[1].append(target)
        progress("bringing partners into register", number + 1, len(sources))
    return *found, said


def _moved(source: Seen, target: Seen, kept: Path, aligner: ElasticAligner) -> tuple[Seen | None, str]:
    """Return a source where its target lies; None, and why, when that was not found."""
    digest = hashlib.sha256(repr(("moved", source.look.shape)).encode())
    for one in (source, target):
        digest.update(np.ascontiguousarray(one.look).tobytes() + np.ascontiguousarray(one.mask).tobytes())
    held = kept / f"{digest.hexdigest()[:24]}.npy"
    content = kept_array(held)
    if content is None:
        fixed, moving = (_compared(one) for one in (target, source))
        result = aligner.register(fixed, moving, target.mask > 0, source.mask > 0)
        if not result.better_than_nothing:
            return None, result.reason
        warp = Warp((result.field,), target.shape)
        planes, masks = zip(*(warped(plane, source.mask > 0, warp) for plane in source.look), strict=True)
        looks = [np.where(masks[0], plane, np.uint8(_NOTHING)) for plane in planes]
        content = keep_array(held, np.stack([*looks, masks[0].astype(np.uint8)]))
    return Seen(source.name, content[:-1], content[-1]), ""


def _compared(one: Seen) -> NDArray[np.float32]:
    return to_bytes(contrast_look(from_bytes(np.asarray(one.look)), np.asarray(one.mask) > 0)).astype(np.float32)


__all__ = ["brought_into_register"]
