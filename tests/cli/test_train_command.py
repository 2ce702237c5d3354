# ruff: noqa: F811 - fixtures come by name
"""``demis-ij train loftr``: a run from a file, Ctrl-C, and what is refused in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from cli_words import demis  # noqa: F401 - a fixture

TOML = """\
[data]
generated = 0
licence = "CC0"

[train]
steps = 3
batch = 2
shapes = [[64, 64]]
save_every = 2
workers = 0
device = "cpu"
threads = 1

[validation]
pairs = 2
every = 2

[architecture]
widths = [8, 8, 16]
coarse_layers = 1
heads = 2
"""


def texture(seed, side=130):
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    low = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 40 * low / low.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        assert cv2.imwrite(str(folder / f"{k}.png"), texture(k))
    return folder


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "training.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(autouse=True)
def same_threads():
    import torch

    before, of_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before)
    cv2.setNumThreads(of_cv2)


def test_a_file_makes_weights_that_stitch_takes_and_a_page(demis, images, toml, tmp_path):
    run = tmp_path / "run"
    said = demis("train", "loftr", images, "--config", toml, "--out", run, "--set", "patience=7", "--json")

    assert said.code == 0, said
    facts = said.json
    assert facts["steps"] == 3
    assert facts["scores"]["pairs"] == 2
    names = {"loftr.safetensors", "loftr.md", "last.safetensors", "report.html", "config.toml", "log.jsonl"}
    assert {p.name for p in run.iterdir()} == names | {"checkpoint.pt"}
    assert "patience = 7" in (run / "config.toml").read_text()
    assert f"--config {toml} --out {run}" in (run / "loftr.md").read_text()

    from demis_ij.matchers.loftr import LoftrMatcher
    from demis_ij.protocols import View

    view = View(texture(5, 96), np.ones((96, 96), bool))
    found = LoftrMatcher(weights=str(run / "loftr.safetensors"), device="cpu", resolution=1.0)(view, view)
    assert len(found.fixed_xy) == len(found.moving_xy)

    again = demis("train", "loftr", "--out", run)
    assert again.code == 0, again
    assert f"weights  {run / 'loftr.safetensors'}" in again.out


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_weights_come(demis, images, toml, tmp_path):
    from safetensors.torch import load_file

    told = ("train", "loftr", str(images), "--config", str(toml), "--steps", "16", "--set", "validation.pairs=0")
    run = tmp_path / "run"
    words = [sys.executable, "-m", "demis_ij", *told, "--out", str(run), "--set", "learning_rate=0.01"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    limit = time.monotonic() + 120
    while not (run / "checkpoint.pt").is_file() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)

    assert process.returncode == 130, err
    assert err.splitlines()[-1] == ("demis-ij: interrupted; what is done is kept: the same command goes on from there")
    kept = (run / "log.jsonl").read_text().splitlines()
    assert demis("train", "loftr", "--out", run, "--quiet").code == 0
    assert demis(*told, "--out", tmp_path / "whole", "--set", "learning_rate=0.01", "--quiet").code == 0
    one, other = (load_file(folder / "loftr.safetensors") for folder in (run, tmp_path / "whole"))
    assert len(kept) == 0, "it was interrupted before the end"
    assert all((one[name] == other[name]).all() for name in other)


REFUSED = {
    "an unknown table": (["--config", "[trian]\nsteps = 3"], "unknown table [trian]; did you mean 'train'?"),
    "an unknown key": (["--config", "[train]\nstep = 3"], "[train] unknown setting 'step'; did you mean 'steps'?"),
    "an unknown range": (["--config", "[samples]\nmax_rotation = 3"], "did you mean 'max_rotation_deg'?"),
    "a wrong type": (["--config", "[train]\nsteps = 'many'"], "steps: 'many' is not a whole number"),
    "a range that is none": (["--config", "[samples]\nresin_frac = 2"], "resin_frac: 2 is not between 0 and 1"),
    "no toml": (["--config", "train: steps"], "not a TOML file"),
    "an unknown --set": (["--set", "stepps=3"], "--set stepps=3: unknown setting 'stepps'; did you mean 'steps'?"),
    "a --set without value": (["--set", "steps"], "--set steps: needed NAME=VALUE"),
    "a shape that does not fit": (["--set", "shapes=[[60,64]]"], "[60, 64] is not a multiple of the coarse stride"),
    "no such weights": (["--init", "nothing.ckpt"], "no weights 'nothing.ckpt'"),
    "weights that are a picture": (["--init", "IMAGES/0.png"], "cannot be read as weights"),
    "a batch that cannot be shared": (["--gpus", "2", "--batch", "3"], "3 pairs cannot be shared evenly by 2"),
    "a precision that is none": (["--precision", "float64"], "precision: 'float64' is not one of"),
    "too few images": (["--set", "held_out_frac=0"], "nothing to validate on"),
    "a folder that leaks": (
        ["--validation", "IMAGES"],
        "leaks: images/0.png (validation) has the content of",
    ),
    "no folder": (["--validation", "nowhere"], "nowhere: no such folder of images"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(demis, images, tmp_path, what):
    words, expected = REFUSED[what]
    if words[0] == "--config":
        (tmp_path / "t.toml").write_text(words[1])
        words = ["--config", str(tmp_path / "t.toml")]
    else:
        (tmp_path / "t.toml").write_text(TOML.partition("[arch")[0])
        words = [*words, "--config", str(tmp_path / "t.toml"), *(["--threads", "1"])]
    words = [w.replace("IMAGES", str(images)) for w in words]
    said = demis("train", "loftr", images, "--out", tmp_path / "run", *words, "--quiet")

    assert said.code == 2, said
    assert len(said.lines) == 1, said
    assert expected in said.err


def test_folders_without_anything_to_train_on_are_refused(demis, toml, tmp_path):
    empty, small = tmp_path / "empty", tmp_path / "small"
    for folder in (empty, small):
        folder.mkdir()
    cv2.imwrite(str(small / "thumb.png"), texture(0, 40))
    (small / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    for folder, expected in (
        (empty, "empty: no image found"),
        (small, "all are smaller than a crop (64 px; the largest"),
    ):
        said = demis("train", "loftr", folder, "--config", toml, "--out", tmp_path / "run", "--quiet")
        assert said.code == 2
        assert len(said.lines) == 1
        assert expected in said.err

    said = demis("train", "loftr", "--config", toml, "--out", tmp_path / "run", "--quiet")
    assert "no training image" in said.err
    said = demis("train", "loftr", "--out", tmp_path / "misspelt")
    assert said.code == 2
    assert "nothing to train on" in said.err
    assert "misspelt holds no run to go on with" in said.err


def test_training_is_loaded_only_when_it_is_asked_for():
    code = "import sys, demis_ij.cli.training, demis_ij.jobs.networks.loftr; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
