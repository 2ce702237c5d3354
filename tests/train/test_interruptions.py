"""One loop for trainings that can be interrupted: it ends whenever Ctrl-C comes, and says what it cannot go on with."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.errors import InputError
from demis_ij.jobs.networks.runs import settings_begun_with, training_run
from demis_ij.train.interruptible import CHECKPOINT, Interruptible, trained


@dataclass(frozen=True)
class Few:
    steps: int = 4
    validate_every: int = 2
    threads: int = 0
    device: str = "cpu"


class Line(Interruptible):
    """A straight line that is fitted; Ctrl-C comes where it is told."""

    settings_file, columns, losses = "line.json", ("step", "loss"), ("loss",)
    states, free = ("net", "optimiser"), ("steps", "threads", "device")

    def __init__(self, config, stopped_in=""):
        super().__init__(config, "made up")
        self.net = nn.Linear(1, 1)
        nn.init.ones_(self.net.weight)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=0.1)
        self._stopped_in = stopped_in

    def rate(self):
        return 0.1

    def take_step(self):
        self.optimiser.zero_grad()
        loss = (self.net(torch.full((1, 1), float(self.step))) ** 2).sum()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._count(loss.item())
        self._stop_in(f"step {self.step}")

    def _validated(self):
        self._stop_in(f"validation {self.step}")
        return {}

    def _stop_in(self, place):
        if place == self._stopped_in:
            os.kill(os.getpid(), signal.SIGINT)


def weights(training):
    return [p.detach().clone() for p in training.net.parameters()]


@pytest.mark.parametrize("place", ["step 1", "step 2", "validation 2", "step 3", "step 4", "validation 4"])
def test_ctrl_c_ends_it_wherever_it_comes_and_the_same_weights_come_out_of_going_on(place, tmp_path):
    torch.manual_seed(0)
    through = trained(Line(Few()), tmp_path / "through")
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        trained(Line(Few(), place), tmp_path / "run")
    ended = trained(Line(Few()), tmp_path / "run")
    assert ended.step == 4
    assert all(map(torch.equal, weights(ended), weights(through)))
    assert [line["step"] for line in ended.history] == [2, 4]


@pytest.mark.parametrize("lost", ["net", "optimiser", "sums"])
def test_a_checkpoint_of_another_version_is_one_line(lost, tmp_path):
    trained(Line(Few()), tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del content[lost]
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=r"checkpoint\.pt is a checkpoint of another version: delete it"):
        trained(Line(Few()), tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"steps"'])
def test_settings_that_are_no_table_are_one_line(text, tmp_path):
    path = tmp_path / "two_headed.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"two_headed\.json holds no settings of a training; delete it"):
        settings_begun_with(TwoHeadedConfig, path, {})
    path.write_text(json.dumps({"steps": 7}))
    assert settings_begun_with(TwoHeadedConfig, path, {"seed": 3}) == TwoHeadedConfig(steps=7, seed=3)


def test_what_is_refused_leaves_nothing_and_what_was_begun_stays(tmp_path):
    out, own = tmp_path / "deep" / "run", ("line.json", "looks")

    def work(*made):
        with training_run(out, own, as_it_stands=False):
            for name in made:
                (out / name).mkdir(parents=True)
            raise InputError("nothing to learn")

    def refused(*made):
        with pytest.raises(InputError, match="nothing to learn"):
            work(*made)

    refused("looks")
    assert not out.parent.exists()

    (out / "looks").mkdir(parents=True)
    (out / "line.json").write_text("{}")
    refused()
    assert {path.name for path in out.iterdir()} == {"line.json", "looks"}

    (out / "line.json").unlink()
    (out / "looks").rmdir()
    refused("looks", CHECKPOINT)
    assert {path.name for path in out.iterdir()} == {"looks", CHECKPOINT}, "what was trained is not thrown away"


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    second = []

    def enter():
        try:
            with training_run(tmp_path / "run", ("line.json",), as_it_stands=False):
                second.append("is in")
        except InputError as error:
            second.append(str(error))

    with training_run(tmp_path / "run", ("line.json",), as_it_stands=False):
        other = threading.Thread(target=enter)
        other.start()
        other.join()
    assert "is in use" in second[0]
