# ruff: noqa: F811 - fixtures come by name
"""Every command: what it prints, what it writes, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest
import tifffile
from cli_words import SMALL, bytes_of, demis, made, scene, solution_of  # noqa: F401 - fixtures

from demis_ij import __version__, formats, synth
from demis_ij.cli.app import app
from demis_ij.cli.progress import Bars

FAST = ("--matcher", "sift")
VERBS = [info.name or info.callback.__name__ for info in app.registered_commands]


def test_the_commands_are_those_of_the_documentation():
    told = "stitch seams redo merge watch compare render report convert align register demo doctor"
    assert sorted(VERBS) == sorted([*told.split(), "compare-align", "compare-register", "restyle"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help_that_says_what_each_option_does(demis, verb):
    for flag in ("--help", "-h"):
        said = demis(verb, flag)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith(f"Usage: demis-ij {verb}")
    command = next(i for i in app.registered_commands if (i.name or i.callback.__name__) == verb)
    assert command.callback.__doc__
    hints = get_type_hints(command.callback, include_extras=True)
    silent = [name for name, hint in hints.items() if name != "return" and not hint.__metadata__[0].help]
    assert silent == []


def test_version(demis):
    said = demis("--version")
    assert (said.code, said.out, said.err) == (0, f"demis-ij {__version__}\n", "")


def test_doctor_says_of_every_part_whether_it_is_there(demis):
    said = demis("doctor", "--json")
    parts = {p["part"]: p for p in said.json}
    assert said.code == (0 if all(p["ok"] for p in parts.values()) else 1)
    assert {"python", "torch", "opencv-python-headless", "LoFTR weights", "java", "device"} <= set(parts)
    assert demis("doctor").out.count("\n") == len(parts)


def test_doctor_names_what_is_missing_and_goes_on(demis, monkeypatch):
    import importlib.metadata as metadata

    real = metadata.version

    def version(name):
        if name in {"torch", "kornia"}:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    for module in ("torch", "demis_ij.matchers.loftr", "demis_ij.nets.weights"):
        monkeypatch.setitem(sys.modules, module, None)
    said = demis("doctor")
    assert said.code == 1
    assert said.err == ""
    assert "BAD  torch" in said.out
    assert "BAD  LoFTR weights" in said.out


class TestStitch:
    def test_the_default_matcher_is_auto_and_loftr_does_the_work(self, demis, scene):
        said = demis("stitch", scene / "project.xml", "--out", scene.parent / "run", "--json")
        assert (said.code, said.err) == (0, "")
        assert said.json["placed_by"] == {"loftr": 4}
        assert json.loads((scene.parent / "run" / "run.json").read_text())["stitch"]["matcher"] == "auto"

    def test_a_dry_run_writes_nothing_at_all(self, demis, scene):
        before = bytes_of(scene.parent)
        words = ("stitch", scene / "project.xml", "--out", scene.parent / "run", *FAST, "--dry-run")

        said, facts = demis(*words), demis(*words, "--json")

        assert (said.code, said.err) == (0, "")
        assert "4 tiles, 4 pairs" in said.out
        assert "nothing was written" in said.out
        assert (facts.json["dry_run"], facts.json["resumes"]) == (True, False)
        assert facts.json["sections"][0]["tiles"] == 4
        assert facts.json["project"] == str(scene / "project.demis.xml")
        assert bytes_of(scene.parent) == before

    def test_a_dry_run_refuses_what_the_run_would(self, demis, scene):
        for out in (scene, scene / "truth.json"):
            said = demis("stitch", scene / "project.xml", "--out", out, "--dry-run", *FAST)
            assert (said.code, len(said.lines)) == (2, 1)

    def test_json_is_one_document_and_nothing_else(self, demis, scene):
        said = demis("stitch", scene / "project.xml", "--out", scene.parent / "run", *FAST, "--json")
        assert said.err == ""
        assert said.out.count("\n") == 1
        facts = said.json
        assert (facts["tiles"], facts["pairs"], facts["pairs_accepted"], facts["warnings"]) == (4, 4, 4, [])
        for path in facts["files"].values():
            assert (scene.parent / path).exists()

    def test_progress_goes_to_standard_error_and_quiet_stops_it(self, demis, scene):
        loud = demis("stitch", scene / "project.xml", "--out", scene.parent / "a", *FAST)
        quiet = demis("stitch", scene / "project.xml", "--out", scene.parent / "b", *FAST, "--quiet")
        assert any(line.startswith("sift: 4 of 4") for line in loud.lines)
        assert any(line.startswith("render: ") for line in loud.lines)
        assert quiet.err == ""
        assert "sift: " not in loud.out
        assert "4 of 4 pairs agree" in loud.out
        assert loud.out.replace("/a/", "/b/") == quiet.out

    def test_a_folder_of_tiles_becomes_a_registered_configuration_and_a_project(self, demis, scene):
        out = scene / "tiles" / "run"  # inside the folder itself
        words = ("stitch", scene / "tiles", "--pattern", "r{row}_c{col}.tif", "--overlap", "0.25", "--out", out, *FAST)
        said = demis(*words, "--json")
        assert said.code == 0
        assert set(solution_of(out)["tiles"]) == {f"r0{r}_c0{c}.tif" for r in (0, 1) for c in (0, 1)}
        registered = formats.read(out / "TileConfiguration.registered.txt").layouts[0]
        assert all(t.path.is_file() for t in registered)
        assert all(t.path.is_file() for t in formats.read(out / "project.xml").layouts[0])
        assert demis(*words, "--json").json["resumed"] is True

    def test_axes_that_the_stage_calls_otherwise_are_found_and_remembered(self, demis, scene, monkeypatch):
        words = ("stitch", scene / "tiles", "--pattern", "r{row}_c{col}.tif", "--overlap", "0.25", *FAST, "--quiet")
        flipped = (*words, "--start", "top-right", "--out", scene.parent / "run")

        said = demis(*flipped)

        assert said.code == 0
        assert [line for line in said.warnings if "stage axes -x+y are used" in line]
        assert {t["placed_by"] for t in solution_of(scene.parent / "run")["tiles"].values()} == {"sift"}
        monkeypatch.setattr("demis_ij.jobs.sections.find_axes", None)  # not asked again
        assert demis(*flipped).warnings == said.warnings

    def test_a_config_file_counts_less_than_set_and_set_less_than_options(self, demis, scene):
        (scene / "c.toml").write_text(
            "[stitch]\nmatcher = 'correlation'\nmodel = 'affine'\nmax_error_px = 6\n[render]\nblend = 'none'\n"
        )
        run = scene.parent / "run"
        words = ("--config", scene / "c.toml", "--set", "model=translation", "--set", "formats=png", *FAST)
        assert demis("stitch", scene / "project.xml", "--out", run, *words).code == 0
        there = json.loads((run / "run.json").read_text())
        assert {k: there["stitch"][k] for k in ("matcher", "model", "max_error_px")} == {
            "matcher": "sift", "model": "translation", "max_error_px": 6,
        }  # fmt: skip
        assert (there["render"]["blend"], there["render"]["formats"]) == ("none", ["png"])
        assert not (run / "mosaic.ome.tif").exists()
        assert (run / "mosaic.png").is_file()

    def test_without_mosaic_the_solution_and_the_report_are_made(self, demis, scene):
        run = scene.parent / "run"
        assert demis("stitch", scene / "project.xml", "--out", run, *FAST, "--mosaic", "none").code == 0
        assert not list(run.glob("mosaic*"))
        assert (run / "report.html").is_file()

    @pytest.mark.parametrize("solver", ["slam", "factor_graph"])
    def test_the_other_solvers_put_the_tiles_in_the_same_places(self, demis, scene, solver):
        if solver == "factor_graph":
            pytest.importorskip("gtsam", reason="gtsam is an extra")
        for name in ("sparse", solver):
            words = ("--out", scene.parent / name, *FAST, "--solver", name, "--mosaic", "none")
            assert demis("stitch", scene / "project.xml", *words).code == 0
        one, other = (solution_of(scene.parent / name) for name in ("sparse", solver))
        there = {
            name: np.array([t["to_world"] for t in s["tiles"].values()])[:, :, 2] + s["world_origin"]
            for name, s in (("one", one), ("other", other))
        }
        apart = there["one"] - there["other"]
        assert np.abs(apart - apart.mean(0)).max() < 0.5  # px; the whole may rest elsewhere


def test_compare_shows_the_matchers_side_by_side_and_touches_nothing_else(demis, scene):
    out = scene.parent / "compared"
    before = bytes_of(scene)
    words = ("compare", scene / "project.xml", "--out", out, *FAST, "--matcher", "correlation", *FAST)

    said = demis(*words)

    assert said.code == 0
    rows = [line.split()[0] for line in said.out.splitlines()]
    assert rows == ["matcher", "sift", "correlation", "project", "report"]
    assert bytes_of(scene) == before
    page = (out / "report.html").read_text()
    assert "sift" in page
    assert "correlation" in page
    again = demis(*words, "--json")
    assert again.json["resumed"] is True
    table = {r["matcher"]: r for r in again.json["table"]}
    assert {name: r["accepted"] for name, r in table.items()} == {"sift": 4, "correlation": 4, "project": None}
    assert {r["seams"] for r in table.values()} == {4}
    assert table["sift"]["seam_max_px"] < 0.5 < 3 < table["project"]["seam_max_px"]  # px
    assert table["project"]["likeness"] < 0.9 < table["sift"]["likeness"]
    said = demis("compare", scene / "project.xml", "--out", out, "--matcher", "correlation")
    assert (said.code, len(said.lines)) == (2, 1)


class TestRender:
    @pytest.fixture
    def run(self, demis, scene):
        run = scene.parent / "run"
        assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0
        return run

    def test_of_a_run_gives_its_mosaic_again(self, demis, run):
        out = run.with_name("drawn")
        for source in (run, run / "solution.json"):
            said = demis("render", source, "--out", out / source.name, "--mosaic", "ome-tiff", "--quiet")
            assert (said.code, said.err) == (0, "")
            drawn = tifffile.imread(out / source.name / "mosaic.ome.tif")
            np.testing.assert_array_equal(drawn, tifffile.imread(run / "mosaic.ome.tif"))

    def test_puts_another_channel_in_the_same_places(self, demis, scene, run):
        (scene / "gold").mkdir()
        for path in (scene / "tiles").iterdir():
            tifffile.imwrite(scene / "gold" / path.name, (255 - tifffile.imread(path)).astype(np.uint16) * 10)
        out = run.with_name("gold mosaic")
        words = ("--set", "correct_intensity=false", "--mosaic", "ome-tiff", "--quiet")
        assert demis("render", run, "--out", out, "--replace", "user/tiles=user/gold", *words).code == 0
        assert demis("render", run, "--out", run.with_name("plain"), *words).code == 0
        gold, grey = (tifffile.imread(f / "mosaic.ome.tif") for f in (out, run.with_name("plain")))
        assert gold.dtype == np.uint16
        inside = (slice(60, 380), slice(60, 380))
        np.testing.assert_allclose(gold[inside] / 10, 255.0 - grey[inside], atol=1.1)  # greys: two roundings

    def test_of_a_layout_draws_it_as_it_stands(self, demis, scene):
        out = scene.parent / "as it stands"
        assert demis("render", scene / "project.xml", "--out", out, "--mosaic", "png", "--quiet").code == 0
        assert [p.name for p in out.iterdir()] == ["mosaic.png"]

    @pytest.mark.parametrize("words", ["--replace tiles", "--replace nowhere=x", "--section 4", "--mosaic none"])
    def test_refuses_what_does_not_fit(self, demis, run, words):
        said = demis("render", run, "--out", run.with_name("drawn"), *words.split())
        assert (said.code, len(said.lines)) == (2, 1)
        assert not run.with_name("drawn").exists()

    def test_never_overwrites(self, demis, run):
        before = bytes_of(run)
        said = demis("render", run, "--out", run)
        assert (said.code, len(said.lines)) == (2, 1)
        assert "exists already" in said.err
        assert bytes_of(run) == before

    def test_names_a_tile_that_is_gone_since(self, demis, scene, run):
        (scene / "tiles" / "r01_c01.tif").unlink()
        out = run.with_name("drawn")
        said = demis("render", run, "--out", out, "--quiet", "--strict", "--mosaic", "png")
        assert said.code == 3
        assert len(said.lines) == len(said.warnings) == 1
        assert "r01_c01.tif" in said.err

    @pytest.mark.parametrize("text", ["{", "{}", "[]", '{"format_version": 9, "tiles": {"a": {}}}'])
    def test_refuses_a_solution_that_is_none(self, demis, run, text):
        (run / "solution.json").write_text(text)
        said = demis("render", run, "--out", run.with_name("drawn"))
        assert (said.code, len(said.lines)) == (2, 1)
        assert "solution.json" in said.err


class TestReport:
    def test_of_a_run_is_made_anew_without_matching(self, demis, scene, monkeypatch):
        run = scene.parent / "run"
        assert demis("stitch", scene / "TileConfiguration.txt", "--out", run, *FAST).code == 0
        (run / "report.html").unlink()
        monkeypatch.setattr("demis_ij.stitch.asking.match_pairs", None)
        said = demis("report", run)
        assert (said.code, said.err) == (0, "")
        assert (run / "report.html").stat().st_size > 10_000
        page = run.with_name("page.html")
        assert demis("report", run, "--out", page).code == 0
        for taken in (page, run / "solution.json"):
            before = taken.read_bytes()
            said = demis("report", run, "--out", taken)
            assert (said.code, len(said.lines)) == (2, 1)
            assert taken.read_bytes() == before

    def test_of_an_unfinished_run_or_of_another_command_is_refused(self, demis, scene):
        run = scene.parent / "run"
        assert demis("stitch", scene / "project.xml", "--out", run, *FAST).code == 0
        (run / "solution.json").unlink()
        said = demis("report", run)
        assert (said.code, len(said.lines)) == (2, 1)
        assert "not finished" in said.err


NAMES = {
    "trakem2": "x.xml",
    "gz": "x.xml.gz",
    "tileconfig": "TileConfiguration.x.txt",
    "render": "x.json",
    "text": "x.txt",
}


@pytest.mark.parametrize("source", ["trakem2", "gz", "tileconfig", "render", "text", "grid"])
@pytest.mark.parametrize("target", NAMES)
def test_convert_goes_from_any_format_to_any(demis, scene, source, target):
    first = scene / "tiles"
    grid = ("--pattern", "r{row}_c{col}.tif", "--overlap", "0.25")
    if source != "grid":
        first = scene / "first" / NAMES[source]
        assert demis("convert", scene / "tiles", first, *grid).code == 0
        grid = ()
    second = scene / "second" / NAMES[target]

    said = demis("convert", first, second, *grid)

    assert (said.code, said.err) == (0, "")
    assert said.out == f"{second}: 4 tiles in 1 section\n"
    layout = formats.read(second).layouts[0]
    assert {t.path.name: (t.to_world.tx, t.to_world.ty) for t in layout} == {
        f"r0{r}_c0{c}.tif": (192.0 * c, 192.0 * r) for r in (0, 1) for c in (0, 1)
    }
    assert all(t.path.is_file() for t in layout)
    before = second.read_bytes()
    assert demis("convert", first, second, *grid).code == 2
    assert second.read_bytes() == before


def test_convert_says_what_would_be_lost_and_needs_to_be_told(demis, scene):
    assert demis("stitch", scene / "project.xml", "--out", scene.parent / "run", *FAST).code == 0
    target = scene / "TileConfiguration.x.txt"
    said = demis("convert", scene / "project.demis.xml", target)
    assert (said.code, len(said.lines)) == (2, 1)
    assert "--lossy" in said.err
    assert not target.exists()
    assert demis("convert", scene / "project.demis.xml", target, "--lossy").code == 0


def test_the_demo_goes_on_where_it_stopped_and_can_be_looked_at_again(demis, tmp_path, monkeypatch):
    spec = replace(SMALL, overlap=0.3, gain_sd=0.05)
    monkeypatch.setattr("demis_ij.synth.demo_scene", lambda seed: synth.make_scene(spec, seed))
    out = tmp_path / "demo"
    real = synth.write_scene

    def stopped(_scene, folder):
        real(_scene, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("demis_ij.synth.write_scene", stopped)
        said = demis("demo", "--out", out)
        assert (said.code, len(said.warnings)) == (130, 0)
        assert sorted(p.name for p in out.iterdir()) == ["demo.json"]
    with monkeypatch.context() as patch:

        def stop(*_args, **_options):
            raise KeyboardInterrupt

        patch.setattr("demis_ij.demo.write_report", stop)  # the last step: both matchers are done
        said = demis("demo", "--out", out, "--quiet")
        assert (said.code, len(said.lines)) == (130, 1)
    matched = {p: p.stat().st_mtime_ns for p in out.rglob("all.parquet")}
    assert len(matched) == 2

    said = demis("demo", "--out", out, "--json")

    assert (said.code, said.err) == (0, "")
    table = {row["placed by"]: row for row in said.json["table"]}
    assert list(table) == ["stage", "loftr", "sift"]
    for name in ("loftr", "sift"):
        assert table[name]["pairs agreed"] == "4 of 4"
        assert table[name]["error max px"] < 1 < table["stage"]["error max px"]
    for path in said.json["files"].values():
        assert (out.parent / path).exists()
    assert {p: p.stat().st_mtime_ns for p in out.rglob("all.parquet")} == matched  # nothing was matched again
    assert formats.read(out / "loftr" / "project.loftr.xml").sections == ("0",)
    again = demis("demo", "--out", out, "--json")
    assert [r["error max px"] for r in again.json["table"]] == [r["error max px"] for r in said.json["table"]]
    other = demis("demo", "--out", out, "--seed", "4")
    assert (other.code, len(other.lines)) == (2, 1)
    assert "another seed" in other.err


def test_a_bar_that_comes_again_starts_again(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("demis_ij.cli.progress.time.perf_counter", lambda: float(next(now)))
    lines = []
    with Bars() as bars:
        monkeypatch.setattr(bars._console, "print", lambda text, **_options: lines.append(text))
        for _round in (1, 2):
            bars("solve", 0, 2)
            bars("solve", 2, 2)
            bars("solve", 2, 2)
    assert lines == ["solve: 2 of 2, 1.0 s"] * 2


def test_the_program_runs_as_a_module_and_as_a_command():
    said = subprocess.run([sys.executable, "-m", "demis_ij", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"demis-ij {__version__}\n"
