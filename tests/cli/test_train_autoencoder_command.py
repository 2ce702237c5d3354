# ruff: noqa: F811 - fixtures come by name
"""``demis-ij train autoencoder``: from a stack to weights, and what is refused in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from cli_words import demis  # noqa: F401 - a fixture

FAST = ("--steps", "4", "--set", "crop_px=48", "--set", "batch=2", "--set", "validate_every=2", "--device", "cpu",
        "--form", "sem", "--threads", "1")  # fmt: skip


@pytest.fixture
def stack(tmp_path):
    folder = tmp_path / "stack"
    folder.mkdir()
    for k in range(3):
        noise = np.random.default_rng(k).standard_normal((100, 100)).astype(np.float32)
        grey = np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 4), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{k}.png"), grey)
    return folder


def test_a_stack_gives_weights_a_card_and_a_page(demis, stack, tmp_path):
    said = demis("train", "autoencoder", stack, "--out", tmp_path / "run", *FAST, "--json")
    assert said.code == 0
    facts = json.loads(said.out)
    assert (facts["step"], facts["ended_by"]) == (4, "steps")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<polyline" in page
    assert "data:image/jpeg" in page
    again = demis("train", "autoencoder", stack, "--out", tmp_path / "run", *FAST)
    assert again.code == 0
    assert "best weights: step" in again.out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((), "nothing to train on"),
        (("--generated", "1", "--set", "stepps=3"), "did you mean 'steps'"),
        (("--generated", "1", "--set", "steps"), "needed NAME=VALUE"),
        (("--generated", "1", "--form", "tme"), "did you mean 'tem'"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(demis, tmp_path, wrong, said):
    answer = demis("train", "autoencoder", "--out", tmp_path / "run", *wrong)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
