"""Weights that are trained on the stack itself: made once, kept in the run, gone on with."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.formats.stacks import read_stack
from demis_ij.jobs.align import own_weights
from demis_ij.jobs.align.own_weights import with_own_weights
from demis_ij.nets.ssemnet import load_autoencoder
from demis_ij.testing.matcher_contract import tissue

CONFIG = SsemnetConfig(weights="own_sem", device="cpu", window_px=12.0)


@pytest.fixture
def stack(tmp_path):
    (tmp_path / "stack").mkdir()
    for k in range(3):
        assert cv2.imwrite(
            str(tmp_path / "stack" / f"{k}.png"), tissue((120, 120), np.random.default_rng(k)).astype(np.uint8)
        )
    return read_stack(tmp_path / "stack")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Four steps instead of minutes."""

    def few_steps(**given):
        return replace(AutoencoderConfig(**given), steps=4, batch=2, validate_every=2, threads=1)

    monkeypatch.setattr(own_weights, "AutoencoderConfig", few_steps)


def test_weights_are_trained_once_and_stay_in_the_run_folder(stack, tmp_path):
    told = []
    found = with_own_weights(stack, tmp_path / "run", CONFIG, lambda *a: told.append(a))

    assert found == replace(CONFIG, weights=str(tmp_path / "run" / "autoencoder" / "autoencoder.safetensors"))
    assert [t[1:] for t in told] == [(k, 4) for k in (1, 2, 3, 4)]
    settings = json.loads((tmp_path / "run" / "autoencoder" / "autoencoder.json").read_text())
    assert (settings["form"], settings["window_px"]) == ("sem", 12.0)
    assert load_autoencoder(found.weights).net.stride == 4

    told.clear()
    assert with_own_weights(stack, tmp_path / "run", CONFIG, lambda *a: told.append(a)) == found
    assert told == []


def test_other_weights_are_left_as_they_are(stack, tmp_path):
    shipped = replace(CONFIG, weights="sem")

    assert with_own_weights(stack, tmp_path / "run", shipped, lambda *a: None) is shipped
    assert not (tmp_path / "run").exists()


def test_a_stack_without_anything_to_learn_from_is_refused(tmp_path):
    for k in range(2):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((120, 120), 9, np.uint8))

    with pytest.raises(InputError, match="no section to learn from"):
        with_own_weights(read_stack(tmp_path), tmp_path / "run", CONFIG, lambda *a: None)


def test_where_nothing_is_trained_own_weights_are_refused_in_one_line():
    with pytest.raises(WeightsError, match="trained by demis-ij align") as refused:
        load_autoencoder("own")
    assert "\n" not in str(refused.value)
