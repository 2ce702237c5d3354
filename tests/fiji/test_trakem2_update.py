"""Update Open TrakEM2 Project, in SciJava's script service, with the real worker and a double of TrakEM2."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fiji_menu import Menu, Outcome
from open_projects import as_open, four_tiles, matrices, patch_xml, project_xml, solve
from trakem2_double import SCRIPTS, OpenTrakEM2, doubled

pytestmark = pytest.mark.java

KEEP, ALL_SIDES, LEAVE = "grow to the right and down", "grow to all sides (moves the origin)", "leave as it is"


@pytest.fixture
def trakem2(imagej_session) -> Iterator[OpenTrakEM2]:
    with doubled(imagej_session) as found:
        yield found


@pytest.fixture
def update(imagej_session, menu: Menu, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Run the script as from the menu; without ``solved`` it takes the solved copy beside the project."""
    own = Menu(
        menu.home, tmp_path_factory.mktemp("asked"), lambda script, given: imagej_session.run_script(script, given)
    )
    return lambda **given: own.run("Update_Open_TrakEM2_Project", **given)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "Präparat #1 & Söhne"
    folder.mkdir()
    return four_tiles(folder)


def moved(done: Outcome) -> int:
    return int(done.outputs["moved"])


def snapshot(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def assert_clean(trakem2: OpenTrakEM2) -> dict[str, Any]:
    """No rule of TrakEM2 was broken, and it takes input again."""
    facts = trakem2.facts()
    assert facts["broken"] == []
    assert not facts["half"], "one step of a pair is missing"
    assert facts["input"]
    assert facts["mipmaps"] == 0
    return facts


def assert_untouched(trakem2: OpenTrakEM2, before: dict[str, list[float]]) -> None:
    facts = assert_clean(trakem2)
    assert trakem2.matrices() == before
    assert not facts["changed"]
    assert not facts["canUndo"]


# --- what it does -----------------------------------------------------------------------------------------------------


def test_tiles_go_where_the_solved_copy_has_them_and_undo_brings_them_back(trakem2, update, project):
    solved = solve(project, t6=(2.5, 1.0), t8=(-3.25, 4.5))
    trakem2.open(as_open(project))
    before, files = trakem2.matrices(), snapshot(project.parent)

    done = update()

    assert moved(done) == 2
    assert done.result.startswith("2 tile(s) of 'demo'")
    assert trakem2.matrices() == matrices(solved)
    facts = assert_clean(trakem2)
    assert facts["changed"]
    assert facts["locked"] == 1
    assert facts["updated"] == facts["repainted"] == 1
    assert snapshot(project.parent) == files
    trakem2.undo()
    assert trakem2.matrices() == before
    trakem2.redo()
    assert trakem2.matrices() == matrices(solved)


def test_a_second_time_there_is_nothing_to_do(trakem2, update, project):
    solve(project, t6=(2.5, 1.0))
    trakem2.open(as_open(project))
    update()

    done = update()

    assert moved(done) == 0
    assert done.result.startswith("Nothing to move")
    assert trakem2.facts()["locked"] == 1  # input was taken away once: the first time


def test_locked_tiles_and_those_linked_to_them_stay(trakem2, update, project):
    solved = solve(project, t5=(1, 1), t6=(2, 2), t7=(3, 3))
    trakem2.open(as_open(project, t6={"locked": True}))
    trakem2.groovy("def t = tiles(projects()[0]); t[1].link(t[2])")

    done = update()

    now, expected = trakem2.matrices(), matrices(project)
    assert now == expected | {"5": matrices(solved)["5"]}
    assert moved(done) == 1
    assert "2 tile(s) are locked, or linked to locked ones" in done.logged
    assert_clean(trakem2)


def test_annotations_move_with_the_tile_below_and_back_with_undo(trakem2, update, project):
    solve(project, t6=(5, 7))
    trakem2.open(as_open(project))
    trakem2.note(150.0, 20.0)
    trakem2.note(160.0, 30.0, deep=True)

    update(annotations=True)

    assert assert_clean(trakem2)["notes"] == {"label": [155.0, 27.0], "tree": [165.0, 37.0]}
    trakem2.undo()
    assert trakem2.facts()["notes"] == {"label": [150.0, 20.0], "tree": [160.0, 30.0]}
    assert trakem2.matrices() == matrices(project)


def test_annotations_stay_when_that_is_wanted_and_it_is_said(trakem2, update, project):
    solve(project, t6=(5, 7))
    trakem2.open(as_open(project))
    trakem2.note(150.0, 20.0)

    done = update(annotations=False)

    assert assert_clean(trakem2)["notes"] == {"label": [150.0, 20.0]}
    assert "1 annotation(s) of these layers stayed" in done.logged


def test_hidden_tiles_move_as_the_solution_has_them(trakem2, update, project):
    solved = solve(project, t6=(2, 2))
    trakem2.open(as_open(project, t6={"visible": False}))

    assert moved(update()) == 1
    assert trakem2.matrices() == matrices(solved)


def test_all_layers_or_the_one_in_front(trakem2, update, project, tmp_path):
    path = tmp_path / "q.xml"
    layers = [[patch_xml(10 * z + i, 90.0 * i, 0.0, f"z{z}_{i}.tif") for i in range(2)] for z in range(1, 3)]
    path.write_text(project_xml(*layers), encoding="latin-1")
    solve(path, t10=(1, 1), t20=(2, 2))
    trakem2.open(as_open(path))

    assert moved(update()) == 1
    assert trakem2.matrices()["20"] == matrices(path)["20"]
    assert moved(update(layers="all layers")) == 1
    assert trakem2.matrices()["20"] == [1.0, 0.0, 0.0, 1.0, 2.0, 2.0]
    assert_clean(trakem2)


# --- the canvas -------------------------------------------------------------------------------------------------------


def test_the_canvas_grows_and_the_origin_stays(trakem2, update, project):
    solve(project, t5=(-10, -20), t8=(100, 60))
    trakem2.open(as_open(project))

    update(canvas=KEEP)

    assert trakem2.matrices()["5"] == [1.0, 0.0, 0.0, 1.0, -10.0, -20.0]
    assert assert_clean(trakem2)["canvas"] == [470.0, 145.0]
    trakem2.undo()
    assert trakem2.matrices() == matrices(project)


def test_on_all_sides_everything_is_shifted_and_undo_goes_all_the_way_back(trakem2, update, project):
    solve(project, t5=(-10, -20))
    trakem2.open(as_open(project))

    done = update(canvas=ALL_SIDES)

    now = trakem2.matrices()
    assert now["5"][4:] == [0.0, 0.0]
    assert now["6"][4:] == [100.0, 20.0]
    assert "shifted by 10, 20 px" in done.logged
    assert_clean(trakem2)
    trakem2.undo(3)
    assert trakem2.matrices() == matrices(project)
    assert trakem2.facts()["canvas"] == [400.0, 100.0]
    update(canvas=LEAVE)
    assert trakem2.facts()["canvas"] == [400.0, 100.0]


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_tiles_moved_since_are_refused_and_applied_anyway_when_that_is_chosen(trakem2, update, project):
    solved = solve(project, t6=(2, 2))
    trakem2.open(as_open(project, t7={"matrix": [1, 0, 0, 1, 200, 9]}))
    before = trakem2.matrices()

    done = update()

    assert done.result.startswith("FAILED: 1 tile(s) were moved in TrakEM2 since they were solved (t2.tif (id 7))")
    assert_untouched(trakem2, before)
    assert moved(update(changedTiles="apply anyway")) == 2
    assert trakem2.matrices() == matrices(solved)


def test_a_tile_that_cannot_be_set_leaves_all_where_they_were(trakem2, update, project):
    solve(project, t5=(1, 1), t6=(2, 2), t7=(3, 3))
    trakem2.open(as_open(project))
    before = trakem2.matrices()
    trakem2.groovy("tiles(projects()[0])[1].broken = true")

    done = update()

    assert "refused the new transforms" in done.result
    assert "every tile is back where it was" in done.result
    assert moved(done) == 0
    assert trakem2.matrices() == before
    assert_clean(trakem2)


def test_no_project_open(trakem2, update):
    assert update().result.startswith("FAILED: No project is open in TrakEM2")


def test_two_projects_open_and_none_in_front_names_both(trakem2, update, project, tmp_path):
    other = four_tiles(tmp_path)
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project), shown=False)
    trakem2.open(as_open(other) | {"title": "other"}, shown=False)

    said = update(layers="all layers").result

    assert said.startswith("FAILED: 2 projects are open in TrakEM2")
    assert str(project) in said
    assert str(other) in said
    assert moved(update(layers="all layers", project=str(project))) == 1
    assert trakem2.matrices(1) == matrices(other)
    assert "No open project is called 'third'" in update(project="third").result


def test_two_projects_open_the_one_in_front_is_meant(trakem2, update, project, tmp_path):
    other = four_tiles(tmp_path)
    solve(project, t6=(2, 2))
    trakem2.open(as_open(other), shown=True)
    trakem2.open(as_open(project), shown=True)

    assert moved(update()) == 1
    assert trakem2.matrices(0) == matrices(other)


def test_trakem2_is_missing(update, project):
    done = update(solved=solve(project, t6=(2, 2)))

    assert done.result.startswith("FAILED: TrakEM2 is not installed in this ImageJ")


def test_trakem2_is_busy(trakem2, update, project):
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project))
    trakem2.groovy("projects()[0].setReceivesInput(false)")

    assert "TrakEM2 is busy" in update().result
    assert trakem2.matrices() == matrices(project)


def test_no_layer_is_shown(trakem2, update, project):
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project), shown=False)

    assert "choose 'all layers'" in update().result


def test_no_solved_copy_beside_the_project(trakem2, update, project):
    trakem2.open(as_open(project))

    assert "There is no p.demis.xml beside" in update().result


def test_a_project_that_was_never_saved_needs_to_be_told(trakem2, update, project):
    solved = solve(project, t6=(2, 2))
    trakem2.open(as_open(project) | {"path": "", "unuid": None})

    assert "has no file: choose the solved layout" in update().result
    assert moved(update(solved=solved)) == 1  # found by the images' paths


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"layers": "some layers"}, "Layers: 'some layers' is not one of"),
        ({"canvas": "huge"}, "Canvas: 'huge' is not one of"),
        ({"changedTiles": "maybe"}, "'maybe' is not one of"),
        ({"solved": "/nowhere/p.demis.xml"}, "there is no file or folder /nowhere/p.demis.xml"),
        ({"python": "/nowhere/python"}, "There is no Python at /nowhere/python"),
    ],
)
def test_wrong_inputs_are_named(trakem2, update, project, given, says):
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project))
    before = trakem2.matrices()

    done = update(**given)

    assert done.result.startswith("FAILED: ")
    assert says in done.result
    assert_untouched(trakem2, before)


def test_a_solution_of_another_project_is_refused(trakem2, update, project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    solved = solve(four_tiles(other), t6=(2, 2))
    trakem2.open(as_open(project) | {"unuid": "1.2.3"})
    before = trakem2.matrices()

    assert "none of its 4 tile(s) is among the 4 open one(s)" in update(solved=solved).result
    assert_untouched(trakem2, before)


# --- stopped, and killed ----------------------------------------------------------------------------------------------

FAKE_WORKER = """#!{python} -u
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    say = lambda kind, **more: print(json.dumps({{"task": asked["task"], "responseType": kind, **more}}), flush=True)
    if asked["requestType"] == "CANCEL":
        say("CANCELATION")
        continue
    say("LAUNCH", info={{"version": "0.1.0", "api": 1}})
    say("UPDATE", message="tiles", current=1, maximum=3)
    if {dies}:
        sys.stderr.write("no more memory\\n")
        os._exit(13)
"""


def fake_worker(folder: Path, *, dies: bool) -> Path:
    """A Python whose worker begins and then dies, or waits until it is told to stop."""
    path = folder / "python"
    path.write_text(FAKE_WORKER.format(python=sys.executable, dies=dies), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="a script with #! stands for Python here")
def test_a_worker_that_dies_leaves_the_project_as_it_is(trakem2, update, project, tmp_path):
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project))
    before = trakem2.matrices()

    done = update(python=fake_worker(tmp_path, dies=True))

    assert done.result.startswith("FAILED: ")
    assert "no more memory" in done.logged
    assert_untouched(trakem2, before)


@pytest.mark.skipif(os.name == "nt", reason="a script with #! stands for Python here")
def test_stopping_in_the_middle_leaves_the_project_as_it_is(trakem2, update, project, tmp_path):
    solve(project, t6=(2, 2))
    trakem2.open(as_open(project))
    before = trakem2.matrices()

    done = update(python=fake_worker(tmp_path, dies=False), cancel_at=1)

    assert done.canceled
    assert done.result.startswith("stopped")
    assert_untouched(trakem2, before)


def test_stopping_just_before_the_change_leaves_the_project_as_it_is(trakem2, project):
    trakem2.open(as_open(project))

    report = trakem2.groovy(
        """
        def lib = new GroovyClassLoader(loader).parseClass(new File(g.lib))
        def t = lib.need(), p = t.chooseProject(""), layers = t.chooseLayers(p, lib.FRONT)
        def told = t.describe(p, layers)
        def options = [annotations: true, canvas: lib.ALL_SIDES, cancelled: { true }]
        out = t.apply(p, layers, told, ["5": [1, 0, 0, 1, 7, 7]], options)
        """,
        lib=str(SCRIPTS / "lib" / "TrakEM2.gvy"),
    )

    assert report["cancelled"]
    assert_untouched(trakem2, matrices(project))


def test_a_tile_moved_while_the_worker_works_stops_everything(trakem2, project):
    trakem2.open(as_open(project))

    said = trakem2.groovy(
        """
        def lib = new GroovyClassLoader(loader).parseClass(new File(g.lib))
        def t = lib.need(), p = t.chooseProject(""), layers = t.chooseLayers(p, lib.FRONT)
        def told = t.describe(p, layers)
        tiles(p)[1].affineTransform.translate(1, 1)
        try {
            def to = [1, 0, 0, 1, 7, 7]
            t.apply(p, layers, told, ["5": to, "6": to], [annotations: true, canvas: lib.LEAVE])
        } catch (IllegalStateException refused) {
            out = refused.message
        }
        """,
        lib=str(SCRIPTS / "lib" / "TrakEM2.gvy"),
    )

    assert said.startswith("Tile 6 was moved in TrakEM2 while its new place was worked out: nothing was changed")
    assert trakem2.matrices()["5"] == matrices(project)["5"]
    assert_clean(trakem2)


def test_the_paths_of_open_projects_are_told(trakem2, project):
    paths = "out = new GroovyClassLoader(loader).parseClass(new File(g.lib)).openProjectPaths()"
    lib = str(SCRIPTS / "lib" / "TrakEM2.gvy")

    assert trakem2.groovy(paths, lib=lib) == []
    trakem2.open(as_open(project))
    trakem2.open(as_open(project) | {"path": "", "unuid": None})
    assert trakem2.groovy(paths, lib=lib) == [str(project)]
