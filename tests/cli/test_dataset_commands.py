# ruff: noqa: F811 - fixtures come by name
"""``demis-ij synth``: what it says, what it refuses, and that nothing foreign is touched."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli_words import bytes_of, demis  # noqa: F401 - a fixture

from demis_ij.config import GRID_PRESETS
from demis_ij.synth.dataset import making

SMALL = ("--tile", 96, "--max-rows", 2, "--max-cols", 2)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three pictures."""
    (tmp_path / "em").mkdir()
    for k in range(3):
        image = np.random.default_rng(k).integers(20, 220, (240, 250), np.uint8)
        tifffile.imwrite(tmp_path / "em" / f"{k}.tif", image)
    return tmp_path / "em"


def refused(demis, folder, *words, code=2):
    """Call a command, and return its line after checking that nothing was written."""
    above = folder.parent
    before = bytes_of(above)
    said = demis("synth", *words)
    assert (said.code, said.out, len(said.lines)) == (code, "", 1), said
    assert said.err.startswith("demis-ij: ")
    assert "internal error" not in said.err
    assert bytes_of(above) == before
    return said.err


def test_grids_says_what_it_made_and_check_finds_it_sound(demis, folder, tmp_path):
    out = tmp_path / "set"

    said = demis("synth", "grids", folder, "--out", out, *SMALL, "--quiet")

    assert (said.code, said.err) == (0, "")
    assert [line.split() for line in said.out.splitlines()[:4]] == [
        ["split", "sources", "grids", "tiles", "pairs"],
        ["train", "1", "1", "4", "4"],
        ["val", "1", "1", "4", "4"],
        ["test", "1", "1", "4", "4"],
    ]
    assert {"DATASET.md", "contact_sheet.png", "dataset.json", "images", "indices", "labels", "splits"} <= {
        p.name for p in out.iterdir()
    }
    checked = demis("synth", "check", out, "--quiet")
    assert (checked.code, checked.err) == (0, "")
    assert "3 grids (train 1, val 1, test 1), 12 tiles, 12 pairs: sound" in checked.out

    again = demis("synth", "grids", folder, "--out", out, *SMALL, "--json")
    assert again.json["kept"] == 3
    assert again.json["splits"] == {"train": 1, "val": 1, "test": 1}


def test_a_dry_run_says_what_would_be_and_writes_nothing(demis, folder, tmp_path):
    words = ("synth", "grids", folder, "--out", tmp_path / "set", *SMALL, "--generated", 1, "--size", 256)
    before = bytes_of(tmp_path)

    said = demis(*words, "--dry-run", "--json")

    assert bytes_of(tmp_path) == before
    assert said.json["dry_run"] is True
    assert "nothing was written" in demis(*words, "--dry-run", "--quiet").out
    made = demis(*words, "--json").json
    same = ("grids", "tiles", "pairs", "sources", "splits", "bytes")
    assert {k: made[k] for k in same} == {k: said.json[k] for k in same}
    size = sum(p.stat().st_size for name in ("images", "sources") for p in (tmp_path / "set" / name).iterdir())
    assert 0.9 * size < made["bytes"] < size
    assert demis(*words, "--dry-run", "--json").json["kept"] == made["grids"]


def test_stitch_takes_a_grid_as_it_is(demis, folder, tmp_path):
    out = tmp_path / "set"
    demis("synth", "grids", folder, "--out", out, *SMALL, "--quiet")
    project = out / "grids" / "demis_g00001" / "project.xml"

    said = demis("stitch", project, "--out", tmp_path / "run", "--dry-run", "--json")

    assert said.code == 0
    assert said.json["warnings"] == []
    assert [s["tiles"] for s in said.json["sections"]] == [4]


def test_made_up_sections_are_sources_like_any_other(demis, tmp_path):
    out = tmp_path / "set"

    said = demis("synth", "grids", "--generated", 2, "--size", 256, "--out", out, *SMALL, "--json", "--style", "tem")

    assert said.json["sources"] == 2
    assert said.json["warnings"] == ["too few sources for the splits asked for: none is left for validation"]
    record = json.loads((out / "dataset.json").read_text())
    assert {g["source"] for g in record["grids"]} == {"generated_00000", "generated_00001"}
    assert sorted(p.name for p in (out / "sources").iterdir()) == ["generated_00000.tif", "generated_00001.tif"]
    assert demis("synth", "check", out, "--quiet").code == 0


def test_settings_come_from_preset_file_set_and_option_in_this_order(demis, folder, tmp_path):
    toml = tmp_path / "grids.toml"
    toml.write_text('[grids]\npreset = "published"\nnoise_sd = 7\ntile_px = 96\nbias_sd = 1.5\n')
    words = ("--config", toml, "--set", "bias_sd=2.5", "--set", "max_rows=2", "--set", "name=em", "--contrast", 0.01)

    assert demis("synth", "grids", folder, "--out", tmp_path / "set", *words, "--quiet").code == 0

    record = json.loads((tmp_path / "set" / "dataset.json").read_text())
    held = record["config"]
    assert record["preset"] == "published"
    assert (held["noise_sd"], held["bias_sd"], held["gain_sd"], held["name"]) == (7, 2.5, 0.01, "em")
    assert held["placement"] == GRID_PRESETS["published"]["placement"]
    assert (tmp_path / "set" / "labels" / "em_g00000.txt").is_file()
    card = (tmp_path / "set" / "DATASET.md").read_text()
    assert "| `noise_sd` | 7 |  |" in card
    assert "| `noise_first` | true | preset |" in card


def test_what_cannot_be_cut_is_named_and_the_rest_is(demis, folder, tmp_path):
    tifffile.imwrite(folder / "small.tif", np.arange(6400, dtype=np.uint16).reshape(80, 80))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    tifffile.imwrite(folder / "flat.tif", np.full((240, 250), 9, np.uint8))

    said = demis("synth", "grids", folder, "--out", tmp_path / "set", *SMALL, "--quiet", "--strict")

    assert said.code == 3
    assert len(said.warnings) == 3
    text = " ".join(said.warnings)
    assert "em/small.tif: 80 x 80 px" in text
    assert "broken.png" in text
    assert "flat.tif: shows one grey value only" in text
    assert said.out.startswith("split")


BAD = {
    "no folder": (("nope", "--out", "set"), "nope: no such folder"),
    "no image": (("empty", "--out", "set"), "empty: holds no image"),
    "nothing at all": (("--out", "set"), "--generated N"),
    "too small": (("em", "--out", "set"), "250 x 240 px (wide x high); a grid of 1 x 2 tiles of 1024 px needs"),
    "too many rows": (("em", "--out", "set", "--tile", 96, "--rows", 9), "a grid of 9 x 1 tiles of 96 px needs"),
    "only broken": (("broken", "--out", "set"), "no image can be cut"),
    "fractions": (("em", "--out", "set", "--validation", 0.8, "--test", 0.4), "more than all sources"),
    "a fraction": (("em", "--out", "set", "--missing", 1.5), "missing_frac: 1.5 is not between"),
    "preset": (("em", "--out", "set", "--preset", "papr"), "no preset 'papr'; known: ours, paper, published, hard"),
    "key": (("em", "--out", "set", "--set", "noise=3"), "unknown setting 'noise'; did you mean 'noise_sd'?"),
    "no value": (("em", "--out", "set", "--set", "noise_sd"), "needed NAME=VALUE"),
    "not a number": (("em", "--out", "set", "--set", "noise_sd=loud"), "noise_sd: 'loud' is not between"),
    "key in a file": (("em", "--out", "set", "--config", "bad.toml"), "did you mean 'overlap'"),
    "table in a file": (("em", "--out", "set", "--config", "table.toml"), "found 'stitch'"),
    "foreign folder": (("em", "--out", "other"), "other is not empty and holds no dataset.json"),
    "out is a file": (("em", "--out", "bad.toml"), "is a file"),
    "style": (("--generated", 1, "--out", "set", "--style", "rem"), "no 'rem'"),
    "sections too small": (("--generated", 1, "--out", "set", "--size", 200), "generated_px: 200 is too small"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_one_line(demis, folder, what, monkeypatch):
    above = folder.parent
    monkeypatch.chdir(above)
    (above / "empty").mkdir()
    (above / "other").mkdir()
    (above / "other" / "thesis.txt").write_text("mine")
    (above / "broken").mkdir()
    (above / "broken" / "a.tif").write_bytes(b"II*\0" + bytes(30))
    (above / "bad.toml").write_text("[grids]\noverlp = 0.2\n")
    (above / "table.toml").write_text("[stitch]\nmodel = 'rigid'\n")
    words, told = BAD[what]

    assert told in refused(demis, folder, "grids", *words, "--quiet")


def test_a_split_that_leaks_is_refused_in_one_line(demis, folder, tmp_path):
    out = tmp_path / "set"
    demis("synth", "grids", folder, "--out", out, *SMALL, "--quiet")
    train, test = (out / "splits" / f"{name}_list.txt" for name in ("train", "test"))
    test.write_text(test.read_text() + train.read_text())

    line = refused(demis, folder, "check", out)

    assert "the split leaks: grid demis_g0000" in line
    assert "is in train and in test" in line


@pytest.mark.parametrize("what", ["nothing", "no labels", "no dataset"])
def test_check_refuses_what_is_no_dataset(demis, folder, what):
    path = {"nothing": folder / "nope", "no labels": folder / "half", "no dataset": folder}[what]
    (folder / "half" / "images").mkdir(parents=True)

    assert "no DEMIS dataset" in refused(demis, folder, "check", path)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(demis, folder, tmp_path, monkeypatch):
    out = tmp_path / "set"
    words = ("synth", "grids", folder, "--out", out, *SMALL, "--quiet")
    real, calls = Path.write_bytes, []

    def full(path, data):
        if path.suffix == ".tif":
            calls.append(path)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as an open file does: it names no file
        return real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        said = demis(*words)
    assert (said.code, said.out, len(said.lines)) == (1, "", 1)
    assert "the disk is full" in said.err
    assert "demis_g00001_t00002_s00000.tif" in said.err
    assert not list(out.rglob("*.part*"))
    assert demis(*words[:-1], "--json").json["kept"] == 1


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(demis, folder, tmp_path, monkeypatch):
    out = tmp_path / "set"
    words = ("synth", "grids", folder, "--out", out, *SMALL)

    def stop(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_indices", stop)
        said = demis(*words, "--quiet")
    assert (said.code, said.out, len(said.lines)) == (130, "", 1)
    assert "the same command goes on from there" in said.err
    assert not list(out.rglob("*.part*"))
    whole = demis("synth", "grids", folder, "--out", tmp_path / "whole", *SMALL, "--quiet")
    assert (demis(*words, "--quiet").code, whole.code) == (0, 0)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_sections_are_written_kept_and_not_mixed_with_others(demis, tmp_path):
    out = tmp_path / "sections"
    words = ("synth", "sections", "--out", out, "--size", 128, "--style", "tem")

    first = demis(*words, "--count", 2, "--json")
    stamps = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    more = demis(*words, "--count", 3, "--json")

    assert (first.code, more.code) == (0, 0)
    assert len(more.json["files"]) == 3
    assert all(p.stat().st_mtime_ns == t for p, t in stamps.items())
    images = [tifffile.imread(p) for p in more.json["files"]]
    assert all(i.shape == (128, 128) and i.dtype == np.uint8 and i.std() > 5 for i in images)
    assert not np.array_equal(images[0], images[1])
    assert "side_px 128, not 100" in refused(demis, out, "sections", "--out", out, "--size", 100, "--style", "tem")
    assert "no style 'rem'" in refused(demis, out, "sections", "--out", tmp_path / "x", "--style", "rem")


def test_serial_sections_resemble_their_neighbours(demis, tmp_path):
    words = ("synth", "sections", "--size", 160, "--seed", 3, "--quiet", "--series", "--count", 3)
    for name, step in (("near", 2), ("far", 60)):
        assert demis(*words, "--out", tmp_path / name, "--step", step).code == 0

    def likeness(name):
        images = [tifffile.imread(p).ravel() for p in sorted((tmp_path / name).glob("*.tif"))]
        return np.corrcoef(images)[0, 1]

    assert likeness("near") > 0.5 > likeness("far")
    told = refused(demis, tmp_path / "near", "sections", "--out", tmp_path / "near", "--size", 160, "--seed", 3)
    assert "holds other sections (serial True, not False)" in told
    assert "give --series" in refused(demis, tmp_path / "near", "sections", "--out", tmp_path / "x", "--step", 3)
