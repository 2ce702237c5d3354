"""What a style network does on images that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    "step", "seconds", "rate", "loss", "adversarial", "critic", "difference", "likeness", "alike", "cycle", "invented",
    "lost", "moved_px",
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
    plain : ndarray or None
        What is left of the partner for comparisons; None where that is not learned.
    returned : ndarray or None
        The source's look again, after the way there and back.
    check : StyleCheck
    """

    name: str
    source: Look
    restyled: Look
    target: Look | None
    plain: Look | None
    returned: Look | None
    check: StyleCheck


def validate(nets: Mapping[str, Generator], examples: Examples, config: StyleConfig) -> dict[str, float]:
    """Return means over held-out crops: likeness to the partner, the way there and back, and the structure's fate.

    What does not exist is NaN.

    Parameters
    ----------
    nets : mapping of str to Generator
        ``there``, and ``back`` and ``plain`` where they are learned; in evaluation mode.
    examples : Examples
    config : StyleConfig
    """
    lines: list[dict[str, float]] = []
    for one, known, wanted, shared in _crops(examples, config.validation_crops, nets["there"]):
        restyled, returned, plain = _sent(nets, one, wanted)
        line: dict[str, Any] = dict.fromkeys(("difference", "likeness", "alike", "cycle"), math.nan)
        if wanted is not None and shared.any():
            line["difference"] = float(difference(restyled, wanted, shared))
            line["likeness"] = float(local_correlation(restyled, wanted, shared))
        if plain is not None and shared.any():
            line["alike"] = float(local_correlation(restyled, plain, shared))
        if returned is not None and known.any():
            line["cycle"] = float(difference(returned, one, known))
        check = check_style(one[0].cpu().numpy(), restyled[0].cpu().numpy(), known[0, 0].cpu().numpy() > 0)
        line |= {"invented": check.invented, "lost": check.lost, "moved_px": check.moved_px}
        lines.append(line)
    return {key: _mean([line[key] for line in lines]) for key in lines[0]}


def shown_crops(
    nets: Mapping[str, Generator],
    examples: Examples,
    count: int,
    wanted_polarity: tuple[float, float] | None = None,
) -> list[Shown]:
    """Return held-out crops before and after, for pictures, with whether edges are bright or dark as is wanted."""
    found = []
    names = [one.name for one in examples.source.validation]
    for number, (one, known, wanted, _) in enumerate(_crops(examples, count, nets["there"])):
        restyled, returned, plain = _sent(nets, one, wanted)
        looks = [None if x is None else x[0].cpu().numpy() for x in (one, restyled, wanted, plain, returned)]
        check = check_style(looks[0], looks[1], known[0, 0].cpu().numpy() > 0, wanted=wanted_polarity)  # type: ignore[arg-type]
        found.append(Shown(names[number % len(names)], looks[0], looks[1], looks[2], looks[3], looks[4], check))  # type: ignore[arg-type]
    return found


@torch.inference_mode()
def _sent(
    nets: Mapping[str, Generator], images: torch.Tensor, wanted: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return images restyled, the same returned, and what is left of their partners."""
    restyled = nets["there"](images).float()
    returned = nets["back"](restyled.clamp(-1, 1)).float() if "back" in nets else None
    return restyled, returned, nets["plain"](wanted).float() if "plain" in nets and wanted is not None else None


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
