"""A watch that keeps up: what is known of the fixed image is worked out once, however many images arrive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import made_pictures
import numpy as np
import pytest
import tifffile

from demis_ij.aligners import structure_fit
from demis_ij.config.registering import RegisterConfig
from demis_ij.jobs.register import registering
from demis_ij.jobs.register import watch as register_watch
from demis_ij.register import looks
from demis_ij.register.registering import Guess

SIDE, IMAGES = 192, 5
LEVELS = len(looks.LEVELS)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often what is slow is done from now on."""
    made: Counter[str] = Counter()

    def counting(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def called(*given: Any, **named: Any) -> Any:
            made[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, called)

    for owner, name in (
        (looks, "structure_of"), (looks, "Template"), (structure_fit, "Tones"),
        (registering, "read_picture"),
    ):  # fmt: skip
        counting(owner, name)
    return made


def test_each_image_costs_its_own_structure_and_nothing_of_the_fixed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, truths = tmp_path / "in", []
    folder.mkdir()
    for k in range(IMAGES):
        truths.append(made_pictures.similarity(2 * k - 4, 1 + 0.01 * k, (k, -k), SIDE))
        fixed, moving = made_pictures.pair(4, truths[-1], SIDE)
        assert cv2.imwrite(str(folder / f"{k}.png"), np.clip(255 - moving, 0, 255).astype(np.uint8))
        tifffile.imwrite(tmp_path / "fixed.tif", np.clip(fixed, 0, 255).astype(np.uint8))
    made = counted(monkeypatch)
    guess: Guess = lambda one, other: truths[guessed.pop(0)]  # noqa: E731
    guessed = list(range(IMAGES))
    monkeypatch.setattr(registering, "Start", _Start(guess))

    told = list(
        register_watch.watch(folder, tmp_path / "fixed.tif", RegisterConfig(threads=1), once=True, wait=lambda _: None)
    )

    assert [a.outcome for a in told[1:]] == ["matched"] * IMAGES
    assert made["structure_of"] == LEVELS * (1 + IMAGES)
    assert made["Template"] == LEVELS
    assert made["Tones"] == 1
    assert made["read_picture"] == 1 + IMAGES


class _Start:
    """Stands for a network that is loaded once, and is right each time."""

    def __init__(self, guess: Guess) -> None:
        self.guess, self.notes, self.loaded = guess, (), 0

    def of(self, _config: RegisterConfig) -> _Start:
        self.loaded += 1
        if self.loaded > 1:
            msg = "the network was loaded again"
            raise AssertionError(msg)
        return self
