"""The run folder: what is kept comes back, what is cut off is done again, what is another's is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import FormatError, InputError
from demis_ij.runs import (
    RunFolder,
    check_folder,
    fingerprint,
    read_json,
    read_solution,
    slug,
    whole_file,
    write_json,
    write_text,
)

SETTINGS = {"layout": "a.xml", "stitch": {"matcher": "sift", "model": "rigid"}}


def test_a_new_folder_is_made_with_its_parents_and_gone_on_with(tmp_path):
    path = tmp_path / "a" / "b"
    assert check_folder(path, SETTINGS) is False
    assert not path.parent.exists()
    assert RunFolder(path, SETTINGS).resumed is False
    assert RunFolder(path, SETTINGS).resumed is True
    assert check_folder(path, SETTINGS) is True


def test_a_run_with_other_settings_is_refused_in_words(tmp_path):
    RunFolder(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r'model was "rigid", now "affine"'):
        RunFolder(tmp_path, {**SETTINGS, "stitch": {"matcher": "sift", "model": "affine"}})
    there = read_json(tmp_path / "run.json")
    write_json(tmp_path / "run.json", {**there, "demis_ij": "0.0.0"})
    with pytest.raises(InputError, match=r"made by demis_ij 0\.0\.0"):
        RunFolder(tmp_path, SETTINGS)


def test_a_stage_is_done_only_for_what_it_depended_on_and_while_its_files_are_there(tmp_path):
    run = RunFolder(tmp_path, SETTINGS)
    file = tmp_path / "x"
    assert not run.is_done("mosaic", "1", [])
    run.mark_done("mosaic", "1", ["a note"])
    file.touch()
    assert run.is_done("mosaic", "1", [file])
    assert run.notes("mosaic") == ["a note"]
    assert not run.is_done("mosaic", "2", [file])
    file.unlink()
    assert not run.is_done("mosaic", "1", [file])
    (tmp_path / ".mosaic.done").write_text("{")
    assert not run.is_done("mosaic", "1", [])
    assert run.notes("mosaic") == []


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=8), unique=True, max_size=6))
def test_names_of_sections_become_different_plain_file_names(names):
    found = [slug(n) for n in names]
    assert len(set(found)) == len(names)
    for name in found:
        assert name
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>|\n\0')


def test_json_that_json_lacks_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_text(path, "old")

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        with pytest.raises(OSError, match="No space"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_fingerprint_tells_values_apart_and_not_their_order(tmp_path):
    assert fingerprint({"a": 1, "b": [2.5]}) == fingerprint({"b": [2.5], "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])


@pytest.mark.parametrize(
    "change",
    [
        {"tiles": {}},
        {"tiles": {"a": {}}},
        {"tiles": []},
        {"format_version": 2},
        {"world_origin": [0]},
        {"pixel_size": ["x", "nm"]},
    ],
)
def test_a_solution_that_is_none_is_refused(tmp_path, change):
    tile = {"path": "a.tif", "page": None, "section": "0", "shape": [4, 5], "to_world": [[1, 0, 2], [0, 1, 3]]}
    whole = {"format_version": 1, "world_origin": [0, 0], "pixel_size": None, "tiles": {"a": tile}, "pairs": []}
    write_json(tmp_path / "solution.json", whole)
    layouts, origin = read_solution(tmp_path)
    assert (layouts[0]["a"].to_world.tx, origin) == (2, (0, 0))
    write_json(tmp_path / "solution.json", whole | change)
    with pytest.raises(FormatError, match=r"solution\.json"):
        read_solution(tmp_path)


@pytest.fixture
def disk(monkeypatch):
    """Return what is done to files, in order: (flushed, name) and (named, name)."""
    done = []
    flush, rename = os.fsync, Path.replace

    def flushed(handle):
        done.append(("flushed", Path(f"/proc/self/fd/{handle}").readlink().name))
        flush(handle)

    def renamed(path, target):
        done.append(("named", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    return done


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are not told here")


@needs_proc
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, disk):
    write_text(tmp_path / "a.txt", "a")
    assert disk == [("flushed", ".a.txt.part"), ("named", "a.txt"), ("flushed", tmp_path.name)]
    disk.clear()
    write_text(tmp_path / "a.txt", "a")
    assert disk == []  # it is there already


@needs_proc
def test_a_stage_is_marked_after_its_files_are_on_the_disk(tmp_path, disk):
    folder = RunFolder(tmp_path / "run", SETTINGS)
    page = folder.path / "report.html"
    page.write_text("page")
    disk.clear()
    folder.mark_done("report", "", files=[page])
    assert disk[0] == ("flushed", "report.html")
    assert disk.index(("named", ".report.done")) > disk.index(("flushed", "run"))


def test_a_file_that_could_not_be_written_whole_leaves_nothing(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def cut_off():
        with whole_file(path) as stream:
            stream.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        cut_off()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"
