"""The worker's verb ``transforms``: where the tiles of a project that is open in TrakEM2 go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from open_projects import as_open, ask, four_tiles, matrices, patch_xml, project_xml, solve

from demis_ij import formats, synth
from demis_ij.cli.app import app
from demis_ij.errors import InputError
from demis_ij.formats.trakem2_open import open_project
from demis_ij.worker.verbs import transforms


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return four_tiles(tmp_path)


def test_the_matrices_are_those_of_the_solved_copy_also_with_a_coordinate_transform(project, tmp_path):
    solved = solve(project, t6=(2.5, -1.0), t8=(-3.25, 4.5))

    done, moves = ask(solved, as_open(project), tmp_path)

    assert moves == {oid: m for oid, m in matrices(solved).items() if oid in {"6", "8"}}
    assert moves["8"] == [1.0, 0.0, 0.0, 1.0, 266.75, 7.5]
    assert (done["moved"], done["unchanged"], done["warnings"], done["changed"]) == (2, 2, [], [])
    assert done["largest_px"] == pytest.approx(np.hypot(3.25, 4.5))


def test_what_is_there_already_does_not_move(project, tmp_path):
    solved = solve(project, t6=(2.5, -1.0))

    done, moves = ask(solved, as_open(solved), tmp_path)

    assert moves == {}
    assert done["unchanged"] == 4
    assert done["warnings"] == []


def test_a_locked_tile_stays_and_is_named(project, tmp_path):
    done, moves = ask(solve(project, t6=(2, 0), t7=(1, 0)), as_open(project, t6={"locked": True}), tmp_path)

    assert set(moves) == {"7"}
    assert done["locked"] == ["t1.tif (id 6)"]
    assert "locked" in done["warnings"][0]


def test_a_tile_that_was_moved_since_is_counted(project, tmp_path):
    solved = solve(project, t6=(2, 0), t7=(1, 0))
    elsewhere = {"matrix": [1, 0, 0, 1, 150.0, 3.0]}

    done, moves = ask(solved, as_open(project, t7=elsewhere), tmp_path)

    assert done["changed"] == ["t2.tif (id 7)"]
    assert moves["7"] == [1.0, 0.0, 0.0, 1.0, 181.0, 0.0]  # for those who apply it anyway: where the solution has it
    assert "were moved in TrakEM2 since they were solved" in done["warnings"][0]


def test_tiles_that_the_solution_does_not_move_count_as_moved_since_too(project, tmp_path):
    done, moves = ask(solve(project, t6=(2, 0)), as_open(project, t5={"matrix": [1, 0, 0, 1, -20, 0]}), tmp_path)

    assert done["changed"] == ["t0.tif (id 5)"]
    assert moves["5"] == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def test_a_project_shifted_as_a_whole_takes_the_solution_with_it(project, tmp_path):
    said = as_open(project)
    for p in said["patches"]:
        p["matrix"][4] += 17.0
        p["matrix"][5] -= 5.0

    done, moves = ask(solve(project, t6=(2.5, -1.0)), said, tmp_path)

    assert moves == {"6": [1.0, 0.0, 0.0, 1.0, 109.5, -6.0]}
    assert done["shift"] == [17.0, -5.0]
    assert done["changed"] == []
    assert "(17, -5) px" in done["warnings"][0]


def test_one_tile_moved_a_lot_is_no_shift_of_the_project(project, tmp_path):
    done, _ = ask(solve(project, t6=(2, 0)), as_open(project, t5={"matrix": [1, 0, 0, 1, 500, 0]}), tmp_path)

    assert done["shift"] == [0.0, 0.0]
    assert done["changed"] == ["t0.tif (id 5)"]


def test_open_tiles_without_a_solution_stay_and_are_named(project, tmp_path):
    said = as_open(project)
    said["patches"].append(said["patches"][0] | {"id": "99", "title": "new.tif"})

    done, moves = ask(solve(project, t6=(2, 0)), said, tmp_path)

    assert set(moves) == {"6"}
    assert done["unknown"] == ["new.tif (id 99)"]
    assert "not in the solution" in done["warnings"][0]


def test_an_id_that_is_another_image_now_is_not_the_same_tile(project, tmp_path):
    done, moves = ask(
        solve(project, t6=(2, 0), t7=(1, 0)), as_open(project, t6={"path": "/elsewhere/other.tif"}), tmp_path
    )

    assert set(moves) == {"7"}
    assert done["unknown"] == ["t1.tif (id 6)"]


def test_a_coordinate_transform_that_came_since_keeps_a_tile_where_it_is(project, tmp_path):
    done, moves = ask(
        solve(project, t6=(2, 0), t7=(1, 0)), as_open(project, t6={"coordinate_transform": True}), tmp_path
    )

    assert set(moves) == {"7"}
    assert "another coordinate transform" in done["unknown"][0]


def test_another_project_is_matched_by_image_and_slice_not_by_id(project, tmp_path):
    solved = solve(project, t6=(2.5, -1.0))
    said = as_open(project)
    said["unuid"] = "1.2.3"
    for p in said["patches"]:
        p["id"] = str(100 - int(p["id"]))
    said["patches"][2]["slice"] = 3  # no slice of a stack was solved: that one is unknown

    done, moves = ask(solved, said, tmp_path)

    assert moves == {"94": matrices(solved)["6"]}
    assert done["unknown"] == ["t2.tif (id 93)"]


def test_an_image_that_occurs_twice_is_nobody_in_particular(project, tmp_path):
    said = as_open(project, t7={"path": str(project.parent / "tiles" / "t1.tif")})
    said["unuid"] = ""

    done, moves = ask(solve(project, t6=(2, 0), t8=(1, 1)), said, tmp_path)

    assert set(moves) == {"8"}
    assert done["unknown"] == ["t1.tif (id 6)", "t2.tif (id 7)"]


def test_a_solution_of_other_images_is_refused_with_both_sides(project, tmp_path):
    said = as_open(project)
    said["unuid"] = "1.2.3"
    for p in said["patches"]:
        p["path"] = "/elsewhere" + p["path"]

    with pytest.raises(
        InputError, match=r"none of its 4 tile\(s\) is among the 4 open one\(s\), compared by the paths"
    ):
        ask(solve(project, t6=(2, 0)), said, tmp_path)


def test_a_solved_copy_without_its_original_says_what_cannot_be_told(project, tmp_path):
    solved = solve(project, t6=(2, 0))
    said = as_open(project, t5={"matrix": [1, 0, 0, 1, -20, 0]})
    project.unlink()

    done, moves = ask(solved, said, tmp_path)

    assert set(moves) == {"5", "6"}
    assert done["changed"] == []
    assert "is not beside it" in done["warnings"][0]


def test_an_original_saved_after_the_solution_says_what_cannot_be_told(project, tmp_path):
    solved = solve(project, t6=(2, 0))
    later = solved.stat().st_mtime_ns + 10**9
    os.utime(project, ns=(later, later))

    done, _ = ask(solved, as_open(project), tmp_path)

    assert "was saved after" in done["warnings"][0]


def test_only_the_open_layer_moves_and_the_others_are_not_missed(tmp_path):
    path = tmp_path / "p.xml"
    tiles = [[patch_xml(10 * z + i, 90.0 * i, 0.0, f"z{z}_{i}.tif") for i in range(2)] for z in range(1, 3)]
    path.write_text(project_xml(*tiles), encoding="latin-1")

    done, moves = ask(solve(path, t10=(1, 0), t20=(1, 0)), as_open(path, t20=None, t21=None), tmp_path)

    assert set(moves) == {"10"}
    assert (done["missing"], done["warnings"]) == (2, [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"matrix": [1, 0, 0, 1, 0]}, "patch 0"),
        ({"matrix": [0, 0, 0, 0, 0, 0]}, "patch 0"),
        ({"matrix": [1, 0, 0, 1, float("nan"), 0]}, "patch 0"),
        ({"width": -1}, "patch 0"),
        ({"id": "6"}, "id 6 occurs twice"),
    ],
)
def test_what_is_no_open_project_is_refused(project, change, says):
    with pytest.raises(InputError, match=says):
        open_project(as_open(project, t5=change), Path("open.json"))


def test_a_file_that_is_no_solution_is_refused(project, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("no solution")

    with pytest.raises(InputError, match=r"a run folder or a solution\.json was needed"):
        ask(other, as_open(project), tmp_path)


# --- run folders ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with a TrakEM2 project and a tile configuration, both stitched."""
    folder = tmp_path_factory.mktemp("stitched")
    spec = synth.GridSpec(rows=2, cols=2, tile_px=256, overlap=0.25, shift_frac=0.03)
    synth.write_scene(synth.make_scene(spec, seed=4), folder / "scene")
    for layout, run in (("project.xml", "run"), ("TileConfiguration.txt", "run_of_the_list")):
        words = ["stitch", str(folder / "scene" / layout), "--matcher", "sift", "--quiet", "--mosaic", "png"]
        assert not app([*words, "--out", str(folder / run)], standalone_mode=False)
    return folder


@pytest.mark.parametrize("named", ["run", "run/solution.json"])
def test_a_run_says_the_same_as_the_solved_copy_it_wrote(stitched, tmp_path, named):
    said = as_open(stitched / "scene" / "project.xml")

    done, moves = ask(stitched / named, said, tmp_path)
    _, expected = ask(stitched / "scene" / "project.demis.xml", said, tmp_path)

    assert set(moves) == set(expected)
    assert len(moves) >= 3
    for oid, matrix in moves.items():
        np.testing.assert_allclose(matrix, expected[oid], atol=1e-9)  # px: the file holds the mosaic's own pixels
    assert done["warnings"] == []


def test_a_run_whose_layout_has_changed_still_gives_the_matrices(stitched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stitched / "run", run)
    text = (run / "run.json").read_text(encoding="utf-8")
    digest = formats.read(stitched / "scene" / "project.xml").digest
    (run / "run.json").write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    said = as_open(stitched / "scene" / "project.xml")

    done, moves = ask(run, said, tmp_path)
    _, expected = ask(stitched / "scene" / "project.demis.xml", said, tmp_path)
    said["patches"][0]["matrix"][4] += 30
    moved_since, _ = ask(run, said, tmp_path)

    assert "has changed since it was solved" in done["warnings"][0]
    assert done["changed"] == []
    assert len(moved_since["changed"]) == 1
    for oid, matrix in expected.items():
        np.testing.assert_allclose(moves[oid], matrix, atol=1e-9)


@pytest.mark.parametrize("run", ["run", "run_of_the_list"])
def test_a_run_knows_where_tiles_were_too(stitched, tmp_path, run):
    said = as_open(stitched / "scene" / "project.xml")
    said["patches"][0]["matrix"][4] += 30

    done, _ = ask(stitched / run, said, tmp_path)

    assert len(done["changed"]) == 1
    assert done["changed"][0].endswith(f"(id {said['patches'][0]['id']})")


def test_the_run_of_a_list_moves_a_project_of_the_same_images(stitched, tmp_path):
    said = as_open(stitched / "scene" / "project.xml")

    done, moves = ask(stitched / "run_of_the_list", said, tmp_path)
    _, expected = ask(stitched / "scene" / "project.demis.xml", said, tmp_path)

    assert done["unknown"] == []
    for oid, matrix in expected.items():
        np.testing.assert_allclose(moves[oid], matrix, atol=1e-6)


def test_the_verb_leaves_nothing_behind_but_its_answer(stitched, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in stitched.rglob("*")}

    ask(stitched / "run", as_open(stitched / "scene" / "project.xml"), tmp_path)

    assert {p: p.stat().st_mtime_ns for p in stitched.rglob("*")} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["open.json", "open.moves.json"]


def test_what_it_needs_is_asked_for_by_name():
    with pytest.raises(InputError, match="'patches' is missing"):
        transforms.VERB.checked("transforms", {"solved": str(Path(__file__))})
