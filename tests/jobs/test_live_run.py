"""The page of a long run of ``stitch``: written while it goes on, taken away when it is done."""

from __future__ import annotations

import pytest

from demis_ij import jobs, synth
from demis_ij.config import StitchConfig
from demis_ij.jobs.watch.live_run import EVERY_S, FIRST_S, LiveRun

SMALL = synth.GridSpec(rows=1, cols=2, tile_px=256, overlap=0.25)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = synth.write_scene(synth.make_scene(SMALL, 3), tmp_path_factory.mktemp("live") / "scene")
    return jobs.read_layout(folder / "TileConfiguration.txt")


def run(document, out, live):
    job = jobs.StitchJob(config=StitchConfig(matcher="sift"), write_mosaic=False)
    return jobs.run_stitch(document, out, job, progress=live)


def test_a_run_that_takes_long_has_a_page_with_tiles_seams_and_stages_until_it_is_done(document, tmp_path):
    now, told, pages = [0.0], [], []

    def progress(*step):
        told.append(step)
        now[0] += FIRST_S + 1  # every step takes long
        page = tmp_path / "run" / "live.html"
        if page.exists():
            pages.append(page.read_text())

    with LiveRun(tmp_path / "run", document, progress, clock=lambda: now[0]) as live:
        run(document, tmp_path / "run", live)
    assert ("sift", 1, 1) in told
    assert any("there, not matched yet: 2" in page for page in pages)
    assert any("matched: 2" in page and "up to 0.25 px: 1" in page for page in pages)
    assert all('http-equiv="refresh"' in page for page in pages)
    assert not (tmp_path / "run" / "live.html").exists()


def test_a_short_run_has_none(document, tmp_path):
    with LiveRun(tmp_path / "run", document, lambda *_step: None, clock=lambda: FIRST_S / 2) as live:
        run(document, tmp_path / "run", live)
        assert not (tmp_path / "run" / "live.html").exists()


def test_an_interrupted_run_keeps_its_page_which_says_so(document, tmp_path):
    run(document, tmp_path / "run", lambda *_step: None)
    now = [0.0]

    def interrupted():
        with LiveRun(tmp_path / "run", document, lambda *_step: None, clock=lambda: now[0]) as live:
            now[0] = FIRST_S + EVERY_S
            live("sift", 1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    page = (tmp_path / "run" / "live.html").read_text()
    assert "interrupted" in page
    assert "refresh" not in page


def test_a_page_that_cannot_be_written_does_not_end_the_run(document, tmp_path):
    now = [0.0]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".live.html.part").mkdir()  # in the page's way
    steps = []
    with LiveRun(tmp_path / "run", document, lambda *step: steps.append(step), clock=lambda: now[0]) as live:
        now[0] = FIRST_S + 1
        live("sift", 1, 2)
    assert steps == [("sift", 1, 2)]
