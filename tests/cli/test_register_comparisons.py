# ruff: noqa: F811 - fixtures come by name
"""``demis-ij compare-register``: several methods on pairs of one's own, as table, overlays and page."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import tifffile
from cli_words import bytes_of, demis  # noqa: F401 - a fixture
from made_pictures import cells
from registered import SIDE, grey, write_bad, write_pair

from demis_ij.cli.comparing_register import split_methods

METHODS = ("--method", "search,reach=near,sift", "--method", "ecc")


@pytest.fixture
def two(tmp_path):
    return write_pair(tmp_path / "data")


def test_methods_are_told_side_by_side_with_an_overlay_of_each(demis, two, tmp_path):
    before = bytes_of(two[0].parent)

    said = demis("compare-register", *two, "--out", tmp_path / "c", *METHODS, "--json")

    assert said.code == 0
    rows = {row["method"]: row for row in said.json["table"]}
    assert list(rows) == ["search,reach=near", "sift", "ecc"]
    ours, ecc = rows["search,reach=near"], rows["ecc"]
    assert (ours["matched"], ours["apart_px"], ours["said"]) == (True, 0, "")
    assert ours["angle_deg"] == pytest.approx(-14, abs=0.3)
    assert ours["scale"] == pytest.approx(1.1, abs=0.01)
    assert (ecc["matched"], ecc["found_by"]) == (True, "ecc")
    assert 0 < ecc["apart_px"] < 1
    sheet = cv2.imread(next(p for p in said.json["files"].values() if p.endswith(".png")))
    matched = sum(row["matched"] for row in rows.values())
    assert sheet.shape == (SIDE + 22 + 4, (1 + matched) * (SIDE + 4), 3)
    assert bytes_of(two[0].parent) == before


def test_where_the_images_agree_the_overlay_is_grey_and_as_they_came_it_is_not(demis, two, tmp_path):
    positive = two[0].with_name("positive.tif")
    image = tifffile.imread(two[1])
    tifffile.imwrite(positive, image.max() - image)

    said = demis(
        "compare-register", two[0], positive, "--out", tmp_path / "c", "--method", "search,reach=near", "--json"
    )

    sheet = cv2.imread(next(p for p in said.json["files"].values() if p.endswith(".png"))).astype(int)
    before, after = (sheet[40:-20, k * (SIDE + 4) + 20 : (k + 1) * (SIDE + 4) - 20] for k in (0, 1))
    assert np.abs(after[..., 2] - after[..., 0]).mean() < 0.6 * np.abs(before[..., 2] - before[..., 0]).mean()


def test_a_list_of_pairs_goes_on_after_one_that_cannot_be_read(demis, two, tmp_path):
    write_bad(two[0].parent)
    pairs = two[0].parent / "pairs.csv"
    pairs.write_text("fixed,moving,name\nfixed.tif,moving.tif,good\nfixed.tif,broken.tif,bad\n")

    said = demis("compare-register", "--pairs", pairs, "--out", tmp_path / "c", "--method", "search,reach=near")

    assert said.code == 0
    assert "warning: bad, search,reach=near:" in said.err
    with (tmp_path / "c" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["pair"], r["matched"]) for r in rows] == [("good", "True"), ("bad", "False")]
    page = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    assert page.count('href="data:image/jpeg') == 4  # two images as they came, two registered
    assert 'src="' not in page
    assert "broken.tif" in page
    assert len(list((tmp_path / "c").glob("overlays_*.png"))) == 1


def test_strangers_are_refused_by_all_and_shown_as_they_came(demis, two, tmp_path):
    other = two[0].with_name("other.tif")
    tifffile.imwrite(other, grey(cells(9, SIDE)))

    said = demis("compare-register", two[0], other, "--out", tmp_path / "c", *METHODS, "--json")

    assert [row["matched"] for row in said.json["table"]] == [False] * 3
    for row in said.json["table"]:
        assert "no place stands out" in row["said"] or "finds nothing" in row["said"]
        assert row["angle_deg"] is row["apart_px"] is row["sigma_px"] is None
    sheet = cv2.imread(next(p for p in said.json["files"].values() if p.endswith(".png")))
    assert sheet.shape[1] == SIDE + 4


def test_a_comparison_is_made_anew_in_its_folder_and_never_in_another(demis, two, tmp_path):
    call = ("compare-register", *two, "--out", tmp_path / "c", "--quiet")

    assert demis(*call, "--method", "sift").code == 0
    assert demis(*call, "--method", "ecc").code == 0
    assert "ecc" in (tmp_path / "c" / "table.csv").read_text()
    refused = demis("compare-register", two[1], two[0], "--out", tmp_path / "c", "--method", "ecc")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "holds another run" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.tif", "--out", "c"), "needs two images"),
        (("a.tif", "b.tif", "--out", "c", "--method", "magic"), "magic"),
        (("a.tif", "b.tif", "--out", "c", "--method", "ecc", "--model", "bent"), "model"),
        (("a.tif", "--pairs", "p.csv", "--out", "c"), "does not go with --pairs"),
        (("--pairs", "gone.csv", "--out", "c"), "gone.csv"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(demis, words, said):
    refused = demis("compare-register", *words)

    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert said in refused.err


def test_methods_with_commas_between_are_several_and_settings_stay_with_theirs():
    assert split_methods(["auto, sift,search,reach=near,side_px=256", "ecc"]) == [
        "auto", "sift", "search,reach=near,side_px=256", "ecc",
    ]  # fmt: skip
    assert split_methods(None) is None
