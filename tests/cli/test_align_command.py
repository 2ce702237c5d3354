# ruff: noqa: F811 - fixtures come by name
"""``demis-ij align``: from a folder of sections to warps, verdicts and volumes, and what is refused in one line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
from cli_words import demis  # noqa: F401 - a fixture

from demis_ij.fields import dense, thin_plate
from demis_ij.geometry import Box

SIDE = 128


@pytest.fixture
def sections(tmp_path):
    """Six sections of one texture, each bent, and their labels."""
    rng = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), s) * s for s in (2, 5)]
    texture = np.clip(128 + 90 * (noise[0] + noise[1]), 0, 255).astype(np.uint8)
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((32, 32))).astype(np.uint8)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for k in range(6):
        field = thin_plate(rng.uniform(0, SIDE, (6, 2)), rng.normal(0, 1.8, (6, 2)), (SIDE, SIDE), 8)
        d = dense(field, Box.of_shape((SIDE, SIDE)))
        image = cv2.remap(texture, x + d[0], y + d[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        named = cv2.remap(labels, x + d[0], y + d[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        assert cv2.imwrite(str(tmp_path / "images" / f"section_{k:02d}.png"), image)
        assert cv2.imwrite(str(tmp_path / "labels" / f"section_{k:02d}.png"), named)
    return tmp_path


def test_a_folder_of_sections_becomes_an_aligned_volume(demis, sections):
    out = sections / "run"

    said = demis(
        "align", sections / "images", "--out", out, "--volume", "tiff", "--labels", sections / "labels", "--json"
    )

    assert said.code == 0
    facts = json.loads(said.out)
    assert facts["sections"] == 6
    assert facts["ncc_after"] > facts["ncc_before"]
    assert facts["residual_after_px"] < 0.5 * facts["residual_before_px"]
    with np.load(out / "warps.npz") as held:
        assert held["offsets"].shape[:2] == (6, 2)
        assert tuple(held["shape"]) == (SIDE, SIDE)
    volume = tifffile.imread(out / "volume.tif")
    assert volume.shape == (6, SIDE, SIDE)
    labels = tifffile.imread(out / "labels.tif")
    assert set(np.unique(labels)) <= set(range(17))
    raw = np.stack([cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((sections / "labels").iterdir())])
    inner = (slice(None), slice(20, -20), slice(20, -20))
    assert agreement(labels[inner]) > agreement(raw[inner]) + 0.5 * (1 - agreement(raw[inner]))
    verdicts = json.loads((out / "align.json").read_text())
    assert verdicts["sections"][0]["id"].startswith("section_00")
    assert verdicts["config"]["method"] == "joint"
    assert verdicts["rounds"]


def agreement(labels):
    """Share of the pixels whose label is that of the next section, too."""
    return float((labels[:-1] == labels[1:]).mean())


def test_the_same_command_goes_on_with_a_run_and_says_so(demis, sections):
    words = ("align", sections / "images", "--out", sections / "run", "--volume", "none", "--json")
    first = demis(*words)
    offsets = np.load(sections / "run" / "warps.npz")["offsets"]

    again = demis(*words)

    assert json.loads(first.out)["resumed"] is False
    assert json.loads(again.out)["resumed"] is True
    np.testing.assert_array_equal(np.load(sections / "run" / "warps.npz")["offsets"], offsets)
    other = demis(*words, "--set", "neighbours=1")
    assert other.code == 2
    assert "neighbours was 2, now 1" in other.err


def test_warps_are_written_in_the_formats_asked_for(demis, sections):
    out = sections / "run"

    said = demis("align", sections / "images", "--out", out, "--volume", "none", "--warps", "trakem2,rvss", "--warps",
                 "bunwarpj", "--range", "0:2")  # fmt: skip

    assert said.code == 0
    assert (out / "aligned.xml").is_file()
    assert len(list((out / "transforms").glob("*.xml"))) == 3
    assert len(list((out / "bunwarpj").glob("*_raw.txt"))) == 3
    assert not (out / "volume.ome.zarr").exists()


def test_a_dry_run_writes_nothing(demis, sections):
    said = demis("align", sections / "images", "--out", sections / "run", "--dry-run")

    assert said.code == 0
    assert f"6 sections of {SIDE}x{SIDE} px" in said.out
    assert not (sections / "run").exists()


def test_a_flagged_section_is_a_warning_and_strict_ends_with_three(demis, sections):
    blank = np.zeros((SIDE, SIDE), np.uint8)
    assert cv2.imwrite(str(sections / "images" / "section_02.png"), blank)

    said = demis("align", sections / "images", "--out", sections / "run", "--volume", "none", "--strict")

    assert said.code == 3
    assert any("section_02" in line and "blank" in line for line in said.warnings)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--method", "jont"), "did you mean 'joint'"),
        (("--method", "chain:nothing"), "nothing"),
        (("--set", "neighbors=3"), "did you mean 'neighbours'"),
        (("--set", "ssemnet.stepps=3"), "did you mean 'ssemnet.steps'"),
        (("--set", "rounds=x"), "rounds"),
        (("--set", "stride_px=100"), "do not resolve sections of 128x128 px"),
        (("--volume", "nifti"), "volume: 'nifti' is not one of"),
        (("--warps", "itk"), "warps: 'itk' is not one of"),
        (("--range", "a:b"), "needed FIRST:LAST"),
        (("--range", "40:50"), "its numbers go from 0 to 5"),
        (("--section", "section_77"), "no section 'section_77'"),
        (("--section", "section_00.png"), "one section"),
    ],
)
def test_what_cannot_be_aligned_is_refused_in_one_line(demis, sections, wrong, said):
    answer = demis("align", sections / "images", "--out", sections / "run", "--quiet", *wrong)

    assert answer.code == 2
    assert len(answer.lines) == 1
    assert said in answer.err


def test_labels_of_another_number_are_refused(demis, sections):
    (sections / "labels" / "section_05.png").unlink()

    answer = demis("align", sections / "images", "--out", sections / "run", "--labels", sections / "labels")

    assert answer.code == 2
    assert "5 sections, the stack has 6" in answer.err
