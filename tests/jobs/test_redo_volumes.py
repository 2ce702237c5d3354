"""``redo`` of volumes: only what depends on a change is done again, counted, and the result is that of a new run."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from demis_ij import jobs
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.errors import InputError
from demis_ij.jobs.redo.count import Again
from demis_ij.jobs.redo.plan import Wish
from demis_ij.jobs.redo.redoing import prepare, redo
from demis_ij.jobs.seams.worst import RunSeams, SeamChoice
from demis_ij.testing.made_stacks import noise_picture, picture_shape, write_stack

TOLD_TIMES = re.compile(
    r"\.project\.done|project\.xml|.*\.html|redo\.jsonl|\.lock|sections/.*\.facts\.json|\.mosaic.*\.drawn/.*|\.brightness.*"
)
"""Files with dates, seconds or random numbers, and those by which drawing remembers what it has done."""


def job(matcher: str = "sift", reach: int = 1, **settings) -> jobs.StitchJob:
    """Return how the stack is stitched."""
    config = StitchConfig(matcher=matcher, across_z=reach, device="cpu", **settings)
    return jobs.StitchJob(config=config, render=RenderConfig(formats=("ome-zarr",)), stage_axes="+x+y")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with three sections of 1 x 3 tiles, their layout and a run that no test changes."""
    root = tmp_path_factory.mktemp("volume")
    shape = picture_shape(1, 3, 192, 0.25)
    picture = noise_picture(shape, np.random.default_rng(0), fine_px=3)
    pictures = (picture for _ in range(3))
    made = write_stack(
        root / "stack", pictures, np.random.default_rng(1), rows=1, cols=3, tile_px=192, overlap=0.25, turn_deg=3
    )
    jobs.run_stitch(jobs.read_layout(made.layout), root / "run", job())
    return root


@pytest.fixture
def root(finished, tmp_path):
    """Return the folder at its own place, which is put right again afterwards."""
    kept = tmp_path / "kept"
    shutil.copytree(finished, kept, copy_function=shutil.copy2)
    yield finished
    for folder in finished.iterdir():
        shutil.rmtree(folder)
    shutil.copytree(kept, finished, copy_function=shutil.copy2, dirs_exist_ok=True)


def look_again(path: Path) -> None:
    """Write a tile anew: the same place, other noise."""
    pixels = tifffile.imread(path)
    noise = np.random.default_rng(1).normal(8, 5, pixels.shape)
    tifffile.imwrite(path, np.clip(pixels + noise, 0, 255).astype(pixels.dtype))


def fresh(root: Path, how: jobs.StitchJob, name: str = "fresh") -> Path:
    """Return a new run."""
    jobs.run_stitch(jobs.read_layout(root / "stack" / "stack.txt"), root / name, how)
    return root / name


def differing(run: Path, other: Path) -> list[str]:
    """Return the files of two runs that differ, but for those that may."""
    found = [
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (run, other)
    ]
    return sorted(
        n for n in {*found[0], *found[1]} if found[0].get(n) != found[1].get(n) and not TOLD_TIMES.fullmatch(n)
    )


def test_of_a_replaced_tile_its_own_seams_and_comparisons_are_done_again(root):
    look_again(root / "stack" / "s0000" / "0_0.tif")

    done = redo(root / "run", Wish())

    assert done.again == Again(seams=1, kept_seams=5, comparisons=1, kept_comparisons=1)
    assert done.again.said() == "seams matched again: 1 of 6; sections compared again across z: 1 of 2 pairs"
    assert "the tiles of section 0 are solved again" in "\n".join(done.plan.lines())
    assert differing(root / "run", fresh(root, job())) == []


def test_a_setting_of_the_solve_matches_no_seam_but_compares_all_sections_again(root):
    done = redo(root / "run", Wish(config=job(solver="slam").config))

    assert done.again == Again(seams=0, kept_seams=6, comparisons=2, kept_comparisons=0)
    assert differing(root / "run", fresh(root, job(solver="slam"))) == []


def test_a_threshold_of_matching_does_all_again(root):
    done = redo(root / "run", Wish(config=job(min_inliers=12).config))

    assert done.again == Again(seams=6, kept_seams=0, comparisons=2, kept_comparisons=0)
    assert differing(root / "run", fresh(root, job(min_inliers=12))) == []


def test_a_longer_reach_keeps_seams_and_comparisons(root):
    done = redo(root / "run", Wish(config=job(reach=2).config))

    assert done.again == Again(seams=0, kept_seams=6, comparisons=1, kept_comparisons=2)
    assert differing(root / "run", fresh(root, job(reach=2))) == []


def test_drawing_anew_matches_compares_and_solves_nothing(root, monkeypatch):
    solution = (root / "run" / "solution.json").read_bytes()

    def never(*_given, **_named):
        raise AssertionError

    for name in ("across.compared_sections", "together.plane_section", "together.finished_section"):
        monkeypatch.setattr(f"demis_ij.jobs.volume.{name}", never)
    done = redo(root / "run", Wish(render=RenderConfig(formats=("ome-zarr",), blend="none")))

    assert done.again == Again(seams=0, kept_seams=6, comparisons=0, kept_comparisons=2)
    assert (root / "run" / "solution.json").read_bytes() == solution


def test_of_a_bad_seam_only_it_is_matched_and_its_section_solved_and_compared_again(root):
    rows = list(RunSeams(root / "run", SeamChoice()).rows())
    worst, second = rows[:2]
    limit = (worst.error_px + second.error_px) / 2

    done = redo(root / "run", Wish(worse_than=limit, config=job("correlation").config))

    assert [(row.fixed, row.moving) for row in done.plan.seams] == [(worst.fixed, worst.moving)]
    assert done.better + done.worse == 1
    assert done.again == Again(
        seams=0, kept_seams=6, comparisons=2 if worst.section == "1" else 1,
        kept_comparisons=0 if worst.section == "1" else 1,
    )  # fmt: skip
    after = {(row.fixed, row.moving): row for row in RunSeams(root / "run", SeamChoice()).rows()}
    others = {key: row.matcher for key, row in after.items() if key != (worst.fixed, worst.moving)}
    assert set(others.values()) == {"sift"}


def test_redoing_that_was_ended_after_the_seams_were_matched_uses_them(root, monkeypatch):
    worst = next(iter(RunSeams(root / "run", SeamChoice()).rows()))
    wish = Wish(pairs=[(worst.fixed, worst.moving)], config=job("correlation").config, margin=0.3)
    before = (root / "run" / "solution.json").read_bytes()

    def end(*_given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("demis_ij.jobs.redo.redoing._forget", end)
        with pytest.raises(KeyboardInterrupt):
            redo(root / "run", wish)
    shutil.copytree(root / "run", root / "other")
    redo(root / "run", Wish())
    redo(root / "other", wish)

    assert (root / "run" / "solution.json").read_bytes() != before
    assert (root / "run" / "solution.json").read_bytes() == (root / "other" / "solution.json").read_bytes()


def test_a_run_that_never_came_to_a_solution_is_finished_and_its_seams_are_refused_in_one_line(root):
    look_again(root / "stack" / "s0000" / "0_0.tif")
    for name in ("solution.json", "report.html", ".plane-1.done", ".mosaic.done"):
        (root / "run" / name).unlink()
    shutil.rmtree(root / "run" / "matches" / "2")

    with pytest.raises(InputError, match=r"not finished.*redo"):
        prepare(root / "run", Wish(worse_than=1))
    with pytest.raises(InputError, match="not finished"):
        RunSeams(root / "run", SeamChoice())
    done = redo(root / "run", Wish())

    assert done.plan.lines()[0] == "the run was not finished: it goes on"
    assert differing(root / "run", fresh(root, job())) == []


def test_loftr_says_the_same_of_a_seam_alone_as_among_all(root):
    one_section = replace(job("loftr", reach=0), sections=("1",))
    fresh(root, one_section, "loftr")
    look_again(root / "stack" / "s0001" / "0_0.tif")

    done = redo(root / "loftr", Wish())

    assert done.again == Again(seams=1, kept_seams=1)
    assert differing(root / "loftr", fresh(root, one_section)) == []
