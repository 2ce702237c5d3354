"""A training run: going on to the same weights, several processes, what is kept and what is refused."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_training import TINY, made_up_sources, small, textured, write_images
from safetensors import safe_open
from safetensors.torch import load_file

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets import weights as weights_module
from demis_ij.nets.loftr import build
from demis_ij.nets.weights import load_loftr, save_weights
from demis_ij.train import checkpoints, together
from demis_ij.train import training as training_module
from demis_ij.train.loftr import train_loftr
from demis_ij.train.outcome import Watcher
from demis_ij.train.running import run_training
from demis_ij.train.scores import Scores
from demis_ij.train.starting import loftr_config, start, teacher
from demis_ij.train.together import Team, _Sum
from demis_ij.train.training import Training


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def assert_same(one: Path, other: Path) -> None:
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def killed_after(step: int) -> Watcher:
    """A watcher that ends the process's work in the middle of nowhere, as a kill does."""

    def progress(what: str, done: int, total: int) -> None:
        if what == "training" and done == step:
            raise SystemExit

    return Watcher(progress=progress)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "more", [("mine=0.5", "workers=2", "steps=12", "log_every=3"), ("precision=float16", "validation.pairs=0")]
)
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, more):
    """Killed after step 5; the last checkpoint is that of step 4, and hard pairs count from step 9 on."""
    whole = train_loftr(tmp_path / "whole", made_up_sources(), small(*more))
    assert whole is not None
    with pytest.raises(SystemExit):
        train_loftr(tmp_path / "parts", made_up_sources(), small(*more), watcher=killed_after(5))
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 4
    parts = train_loftr(tmp_path / "parts", made_up_sources(), small(*more))

    assert parts is not None
    assert_same(whole.weights, parts.weights)
    assert_same(whole.last, parts.last)

    def without_time(outcome):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in outcome.history]

    assert without_time(whole) == without_time(parts)
    logged = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [line["step"] for line in parts.history]


def test_a_finished_training_does_nothing_more(tmp_path):
    train_loftr(tmp_path, made_up_sources(), small("steps=2"))
    before = (tmp_path / "loftr.safetensors").read_bytes()
    again = train_loftr(tmp_path, made_up_sources(), small("steps=2"))

    assert again is not None
    assert again.is_over
    assert (tmp_path / "loftr.safetensors").read_bytes() == before


def test_two_processes_do_what_one_does(tmp_path):
    """Two crops a step, one in each process: losses, batch norms and gradients are those of both together."""
    write_images(tmp_path / "made")
    told = ("steps=3", f'folders=["{tmp_path / "made"}"]', "validation.pairs=0", "threads=1")
    one = run_training(tmp_path / "one", small(*told), watcher=Watcher())
    two = run_training(tmp_path / "two", small(*told, "gpus=2"), watcher=Watcher())

    assert one is not None
    assert two is not None
    for a, b in zip(one.history, two.history, strict=True):
        assert a["coarse"] == pytest.approx(b["coarse"], rel=1e-4)
        assert a["fine"] == pytest.approx(b["fine"], rel=1e-4)
    other, begun = tensors(two.last), start("", TINY, 1).net.state_dict()
    for name, value in tensors(one.last).items():
        torch.testing.assert_close(value, other[name], atol=2e-5, rtol=2e-3, msg=name)
    assert not torch.equal(begun["backbone.bn1.running_mean"], other["backbone.bn1.running_mean"])


def test_weights_that_begin_in_a_frame_with_a_half_pixel_stay_in_it(tmp_path):
    """A checkpoint of the reference implementation: a plain state_dict, its architecture read off the shapes."""
    net = build(loftr_config(replace(TINY, heads=8)))
    torch.save({"state_dict": {f"matcher.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "init.ckpt")
    settings = replace(small("steps=1", f"init={tmp_path / 'init.ckpt'}"), architecture=None)
    training = Training(tmp_path / "run", made_up_sources(), settings, Team(torch.device("cpu")), "")
    sample, target = training.make_pair((0, 0, 0))
    outcome = train_loftr(tmp_path / "run", made_up_sources(), settings)

    assert outcome is not None
    assert load_loftr(str(outcome.weights)).half_pixel == 0.5
    cells = np.stack([target.fine_i % 8, target.fine_i // 8], 1) * 8.0 - 0.5
    moving = np.stack([target.fine_j % 8, target.fine_j // 8], 1) * 8.0 - 0.5 + target.offset_px
    assert sample.to_moving is not None
    np.testing.assert_allclose(moving, sample.to_moving(cells), atol=1e-3)


def test_weights_say_how_they_were_made(tmp_path):
    outcome = train_loftr(tmp_path, made_up_sources(), small("steps=2", "licence=CC0"), command="demis-ij train loftr")

    assert outcome is not None
    with safe_open(outcome.weights, "pt") as source:
        card = json.loads(source.metadata()["card"])
    assert card["licence"] == "CC0"
    assert card["settings"]["train"]["seed"] == 1
    assert card["train"]["folders"] == {"made": 2}
    page = outcome.card.read_text()
    assert "made/2.png" in page
    assert "demis-ij train loftr" in page
    assert load_loftr(str(outcome.weights)).half_pixel == 0.0


def test_training_lowers_the_loss(tmp_path):
    told = ("steps=30", "learning_rate=0.005", "log_every=10", "validation.pairs=0", "shapes=[[64,64]]")
    outcome = train_loftr(tmp_path, made_up_sources(), small(*told))

    assert outcome is not None
    lines = [line for line in outcome.history if "coarse" in line]
    assert lines[-1]["coarse"] < 0.97 * lines[0]["coarse"]


def test_patience_ends_a_training_that_gets_no_better_and_the_best_weights_are_kept(tmp_path, monkeypatch):
    areas = iter([0.1, 0.5, 0.3, 0.4])
    blank = dict.fromkeys(
        ("auc_3px", "auc_5px", "auc_10px", "right_1px", "right_3px", "inliers", "coverage", "failed"), 0.0
    )
    from demis_ij.train.scores import Scores

    def judged(*_: object) -> Scores:
        return Scores(pairs=2, blank_pairs=0, false_pairs=0, auc_1px=next(areas), **blank)

    monkeypatch.setattr(training_module, "validate", judged)
    outcome = train_loftr(
        tmp_path, made_up_sources(), small("steps=20", "validation.every=1", "patience=2", "validation.pairs=1")
    )

    assert outcome is not None
    assert (outcome.step, outcome.best_step, outcome.stopped_early) == (4, 2, True)
    assert any(not torch.equal(v, tensors(outcome.last)[k]) for k, v in tensors(outcome.weights).items())


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    train_loftr(tmp_path, made_up_sources(), small("steps=2", "validation.pairs=0"))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    training = Training(tmp_path, made_up_sources(), small("steps=2"), Team(torch.device("cpu")), "")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(training.run, tmp_path / "checkpoint.pt", training.facts)

    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_disk_without_space_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    usage = checkpoints.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(InputError, match="no space for checkpoints: 1 MB are free, needed 17 MB"):
        train_loftr(tmp_path / "run", made_up_sources(), small())
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("steps=8",), r"steps of \[train\] was 2, is 8"),
        (("max_noise_sd=3",), r"max_noise_sd of \[samples\] was 32.0, is 3"),
        (("widths=[8,8,24]",), r"widths of \[architecture\] was"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(tmp_path, more, said):
    train_loftr(tmp_path, made_up_sources(), small("steps=2", "validation.pairs=0"))
    with pytest.raises(InputError, match=said):
        train_loftr(tmp_path, made_up_sources(), small("steps=2", "validation.pairs=0", *more))


def test_a_run_does_not_go_on_with_other_images_nor_with_a_damaged_checkpoint(tmp_path):
    sources = made_up_sources()
    train_loftr(tmp_path, sources, small("steps=2"))
    with pytest.raises(InputError, match="the images are not the same"):
        train_loftr(tmp_path, replace(sources, train=sources.train[:1]), small("steps=2"))

    data = (tmp_path / "checkpoint.pt").read_bytes()
    for damaged in (data[:1000], b"no checkpoint", b""):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(InputError, match=r"checkpoint\.pt: not a whole checkpoint"):
            train_loftr(tmp_path, sources, small("steps=2"))


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no training run"):
        train_loftr(tmp_path, made_up_sources(), small())


def tiny_weights(path: Path, architecture=TINY) -> Path:
    config = loftr_config(architecture)
    save_weights(path, build(config).state_dict(), config, half_pixel=0.0, card={})
    return path


def test_weights_of_another_architecture_are_refused_in_one_line(tmp_path):
    path = tiny_weights(tmp_path / "init.safetensors")
    with pytest.raises(InputError, match=r"another architecture .* its resnetfpn.block_dims is \[8, 8, 16\]") as found:
        start(str(path), replace(TINY, widths=(8, 8, 24)), 1)
    assert "\n" not in str(found.value)
    with pytest.raises(InputError, match="its fine_window_size is 5, asked for 7"):
        start(str(path), replace(TINY, fine_window=7), 1)
    student = start("", replace(TINY, stride=16, widths=(8, 8, 12, 16)), 1)
    with pytest.raises(InputError, match="coarse cells have 8 px, those of the network to train 16 px"):
        teacher(str(path), student)


def test_a_teacher_is_followed_through_a_run(tmp_path):
    path = tiny_weights(tmp_path / "teacher.safetensors")
    outcome = train_loftr(
        tmp_path / "run", made_up_sources(), small("steps=2", f"teacher={path}", "validation.pairs=0")
    )

    assert outcome is not None
    assert outcome.history[-1]["imitation"] > 0


def test_damaged_weights_are_refused_in_one_line(tmp_path):
    path = tiny_weights(tmp_path / "whole.safetensors")
    data = path.read_bytes()

    def said(content: bytes, name: str = "broken.safetensors") -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError) as found:
            load_loftr(str(tmp_path / name))
        assert "\n" not in str(found.value)
        return str(found.value)

    assert "cannot be read as weights" in said(data[: len(data) // 2])
    assert "cannot be read as weights" in said(data[:4])
    assert "is damaged: its tensors do not have the checksum" in said(data[:-1] + bytes([data[-1] ^ 255]))
    assert "cannot be read as weights" in said(b"GIF89a", "picture.ckpt") or "plain checkpoint" in said(
        b"GIF89a", "a.ckpt"
    )
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.ckpt")
    assert "is not a LoFTR checkpoint: it lacks" in said((tmp_path / "other.ckpt").read_bytes(), "other.ckpt")


def test_a_sum_over_processes_has_the_sum_of_their_gradients(monkeypatch):
    """Two processes of the same values: every sum doubles, and so does every gradient."""
    monkeypatch.setattr(together.distributed, "all_reduce", lambda tensor: tensor.mul_(2))
    value = torch.tensor([1.0, 3.0], requires_grad=True)
    (_Sum.apply(value) ** 2).sum().backward()

    assert value.grad is not None
    assert value.grad.tolist() == [2 * 2 * 2 * 1.0, 2 * 2 * 2 * 3.0]


def test_the_last_texture_is_only_ever_validated_on():
    sources = made_up_sources()
    assert sources.validation[0].scales[0].shape == textured().shape
    assert {s.digest for s in sources.train}.isdisjoint(s.digest for s in sources.validation)
