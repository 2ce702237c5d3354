"""What a style network does on images that it was not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from demis_ij.config.style import StyleConfig
from demis_ij.nets.style import Generator
from demis_ij.nets.style_check import StyleCheck, check_style
from demis_ij.nets.style_look import Look
from demis_ij.train.style_crops import Crops, Seen, middle_crop
from demis_ij.train.style_loss import difference, local_correlation
from demis_ij.train.style_pairs import Examples

COLUMNS = (
    "step", "seconds", "rate", "loss", "adversarial", "critic", "difference", "likeness", "cycle", "invented", "lost",
    "moved_px",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shown:
    """One held-out crop before and after.

    Attributes
    ----------
    name : str
    source, restyled : ndarray of shape (C, side, side), float32
        Looks.
    target : ndarray or None
        The partner's look; None where there is none.
    returned : ndarray or None
        The source's look again, after the way there and back.
    check : StyleCheck
    """

    name: str
    source: Look
    restyled: Look
    target: Look | None
    returned: Look | None
    check: StyleCheck


def validate(forward: Generator, back: Generator | None, examples: Examples, config: StyleConfig) -> dict[str, float]:
    """Return means over held-out crops: likeness to the partner, the way there and back, and the structure's fate.

    What does not exist is NaN.

    Parameters
    ----------
    forward, back : Generator
        In evaluation mode.
    examples : Examples
    config : StyleConfig
    """
    lines: list[dict[str, float]] = []
    for one, known, wanted, shared in _crops(examples, config.validation_crops, forward):
        restyled, returned = _sent(forward, back, one)
        line: dict[str, Any] = {"difference": math.nan, "likeness": math.nan, "cycle": math.nan}
        if wanted is not None:
            line["difference"] = float(difference(restyled, wanted, shared))
            line["likeness"] = float(local_correlation(restyled, wanted, shared))
        if returned is not None:
            line["cycle"] = float(difference(returned, one, known))
        check = check_style(one[0].cpu().numpy(), restyled[0].cpu().numpy(), known[0, 0].cpu().numpy() > 0)
        line |= {"invented": check.invented, "lost": check.lost, "moved_px": check.moved_px}
        lines.append(line)
    return {key: _mean([line[key] for line in lines]) for key in lines[0]}


def shown_crops(forward: Generator, back: Generator | None, examples: Examples, count: int) -> list[Shown]:
    """Return held-out crops before and after, for pictures."""
    found = []
    names = [one.name for one in examples.source.validation]
    for number, (one, known, wanted, _) in enumerate(_crops(examples, count, forward)):
        restyled, returned = _sent(forward, back, one)
        looks = [None if x is None else x[0].cpu().numpy() for x in (one, restyled, wanted, returned)]
        check = check_style(looks[0], looks[1], known[0, 0].cpu().numpy() > 0)  # type: ignore[arg-type]
        found.append(Shown(names[number % len(names)], looks[0], looks[1], looks[2], looks[3], check))  # type: ignore[arg-type]
    return found


@torch.inference_mode()
def _sent(forward: Generator, back: Generator | None, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    restyled = forward(images).float()
    return restyled, None if back is None else back(restyled.clamp(-1, 1)).float()


def _crops(examples: Examples, count: int, net: Generator) -> Any:
    """Yield crops: source, its mask, target or None, and the mask of both."""
    device = next(net.parameters()).device

    def tensors(image: Seen, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        crop: Crops = middle_crop(image, examples.crop_px, number)
        return torch.from_numpy(crop.looks).to(device), torch.from_numpy(crop.masks).to(device)

    sources, targets = examples.source.validation, examples.target.validation
    for k in range(count):
        at, number = k % len(sources), k // len(sources)
        one, known = tensors(sources[at], number)
        if not examples.paired:
            yield one, known, None, known
            continue
        wanted, other = tensors(targets[at], number)
        yield one, known, wanted, known * other


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


__all__ = ["COLUMNS", "Shown", "shown_crops", "validate"]
