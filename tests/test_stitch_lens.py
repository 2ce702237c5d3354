"""Stitching behind a lens that tiles share: the story, its report, its files."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from lens_grids import SIDE, barrel, grid_behind, rms_apart

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.records import PairMatch
from demis_ij.report import write_report
from demis_ij.runs import read_solution, solution_json
from demis_ij.stitch import Memory, stitch
from demis_ij.testing.grids import corner_errors


def known(folder, lens):
    """Return a layout of blank images, its truth, and a memory in which all of its pairs are matched."""
    grid = grid_behind(lens, 4, 4)
    path = folder / "blank.png"
    cv2.imwrite(str(path), np.zeros((SIDE, SIDE), np.uint8))
    layout = replace(grid.layout, tiles=tuple(replace(t, path=path) for t in grid.layout))
    memory = Memory()
    memory.put("first-correlation", [replace(p, matcher="correlation") for p in grid.pairs])
    return layout, grid.truth, memory


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the section stitched without and with its lens, and the truth."""
    layout, truth, memory = known(tmp_path_factory.mktemp("tiles"), barrel())
    both = {
        how: stitch(layout, StitchConfig(matcher="correlation", lens=how), memory=memory) for how in ("none", "shared")
    }
    return both, truth


def test_seams_close_behind_the_lens_that_was_found(results):
    both, truth = results
    found = both["shared"]
    assert found.lens is not None
    assert found.lens.used, found.lens.reason
    assert both["none"].lens is None
    (lens,) = {t.lens for t in found.solution.layout}
    assert lens is not None
    assert rms_apart(lens, barrel()) < 0.25  # px, of 0.8: 24 overlaps of a tenth
    assert all(t.lens is None for t in found.layout)  # as it was read
    seams = {how: float(np.median(list(r.solution.pair_residual_px.values()))) for how, r in both.items()}
    assert seams["shared"] < 0.3 < 1 < seams["none"]  # px
    off = {how: float(np.median(corner_errors(r.solution.layout, truth))) for how, r in both.items()}
    assert 2 * off["shared"] < off["none"]
    assert any(note.startswith("tiles share a lens, corrected: degree 3") for note in found.notes)
    assert not any("lens" in line for line in found.warnings)  # nothing is wrong: --strict has no say
    assert both["none"].notes == ()


def test_its_solution_is_read_back_with_the_lens(results, tmp_path):
    both, _ = results
    path = tmp_path / "solution.json"
    path.write_text(json.dumps(solution_json([both["shared"]], (0, 0), None)))
    (layout,), _ = read_solution(path)
    for tile in both["shared"].solution.layout:
        assert layout[tile.id].lens == tile.lens
    assert "lenses" not in solution_json([both["none"]], (0, 0), None)


def test_the_report_shows_the_lens_and_what_it_did(results, tmp_path):
    both, _ = results
    write_report(tmp_path / "r.html", {"a": both["shared"]}, previews={})
    page = (tmp_path / "r.html").read_text()
    assert "A lens that the tiles share is used." in page
    assert "pairs left out, typical distance" in page
    assert "degree 3; moves pixels by" in page
    write_report(tmp_path / "n.html", {"a": both["none"]}, previews={})
    assert "lens that the tiles share" not in (tmp_path / "n.html").read_text()


def test_without_a_lens_asking_for_one_changes_nothing(tmp_path):
    layout, _, memory = known(tmp_path, None)
    plain, asked = (
        stitch(layout, StitchConfig(matcher="correlation", lens=how), memory=memory) for how in ("none", "shared")
    )
    assert asked.lens is not None
    assert not asked.lens.used
    assert [t.to_world for t in asked.solution.layout] == [t.to_world for t in plain.solution.layout]
    assert any(w.startswith("no lens is used:") for w in asked.warnings)
    assert asked.notes == ()


def test_tiles_that_come_with_a_lens_are_solved_behind_it(tmp_path):
    layout, truth, memory = known(tmp_path, barrel())
    layout = replace(layout, tiles=tuple(replace(t, lens=barrel()) for t in layout))
    result = stitch(layout, StitchConfig(matcher="correlation", lens="shared"), memory=memory)
    assert result.lens is not None
    assert "come with a lens correction of the layout file" in result.lens.reason
    assert float(np.median(corner_errors(result.solution.layout, truth))) < 0.2  # px
    assert sum(isinstance(p, PairMatch) for p in result.pairs) == 24


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="lens"):
        StitchConfig(lens="fisheye")
