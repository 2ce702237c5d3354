# ruff: noqa: F811 - fixtures come by name
"""TrakEM2: the solved copy beside the original; what a user did to it since is never destroyed."""

from __future__ import annotations

import gzip
import os
import re

import pytest
from cli_words import bytes_of, demis, made, scene  # noqa: F401 - fixtures

from demis_ij import formats

FAST = ("--matcher", "sift", "--quiet")


def transforms_aside(data):
    return re.sub(rb'(<t2_patch[^>]*? transform=)"[^"]*"', rb'\1""', data)


def run_of(scene, name="run"):
    return scene.parent / name


def test_the_copy_differs_in_the_transforms_of_patches_only(demis, scene):
    before = bytes_of(scene)

    assert demis("stitch", scene / "project.xml", "--out", run_of(scene), *FAST).code == 0

    old, new = (scene / "project.xml").read_bytes(), (scene / "project.demis.xml").read_bytes()
    assert old != new
    assert transforms_aside(old) == transforms_aside(new)
    after = bytes_of(scene)
    del after["project.demis.xml"]
    assert after == before


def test_a_second_run_replaces_our_own_copy(demis, scene):
    assert demis("stitch", scene / "project.xml", "--out", run_of(scene), *FAST).code == 0
    first = (scene / "project.demis.xml").read_bytes()

    said = demis("stitch", scene / "project.xml", "--out", run_of(scene, "b"), *FAST, "--model", "affine")

    assert (said.code, said.lines) == (0, [])
    second = (scene / "project.demis.xml").read_bytes()
    assert second != first
    assert transforms_aside(second) == transforms_aside(first)
    assert not (scene / "project.demis-2.xml").exists()


EDITS = {
    "saved by TrakEM2": lambda d: d.replace(b'title="Top Level"', b'title="Top Level" links=""'),
    "another image": lambda d: d.replace(b"tiles/r00_c00.tif", b"tiles/r00_c01.tif"),
    "a label": lambda d: d.replace(b"</t2_layer>", b'<t2_label oid="99"/></t2_layer>'),
    "a locked tile": lambda d: d.replace(b'<t2_patch oid="5"', b'<t2_patch oid="5" locked="true"'),
    "not XML any more": lambda d: b"my notes",
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_copy_that_a_user_has_worked_on_keeps_its_place(demis, scene, edit, packed):
    project = scene / "project.xml"
    pack, suffix = (gzip.compress, ".xml.gz") if packed else (lambda d: d, ".xml")
    if packed:
        project = scene / "project.xml.gz"
        project.write_bytes(gzip.compress((scene / "project.xml").read_bytes()))
    theirs = scene / f"project.demis{suffix}"
    theirs.write_bytes(pack(EDITS[edit]((scene / "project.xml").read_bytes())))
    kept = theirs.read_bytes()

    for out in ("a", "b", "a"):  # the same again finds its own copy
        said = demis("stitch", project, "--out", run_of(scene, out), *FAST)

        assert said.code == 0
        assert len(said.warnings) == 1
        assert f"project.demis-2{suffix}" in said.warnings[0]
        assert theirs.read_bytes() == kept
    assert sorted(p.name for p in scene.glob("project.demis*")) == [f"project.demis-2{suffix}", theirs.name]
    assert formats.read(scene / f"project.demis-2{suffix}").sections == ("0",)


def test_a_folder_that_cannot_be_written_sends_the_copy_into_the_run_folder(demis, scene, monkeypatch):
    real = os.access  # asked instead of the folder's rights: root may write everywhere
    monkeypatch.setattr("os.access", lambda p, mode: (str(p), mode) != (str(scene), os.W_OK) and real(p, mode))

    said = demis("stitch", scene / "project.xml", "--out", run_of(scene), *FAST)

    assert said.code == 0
    assert len(said.warnings) == 1
    assert "cannot be written" in said.warnings[0]
    assert not (scene / "project.demis.xml").exists()
    copy = formats.read(run_of(scene) / "project.demis.xml")
    assert all(t.path.is_file() for t in copy.layouts[0])


class TestProjectOut:
    @pytest.mark.parametrize("name", ["elsewhere", "elsewhere/solved.xml"])
    def test_takes_the_copy_with_paths_that_stay_true(self, demis, scene, name):
        target = scene.parent / name
        for _ in range(2):  # the second time it is there
            said = demis("stitch", scene / "project.xml", "--out", run_of(scene), "--project-out", target, *FAST)
            assert (said.code, said.lines) == (0, [])
        file = target if target.suffix else target / "project.demis.xml"
        assert all(t.path.is_file() for t in formats.read(file).layouts[0])
        assert not (scene / "project.demis.xml").exists()
        assert (
            demis("stitch", scene / "project.xml", "--out", run_of(scene, "b"), "--project-out", target, *FAST).code
            == 0
        )

    @pytest.mark.parametrize("layout", ["project.xml", "TileConfiguration.txt"])
    def test_never_replaces_what_is_not_ours(self, demis, scene, layout):
        target = scene.parent / "mine.xml"
        target.write_text("mine")
        before = bytes_of(scene.parent)

        said = demis("stitch", scene / layout, "--out", run_of(scene), "--project-out", target, *FAST)

        assert (said.code, len(said.lines)) == (2, 1)
        assert "mine.xml" in said.err
        assert bytes_of(scene.parent) == before

    def test_is_refused_before_anything_is_done_where_it_cannot_be_made(self, demis, scene):
        before = bytes_of(scene.parent)
        target = scene / "truth.json" / "x.xml"
        said = demis("stitch", scene / "project.xml", "--out", run_of(scene), "--project-out", target, *FAST)
        assert (said.code, len(said.lines)) == (2, 1)
        assert bytes_of(scene.parent) == before

    def test_takes_a_text_layout_too_and_leaves_a_users_file_alone(self, demis, scene):
        folder = scene.parent / "elsewhere"
        folder.mkdir()
        (folder / "TileConfiguration.registered.txt").write_text("mine")
        words = (scene / "TileConfiguration.txt", "--project-out", folder, *FAST, "--model", "translation")

        said = demis("stitch", *words, "--out", run_of(scene))

        assert said.code == 0
        assert len(said.warnings) == 1
        assert (folder / "TileConfiguration.registered.txt").read_text() == "mine"
        assert formats.read(run_of(scene) / "TileConfiguration.registered.txt").sections == ("0",)


def test_relink_writes_the_true_paths(demis, scene):
    moved = scene.parent / "moved"
    (scene / "tiles").rename(moved)
    said = demis("stitch", scene / "project.xml", "--out", run_of(scene), "--relink", moved, *FAST)
    assert (said.code, said.warnings) == (0, [])
    assert all(t.path.is_file() for t in formats.read(scene / "project.demis.xml").layouts[0])
