"""Training the two-headed network: it learns in seconds, goes on to the same weights, and says what it can tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.errors import InputError
from demis_ij.nets.two_headed_frames import predict
from demis_ij.nets.two_headed_weights import load_two_headed
from demis_ij.nets.weights import state_digest
from demis_ij.synth.correlative_pairs import RANGES
from demis_ij.synth.specimens import material_specimen
from demis_ij.train.two_headed import CHECKPOINT, LOG, TwoHeadedTraining, form_of, train_features
from demis_ij.train.two_headed_finish import fit_regressor, gather_table
from demis_ij.train.two_headed_loss import fine_target, losses
from demis_ij.train.two_headed_outcome import finish_training
from demis_ij.train.two_headed_pairs import SHARES, make_batch, make_pair
from demis_ij.train.two_headed_specimens import Specimens, registered_pairs
from demis_ij.train.two_headed_validation import explained, validate

SMALL = TwoHeadedConfig(
    side=64, steps=4, batch=4, validation_pairs=1, validate_every=2, finish_pairs=16, finish_steps=60, warmup_steps=1,
    device="cpu", threads=1, precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def specimens():
    made = [material_specimen((260, 260), k, name=name) for k, name in enumerate(("grains", "particles", "fibres") * 2)]
    return Specimens(tuple(made[:5]), tuple(made[5:]), {"made up": 5}, (), ())


class Interrupted(Exception):
    pass


def interrupt_at(step):
    def progress(what, done, total):
        if done == step:
            raise Interrupted

    return progress


def test_pairs_are_the_same_for_the_same_seed(specimens):
    one, other, third = (make_batch(specimens.train, np.random.default_rng(s), 3, 64) for s in (1, 1, 2))
    for a, b in zip(one.pictures, other.pictures, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.moving, third.moving)
    assert all(p.shape == (3, 1, 64, 64) and np.isfinite(p).all() for p in one.pictures)


def test_the_fixed_picture_lies_in_the_moving_one_where_the_parameters_say(specimens):
    """Without noise and blur both pictures of a mono pair are one when the moving one is brought back."""
    from demis_ij.nets.two_headed_geometry import brought, matrices

    for seed in range(4):
        shown = make_pair(specimens.train[seed], np.random.default_rng(seed), 64, kind="mono")
        truth = matrices(torch.from_numpy(shown[4])[None].float())
        moved = brought(torch.from_numpy(shown[1])[None, None], truth, "bilinear")[0, 0, 16:48, 16:48].numpy()
        still = shown[0][16:48, 16:48]
        unmoved = shown[1][16:48, 16:48]
        assert np.corrcoef(moved.ravel(), still.ravel())[0, 1] > 0.6
        assert np.corrcoef(unmoved.ravel(), still.ravel())[0, 1] < 0.5


@pytest.mark.parametrize("kind", [*SHARES, "partner"])
def test_every_kind_of_pair_can_be_made(specimens, kind):
    one = replace(specimens.train[0], partner=1 - specimens.train[0].grey)
    fixed, moving, _, _, _, chosen = make_pair(one, np.random.default_rng(0), 64, kind=kind)
    assert chosen == kind
    assert np.ptp(fixed) > 1
    assert np.ptp(moving) > 1


def test_the_wanted_softmax_has_its_mean_at_the_truth():
    net = untrained()
    at = torch.tensor([[0.4, -0.7, 1.3, -0.2]])
    count, wide = net.form.fine_count, 2 * net.form.fine_reach + 1
    target = fine_target(torch.zeros(1, count, count, wide, wide), at)
    logits = (target + 1e-30).log().reshape(1, count, count, wide, wide) / net.sharpness[1].exp()
    mean, _ = net.fine_estimate(logits)
    torch.testing.assert_close(mean, at, atol=0.05, rtol=0)


def untrained():
    from demis_ij.nets.two_headed import TwoHeaded

    return TwoHeaded(form_of(SMALL)).eval().requires_grad_(False)


def test_hypotheses_reach_beyond_what_is_learned():
    for angle, scale, shift in ((30.0, 1.3, 0.12), (5.0, 1.05, 0.04), (45.0, 1.5, 0.25)):
        form = form_of(replace(SMALL, angle_deg=angle, scale=scale, shift_frac=shift))
        assert (form.angles // 2) * np.degrees(form.angle_step) > angle
        assert (form.scales // 2) * form.scale_step > np.log(scale)
        assert form.reach * 4 / form.side > shift


def test_a_dozen_steps_learn_measurably(specimens):
    """On one batch of easy pairs again and again: the volumes must come to peak at the truth."""
    training = TwoHeadedTraining(specimens, replace(SMALL, steps=1000, batch=4, learning_rate=4e-3))
    batch = make_batch(specimens.train, np.random.default_rng(8), 4, 64, RANGES["small"], 0.0)
    training.batch = lambda: batch  # type: ignore[method-assign]
    truth = torch.from_numpy(batch.parameters)

    def lost():
        found = training.net.features(*(torch.from_numpy(p) for p in batch.pictures))
        return losses(training.net, found, truth, torch.Generator().manual_seed(0)).total.item()

    training.net.train()
    before = lost()
    for _ in range(12):
        training.take_step()
    assert lost() < before - 1.0  # nats


def test_an_interrupted_training_goes_on_to_the_same_weights(specimens, tmp_path):
    whole = train_features(tmp_path / "whole", specimens, SMALL)
    with pytest.raises(Interrupted):
        train_features(tmp_path / "parts", specimens, SMALL, progress=interrupt_at(3))
    parts = train_features(tmp_path / "parts", specimens, SMALL)
    assert parts.step == 4
    assert state_digest(parts.average.state_dict()) == state_digest(whole.average.state_dict())
    table = (tmp_path / "parts" / LOG).read_text().splitlines()
    assert table[0].startswith("step,seconds,rate,coarse,fine,place,mono,xray")
    assert [line.split(",")[0] for line in table[1:]] == ["2", "4"]


def test_another_training_is_not_gone_on_with(specimens, tmp_path):
    train_features(tmp_path, specimens, replace(SMALL, steps=2))
    with pytest.raises(InputError, match=r"learning_rate was 0\.002, now 0\.001"):
        train_features(tmp_path, specimens, replace(SMALL, learning_rate=1e-3))
    with pytest.raises(InputError, match="images are not the same"):
        train_features(tmp_path, replace(specimens, train=specimens.train[:4]), SMALL)
    (tmp_path / CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        train_features(tmp_path, specimens, SMALL)


def test_a_finished_training_leaves_weights_a_card_and_predictions(specimens, tmp_path):
    training = train_features(tmp_path, specimens, SMALL)
    trained = finish_training(training, tmp_path, command="typed")
    loaded = load_two_headed(str(trained.weights))
    assert loaded.card["command"] == "typed"
    torch.testing.assert_close(loaded.net.deviation[0], torch.tensor(np.radians(30) / np.sqrt(3), dtype=torch.float32))
    lines = trained.predictions.read_text().splitlines()
    assert len(lines) == 1 + 2 * 5
    assert {line.split(",")[0] for line in lines[1:]} == {"train", "test"}
    card = trained.card.read_text()
    assert "| xray_hard |" in card
    assert "typed" in card
    found = predict(specimens.train[0].grey, specimens.train[0].grey, net=loaded.net)
    assert np.isfinite(found.match_logit)


def test_the_regressor_learns_to_tell_matches_from_strangers(specimens):
    """Features that follow the picture do not need to be learned for this: mono pairs and strangers differ at once."""
    training = TwoHeadedTraining(specimens, replace(SMALL, finish_steps=200))
    net = training.average.requires_grad_(False)
    net.sharpness.fill_(4.0)
    table = gather_table(net, specimens.train, 48, 3, RANGES["small"])
    assert (table.state == 0).sum() == 24 * 2  # strangers, by each pass
    assert 48 <= (table.state != 0).sum() <= 48 * 2  # the second pass only of those that were found
    told = fit_regressor(net, table, replace(SMALL, finish_steps=300))
    assert told["wrong"] < 0.45
    scores = validate(net, training.validation)
    assert (scores.sigma_px > 0).all()


def test_r_squared_is_one_for_the_truth_and_zero_for_its_mean():
    truth = np.random.default_rng(0).normal(size=(50, 4))
    np.testing.assert_allclose(explained(truth, truth), 1)
    np.testing.assert_allclose(explained(truth, np.tile(truth.mean(0), (50, 1))), 0, atol=1e-12)


def test_pairs_out_of_register_and_tables_without_columns_are_refused(tmp_path):
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    cv2.imwrite(str(tmp_path / "b.png"), noise[:150])
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving\na.png,b.png\n")
    with pytest.raises(InputError, match="in register"):
        registered_pairs(table)
    table.write_text("one,two\na.png,b.png\n")
    with pytest.raises(InputError, match="columns fixed and moving"):
        registered_pairs(table)
    table.write_text("fixed,moving\na.png,a.png\n")
    assert registered_pairs(table)[0].partner is not None


def test_settings_out_of_range_are_refused_by_name():
    for name, value in (("side", 100), ("scale", 1.0), ("precision", "half"), ("batch", 1)):
        with pytest.raises(InputError, match=name):
            TwoHeadedConfig(**{name: value})
