# ruff: noqa: F811 - fixtures come by name
"""``seams``: which seams of a run are bad, in a table, as CSV, as JSON, as pictures."""

from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from cli_words import bytes_of, demis, made, scene, solution_of  # noqa: F401 - fixtures

from demis_ij.errors import FormatError
from demis_ij.formats.streamed_json import CHUNK, StreamedJson
from demis_ij.jobs.seams.worst import RunSeams, SeamChoice


@pytest.fixture(scope="module")
def stitched(made, tmp_path_factory):
    """A run whose solution is then spoilt: one seam of 3 px, one that failed, one that was not believed."""
    from demis_ij import jobs
    from demis_ij.config import StitchConfig

    root = tmp_path_factory.mktemp("seams")
    shutil.copytree(made, root / "user")
    job = jobs.StitchJob(config=StitchConfig(matcher="sift"), write_mosaic=False)
    jobs.run_stitch(jobs.read_layout(root / "user" / "TileConfiguration.txt"), root / "run", job)
    solution = solution_of(root / "run")
    pairs = solution["pairs"]
    pairs[0]["solved_residual_px"] = 3.25
    pairs[1] |= {"accepted": False, "residual_px": None, "reason": "3 matches found, 8 needed"}
    for name in ("to_fixed", "model", "solved_residual_px", "sigma_px", "weight"):
        del pairs[1][name]
    pairs[2] |= {"accepted": False, "weight": 0.0, "solved_residual_px": 40.0, "reason": "contradicts its neighbours"}
    (root / "run" / "solution.json").write_text(json.dumps(solution))
    return root / "run"


def names(row):
    return row["fixed"], row["moving"]


def test_the_worst_seams_come_first_with_their_error_and_the_rest_is_counted(demis, stitched):
    said = demis("seams", stitched)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].split()[:6] == ["fixed", "moving", "error", "px", "expected", "px"]
    assert "40.00" in lines[1]
    assert "not believed" in lines[1]
    assert "3.25" in lines[2]
    assert lines[-1] == "4 seams; 1 not believed; 1 failed (--failed lists them)"


def test_a_limit_and_a_number_choose_seams(demis, stitched):
    worse = demis("seams", stitched, "--worse-than", "3", "--json").json
    assert [row["error_px"] for row in worse["seams"]] == [40.0, 3.25]
    assert worse["counts"] == {"believed": 2, "not believed": 1, "failed": 1}
    one = demis("seams", stitched, "--worse-than", "3", "--most", "1")
    assert one.out.splitlines()[-1].startswith("4 seams; 2 worse than 3 px; 1 not believed; 1 failed")
    assert "the worst 1 are shown" in one.out
    assert demis("seams", stitched, "--most", "0").out.startswith("4 seams")


def test_failed_seams_say_why(demis, stitched):
    said = demis("seams", stitched, "--failed")
    assert "3 matches found, 8 needed" in said.out
    (row,) = demis("seams", stitched, "--failed", "--json").json["seams"]
    assert (row["state"], row["error_px"], row["matcher"]) == ("failed", None, "sift")


def test_a_table_as_csv_holds_all_with_the_tiles_places(demis, stitched, tmp_path):
    path = tmp_path / "seams.csv"
    said = demis("seams", stitched, "--csv", path)
    assert (said.code, said.out) == (0, f"{path}: 3 seams\n")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [float(row["error_px"]) for row in rows] == sorted((float(r["error_px"]) for r in rows), reverse=True)
    solution = solution_of(stitched)
    tile = solution["tiles"][rows[0]["fixed"]]
    (a, b, tx), (c, d, ty) = tile["to_world"]
    middle = (tile["shape"][1] - 1) / 2, (tile["shape"][0] - 1) / 2
    assert float(rows[0]["fixed_x"]) == pytest.approx(a * middle[0] + b * middle[1] + tx, abs=1e-3)
    assert float(rows[0]["fixed_y"]) == pytest.approx(c * middle[0] + d * middle[1] + ty, abs=1e-3)
    again = demis("seams", stitched, "--csv", path)
    assert (again.code, len(again.lines)) == (2, 1)


def test_pictures_show_the_fixed_tile_red_and_the_moving_one_cyan(demis, stitched, tmp_path):
    said = demis("seams", stitched, "--worse-than", "3", "--look", "1", "--picture", tmp_path / "look", "--json")
    (path,) = said.json["pictures"]
    picture = cv2.imread(path)
    assert picture is not None
    assert said.json["warnings"] == []
    body = picture[60:].astype(int)
    inside = body[(body.sum(2) > 0) & (body.sum(2) < 765)]
    assert np.mean(np.abs(inside[:, 2] - inside[:, 1]) < 40) > 0.5  # tiles that fit are grey over each other
    assert (inside[:, 0] == inside[:, 1]).mean() > 0.9  # blue and green are the moving tile


def test_a_tile_that_is_gone_cannot_be_drawn_and_the_rest_is(demis, stitched, tmp_path):
    solution = solution_of(stitched)
    run = tmp_path / "run"
    run.mkdir()
    gone = solution["pairs"][0]["fixed"]
    solution["tiles"][gone]["path"] = str(tmp_path / "gone.tif")
    (run / "solution.json").write_text(json.dumps(solution))
    said = demis("seams", run, "--look", "3")
    assert said.code == 0
    assert any("gone.tif" in line for line in said.warnings)
    assert len(list((run / "seams").iterdir())) == 3 - len(said.warnings)


def test_seams_of_several_sections_come_from_a_file_each(demis, stitched, tmp_path):
    """As a stack's solution is kept: an index, and sections in the layout's own coordinates."""
    whole = solution_of(stitched)
    run = tmp_path / "run"
    (run / "sections").mkdir(parents=True)
    entries = []
    for name in ("7", "é 8"):
        own = json.loads(json.dumps(whole))
        for pair in own["pairs"]:
            pair["section"] = name
        file = f"sections/{len(entries)}.json"
        (run / file).write_text(json.dumps(own, ensure_ascii=False), encoding="utf-8")
        entries.append({"section": name, "file": file})
    index = {"format_version": 2, "world_origin": [100.0, -50.0], "pixel_size": None, "sections": entries}
    (run / "solution.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")

    both = demis("seams", run, "--json").json
    assert both["counts"] == {"believed": 4, "not believed": 2, "failed": 2}
    assert {row["section"] for row in both["seams"]} == {"7", "é 8"}
    one = demis("seams", run, "--section", "é 8", "--json").json["seams"]
    alone = demis("seams", stitched, "--json").json["seams"]
    assert [row["fixed"] for row in one] == [f"é 8/{row['fixed']}" for row in alone]
    assert one[0]["x"] == pytest.approx(alone[0]["x"] - 100)
    assert one[0]["y"] == pytest.approx(alone[0]["y"] + 50)
    assert "section" in demis("seams", run).out.splitlines()[0]


def test_half_a_solution_is_one_line_that_says_where_it_ends(demis, stitched, tmp_path):
    whole = (stitched / "solution.json").read_bytes()
    path = tmp_path / "solution.json"
    path.write_bytes(whole[:500])
    said = demis("seams", path)
    assert (said.code, len(said.lines)) == (2, 1)
    assert said.lines[0].startswith(f"demis-ij: {path}: is not JSON")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"align": {}}, "holds no run of 'stitch'"),
        ({"compare": []}, "holds no run of 'stitch'"),
        ({"stitch": {}}, "holds a run that is not finished"),
    ],
)
def test_a_folder_without_a_solution_is_told_by_whose_run_it_holds(settings, what, demis, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(settings))
    (tmp_path / "matches").mkdir()
    said = demis("seams", tmp_path)
    assert (said.code, len(said.lines)) == (2, 1)
    assert said.lines[0].startswith(f"demis-ij: {tmp_path} {what}")


def test_a_section_of_a_single_tile_is_there_and_has_no_seam(demis, stitched, tmp_path):
    solution = solution_of(stitched)
    run = tmp_path / "run"
    run.mkdir()
    solution["tiles"]["alone.tif"] = {**next(iter(solution["tiles"].values())), "section": "8"}
    (run / "solution.json").write_text(json.dumps(solution))
    said = demis("seams", run, "--section", "8")
    assert (said.code, said.out.splitlines()[-1]) == (0, "0 seams; 0 not believed; 0 failed")


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nowhere"], "there is no such folder"),
        (["user"], "holds no run of 'stitch'"),
        (["run", "--section", "9"], "no section '9'"),
        (["run", "--failed", "--worse-than", "1"], "choose one of them"),
        (["run", "--json", "--csv", "a.csv"], "choose one of them"),
        (["run", "--csv", "missing/a.csv"], "there is no folder"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(demis, stitched, monkeypatch, words, needed):
    monkeypatch.chdir(stitched.parent)
    before = bytes_of(stitched.parent)
    said = demis("seams", *words)
    assert (said.code, len(said.lines), said.out) == (2, 1, "")
    assert needed in said.err
    assert bytes_of(stitched.parent) == before


def test_a_run_that_is_not_finished_says_so(demis, tmp_path):
    (tmp_path / "matches").mkdir()
    assert "not finished" in demis("seams", tmp_path).err


def test_a_solution_that_is_cut_off_or_none_says_where(tmp_path):
    path = tmp_path / "solution.json"
    for text in ('{"tiles": {}, "pairs": [{"section": "0"', '{"tiles": 3', "[1]", '{"tiles": {}, "pairs": [{"a": 1}]}'):
        path.write_text(text)
        with pytest.raises(FormatError, match=r"solution\.json"):
            RunSeams(tmp_path, SeamChoice())


def test_json_larger_than_what_is_read_at_once_is_read_to_the_last_value(tmp_path):
    value = {"a": list(range(3)), "ünï": [{"x": "é" * 700, "n": k, "f": -1.5e-3} for k in range(2500)], "z": 12345}
    path = tmp_path / "large.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert path.stat().st_size > 3 * CHUNK
    found = {}
    with path.open("rb") as file:
        stream = StreamedJson(file, path)
        for key in stream.members():
            if key == "ünï":
                found[key] = [stream.value() for _ in stream.elements()]
            else:
                found[key] = stream.value()[0]
    assert (found["a"], found["z"]) == (value["a"], value["z"])
    raw = path.read_bytes()
    parts = [json.loads(raw[start:end]) for _, start, end in found["ünï"]]
    assert parts == value["ünï"]


def test_many_seams_take_little_memory(tmp_path):
    """What is kept of a seam that is not shown is a few numbers."""
    import tracemalloc

    pair = (
        '{"section":"0","fixed":"a%d","moving":"b%d","accepted":true,"reason":"","matcher":"sift","matches":9,'
        '"inliers":9,"residual_px":0.3,"tried":[],"to_fixed":[[1.0,0.0,9.0],[0.0,1.0,0.0],[0.0,0.0,1.0]],'
        '"model":"rigid","solved_residual_px":%f,"sigma_px":0.1,"weight":1.0}'
    )
    count = 20_000
    rows = ",".join(pair % (k, k, (k * 7919 % count) / 1000) for k in range(count))
    (tmp_path / "solution.json").write_text('{"format_version":1,"tiles":{},"pairs":[' + rows + "]}")
    tracemalloc.start()
    found = RunSeams(tmp_path, SeamChoice(most=3))
    first = [row.error_px for row in found.rows()]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first == [19.999, 19.998, 19.997]
    assert found.counts["believed"] == count
    assert peak < 12 * CHUNK
