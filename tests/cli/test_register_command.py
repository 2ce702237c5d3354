# ruff: noqa: F811 - fixtures come by name
"""``demis-ij register``: one pair, a list, a folder that is watched; and what is refused in one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from cli_words import bytes_of, demis  # noqa: F401 - a fixture
from made_pictures import cells, off
from registered import QUICK, SIDE, TRUTH, grey, write_bad, write_pair

from demis_ij.formats.warps_itk import read_itk
from demis_ij.jobs.register.registering import FixedImage
from demis_ij.records import Affine


@pytest.fixture
def two(tmp_path):
    return write_pair(tmp_path / "data")


def map_of(facts):
    return Affine.from_matrix(facts["to_moving"])


def test_two_images_are_registered_and_nothing_is_written(demis, two):
    before = bytes_of(two[0].parent)

    said = demis("register", *two, *QUICK)

    assert said.code == 0
    assert said.out.startswith("matched by near search: turn -1")
    assert "expected error 0." in said.out
    assert said.err == ""
    assert bytes_of(two[0].parent) == before


def test_json_holds_the_transform_both_ways(demis, two):
    facts = demis("register", *two, *QUICK, "--json").json

    assert facts["matched"] is True
    assert off(map_of(facts), TRUTH, SIDE) < 0.6
    assert off(Affine.from_matrix(facts["to_fixed"]) @ map_of(facts), Affine(), SIDE) < 1e-6
    assert 0 < facts["sigma_px"] < 1
    assert facts["milliseconds"] > 0


def test_an_image_lies_on_itself(demis, two):
    facts = demis("register", two[0], two[0], *QUICK, "--json").json

    assert off(map_of(facts), Affine(), SIDE) < 0.02


def test_images_that_do_not_match_end_with_four_and_say_why(demis, two):
    tifffile.imwrite(two[0].with_name("other.tif"), grey(cells(9, SIDE)))

    said = demis("register", two[0], two[0].with_name("other.tif"), *QUICK)
    told = demis("register", two[0], two[0].with_name("other.tif"), *QUICK, "--json")

    assert said.code == told.code == 4
    assert said.out.startswith("not matched: no place stands out")
    assert said.out.count("\n") == 1
    assert told.json["matched"] is False
    assert told.json["to_moving"] is None


def test_a_run_folder_holds_everything_and_is_not_made_twice(demis, two, tmp_path):
    words = ("register", *two, *QUICK, "--out", tmp_path / "run", "--json")
    facts = demis(*words).json
    made = bytes_of(tmp_path / "run")

    again = demis(*words).json

    assert {"registered", "mask", "red-cyan", "checkerboard", "itk", "trakem2", "bunwarpj", "report"} <= set(
        facts["files"]
    )
    assert facts["resumed"] is False
    assert again["resumed"] is True
    assert again["to_moving"] == facts["to_moving"]
    assert bytes_of(tmp_path / "run") == made
    assert off(read_itk(tmp_path / "run" / "to_moving.tfm"), map_of(facts), SIDE) < 1e-9
    other = demis(*words, "--model", "affine")
    assert other.code == 2
    assert "model was" in other.err


def test_a_run_of_two_that_do_not_match_is_a_report_and_no_image(demis, two, tmp_path):
    tifffile.imwrite(two[0].with_name("other.tif"), grey(cells(9, SIDE)))

    said = demis("register", two[0], two[0].with_name("other.tif"), *QUICK, "--out", tmp_path / "run", "--quiet")

    assert said.code == 4
    names = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert names == {"run.json", "registration.json", "report.html"}
    assert "Not matched" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_config_file_and_options_are_taken(demis, two, tmp_path):
    (tmp_path / "c.toml").write_text('[register]\nmethod = "sift"\nweights = "none"\n')

    assert demis("register", *two, "--config", tmp_path / "c.toml", "--json").json["method"] == "sift"
    over = demis("register", *two, "--config", tmp_path / "c.toml", "--method", "search", *QUICK, "--json")
    assert over.json["method"] == "near search"


def test_bad_images_are_one_line_each_and_leave_nothing(demis, two, tmp_path):
    for name, words in write_bad(two[0].parent).items():
        for images in ((two[0], two[0].with_name(name)), (two[0].with_name(name), two[0])):
            said = demis("register", *images, *QUICK, "--out", tmp_path / "run")
            assert said.code == 2, name
            assert words in said.err, name
            assert name in said.err
            assert len(said.lines) == 1, said.err
            assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "modle=rigid"), "did you mean 'model'"),
        (("--set", "side_px"), "needed NAME=VALUE"),
        (("--method", "magic"), "magic"),
        (("--method", "network"), "method 'network' needs weights"),
        (("--weights", "nowhere.safetensors"), "no weights 'nowhere.safetensors'"),
        (("--set", "fixed_pixel_size=3"), "moving_pixel_size is not: give both"),
        (("--once",), "--once does not go with two images"),
        (("--pairs", "p.csv"), "FIXED does not go with --pairs"),
        (("--watch", "."), "FIXED does not go with --watch"),
    ],
)
def test_wrong_words_are_one_line(demis, two, words, said):
    got = demis("register", *two, *QUICK, *words)

    assert got.code == 2
    assert said in got.err
    assert len(got.lines) == 1


def test_one_image_alone_and_a_watch_without_a_fixed_one_are_refused(demis, two, tmp_path):
    assert "needs two images" in demis("register", two[0]).err
    assert "needs --fixed IMAGE" in demis("register", "--watch", tmp_path).err
    assert "no such folder" in demis("register", "--watch", tmp_path / "no", "--fixed", two[0]).err


def test_weights_of_another_network_are_refused(demis, two):
    from demis_ij.nets.weights import shipped

    said = demis("register", *two, "--weights", shipped())

    assert said.code == 2
    assert "weights of another network" in said.err
    assert len(said.lines) == 1


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(two):
    """A list of three pairs beside its images: one good, one that cannot be read, one of strangers."""
    tifffile.imwrite(two[0].with_name("other.tif"), grey(cells(9, SIDE)))
    path = two[0].with_name("pairs.csv")
    path.write_text(
        "fixed,moving,name,fixed_pixel_size,moving_pixel_size\n"
        "fixed.tif,moving.tif,good,4,4\n\nfixed.tif,gone.tif,,,\nfixed.tif,other.tif,strangers,,\n"
    )
    return path


def test_one_bad_pair_does_not_stop_the_others(demis, listed, tmp_path):
    words = ("register", "--pairs", listed, *QUICK)
    said = demis(*words, "--out", tmp_path / "run")
    told = demis(*words, "--json")

    assert said.code == told.code == 4
    assert "1 of 3 pairs matched" in said.out
    assert "gone.tif" in said.err
    assert [f["matched"] for f in told.json] == [True, False, False]
    assert off(map_of(told.json[0]), TRUTH, SIDE) < 0.6
    assert told.json[0]["pixel_ratio"] == 1
    assert "cannot be read" in told.json[1]["error"]
    with (tmp_path / "run" / "registrations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == ["good", "fixed gone", "strangers"]
    assert float(rows[0]["to_moving_tx"]) == pytest.approx(told.json[0]["to_moving"][0][2])
    assert "no place stands out" in rows[2]["reason"]


def test_pairs_that_are_done_are_not_done_again(demis, listed, tmp_path, monkeypatch):
    words = ("register", "--pairs", listed, *QUICK, "--out", tmp_path / "run", "--json")
    first = demis(*words).json
    kept = (tmp_path / "run" / "registrations.jsonl").read_bytes()
    (tmp_path / "run" / "registrations.jsonl").write_bytes(kept + b'{"key": "cut o')

    again = demis(*words).json

    assert again == first
    assert (tmp_path / "run" / "registrations.jsonl").read_bytes() == kept


def test_ctrl_c_keeps_the_pairs_that_are_done(demis, listed, tmp_path, monkeypatch):
    real = FixedImage.register

    def stopped(self, path, sizes=None):
        if path.name == "other.tif":
            raise KeyboardInterrupt
        return real(self, path, sizes)

    words = ("register", "--pairs", listed, *QUICK, "--out", tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(FixedImage, "register", stopped)
        said = demis(*words)

    assert said.code == 130
    assert "the same command goes on from there" in said.err
    assert "1 of 2 pairs matched" in said.out
    assert len((tmp_path / "run" / "registrations.csv").read_text().splitlines()) == 3
    assert "1 of 3 pairs matched" in demis(*words).out
    assert len((tmp_path / "run" / "registrations.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "unknown column 'a'"),
        ("fixed\nx.tif\n", "its columns are fixed"),
        ("fixed,moving\n", "holds no pair"),
        ("fixed,moving\nx.tif,\n", "line 2"),
        ("fixed,moving,fixed_pixel_size\nx.tif,y.tif,3\n", "give both"),
        ("fixed,moving,fixed_pixel_size,moving_pixel_size\nx.tif,y.tif,3,-1\n", "'-1' is no number above 0"),
    ],
)
def test_a_bad_list_is_one_line(demis, tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)

    got = demis("register", "--pairs", tmp_path / "p.csv", *QUICK)

    assert got.code == 2
    assert said in got.err
    assert len(got.lines) == 1


# --- watch ------------------------------------------------------------------------------------------------------------


def test_what_lies_in_a_watched_folder_is_registered_once(demis, two, tmp_path):
    folder = two[0].parent
    (folder / "broken.tif").write_bytes(b"II*\0" + bytes(40))
    words = ("register", "--watch", folder, "--fixed", two[0], *QUICK, "--once")

    said = demis(*words)
    again = demis(*words)

    assert said.code == 4
    assert "moving.tif: turn -1" in said.out
    assert "not registered" in said.out
    assert said.out.splitlines()[-1] == "1 matched; 0 not matched; 1 not registered"
    assert "0 matched; 0 not matched; 0 not registered" in again.out
    lines = (tmp_path / "data.registrations.jsonl").read_text().splitlines()
    told = {json.loads(line)["file"]: json.loads(line) for line in lines}
    assert set(told) == {"moving.tif", "broken.tif"}
    assert off(map_of(told["moving.tif"]["registration"]), TRUTH, SIDE) < 0.6
    assert told["broken.tif"]["registration"] is None


def test_a_watch_that_searches_nothing_says_that_the_error_is_not_known(demis, two):
    words = ("--watch", two[0].parent, "--fixed", two[0], "--weights", "none", "--set", "start=none", "--once")

    said = demis("register", *words)

    assert said.code == 0
    assert "shift (0.0, 0.0) px, error not known" in said.out
    assert said.out.splitlines()[-1] == "1 matched; 0 not matched; 0 not registered"


def test_a_file_that_is_something_else_is_not_appended_to(demis, two, tmp_path):
    (tmp_path / "mine.txt").write_text("my notes")
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')

    for name, words in (("mine.txt", "no file of JSON lines"), ("other.jsonl", "no file of registrations")):
        before = (tmp_path / name).read_bytes()
        got = demis("register", "--watch", tmp_path, "--fixed", two[0], *QUICK, "--once", "--append", tmp_path / name)
        assert got.code == 2
        assert words in got.err
        assert (tmp_path / name).read_bytes() == before


def test_json_of_a_watch_is_the_lines_that_are_appended(demis, two, tmp_path):
    out = tmp_path / "t.jsonl"

    said = demis("register", "--watch", two[0].parent, "--fixed", two[0], *QUICK, "--once", "--append", out, "--json")

    assert [json.loads(line) for line in said.out.splitlines()] == [
        json.loads(line) for line in out.read_text().splitlines()
    ]
    assert np.isfinite(json.loads(said.out)["registration"]["sigma_px"])
