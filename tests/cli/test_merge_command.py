# ruff: noqa: F811 - fixtures come by name
"""Parts matched by several, put together: the same end as that of one run; nothing that does not belong is taken."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from cli_words import SMALL, bytes_of, demis, made  # noqa: F401 - fixtures

from demis_ij import synth
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import with_shapes
from demis_ij.jobs import StitchJob, merging, read_layout
from demis_ij.jobs.parts import Part, part_of_text, parts_in, run_part
from demis_ij.pairs import neighbours
from demis_ij.stitch import asking, part_of

QUICK = ("--matcher", "sift", "--stage-axes", "+x+y", "--mosaic", "png", "--quiet")
READ = dict.fromkeys(("format_name", "rows", "cols", "overlap", "order", "start", "pattern"))
COMPARED = ("solution.json", "seams.csv", "mosaic.png", "run.json", "matches/0/all.parquet", "tiles/0.parquet")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Return the layout of a scene that no test here changes: 42 pairs."""
    spec = replace(SMALL, rows=4, cols=4, tile_px=128, overlap=0.4)
    folder = synth.write_scene(synth.make_scene(spec, 5), tmp_path_factory.mktemp("grid") / "scene")
    return folder / "TileConfiguration.txt"


@pytest.fixture(scope="module")
def thirds(grid):
    """Return three run folders that no test changes, each with a third of the pairs."""
    runs = [grid.parent.parent / f"part{n}" for n in (1, 2, 3)]
    document = read_layout(grid)
    render = RenderConfig(formats=("png",))
    job = StitchJob(config=StitchConfig(matcher="sift"), render=render, stage_axes="+x+y", read_options=READ)
    for n, run in enumerate(runs, 1):
        run_part(document, run, job, Part(n, 3))
    return runs


@pytest.fixture
def parts(thirds, tmp_path):
    """Return copies of them that a test may spoil."""
    return [shutil.copytree(run, tmp_path / run.name) for run in thirds]


def keys_of(run):
    table = pq.read_table(run / "matches" / "0" / "all.parquet", columns=["stage", "fixed", "moving"])
    return [tuple(row.values()) for row in table.to_pylist()]


def test_parts_that_are_merged_end_as_one_run_does_and_nothing_is_matched_twice(
    demis, grid, parts, tmp_path, monkeypatch
):
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert [len(keys_of(part)) for part in parts] == [14, 14, 14]
    assert not (parts[0] / "solution.json").exists()
    before = [bytes_of(part) for part in parts]
    said = demis("merge", run, *parts, "--json")
    assert said.code == 0
    assert said.json["warnings"] == []
    assert said.json["pairs"] == 42
    assert list(said.json["taken"].values()) == [14, 14, 14]
    assert [bytes_of(part) for part in parts] == before
    asked = []
    real = asking.match_pairs
    monkeypatch.setattr(
        asking, "match_pairs", lambda s, t, some, *a, **k: asked.extend(some) or real(s, t, some, *a, **k)
    )
    assert demis("stitch", grid, "--out", run, *QUICK).code == 0
    searched = list(asked)  # by the second pass, which goes by the whole solution
    assert demis("stitch", grid, "--out", whole, *QUICK).code == 0
    assert len(searched) < 5
    assert len(asked) == 42 + 2 * len(searched)
    for name in COMPARED:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_merge_goes_on_where_it_was_killed_and_says_what_is_missing(demis, grid, parts, tmp_path, monkeypatch):
    run = tmp_path / "run"
    real = merging._taken

    def killed(folder, other):
        if other.folder.is_relative_to(parts[1]):
            raise KeyboardInterrupt
        return real(folder, other)

    with monkeypatch.context() as patch:
        patch.setattr(merging, "_taken", killed)
        said = demis("merge", run, *parts[:2], "--quiet")
    assert said.code == 130
    assert "the same command goes on from there" in said.lines[0]
    said = demis("merge", run, *parts[:2], "--strict")
    assert said.code == 3
    assert said.out.splitlines()[:2] == [f"{parts[0]}: 0 new", f"{parts[1]}: 14 new"]
    assert said.warnings == ["warning: no run is finished with part 3/3: the next 'stitch' matches what is missing"]
    assert demis("merge", run, parts[2], parts[0]).out.splitlines()[:2] == [
        f"{parts[2]}: 14 new", f"{parts[0]}: 0 new"
    ]  # fmt: skip
    assert len(keys_of(run)) == 42


def test_parts_that_are_merged_one_after_the_other_are_all_known(demis, parts, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert demis("merge", run, parts[0]).warnings == [
        "warning: no run is finished with part 2/3, 3/3: the next 'stitch' matches what is missing"
    ]
    monkeypatch.setattr(merging, "occupant", lambda other: "process 1" * (other == parts[1]))
    said = demis("merge", run, parts[1], "--strict")
    assert (said.code, said.warnings[0]) == (3, f"warning: {parts[1]} is still being worked on (process 1)")
    assert [str(part) for part in sorted(parts_in([run]), key=str)] == ["1/3"]
    monkeypatch.undo()
    shutil.rmtree(parts[0])
    assert demis("merge", run, parts[1], "--json").json["warnings"] == [
        "no run is finished with part 3/3: the next 'stitch' matches what is missing"
    ]
    said = demis("merge", run, parts[2], "--strict")
    assert (said.code, said.warnings) == (0, [])


def test_of_very_many_missing_parts_a_few_are_named():
    mark = {Part(2, 10**12), Part(1, 2), Part(2, 2), Part(1, 4)}
    assert [line.partition(":")[0] for line in merging._missing(mark)] == [
        "no run is finished with part 2/4, 3/4, 4/4",
        "no run is finished with part 1/1000000000000, 3/1000000000000, 4/1000000000000 and 999999999996 more",
    ]


def test_a_search_that_went_by_fewer_pairs_is_forgotten(demis, grid, parts, tmp_path):
    run = tmp_path / "part1"
    assert demis("stitch", grid, "--out", run, *QUICK).code == 0  # all of them, and what was searched
    store = merging.MatchStore(run / "matches" / "0")
    first = keys_of(run)
    searched = store.get("first-sift", first[0][1:])
    store.put("search 0-sift", [searched])
    store.forget_where(lambda key: key[0] == "first-sift" and key[1:] in {k[1:] for k in keys_of(parts[2])})
    store.finish()
    assert demis("merge", run, parts[2]).code == 0
    assert sorted(keys_of(run)) == sorted(k for k in first if k[0] == "first-sift")
    elsewhere = tmp_path / "elsewhere"
    store.put("search 0-sift", [searched])
    assert demis("merge", elsewhere, run).code == 0
    assert {key[0] for key in keys_of(elsewhere)} == {"first-sift"}


def test_what_does_not_belong_is_one_line_and_nothing_changes(demis, made, grid, parts, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    assert demis("merge", run, *parts).code == 0

    def refused(said, *words):
        before = {path: bytes_of(path) for path in (run, *parts)}
        found = demis("merge", *words, "--quiet")
        assert (found.code, found.out, len(found.lines)) == (2, "", 1)
        assert said in found.lines[0]
        assert {path: bytes_of(path) for path in (run, *parts)} == before
        assert not (tmp_path / "new").exists()

    refused("holds no run of 'stitch'", run, parts[0], tmp_path)
    refused("is no folder", tmp_path / "new", tmp_path / "nowhere")
    refused("is not empty and holds no run", made, parts[0])
    refused("is the run to merge into", run, parts[0], run)
    assert demis("stitch", made / "TileConfiguration.txt", "--out", other, "--part", "1/1", *QUICK).code == 0
    refused(f"{other} cannot be merged with {run}: ", run, other)
    settings = json.loads((parts[1] / "run.json").read_text())
    changed = {**settings, "stitch": {**settings["stitch"], "max_error_px": 9.5}}
    (parts[1] / "run.json").write_text(json.dumps(changed))
    refused("max_error_px was ", run, parts[0], parts[1])
    (parts[1] / "run.json").write_text(json.dumps({**settings, "render": {**settings["render"], "formats": []}}))
    assert demis("merge", tmp_path / "drawn_otherwise", parts[0], parts[1]).code == 0


def test_a_run_that_another_merge_made_meanwhile_keeps_its_settings(parts, tmp_path, monkeypatch):
    run = tmp_path / "run"
    path = parts[1] / "run.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "stitch": {**settings["stitch"], "max_error_px": 9.5}}))
    real = merging.occupied

    @contextmanager
    def late(folder):
        monkeypatch.setattr(merging, "occupied", real)
        merging.merge_runs(folder, [parts[1]])
        with real(folder):
            yield

    monkeypatch.setattr(merging, "occupied", late)
    with pytest.raises(InputError, match=r"max_error_px was 9\.5"):
        merging.merge_runs(run, [parts[0]])
    assert json.loads((run / "run.json").read_text())["stitch"]["max_error_px"] == 9.5
    assert keys_of(run) == keys_of(parts[1])


def test_a_tile_that_is_another_one_there_is_named(demis, tmp_path):
    folder = synth.write_scene(synth.make_scene(SMALL, 3), tmp_path / "scene")
    layout = folder / "TileConfiguration.txt"
    words = ("stitch", layout, *QUICK)
    assert demis(*words, "--out", tmp_path / "one", "--part", "1/2").code == 0
    tile = folder / layout.read_text().splitlines()[-1].split(";")[0]
    os.utime(tile, (1, 1))
    assert demis(*words, "--out", tmp_path / "two", "--part", "2/2").code == 0
    said = demis("merge", tmp_path / "run", tmp_path / "one", tmp_path / "two")
    assert said.code == 2
    assert f"tile 0/tiles/{tile.name} has another image. Nothing was merged" in said.lines[0]


def test_a_store_that_is_damaged_is_found_before_anything_is_written(demis, parts, tmp_path):
    (parts[2] / "matches" / "0" / "all.parquet").write_bytes(b"PAR1")
    said = demis("merge", tmp_path / "run", *parts)
    assert said.code == 2
    assert "is damaged" in said.lines[0]
    assert not (tmp_path / "run").exists()


def test_parts_are_of_one_size_and_together_all_pairs(grid):
    layout = with_shapes(read_layout(grid).layouts[0])[0]
    pairs = neighbours(layout)
    for parts in (1, 2, 5, 40):
        found = [part_of(layout, pairs, number, parts) for number in range(1, parts + 1)]
        assert sorted(p for part in found for p in part) == sorted(pairs)
        assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("text", ["2", "2/", "0/3", "4/3", "a/b", "1/0", "-1/2"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="2/5"):
        part_of_text(text)
    assert part_of_text("2/5") == Part(2, 5)


def test_a_part_that_is_none_is_one_line(demis, grid, tmp_path):
    said = demis("stitch", grid, "--out", tmp_path / "run", "--part", "6/5", *QUICK)
    assert (said.code, len(said.lines)) == (2, 1)
    assert not (tmp_path / "run").exists()
