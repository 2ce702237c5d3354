# ruff: noqa: F811 - fixtures come by name
"""``demis-ij train two-headed``: from images to weights and a page, going on, and what is refused in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from cli_words import demis  # noqa: F401 - a fixture

from demis_ij.nets.two_headed_weights import load_two_headed
from demis_ij.synth.structures import structure

FAST = (
    "--generated", "0", "--steps", "2", "--batch", "2", "--device", "cpu", "--threads", "1", "--set", "side=64",
    "--set", "materials=0", "--set", "validation_pairs=1", "--set", "validate_every=1", "--set", "finish_pairs=8",
    "--set", "finish_steps=5",
)  # fmt: skip


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        grey, _, _ = structure((420, 420), np.random.default_rng(k), name="blotches")
        assert cv2.imwrite(str(folder / f"{k}.png"), (255 * grey).astype(np.uint8))
    return folder


def test_images_give_weights_a_card_tables_and_a_page_and_a_run_goes_on(demis, images, tmp_path):
    out = tmp_path / "run"
    said = demis("train", "two-headed", "--images", images, "--out", out, *FAST, "--json")
    assert said.code == 0
    facts = json.loads(said.out)
    assert facts["step"] == 2
    assert load_two_headed(facts["files"]["weights"]).net.form.side == 64
    page = (out / "report.html").read_text()
    for word in ("Angle", "Scale", "Shift x", "Shift y", "R²", "<circle"):
        assert word in page
    assert (out / "predictions.csv").read_text().startswith("set,kind,true_angle,predicted_angle")
    more = demis("train", "two-headed", "--images", images, "--out", out, "--steps", "3")
    assert more.code == 0
    assert "step 3 of 3" in more.out
    assert [line.split(",")[0] for line in (out / "log.csv").read_text().splitlines()[1:]] == ["1", "2", "3"]
    again = demis("train", "two-headed", "--images", images, "--out", out, "--finish")
    assert again.code == 0


def test_registered_pairs_are_learned_from_too(demis, images, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(f"fixed,moving\n{images / '0.png'},{images / '1.png'}\n")
    said = demis("train", "two-headed", "--images", images, "--pairs", table, "--out", tmp_path / "run", *FAST)
    assert said.code == 0
    assert "pairs.csv (1)" in (tmp_path / "run" / "two_headed.md").read_text()


def test_what_cannot_be_trained_on_is_refused_in_one_line(demis, images, tmp_path):
    out, missing = tmp_path / "run", tmp_path / "no.csv"
    for said, words in (
        (demis("train", "two-headed", "--out", out, *FAST, "--quiet"), "nothing to train on"),
        (demis("train", "two-headed", "--images", tmp_path / "none", "--out", out, *FAST, "--quiet"), "no such folder"),
        (demis("train", "two-headed", "--images", images, "--out", images, *FAST, "--quiet"), "holds something else"),
        (demis("train", "two-headed", "--images", images, "--out", out, "--finish", *FAST, "--quiet"), "no checkpoint"),
        (demis("train", "two-headed", "--images", images, "--out", out, "--set", "sides=64", "--quiet"), "side"),
        (demis("train", "two-headed", "--images", images, "--pairs", missing, "--out", out, *FAST, "--quiet"), "table"),
    ):
        assert said.code == 2
        assert words in said.err
        assert len(said.err.strip().splitlines()) == 1
