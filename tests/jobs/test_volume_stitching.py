"""Stacks: a section at a time, side by side or in turn, gone on with, in one file or many, solved together or apart."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from demis_ij import formats, jobs
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.errors import DemisError, InputError
from demis_ij.formats.solutions import SolutionFile
from demis_ij.formats.stacks import read_stack
from demis_ij.jobs import plans
from demis_ij.jobs.volume import section_files
from demis_ij.jobs.volume import stitching as volume_stitching
from demis_ij.render import Canvas
from demis_ij.runs import read_solution
from demis_ij.testing.made_stacks import MadeStack, noise_picture, picture_shape, volume_errors, write_stack

SIFT = StitchConfig(matcher="sift", resolution=1.0)
SECTIONS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeStack:
    """Return three sections of 2 x 2 tiles on disk that no test changes."""
    shape = picture_shape(2, 2, 160, 0.3)
    pictures = (noise_picture(shape, np.random.default_rng(i)) for i in range(SECTIONS))
    folder = tmp_path_factory.mktemp("made") / "stack"
    return write_stack(folder, pictures, np.random.default_rng(0), rows=2, cols=2, tile_px=160, overlap=0.3)


def job(**options) -> jobs.StitchJob:
    """Return a quick job."""
    kinds = options.pop("mosaic", ("png",))
    return jobs.StitchJob(
        config=options.pop("config", SIFT), render=RenderConfig(formats=kinds), stage_axes="+x+y",
        write_mosaic=bool(kinds), read_options={"each": "*.txt"}, **options,
    )  # fmt: skip


def run(made: MadeStack, out: Path, **options) -> jobs.JobResult:
    """Stitch the stack whose sections have a file each."""
    return jobs.run_stitch(jobs.read_layout(made.each, each="*.txt"), out, job(**options))


@pytest.fixture(scope="module")
def done(made, tmp_path_factory) -> Path:
    """Return a finished run that no test changes."""
    out = tmp_path_factory.mktemp("done") / "run"
    run(made, out)
    return out


def test_a_folder_of_layout_files_is_a_stack_of_sections_named_by_what_differs(made):
    document = jobs.read_layout(made.each, each="*.txt")
    assert document.sections == ("0", "1", "2")
    assert document["1"].section == "1"
    assert {t.section for t in document["2"]} == {"2"}
    assert [len(layout) for layout in document.layouts] == [4, 4, 4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"each": "*.xml"}, "no file below"),
        ({"each": "*.txt", "rows": 2}, "--rows describes a folder of tiles"),
        ({}, "with a layout file a section, say which with --each"),
    ],
)
def test_what_cannot_be_a_folder_of_layouts_is_one_line(made, words, said):
    with pytest.raises(InputError, match=said):
        jobs.read_layout(made.each, **words)


def test_every_section_is_right_and_has_its_files(made, done):
    layouts, _ = read_solution(done)
    assert [s.section for s in layouts] == ["0", "1", "2"]
    for layout in layouts:
        off = volume_errors([layout], made)[layout.section]
        assert off.max() < 0.5  # px: blobs of 1.6 px with noise of 4 greys are placed to a few hundredths
    for name in ("0", "1", "2"):
        assert (done / "sections" / f"{name}.html").is_file()
        assert (done / f"mosaic_{name}.png").is_file()
        assert (done / f"seams_{name}.csv").is_file()
    solved = formats.read(done / "solved" / "0001.demis.txt")
    assert len(solved.layouts[0]) == 4


def test_side_by_side_is_the_same_as_one_after_the_other(made, done, tmp_path):
    told: list[tuple[str, int, int]] = []
    document = jobs.read_layout(made.each, each="*.txt")
    out = tmp_path / "run"
    result = jobs.run_stitch(document, out, job(workers=2), progress=lambda *what: told.append(what))
    for name in ("solution.json", "mosaic_0.png", "mosaic_2.png", "seams_1.csv", "sections/1.json"):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name
    assert ("sections", SECTIONS, SECTIONS) in told
    assert jobs.summary(result)["placed_by"] == {"sift": 12}
    assert result.results[1].layout.section == "1"  # opened from disk


def test_a_run_goes_on_section_by_section(made, done, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(done, out)
    for name in (".section-1.done", "solution.json", ".mosaic-1.done", ".mosaic.done", "mosaic_1.png"):
        (out / name).unlink()
    worked: list[str] = []
    real = section_files.work_on

    def seen(section, *args, **options):
        worked.append(section.section)
        return real(section, *args, **options)

    monkeypatch.setattr("demis_ij.jobs.volume.section_files.work_on", seen)
    result = run(made, out)
    assert worked == ["1"]
    assert result.resumed
    for name in ("solution.json", "mosaic_1.png", "sections/1.json"):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name


def test_a_finished_run_changes_nothing_when_it_is_run_again(made, done, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(done, out)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in out.rglob("*") if p.is_file()}

    def never(*_args, **_options):
        raise AssertionError

    for name in ("section_files.work_on", "stitching.draw_mosaic", "section_files.write_report"):
        monkeypatch.setattr(f"demis_ij.jobs.volume.{name}", never)
    assert run(made, out).resumed
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in out.rglob("*") if p.is_file()} == before


def test_a_disk_that_fills_up_stops_the_run_and_what_was_there_goes_on(made, tmp_path, monkeypatch):
    real = section_files.write_report

    def full(path, *args, **options):
        if path.name == "1.html":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("demis_ij.jobs.volume.section_files.write_report", full)
        with pytest.raises(OSError, match="No space left"):
            run(made, tmp_path / "run", mosaic=())
    assert not (tmp_path / "run" / "solution.json").exists()
    assert run(made, tmp_path / "run", mosaic=()).resumed
    assert [s.section for s in read_solution(tmp_path / "run")[0]] == ["0", "1", "2"]


def test_a_section_that_cannot_be_done_is_named_and_the_others_are(made, tmp_path, monkeypatch):
    real = section_files.work_on

    def fails(section, *args, **options):
        if section.section == "1":
            msg = "section '1': no tile can be read"
            raise InputError(msg)
        return real(section, *args, **options)

    monkeypatch.setattr("demis_ij.jobs.volume.section_files.work_on", fails)
    result = run(made, tmp_path / "run", mosaic=())
    assert any("section 1: section '1': no tile can be read; it is left out" in w for w in result.warnings)
    assert [s.section for s in read_solution(tmp_path / "run")[0]] == ["0", "2"]
    assert "1 section could not be stitched: 1" in (tmp_path / "run" / "report.html").read_text()


def test_a_large_stack_has_an_index_that_every_reader_takes(made, done, tmp_path, monkeypatch):
    monkeypatch.setattr("demis_ij.jobs.volume.files.WHOLE_TILES", 4)
    out = tmp_path / "run"
    run(made, out, mosaic=("ome-tiff",))
    index = json.loads((out / "solution.json").read_text())
    assert (index["format_version"], len(index["sections"])) == (2, 3)
    assert "tiles" not in index
    layouts, origin = read_solution(out)
    whole, where = read_solution(done)
    assert origin == where
    for found, wanted in zip(layouts, whole, strict=True):
        assert found.section == wanted.section
        assert [t.to_world for t in found] == [t.to_world for t in wanted]
    assert {p["fixed"].split("/")[0] for s in SolutionFile(out) for p in s.pairs} == {"0", "1", "2"}
    assert len(read_stack(out)) == 3  # what align takes
    shown = jobs.show_pairs(out, worst=1)
    assert len(shown["stacks"]) == 1
    drawn, _ = jobs.run_render(layouts, tmp_path / "drawn", RenderConfig(formats=("png",)), keep_frame=True)
    assert len(drawn) == 3


def test_the_report_of_a_stack_is_made_anew_with_its_sections(made, done, tmp_path):
    page = jobs.rebuild_report(done, tmp_path / "again.html")
    text = page.read_text()
    assert 'href="again_sections/1.html"' in text
    assert (tmp_path / "again_sections" / "1.html").is_file()


def test_a_section_whose_file_has_gone_is_said_when_its_turn_comes(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made.layout.parent, folder)
    document = jobs.read_layout(folder / "layouts", each="*.txt")
    (folder / "layouts" / "0001.txt").write_text("../s0000/0_0.tif\t0\t0\t0\n../s0000/0_1.tif\t0\t0\t1\n")
    with pytest.raises(InputError, match=r"0001\.txt: holds 2 sections, one a file was needed"):
        document["1"]


def test_a_mosaic_that_no_worker_survives_leaves_the_others_drawn(made, done, tmp_path, monkeypatch):
    run_there = tmp_path / "run"
    run(made, run_there, mosaic=())
    (run_there / "run.json").write_bytes((done / "run.json").read_bytes())
    real = volume_stitching._Volume.spread

    def spread(self, function, tasks, count, what, **options):
        for task, value, problem in real(self, function, tasks, count, what, **options):
            dies = what == "mosaics" and task.layout.section == "0"
            yield task, None if dies else value, "given up: 3 workers died on it" if dies else problem

    with monkeypatch.context() as patch:
        patch.setattr(volume_stitching._Volume, "spread", spread)
        with pytest.raises(DemisError, match="section 0: its mosaic is not drawn, given up"):
            run(made, run_there)
    assert {p.name for p in run_there.glob(".mosaic*.done")} == {".mosaic-1.done", ".mosaic-2.done"}
    run(made, run_there)
    assert (run_there / ".mosaic-0.done").exists()


def test_sections_that_differ_by_case_only_are_refused_where_their_files_would_be_one(monkeypatch):
    monkeypatch.setattr(plans, "CASE_BLIND", True)
    plans.check_file_names(["a", "b", "a 1"])
    with pytest.raises(InputError, match="sections 'A' and 'a' would have the same files"):
        plans.check_file_names(["A", "b", "a"])


class TestMemory:
    def test_too_little_says_how_much_is_needed_before_anything_is_written(self, made, tmp_path):
        with pytest.raises(InputError, match=r"--memory 100M is too small: one process needs 183M"):
            run(made, tmp_path / "run", memory_bytes=100 << 20)
        assert not (tmp_path / "run").exists()

    def test_of_several_workers_is_theirs_together(self, made, tmp_path):
        with pytest.raises(InputError, match=r"2 workers and the process that leads them need 547M"):
            run(made, tmp_path / "run", memory_bytes=400 << 20, workers=2)

    def test_that_is_enough_changes_nothing(self, made, done, tmp_path):
        run(made, tmp_path / "run", memory_bytes=2 << 30, mosaic=())
        found, wanted = (read_solution(path)[0] for path in (tmp_path / "run", done))
        assert [t.to_world for s in found for t in s] == [t.to_world for s in wanted for t in s]

    def test_of_workers_that_draw_side_by_side_holds_for_each_one_region_at_a_time(self, done, tmp_path, monkeypatch):
        seen = []
        real = volume_stitching.draw_mosaic

        def drawn(*words, **options):
            seen.append(options["threads"])
            return real(*words, **options)

        monkeypatch.setattr(volume_stitching, "draw_mosaic", drawn)
        layout = read_solution(done)[0][0]
        for number, limit in enumerate((None, 2 << 30)):
            task = volume_stitching.DrawTask(
                layout, {"png": tmp_path / f"{number}.png"}, job(memory_bytes=limit), Canvas.of(layout), 1 << 26
            )
            volume_stitching.drawn_section(task)
        assert seen == [0, 1]  # 0 is the worker's share of the cores
        assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
