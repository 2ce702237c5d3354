"""Training the autoencoder: it learns, goes on to the same weights, and refuses what it cannot use."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.nets.ssemnet import load_autoencoder
from demis_ij.nets.weights import state_digest
from demis_ij.train.autoencoder import (
    CHECKPOINT,
    LOG,
    AutoencoderTraining,
    generated_parts,
    parts_of_images,
    parts_of_stack,
    train_autoencoder,
)

SMALL = AutoencoderConfig(
    form="sem",
    steps=30,
    crop_px=48,
    batch=4,
    validate_every=10,
    window_px=0.0,
    device="cpu",
    threads=1,
    minutes=100.0,
)


def texture(seed, side=120):
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    return 128 + 300 * cv2.GaussianBlur(noise, (0, 0), 4)


@pytest.fixture
def parts():
    return parts_of_images(((texture(k), np.ones((120, 120), bool)) for k in range(5)), SMALL)


class Interrupted(Exception):
    pass


def interrupt_at(step):
    def progress(what, done, total):
        if done == step:
            raise Interrupted

    return progress


def test_it_learns_and_leaves_weights_a_card_and_the_loss_curve(parts, tmp_path):
    config = replace(SMALL, steps=150, validate_every=50, licence="CC0")
    trained = train_autoencoder(tmp_path / "run", parts, config, command="demis-ij train ...")
    assert (trained.step, trained.stopped) == (150, "steps")
    assert [p["step"] for p in trained.history] == [50, 100, 150]
    assert trained.history[-1]["validation"] < 0.6 * trained.grey_variance
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    loaded = load_autoencoder(str(trained.weights))
    assert state_digest(loaded.net.state_dict()) == state_digest(trained.net.state_dict())
    assert loaded.card["settings"]["form"] == "sem"
    card = trained.card.read_text()
    assert "CC0" in card
    assert "demis-ij train ..." in card
    assert len((tmp_path / "run" / LOG).read_text().splitlines()) == 3


def test_the_unit_of_the_features_is_their_variance_on_what_was_learned(parts, tmp_path):
    net = train_autoencoder(tmp_path / "run", parts, SMALL).net
    assert 0 < float(net.feature_var) != 1
    assert not any(p.requires_grad for p in net.parameters())


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(parts, tmp_path):
    whole = train_autoencoder(tmp_path / "whole", parts, SMALL)
    with pytest.raises(Interrupted):
        train_autoencoder(tmp_path / "two", parts, SMALL, progress=interrupt_at(17))
    went_on = train_autoencoder(tmp_path / "two", parts, SMALL)
    assert state_digest(went_on.net.state_dict()) == state_digest(whole.net.state_dict())
    assert [p["step"] for p in went_on.history] == [10, 20, 30]


def test_a_finished_training_is_not_done_again(parts, tmp_path):
    first = train_autoencoder(tmp_path / "run", parts, SMALL)
    steps = []
    again = train_autoencoder(tmp_path / "run", parts, SMALL, progress=lambda *a: steps.append(a))
    assert steps == []
    assert state_digest(again.net.state_dict()) == state_digest(first.net.state_dict())


def test_other_settings_or_images_are_not_mixed_into_a_run(parts, tmp_path):
    train_autoencoder(tmp_path / "run", parts, SMALL)
    with pytest.raises(InputError, match="holds another training") as refused:
        train_autoencoder(tmp_path / "run", parts, replace(SMALL, seed=2))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="the images are not the same"):
        train_autoencoder(tmp_path / "run", parts[:-1], SMALL)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        train_autoencoder(tmp_path / "run", parts, SMALL)


def test_a_folder_that_holds_something_else_is_left_alone(parts, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        train_autoencoder(tmp_path, parts, SMALL)


def test_the_minutes_end_it(parts, tmp_path):
    trained = train_autoencoder(tmp_path / "run", parts, replace(SMALL, steps=100_000, minutes=0.01))
    assert trained.stopped == "minutes"
    assert 0 < trained.step < 100_000


def test_it_stops_when_validation_gets_no_better(parts):
    training = AutoencoderTraining(parts, replace(SMALL, patience=2))
    for score in (0.5, 0.4, 0.399, 0.41):
        assert training.over == ""
        training.best_score, training.stale = _validated(training, score)
    assert training.over == "no better"


def _validated(training, score):
    """Return what a validation of this score leaves, by the rule of `validate`."""
    training.net.forward = lambda images: images + np.float32(np.sqrt(score))
    training.validate()
    return training.best_score, training.stale


def test_held_out_sections_are_not_trained_on(parts):
    training = AutoencoderTraining(parts, SMALL)
    assert len(training.parts) == 4
    alone = AutoencoderTraining([(np.hstack([parts[0][0]] * 3), np.hstack([parts[0][1]] * 3))], SMALL)
    assert alone.parts[0][0].shape == (120, 270)


def test_the_same_seed_gives_the_same_crops_and_another_one_others(parts):
    first, same, other = (AutoencoderTraining(parts, replace(SMALL, seed=s)).validation[0] for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_empty_and_uniform_sections_are_left_out():
    images = [(texture(0), np.ones((120, 120), bool)), (np.full((120, 120), 7.0), np.ones((120, 120), bool)),
              (texture(1), np.zeros((120, 120), bool)), (np.full((120, 120), np.nan), np.ones((120, 120), bool)),
              (texture(2, 40), np.ones((40, 40), bool))]  # fmt: skip
    assert len(parts_of_images(images, SMALL)) == 1
    with pytest.raises(InputError, match="nothing to train on"):
        AutoencoderTraining(parts_of_images(images[1:], SMALL), SMALL)


def test_a_stack_is_learned_from_evenly(tmp_path):
    for k in range(6):
        cv2.imwrite(str(tmp_path / f"{k}.png"), texture(k).clip(0, 255).astype(np.uint8))
    stack = read_stack(tmp_path)
    assert len(parts_of_stack(stack, replace(SMALL, sections=3))) == 3
    assert parts_of_stack(stack, replace(SMALL, section_px=64))[0][0].shape == (64, 64)
    with pytest.raises(InputError, match="no section to learn from"):
        parts_of_stack(stack, replace(SMALL, crop_px=500))


def test_made_up_sections_can_be_learned_from():
    found = generated_parts(replace(SMALL, generated=1))
    assert found[0][0].shape == (512, 512)
    assert 0.1 < found[0][0].std() < 0.3


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"form": "tme"}, {"steps": 0}, {"crop_px": 8}, {"device": "gpu"}, {"steps": 1.5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            AutoencoderConfig(**wrong)
