# ruff: noqa: F811 - fixtures come by name
"""``demis-ij train style`` and ``demis-ij restyle``: from two folders to weights, a page and restyled images."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys

import cv2
import numpy as np
import pytest
import tifffile
from cli_words import demis  # noqa: F401 - a fixture

from demis_ij.cli.training_style import validated_line
from demis_ij.config.style import StyleConfig
from demis_ij.nets.style_weights import load_style
from demis_ij.synth.structures import structure

FAST = (
    "--crop", "64", "--steps", "2", "--batch", "2", "--device", "cpu", "--threads", "1", "--set", "widths=[6,8]",
    "--set", "validation_crops=2", "--set", "validate_every=1", "--set", "precision=float32",
)  # fmt: skip
SIDE = 96


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for name in ("lom", "sem"):
        (root / name).mkdir()
    for k in range(8):
        grey, _, _ = structure((SIDE, SIDE), np.random.default_rng(k), name="blotches")
        lom = np.stack([255 * grey, 255 * (1 - grey), 120 + 60 * grey], -1).astype(np.uint8)
        cv2.imwrite(str(root / "lom" / f"{k}.png"), lom)
        tifffile.imwrite(root / "sem" / f"{k}.tif", (40000 * np.abs(grey - 0.5)).astype(np.uint16))
    return root


def train(demis, pairs, out, *more):
    return demis("train", "style", pairs / "lom", pairs / "sem", "--out", out, *FAST, *more)


def test_pairs_give_weights_a_card_and_a_page_and_a_run_goes_on(demis, pairs, tmp_path):
    out = tmp_path / "run"
    said = train(demis, pairs, out, "--both", "--json")
    assert said.code == 0
    facts = said.json
    assert facts["step"] == 2
    loaded = load_style(facts["files"]["weights"])
    assert (loaded.forward.form.source_channels, loaded.back.form.source_channels) == (3, 1)
    page = (out / "report.html").read_text()
    for words in ("lom to sem and back", "without a cause", "there and back", "data:image/jpeg", "sem, really"):
        assert words in page
    more = demis("train", "style", pairs / "lom", pairs / "sem", "--out", out, "--steps", "3")
    assert more.code == 0
    assert "; held-out images: " in more.out
    assert "step 3 of 3" in more.out
    again = demis("train", "style", pairs / "lom", pairs / "sem", "--out", out, "--finish")
    assert again.code == 0


def test_images_without_partners_are_learned_from_and_crops_shrink_with_a_warning(demis, pairs, tmp_path):
    said = train(demis, pairs, tmp_path / "run", "--unpaired", "--crop", "512", "--set", "held_out_frac=0")
    assert said.code == 0
    assert "crops are 96 px instead of 512" in said.err
    assert "; images that it was trained on: " in said.out
    assert load_style(str(tmp_path / "run" / "style.safetensors")).back is not None
    assert "there and back" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_are_names(demis, pairs, tmp_path):
    root = tmp_path / os.fsdecode(b"gr\xfcn")
    for name in ("lom", "sem"):
        shutil.copytree(pairs / name, root / name)
        for one in sorted((root / name).iterdir())[:4]:
            one.rename(one.with_name(os.fsdecode(b"\xe4 ") + one.name))
    out = tmp_path / "run"
    said = train(demis, root, out, "--set", "held_out_frac=0.5", "--json")
    assert said.code == 0
    assert "data:image/jpeg" in (out / "report.html").read_text()
    many = demis("restyle", root / "lom", "--style", out / "style.safetensors", "--out", root / "out", "--json")
    assert len(many.json["images"]) == 8


def test_what_is_unknown_of_a_validation_is_not_said():
    line = {"step": 1, "loss": 0.5, "likeness": math.nan, "cycle": math.nan, "invented": 0.25, "lost": math.nan}
    assert validated_line(line, StyleConfig(steps=2)) == "step 1 of 2 kept; loss 0.500, without a cause 25%"


def test_an_image_or_a_folder_is_restyled_and_back(demis, pairs, tmp_path):
    out = tmp_path / "run"
    assert train(demis, pairs, out, "--both").code == 0
    weights = out / "style.safetensors"
    one = tmp_path / "one.png"
    said = demis("restyle", pairs / "lom" / "0.png", "--style", weights, "--out", one)
    assert said.code == 0
    assert "without a cause" in said.out
    assert cv2.imread(str(one), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE)
    refused = demis("restyle", pairs / "lom" / "0.png", "--style", weights, "--out", one)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    folder = tmp_path / "all"
    many = demis("restyle", pairs / "sem", "--style", weights, "--back", "--out", folder, "--json")
    assert many.code == 0
    assert len(json.loads(many.out)["images"]) == 8
    assert cv2.imread(str(folder / "3.png"), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE, 3)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "0.png").write_bytes((pairs / "lom" / "0.png").read_bytes())
    (mixed / "1.png").write_bytes(b"")
    some = demis("restyle", mixed, "--style", weights, "--out", tmp_path / "some", "--quiet")
    assert some.code == 0
    assert some.err.startswith(f"warning: left out: {mixed / '1.png'}")
    assert len(some.out.splitlines()) == 1


def test_what_cannot_be_restyled_is_refused_in_one_line(demis, pairs, tmp_path):
    out = tmp_path / "run"
    assert train(demis, pairs, out).code == 0
    weights, small = out / "style.safetensors", tmp_path / "small.png"
    cv2.imwrite(str(small), np.zeros((20, 300, 3), np.uint8) + np.arange(3, dtype=np.uint8))
    lom = pairs / "lom" / "0.png"
    for arguments, words in (
        ((pairs / "sem" / "0.tif", "--style", weights, "--out", tmp_path / "a.png"), "leads from lom of 3 channels"),
        ((small, "--style", weights, "--out", tmp_path / "a.png"), "px at once"),
        ((lom, "--style", weights, "--out", tmp_path / "a.png", "--back"), "--both"),
        ((lom, "--style", tmp_path / "no.safetensors", "--out", tmp_path / "a.png"), "no style"),
        ((lom, "--style", weights, "--out", tmp_path / "a.gif"), "PNG or TIFF"),
        ((tmp_path / "none.png", "--style", weights, "--out", tmp_path / "a.png"), "no such image"),
    ):
        said = demis("restyle", *arguments, "--quiet")
        assert said.code == 2
        assert words in said.err
        assert len(said.err.strip().splitlines()) == 1


def test_what_cannot_be_trained_on_is_refused_in_one_line(demis, pairs, tmp_path):
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    lom, sem = pairs / "lom", pairs / "sem"
    for arguments, words in (
        ((lom, empty, "--out", out), "holds no images"),
        ((lom, sem, "--out", lom), "holds something else"),
        ((lom, sem, "--out", out, "--finish"), "no checkpoint"),
        ((lom, sem, "--out", out, "--unpaired", "--method", "gan"), "--unpaired is method cycle"),
        ((lom, sem, "--out", out, "--unpaired", "--set", "method=unet"), "--unpaired is method cycle"),
        ((lom, sem, "--out", out, "--method", "gam"), "did you mean 'gan'"),
        ((lom, sem, "--out", out, "--crop", 64, "--set", "init=stone", "--set", "widths=[6,8]"), "no style 'stone'"),
        ((lom, sem, "--out", out, "--set", "crops_px=3"), "crop_px"),
        ((lom, sem, "--out", out, "--threads", 2**31), "threads: 2147483648 is not between"),
        ((lom, sem, "--out", out, "--set", "held_out_frac=0.9", "--set", "widths=[4,4,4,4,4]"), "px at once"),
    ):
        said = demis("train", "style", *arguments, "--quiet")
        assert said.code == 2
        assert words in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert not out.exists()
