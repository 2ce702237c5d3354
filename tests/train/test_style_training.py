"""Training style networks: every way learns, partners a little off are found, and a run goes on to the same weights."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from demis_ij.config.style import StyleConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.style import Form
from demis_ij.nets.style_weights import load_style
from demis_ij.nets.weights import state_digest
from demis_ij.train.style import CHECKPOINT, LOG, StyleTraining, train_style
from demis_ij.train.style_crops import Seen, middle_crop, paired_crops, single_crops, varied
from demis_ij.train.style_loss import (
    difference,
    gradient_difference,
    in_register,
    local_correlation,
    moved_edges,
    outside,
    unlikeness,
)
from demis_ij.train.style_outcome import finish_style
from demis_ij.train.style_pairs import Examples, Side, gather_examples
from demis_ij.train.style_validation import validate

FAST = StyleConfig(
    widths=(6, 8), crop_px=64, batch=2, steps=4, validation_crops=2, validate_every=2, device="cpu", threads=1,
    precision="float32", held_out_frac=0.25, tolerance_px=1, source_window_px=12.0, target_window_px=12.0,
)  # fmt: skip


def read(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else image[..., ::-1]


def specimen(seed, side=120):
    """Cells: by light in colour, by electrons their borders."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    seeds = rng.uniform(0, side, (25, 2))
    owner = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    colour = rng.uniform(60, 200, (25, 3))[owner]
    lines = cv2.dilate((np.abs(cv2.Laplacian(owner.astype(np.float32), -1)) > 0).astype(np.uint8), np.ones((3, 3)))
    lom = np.clip(cv2.GaussianBlur(colour, (0, 0), 1.0) + rng.normal(0, 3, colour.shape), 0, 255).astype(np.uint8)
    sem = np.clip(60 + 120.0 * lines + rng.normal(0, 5, lines.shape), 0, 255).astype(np.uint8)
    return lom, sem


def write_folders(root, count=5, shift=0):
    for name in ("lom", "sem"):
        (root / name).mkdir(parents=True)
    for k in range(count):
        lom, sem = specimen(k)
        assert cv2.imwrite(str(root / "lom" / f"{k}.png"), lom)
        assert cv2.imwrite(str(root / "sem" / f"{k}.png"), np.roll(sem, shift * (-1) ** k, (0, 1)))
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("pairs"))


def gathered(folders, config, kept):
    return gather_examples(folders / "lom", folders / "sem", config, read, kept=kept)


class Interrupted(Exception):
    pass


def interrupt_at(step):
    def progress(what, done, total):
        if (what, done) == ("steps", step):
            raise Interrupted

    return progress


def test_partners_are_found_by_name_and_some_are_held_out(folders, tmp_path):
    examples = gathered(folders, FAST, tmp_path)
    assert len(examples.source.train) == len(examples.target.train) == 4
    assert [s.name for s in examples.source.validation] == [t.name for t in examples.target.validation]
    assert examples.form.source_channels == 3
    assert examples.form.target_channels == 1
    assert gathered(folders, FAST, tmp_path).digest == examples.digest


@pytest.mark.parametrize("left", [0, 0.5])
def test_what_was_kept_and_is_cut_short_is_made_again(left, folders, tmp_path):
    before = gathered(folders, FAST, tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        file.unlink()  # it is mapped
        file.write_bytes(content[: int(left * len(content))])
    assert gathered(folders, FAST, tmp_path).digest == before.digest


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_crops_of_partners_show_the_same_place(scale):
    rng = np.random.default_rng(0)
    plane = cv2.GaussianBlur(rng.uniform(0, 255, (150, 170)).astype(np.float32), (0, 0), 2)
    one = Seen("a", plane.astype(np.uint8)[None], np.ones(plane.shape, np.uint8))
    other = Seen("b", (255 - plane).astype(np.uint8)[None], np.ones(plane.shape, np.uint8))
    for seed in range(6):
        first, second = paired_crops([one], [other], np.random.default_rng(seed), 3, 64, scale)
        assert first.looks.shape == (3, 1, 64, 64)
        np.testing.assert_array_equal(first.masks, second.masks)
        total = (first.looks + second.looks)[first.masks > 0]
        assert np.abs(total).max() < 0.03
        assert first.masks.mean() > 0.5
    again = paired_crops([one], [other], np.random.default_rng(5), 3, 64, scale)[0]
    np.testing.assert_array_equal(again.looks, first.looks)


def test_no_data_is_no_part_of_a_crop():
    mask = np.ones((150, 150), np.uint8)
    mask[:, :40] = 0
    one = Seen("a", np.full((1, 150, 150), 200, np.uint8), mask)
    crops = varied(single_crops([one], np.random.default_rng(1), 4, 64, 1.0), np.random.default_rng(2))
    assert (crops.masks == 0).any()
    assert (crops.looks[np.broadcast_to(crops.masks == 0, crops.looks.shape)] == 0).all()
    assert middle_crop(one, 64).looks.shape == (1, 1, 64, 64)


def smooth_noise(seed, side=96):
    rng = np.random.default_rng(seed)
    plane = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 2.5)
    return torch.from_numpy(plane / plane.std() / 3)[None, None]


def test_a_target_that_is_off_is_brought_to_where_it_fits():
    truth, mask = smooth_noise(0), torch.ones(1, 1, 96, 96)
    off = truth.roll((2, -1), (2, 3))
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    found, known = in_register(truth, off, mask, 2)
    assert float((found - truth)[inner].abs().max()) < 1e-3
    assert float(known[inner].min()) == 1
    assert float((in_register(truth, off, mask, 1)[0] - truth)[inner].abs().mean()) > 0.02
    same, _ = in_register(truth, off, mask, 0)
    assert same is off
    nothing, _ = in_register(torch.zeros_like(truth), off, mask, 2)
    assert float((nothing - off)[inner].abs().max()) < 0.6  # an output that says nothing moves it hardly


def test_losses_are_zero_for_equals_and_see_no_further_than_the_data():
    one, two, mask = smooth_noise(0), smooth_noise(1), torch.ones(1, 1, 96, 96)
    for loss in (difference, gradient_difference, unlikeness, moved_edges):
        assert float(loss(one, one, mask)) == pytest.approx(0, abs=0.02)
        assert float(loss(one, two, mask)) > 0.1
    mask[..., :48] = 0
    painted = one.clone()
    painted[..., :47] = 5
    assert float(difference(painted, one, mask)) == 0
    assert float(local_correlation(0.4 * one + 0.2, one, torch.ones_like(mask))) > 0.9


@pytest.mark.parametrize("method", ["unet", "gan", "cycle"])
def test_every_way_learns_and_goes_on_to_the_same_weights(method, folders, tmp_path):
    config = replace(FAST, method=method, both=method == "gan")
    if method != "unet":
        with pytest.raises(InputError, match="needs 8"):
            gathered(folders, config, tmp_path / "looks")
        config = replace(config, held_out_frac=0.0)
    examples = gathered(folders, config, tmp_path / "looks")
    whole = train_style(tmp_path / "whole", examples, config)
    with pytest.raises(Interrupted):
        train_style(tmp_path / "parts", examples, config, progress=interrupt_at(3))
    parts = train_style(tmp_path / "parts", examples, config)
    assert state_digest(parts.average.state_dict()) == state_digest(whole.average.state_dict())
    assert [line["step"] for line in parts.history] == [2, 4]
    assert (tmp_path / "parts" / LOG).read_text().count("\n") == 3
    trained = finish_style(whole, tmp_path / "whole", command="demis-ij train style a b")
    loaded = load_style(str(trained.weights))
    assert (loaded.source, loaded.target) == ("lom", "sem")
    assert (loaded.back is None) == (method == "unet")
    assert (loaded.plain is None) == (method == "cycle")
    assert loaded.compare == ("edges" if method == "cycle" else "greys")  # without partners greys mean nothing
    assert (loaded.polarity is None) == (method != "cycle")
    assert "demis-ij train style a b" in trained.card.read_text()
    assert trained.shown[0].restyled.shape == (1, 64, 64)
    assert (trained.shown[0].target is None) == (method == "cycle")


def test_lines_in_place_of_steps_move_no_edges():
    mask = torch.ones(1, 1, 96, 96)
    steps = torch.zeros(1, 1, 96, 96)
    steps[..., 30:60] = 0.8
    lines = torch.zeros_like(steps)
    lines[..., 29:31] = lines[..., 59:61] = 1.0
    assert float(moved_edges(lines, steps, mask)) < 0.3
    assert float(moved_edges(-lines, steps, mask)) == pytest.approx(float(moved_edges(lines, steps, mask)), abs=1e-4)
    assert float(moved_edges(lines.roll(10, 3), steps, mask)) > 0.7


def test_what_lies_outside_of_a_span_costs_by_how_much():
    values = torch.tensor([-0.5, 0.1, 0.4])
    assert float(outside(values, (0.0, 0.3))) == pytest.approx(0.2)
    assert float(outside(values, (-1.0, 1.0))) == 0


def test_a_checkpoint_of_another_training_is_refused(folders, tmp_path):
    examples = gathered(folders, FAST, tmp_path / "looks")
    training = StyleTraining(examples, FAST)
    training.save(tmp_path)
    with pytest.raises(InputError, match=r"batch was 2, now 3"):
        StyleTraining(examples, replace(FAST, batch=3)).resume(tmp_path / CHECKPOINT)
    other = gathered(write_folders(tmp_path / "other", 4), FAST, tmp_path / "looks")
    with pytest.raises(InputError, match="images are not the same"):
        StyleTraining(other, FAST).resume(tmp_path / CHECKPOINT)
    (tmp_path / CHECKPOINT).write_bytes(b"no")
    with pytest.raises(InputError, match="delete it"):
        training.resume(tmp_path / CHECKPOINT)


def test_a_training_begins_with_weights_of_the_same_form(folders, tmp_path):
    examples = gathered(folders, FAST, tmp_path / "looks")
    first = train_style(tmp_path / "first", examples, FAST)
    weights = finish_style(first, tmp_path / "first").weights
    again = StyleTraining(examples, replace(FAST, init=str(weights)))
    for name, net in first.generators.items():
        for one, two in zip(net.parameters(), again.nets[name].parameters(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
    with pytest.raises(InputError, match=r"widths \(6, 8\), this training \(6, 9\)"):
        StyleTraining(examples_of(examples, widths=(6, 9)), replace(FAST, init=str(weights), widths=(6, 9)))


def test_weights_to_begin_with_may_be_gone_when_a_run_goes_on(folders, tmp_path):
    examples = gathered(folders, FAST, tmp_path / "looks")
    weights = finish_style(train_style(tmp_path / "first", examples, FAST), tmp_path / "first").weights
    config = replace(FAST, init=str(weights), steps=2)
    with pytest.raises(Interrupted):
        train_style(tmp_path / "second", examples, config, progress=interrupt_at(1))
    train_style(tmp_path / "second", examples, config)
    weights.unlink()
    assert train_style(tmp_path / "second", examples, replace(config, steps=3)).step == 3
    with pytest.raises(WeightsError, match="no style"):
        train_style(tmp_path / "third", examples, config)


def examples_of(examples, **form):
    return replace(examples, form=replace(examples.form, **form))


@pytest.mark.slow
def test_a_few_steps_teach_what_light_shows_of_borders(folders, tmp_path):
    config = replace(FAST, steps=120, batch=4, validate_every=120, widths=(8, 12), learning_rate=5e-3)
    training = train_style(tmp_path / "run", gathered(folders, config, tmp_path / "looks"), config)
    assert training.history[-1]["likeness"] > 0.5  # the untrained network: about 0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("none", "no such folder"),
        ("empty", "holds no images"),
        ("alone", "has no partner of that name"),
        ("few", "too few images to train on"),
        ("size", "differs in size"),
        ("channels", "one number of channels"),
        ("small", "sees"),
        ("twice", "two images are called"),
        ("blank", "holds no data"),
        ("gone", "a link to an image that is not there"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(broken, words, tmp_path):
    root = write_folders(tmp_path, 3 if broken == "few" else 4)
    config, target = FAST, root / "sem"
    lom, sem = specimen(9)
    if broken == "none":
        target = root / "nothing"
    elif broken == "empty":
        target = root / "empty"
        target.mkdir()
    elif broken == "alone":
        cv2.imwrite(str(root / "lom" / "9.png"), lom)
    elif broken == "size":
        cv2.imwrite(str(root / "sem" / "0.png"), sem[:-3])
    elif broken == "channels":
        cv2.imwrite(str(root / "lom" / "0.png"), lom[..., 0])
    elif broken == "small":
        config = replace(FAST, widths=(4, 4, 4, 4))
    elif broken == "twice":
        cv2.imwrite(str(root / "lom" / "0.jpg"), lom)
    elif broken == "gone":
        (root / "lom" / "0.png").unlink()
        (root / "lom" / "0.png").symlink_to(root / "nowhere.png")
    source_read = (lambda path: np.full((120, 120), np.nan, np.float32)) if broken == "blank" else read
    with pytest.raises(InputError, match=words) as caught:
        gather_examples(root / "lom", target, config, source_read, kept=tmp_path / "looks")
    assert "\n" not in str(caught.value)


def test_folders_in_folders_are_no_images(folders, tmp_path):
    root = write_folders(tmp_path, 4)
    for name in ("lom", "sem"):
        (root / name / "older.png").mkdir()
    assert len(gathered(root, FAST, tmp_path / "looks").source.train) == 3


def test_crops_are_never_a_single_cell_of_the_coarsest_level(tmp_path):
    for name in ("lom", "sem"):
        (tmp_path / name).mkdir()
        for k in range(2):
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), specimen(k, 280)[name == "sem"])
    config = replace(FAST, widths=(4, 4, 4, 4), crop_px=16, batch=1, held_out_frac=0.0)
    training = StyleTraining(gathered(tmp_path, config, tmp_path / "looks"), config)
    assert training.examples.crop_px == 32
    training.take_step()


def test_a_crop_without_data_says_nothing_of_a_network():
    rng = np.random.default_rng(0)
    mask = np.ones((128, 128), np.uint8)
    mask[:64, :64] = 0
    sides = []
    for _ in range(2):
        look = np.where(mask, rng.integers(1, 256, mask.shape), 128).astype(np.uint8)
        sides.append(Side((Seen("a", look[None], mask),), (Seen("a", look[None], mask),)))
    examples = Examples(*sides, Form(widths=FAST.widths), 32, True, "", ())
    nets = StyleTraining(examples, replace(FAST, both=True)).generators
    one, two = (validate(nets, examples, replace(FAST, validation_crops=count)) for count in (1, 2))
    crops = [middle_crop(examples.source.validation[0], 32, number) for number in range(2)]
    assert [float(crop.masks.mean()) for crop in crops] == [0.75, 0.0]
    for name in ("difference", "likeness", "alike", "cycle"):
        assert two[name] == one[name]


@pytest.mark.parametrize("share", [0.9, 0.1])
def test_however_many_are_held_out_some_are_left_to_train_on(share, tmp_path):
    examples = gathered(write_folders(tmp_path, 4), replace(FAST, held_out_frac=share), tmp_path / "looks")
    assert len(examples.source.train) == len(examples.target.train) == (1 if share > 0.5 else 3)
    StyleTraining(examples, FAST).take_step()


def test_sizes_are_told_in_px_of_the_files_however_coarsely_they_are_looked_at(tmp_path):
    root = write_folders(tmp_path, 4)
    cv2.imwrite(str(root / "sem" / "0.png"), specimen(9)[1][:-20])
    with pytest.raises(InputError, match="120x120 and 120x100 px"):
        gathered(root, replace(FAST, reduce=2), tmp_path / "looks")


def test_images_without_partners_need_no_names_sizes_or_counts_in_common(tmp_path):
    root = write_folders(tmp_path, 8)
    for k in range(3):
        (root / "sem" / f"{k}.png").rename(root / "sem" / f"other_{k}.png")
    lom, _ = specimen(20, side=150)
    cv2.imwrite(str(root / "lom" / "more.png"), lom)
    examples = gathered(root, replace(FAST, method="cycle", held_out_frac=0.1), tmp_path / "looks")
    assert not examples.paired
    assert len(examples.source.train) == 8
    assert len(examples.target.train) == 7
