"""What a notebook shows of our objects: true, escaped, small, and whole without scripts or the network."""

from __future__ import annotations

import base64
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from demis_ij import display, formats, jobs, synth
from demis_ij.config import RenderConfig, StitchConfig
from demis_ij.display.colours import GRADE_COLOURS, GRADES_PX, NOT_MATCHED
from demis_ij.display.drawing import MOST_LINKS, MOST_TILES
from demis_ij.errors import MissingPart
from demis_ij.jobs.shown import job_card, mosaic_picture
from demis_ij.records import Affine, Correspondences, Layout, PairMatch, Rejected, Solution, Tile
from demis_ij.stitch import StitchResult

NASTY = """<script>alert("x")</script> & 'it' \x07"""
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"img", "br", "hr"}


class Page(HTMLParser):
    """Reads HTML strictly enough to see what a browser would be told."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def pictures(html: str) -> list[ET.Element]:
    """The SVG pictures of a card, parsed."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    return [ET.fromstring(base64.b64decode(f)) for f in found]


def grid(rows: int, cols: int, name: str = "{r}_{c}") -> Layout:
    tiles = [
        Tile(name.format(r=r, c=c), Path(f"{r}_{c}.tif"), (100, 120), Affine.translation(100 * c, 80 * r))
        for r in range(rows)
        for c in range(cols)
    ]
    return Layout(tuple(tiles), section="s<1>", pixel_size=(4.0, "nm"))


def match(fixed: str, moving: str) -> PairMatch:
    xy = np.array([[1.0, 2.0], [3.0, 4.0]])
    return PairMatch(fixed, moving, xy, xy, Affine.translation(100, 0).matrix, "rigid", np.eye(3), 0.12, "sift", 9)


def solution(layout: Layout, residual: dict[tuple[str, str], float], **more: object) -> Solution:
    ids = layout.ids
    return Solution(layout, dict.fromkeys(ids, 0), dict.fromkeys(ids, 0.05), residual, **more)  # type: ignore[arg-type]


def nasty_records() -> list[object]:
    layout = replace(grid(1, 2, NASTY + "{c}"), section=NASTY, source=Path("a<b>&.xml"))
    pair = (layout.ids[0], layout.ids[1])
    solved = solution(layout, {pair: 0.3})
    lost = Rejected(*pair, NASTY, NASTY, 5, 2, ((NASTY, NASTY),))
    result = StitchResult(layout, solved, (lost,), dict.fromkeys(layout.ids, NASTY), (NASTY,), {}, StitchConfig())
    return [
        layout.tiles[0], layout, solved, lost, result, replace(match(*pair), tried=((NASTY, NASTY),), matcher=NASTY),
        jobs.JobResult((result,), {NASTY: Path(NASTY)}, (NASTY,), True, (NASTY,)),
    ]  # fmt: skip


@pytest.mark.parametrize("record", nasty_records(), ids=lambda r: type(r).__name__)
def test_every_word_of_the_users_is_escaped(record: object) -> None:
    html = record._repr_html_()  # type: ignore[attr-defined]
    page = Page(html)

    assert page.tags["script"] == 0
    assert """<script>alert("x")</script> & 'it'""" in page.text
    assert "\x07" not in html
    for picture in pictures(html):
        assert picture.tag == f"{SVG}svg"


@pytest.mark.parametrize("record", nasty_records(), ids=lambda r: type(r).__name__)
def test_nothing_is_run_and_nothing_is_fetched(record: object) -> None:
    page = Page(record._repr_html_())  # type: ignore[attr-defined]

    assert not {"script", "style", "link", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in {"src", "href"}]
    assert all(value.startswith("data:image/") for value in sources)


@pytest.mark.parametrize("record", nasty_records(), ids=lambda r: type(r).__name__)
def test_words_keep_the_colour_of_the_page(record: object) -> None:
    """Dark pages have light words: no colour of ours but that of the little squares of a legend."""
    html = record._repr_html_()  # type: ignore[attr-defined]

    assert "color:#" not in html.replace(">■<", "").replace(">□<", "").replace('style="color:#', "")
    assert "background:#" not in html


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_layout_is_drawn_where_its_tiles_are() -> None:
    html = grid(2, 3)._repr_html_()
    (picture,) = pictures(html)
    paths = [p.get("d") for p in picture.iter(f"{SVG}path")]

    # 320 x 180 px fill 1000 units: 3.125 units a px, 14 units of margin
    assert len(paths) == 6
    assert paths[0] == "M14 14l375 0 0 312 -375 0z"
    assert paths[-1] == "M639 264l375 0 0 312 -375 0z"
    assert "6" in Page(html).text
    assert "320 x 180 px" in Page(html).text


def test_ids_are_written_where_they_fit_only() -> None:
    written = ["".join(t.itertext()) for t in pictures(grid(2, 2)._repr_html_())[0].iter(f"{SVG}text")]
    assert {"0_0", "0_1", "1_0", "1_1"} <= set(written)

    long = [
        "".join(t.itertext()) for t in pictures(grid(2, 2, "x" * 60 + "{r}_{c}")._repr_html_())[0].iter(f"{SVG}text")
    ]
    assert len(long) == 1  # the scale bar's


@pytest.mark.parametrize(
    ("size", "said"), [((4.0, "nm"), "200 nm"), ((40.0, "nm"), "2 µm"), ((0.1, "µm"), "5 µm"), (None, None)]
)
def test_the_scale_bar_is_as_long_as_it_says(size: tuple[float, str] | None, said: str | None) -> None:
    (picture,) = pictures(replace(grid(2, 3), pixel_size=size)._repr_html_())
    words = [t.text for t in picture.iter(f"{SVG}text") if t.text and " " in t.text]
    bars = [float(r.get("width", 0)) for r in picture.iter(f"{SVG}rect")][1:]

    assert words == ([said] if said else [])
    if size is not None and said is not None:
        length_px = float(said.split()[0]) * (1000 if said.endswith("µm") and size[1] == "nm" else 1) / size[0]
        assert bars == [pytest.approx(length_px * 3.125, abs=0.06)]  # units, drawn to a tenth
        assert bars[0] <= 250


def test_locked_and_hidden_tiles_are_marked_and_explained() -> None:
    layout = grid(1, 3)
    a, b, c = layout.tiles
    marked = replace(layout, tiles=(replace(a, locked=True), replace(b, visible=False), c))
    html = marked._repr_html_()
    looks = {g.get("stroke") for g in pictures(html)[0].iter(f"{SVG}g") if g.get("stroke")}

    assert len(looks) == 3
    assert "locked" in Page(html).text
    assert "hidden" in Page(html).text
    assert "hidden" not in Page(layout._repr_html_()).text


@pytest.mark.parametrize(("rows", "cols", "limit"), [(20, 30, 50_000), (40, 50, 90_000)])
def test_many_tiles_are_still_a_small_picture(rows: int, cols: int, limit: int) -> None:
    """Bytes; a notebook holds the picture as text."""
    layout = grid(rows, cols)
    links = {(f"{r}_{c}", f"{r}_{c + 1}"): 0.1 for r in range(rows) for c in range(cols - 1)}
    html = layout._repr_html_()

    assert len(html) < limit
    assert len(solution(layout, links)._repr_html_()) < 1.6 * limit
    assert f"{rows * cols}" in Page(html).text


def test_what_is_not_drawn_is_said() -> None:
    layout = grid(40, 50)
    (picture,) = pictures(layout._repr_html_())
    starts = [p.get("d", "").split("l")[0][1:].split() for p in picture.iter(f"{SVG}path")]
    drawn = len(starts)
    assert len({x for x, _ in starts}) == 50  # some of every column
    assert len({y for _, y in starts}) == 40  # and of every row
    assert MOST_TILES * 0.9 < drawn <= MOST_TILES
    assert f"{drawn} of 2000 tiles drawn" in Page(layout._repr_html_()).text
    links = [display.Link((0, 0), (1, 1), i / 1000) for i in range(MOST_LINKS + 5)]
    outline = display.Outline([(0, 0), (1, 0), (1, 1), (0, 1)])
    assert f"the worst {MOST_LINKS} of {MOST_LINKS + 5} links drawn" in Page(display.drawing([outline], links)).text


@pytest.mark.parametrize(
    "layout", [Layout(()), Layout((Tile("a", Path("a.tif"), (0, 0)),))], ids=["no tiles", "unknown sizes"]
)
def test_a_layout_with_nothing_to_draw_says_so(layout: Layout) -> None:
    assert "nothing to draw" in Page(layout._repr_html_()).text


def test_links_have_the_colour_of_their_residual_and_the_overruled_are_dashed() -> None:
    layout = grid(1, 4)
    residual = {("0_0", "0_1"): 0.1, ("0_1", "0_2"): 3.0}
    made = solution(layout, residual, pair_weight={("0_0", "0_1"): 1.0, ("0_1", "0_2"): 0.0})
    lost = Rejected("0_2", "0_3", "resin")
    result = StitchResult(layout, made, (lost,), {}, (), {}, StitchConfig())
    lines = [p for p in pictures(result._repr_html_())[0].iter(f"{SVG}path") if p.get("stroke")]

    looks = {p.get("stroke"): p.get("stroke-dasharray") for p in lines}
    assert looks == {GRADE_COLOURS[0]: None, GRADE_COLOURS[4]: "14 10", NOT_MATCHED: "3 12"}


def test_every_class_of_residuals_has_its_own_colour() -> None:
    values = [0.0, *(bound + 1e-6 for bound in GRADES_PX)]

    assert [display.residual_colour(v) for v in values] == list(GRADE_COLOURS)
    assert display.residual_colour(float("nan")) == GRADE_COLOURS[-1]


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_links_of_a_solution_come_worst_first_and_the_rest_is_counted() -> None:
    layout = grid(1, 15)
    residual = {(f"0_{i}", f"0_{i + 1}"): i / 10 for i in range(14)}
    residual["0_3", "0_4"] = float("nan")
    html = solution(layout, residual)._repr_html_()
    cells = re.findall(r"■</span> ([^<]+)</td>", html)

    assert cells[:3] == ["1.30", "1.20", "1.10"]
    assert len(cells) == 10
    assert "10 of 14 links" in Page(html).text


def test_a_solution_without_links_is_shown_too() -> None:
    alone = replace(solution(grid(1, 2), {}), component={"0_0": 0, "0_1": 1}, sigma_px={})

    assert "2 groups, the largest of 1 tile" in Page(alone._repr_html_()).text


def test_points_show_how_many_they_are_and_the_first_few() -> None:
    points = Correspondences(np.arange(40.0).reshape(20, 2), np.zeros((20, 2)), np.full(20, 0.25))
    page = Page(points._repr_html_())

    assert "5 of 20 points" in page.text
    assert page.tags["tr"] == 2 + 1 + 5
    assert "0" in Page(Correspondences.none()._repr_html_()).text


def test_a_tile_a_match_and_a_rejection_say_what_they_know() -> None:
    tile = replace(grid(1, 1).tiles[0], page=3, locked=True, to_world=Affine.rigid(0.01, 5, 6), mask_path=Path("m.png"))
    assert {"0_0.tif, page 3", "0.573°", "locked", "m.png"} <= set(Page(tile._repr_html_()).words)
    assert "2 of 9" in Page(match("a", "b")._repr_html_()).text
    lost = Rejected("a", "b", "resin", "correlation", 9, 2, (("loftr", "3 matches"),))
    assert {"resin", "loftr: 3 matches"} <= set(Page(lost._repr_html_()).words)


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_finished_job_shows_its_mosaic_and_names_its_files(tmp_path: Path) -> None:
    spec = synth.GridSpec(rows=1, cols=2, tile_px=192, overlap=0.3, shift_frac=0.01)
    synth.write_scene(synth.make_scene(spec, seed=4), tmp_path / "data")
    job = jobs.StitchJob(config=StitchConfig(matcher="sift"), render=RenderConfig(formats=("png",)))
    done = jobs.run_stitch(formats.read(tmp_path / "data" / "project.xml"), tmp_path / "run", job)
    html = done._repr_html_()

    assert 'src="data:image/jpeg;base64,' in html
    assert str(done.files["solution"]) in Page(html).text
    assert "1 of 1" in Page(html).text
    assert len(html) < 250_000


def test_a_mosaic_that_is_missing_or_no_picture_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((20, 30), 40_000, np.uint16))

    assert mosaic_picture(None) is None
    assert mosaic_picture(tmp_path / "none.png") is None
    assert mosaic_picture(tmp_path / "text.png") is None
    assert mosaic_picture(tmp_path / "deep.png") is not None
    assert "img" not in Page(job_card(jobs.JobResult((), {}, (), False))).tags


# --- progress -------------------------------------------------------------------------------------------------------


class Shown:
    """What IPython gives for a thing that may be shown anew."""

    def __init__(self) -> None:
        self.updates: list[str] = []

    def update(self, picture: display.Html) -> None:
        self.updates.append(picture)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    monkeypatch.setattr("IPython.get_ipython", lambda: "a shell")
    monkeypatch.setattr("IPython.display.display", lambda _picture, display_id: shown)
    return shown


def test_progress_shows_every_stage_and_always_its_end(notebook: Shown) -> None:
    progress = display.Progress()
    for done in range(1001):
        progress("match <a>", done, 1000)
    progress("solve", 0, 1)

    assert len(notebook.updates) < 100  # a thousand steps in a moment are not a thousand pictures
    match = Page(notebook.updates[-2])
    assert match.text == "match <a>: 1000 of 1000"
    assert match.tags["progress"] == 0
    both = Page(notebook.updates[-1])
    assert "match <a>: 1000 of 1000" in both.text
    assert "0 of 1" in both.text
    assert both.tags["progress"] == 1


def test_progress_outside_of_a_notebook_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display.Progress()("match", 1, 2)

    assert capsys.readouterr() == ("", "")


def test_progress_without_ipython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)

    with pytest.raises(MissingPart, match=re.escape("pip install 'demis_ij[jupyter]'")):
        display.Progress()
