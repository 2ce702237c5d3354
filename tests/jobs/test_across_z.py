"""Sections that are solved together: turned and shifted ones come to lie on each other."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from demis_ij import jobs
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.jobs.volume import across
from demis_ij.jobs.volume.across import put_together
from demis_ij.jobs.volume.solving import section_pairs
from demis_ij.pairs.across import pairs_across
from demis_ij.records import Affine, Layout, Tile
from demis_ij.runs import read_solution
from demis_ij.testing.made_stacks import noise_picture, picture_shape, volume_errors, write_stack

SECTIONS = 3


def serial_pictures(shape, seed=0):
    """Yield pictures that share most of what they show with the one before, as serial sections do."""
    rng = np.random.default_rng(seed)
    picture = noise_picture(shape, rng, fine_px=3)
    for _ in range(SECTIONS):
        yield picture
        picture = (128 + 0.85 * (picture - 128) + 0.5 * (noise_picture(shape, rng, fine_px=3) - 128)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return three sections of 2 x 2 tiles, the later ones turned by up to 5 degrees and shifted by up to 25 px."""
    shape = picture_shape(2, 2, 256, 0.2)
    return write_stack(
        tmp_path_factory.mktemp("serial") / "stack", serial_pictures(shape), np.random.default_rng(1), rows=2, cols=2,
        tile_px=256, overlap=0.2, turn_deg=5, shift_px=25,
    )  # fmt: skip


def stitched(made, out: Path, reach: int) -> jobs.JobResult:
    """Stitch the stack."""
    config = StitchConfig(matcher="sift", across_z=reach)
    job = jobs.StitchJob(config=config, stage_axes="+x+y", write_mosaic=False)
    return jobs.run_stitch(jobs.read_layout(made.layout), out, job)


def off_by(out: Path, made) -> float:
    """Return the median distance of all tiles' corners from the truth, all sections in one frame."""
    return float(np.median(np.concatenate(list(volume_errors(read_solution(out)[0], made).values()))))


@pytest.fixture(scope="module")
def together(made, tmp_path_factory):
    """Return a run of all sections together, and its result."""
    out = tmp_path_factory.mktemp("together") / "run"
    return out, stitched(made, out, 1)


def test_sections_come_to_lie_on_each_other(made, together, tmp_path):
    stitched(made, tmp_path / "apart", 0)
    assert off_by(tmp_path / "apart", made) > 10  # px: each keeps the turn and shift of its mount
    assert off_by(together[0], made) < 2  # px: blobs of 3 px that change from section to section


def test_the_seams_of_a_section_stay_as_good_as_they_were(together):
    assert all(f.worst_px < 0.5 for f in together[1].sections)


def test_the_seconds_of_a_section_are_those_of_stitching_it(together):
    for facts in together[1].sections:
        opened = facts.seconds["opened again"]
        assert facts.seconds["match"] > 0
        assert {"read", "match", "solve"} < set(facts.seconds)
        assert sum(facts.seconds.values()) > opened > 0


def test_pairs_across_are_in_a_table_and_in_the_report(together):
    out, result = together
    with (out / "across_z.csv").open() as file:
        rows = list(csv.DictReader(file))
    believed = [r for r in rows if r["accepted"] == "1"]
    assert {(r["fixed_section"], r["moving_section"]) for r in believed} == {("0", "1"), ("1", "2")}
    assert all(float(r["residual_px"]) < 6 for r in believed)
    assert all(r["reason"] for r in rows if r["accepted"] == "0")
    assert result.files["across"] == out / "across_z.csv"
    assert "across z" in (out / "report.html").read_text()
    assert all(a.believed for f in result.sections for a in f.across)


def test_results_are_opened_where_the_volume_has_them(together):
    out, result = together
    layouts, origin = read_solution(out)
    opened = result.results[1].solution.layout
    for solved in layouts[1]:
        tile = opened[solved.id.removeprefix("1/")]
        np.testing.assert_allclose(
            (Affine.translation(*origin) @ solved.to_world).matrix, tile.to_world.matrix, atol=1e-9
        )


def test_going_on_compares_and_solves_nothing_twice(made, together, monkeypatch):
    out, _ = together
    before = (out / "solution.json").read_bytes()

    def never(*_args, **_options):
        raise AssertionError

    for name in ("across.put_together", "across.match_across", "together.work_on", "section_files.work_on"):
        monkeypatch.setattr(f"demis_ij.jobs.volume.{name}", never)
    assert stitched(made, out, 1).resumed
    assert (out / "solution.json").read_bytes() == before


def test_what_was_found_across_is_kept_while_it_is_found(made, together, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(together[0], out)
    shutil.rmtree(out / across.FOLDER)
    for mark in out.glob(".across-*"):
        mark.unlink()
    asked = []
    real = across.match_across

    def until_third(store, fixed, moving, pairs, *rest, **named):
        asked.append(tuple(pairs))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(store, fixed, moving, pairs, *rest, **named)

    monkeypatch.setattr(across, "AT_ONCE", 2)
    monkeypatch.setattr(across, "match_across", until_third)
    with pytest.raises(KeyboardInterrupt):
        stitched(made, out, 1)
    again = len(asked)
    stitched(made, out, 1)
    assert asked[again] == asked[2]  # it goes on with what was being looked at
    assert (out / "solution.json").read_bytes() == (together[0] / "solution.json").read_bytes()


def test_the_report_made_anew_says_the_same(made, together, tmp_path):
    out, _ = together
    page = jobs.rebuild_report(out, tmp_path / "again.html").read_text()
    before = (out / "report.html").read_text().replace('href="sections/', 'href="again_sections/')
    assert page == before


def test_a_section_is_put_on_another_however_it_is_turned(tmp_path):
    picture = noise_picture((500, 500), np.random.default_rng(4), fine_px=4)
    made = write_stack(
        tmp_path / "two", iter([picture, picture]), np.random.default_rng(7), rows=2, cols=2, tile_px=192,
        overlap=0.3, turn_deg=40, shift_px=30,
    )  # fmt: skip
    layouts = jobs.read_layout(made.layout).layouts
    shaped = [
        Layout(tuple(Tile(t.id, t.path, (192, 192), t.to_world, s.section) for t in s), s.section) for s in layouts
    ]

    placed = put_together(*shaped, TileStore())

    ids = [t.id for t in shaped[1]]
    corners = [shaped[1][i].to_world(shaped[1][i].corners) for i in ids]
    in_one = Affine.from_matrix((made.truth["0", shaped[0].ids[0]].inverse).matrix)
    for name, seen in zip(ids, corners, strict=True):
        should = shaped[0].tiles[0].to_world(in_one(made.truth["1", name](shaped[1][name].corners)))
        assert np.abs(placed.motion(seen) - should).max() < 10  # px, with the tiles' own 2 px a side among them


def test_sections_are_called_by_folder_and_file_where_both_differ(tmp_path):
    picture = noise_picture(picture_shape(1, 2, 160, 0.3), np.random.default_rng(0))
    folder = tmp_path / "stack"
    write_stack(folder, iter([picture, picture]), np.random.default_rng(0), rows=1, cols=2, tile_px=160, overlap=0.3)
    for n, name in enumerate(("a/first.txt", "b/second.txt")):
        path = folder / "layouts" / name
        path.parent.mkdir()
        path.write_text((folder / "layouts" / f"{n:04d}.txt").read_text().replace("../", "../../"))
    job = jobs.StitchJob(
        config=StitchConfig(matcher="sift", across_z=1), stage_axes="+x+y", write_mosaic=False,
        read_options={"each": "*/*.txt"},
    )  # fmt: skip
    result = jobs.run_stitch(jobs.read_layout(folder / "layouts", each="*/*.txt"), tmp_path / "run", job)
    assert [f.section for f in result.sections] == ["a/first", "b/second"]
    assert all(a.believed for f in result.sections for a in f.across)


def test_each_tile_is_compared_with_those_that_cover_it_most():
    def grid(dx: float, section: str) -> Layout:
        return Layout(
            tuple(
                Tile(f"{r}{c}", Path("x"), (100, 100), Affine.translation(90 * c + dx, 90 * r))
                for r in range(2)
                for c in range(3)
            ),
            section,
        )

    found = pairs_across(grid(0, "0"), grid(30, "1"))

    assert {f for f, m in found if m == "01"} == {"01", "02"}
    assert all(f[0] == m[0] for f, m in found)
    assert pairs_across(grid(0, "0"), grid(5000, "1")) == []


def test_sections_up_to_n_apart_are_compared():
    assert list(section_pairs(["a", "b", "c"], 1)) == [("a", "b"), ("b", "c")]
    assert len(list(section_pairs(list("abcd"), 2))) == 5


def test_a_reach_that_is_none_is_refused():
    with pytest.raises(InputError, match="across_z"):
        StitchConfig(across_z=-1)
