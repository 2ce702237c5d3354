"""The page holds everything, escapes everything, needs nothing, stays small, and says the truth in its first line."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_runs import REASON, TRIED, made_up_run, preview_of, tile_name

from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.records import Layout, PairMatch, Rejected, Solution
from demis_ij.report import Preview, write_report
from demis_ij.stitch import StitchResult

VOID = {"br", "hr", "img", "input", "meta", "link", "col"}


class Page(HTMLParser):
    """Reads a page, insists that every element is closed, and keeps what the tests ask about."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute of <{tag}> is given twice: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        found = [a for t, a in self.tags if t == tag]
        return [a for a in found if all(v in (a.get(k.rstrip("_")) or "").split() for k, v in wanted.items())]


def page_of(tmp_path: Path, results, **more) -> tuple[Page, str]:
    path = tmp_path / "report.html"
    write_report(path, results, previews=more.pop("previews", {}), **more)
    markup = path.read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.glob("report*")) == ["report.html"]
    return Page(markup), markup


def without_pairs(run: StitchResult, keep=()) -> StitchResult:
    """Return the run with nothing believed."""
    ids = run.layout.ids
    solution = Solution(run.layout, {i: n for n, i in enumerate(ids)}, dict.fromkeys(ids, np.inf), {})
    return replace(run, solution=solution, pairs=tuple(keep), placed_by=dict.fromkeys(ids, "stage"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_up_run(3, 3, folder=tmp_path_factory.mktemp("tiles"), lost=[(2, 2)])[0]


def test_the_page_names_every_tile_every_pair_and_every_reason(run, tmp_path):
    page, _ = page_of(tmp_path, {"auto": run}, previews={"auto": preview_of(3, 3)}, store=TileStore())

    for tile in run.layout:
        assert tile.id in page.text
    rows = page.text
    for pair in run.pairs:
        assert f"{pair.fixed}{pair.moving}" in rows  # neighbouring cells of its table
    lost = [p for p in run.pairs if isinstance(p, Rejected)]
    assert page.text.count(REASON) >= len(lost) > 0
    for name, why in TRIED:
        assert f"{name}: {why}" in page.text
    for warning in run.warnings:
        assert warning in page.text
    for setting in ("max_error_px", "stage_search_frac", "clahe_clip"):
        assert setting in page.text


def test_names_are_escaped_and_become_text_not_elements(tmp_path):
    nasty = "<script>alert('x')</script>\"><img src=x onerror=y>&\x00\ud800"
    run, _ = made_up_run(1, 2, name=lambda r, c: f"{nasty}{c}")
    run = replace(run, warnings=(nasty,))

    page, markup = page_of(tmp_path, {nasty: run, "b": run}, title=nasty)

    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "alert('x')</script>" in page.text
    assert "<script>alert" not in markup
    assert "\x00" not in markup


def test_nothing_is_fetched_from_anywhere(run, tmp_path):
    page, markup = page_of(tmp_path, {"auto": run}, previews={"auto": preview_of(3, 3)}, store=TileStore())

    links = [a[k] for _, a in page.tags for k in ("href", "src", "srcset", "data", "action") if k in a]
    assert links
    assert all(v.startswith(("data:image/jpeg;base64,", "#")) for v in links)
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", markup).replace(str(run.layout.source), "")
    assert "@import" not in markup
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", markup))


def test_ids_are_unique_and_every_link_and_label_leads_somewhere(run, tmp_path):
    page, _ = page_of(tmp_path, {"loftr": run, "sift": run}, store=TileStore())

    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for _, a in page.tags if (a.get("href") or "").startswith("#")]
    labels = [a["for"] for a in page.all("label")]
    assert targets
    assert labels
    assert set(targets) | set(labels) <= set(ids)


def test_the_pictures_are_whole_jpegs(run, tmp_path):
    _, markup = page_of(tmp_path, {"auto": run}, previews={"auto": preview_of(3, 3)}, store=TileStore())

    coded = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", markup)
    assert len(coded) > 12
    for one in coded:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert picture.ndim == 2


def test_without_a_store_there_are_no_close_ups_and_no_letters(run, tmp_path):
    page, _ = page_of(tmp_path, {"auto": run})

    assert not page.all("article")
    assert not page.all("a", class_="letter")
    assert not page.all("image")


def test_the_map_draws_every_tile_seam_and_rejected_pair_once(run, tmp_path):
    page, markup = page_of(tmp_path, {"auto": run})

    tiles = markup[markup.index('class="tiles"') : markup.index('class="moves"')]
    assert tiles.count("<polygon") == len(run.layout)
    seams = sum(isinstance(p, PairMatch) for p in run.pairs)
    assert len(page.all("line", class_="dashed")) == len(run.pairs) - seams
    assert len(page.all("line", class_="under")) == len(run.pairs)


def test_seams_are_listed_worst_first_with_their_class(tmp_path):
    run, _ = made_up_run(3, 3, wrong=[(0, 0)], noise_px=0.3)

    _, markup = page_of(tmp_path, {"auto": run})

    table = markup[markup.index("All seams") : markup.index("Parts of the mosaic")]
    shown = [float(v) for v in re.findall(r'<td class="n" data-v="([^"]*)"><i class="swatch', table)]
    assert len(shown) == len(run.pairs)
    assert shown == sorted(shown, reverse=True)
    assert table.count('"notes">overruled by the other seams') == 2


def test_several_runs_stand_side_by_side(tmp_path):
    one, truth = made_up_run(3, 3, seed=4)
    other, _ = made_up_run(3, 3, lost=[(0, 0)], noise_px=0.4, matcher="sift", seed=4)

    page, _ = page_of(tmp_path, {"loftr": one, "sift": other}, truth=truth)

    assert "Side by side" in page.text
    assert "seams found, of the pairs tried12 of 1210 of 12" in page.text
    assert "error of a tile's corners in the mosaic, median" in page.text
    assert len(page.all("section", class_="verdict")) == 2
    assert "Against the truth" in page.text


def test_sections_stand_under_each_other_and_are_not_compared(tmp_path):
    runs = {}
    for n in range(7):
        run, _ = made_up_run(2, 2, seed=n)
        runs[f"section {n}"] = replace(run, layout=replace(run.layout, section=str(n)))

    page, _ = page_of(tmp_path, runs)

    assert "7 sections · 28 tiles" in page.text
    assert "Every pair, run by run" not in page.text
    assert "distance of a tile's corners" not in page.text
    for name in runs:
        assert f"{name}4 of 44 of 4" in page.text  # one line a run: seams, tiles


def test_pictures_of_many_sections_share_one_allowance(run, tmp_path):
    runs = {f"s{n}": replace(run, layout=replace(run.layout, section=str(n))) for n in range(40)}
    noise = np.random.default_rng(0).integers(0, 256, (900, 900), dtype=np.uint8)

    page, markup = page_of(
        tmp_path, runs, store=TileStore(), previews={n: Preview(noise, 2.0, (0.0, 0.0)) for n in runs}
    )

    assert len(page.all("article")) == 40
    pictures = sum(len(v) for v in re.findall(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", markup))
    assert pictures < 5_600_000  # bytes: the allowances of mosaics and pairs, and a little


def test_a_crowd_of_tiles_is_drawn_in_few_elements(tmp_path, monkeypatch):
    monkeypatch.setattr("demis_ij.report.figures.SINGLY", 10)
    monkeypatch.setattr("demis_ij.report.tables.MOST_ROWS", 12)
    run, _ = made_up_run(6, 6, lost=[(0, 0)])

    page, markup = page_of(tmp_path, {"auto": run})

    svg = markup[markup.index('class="tiles"') : markup.index("</svg>", markup.index('class="tiles"'))]
    assert svg.count("<polygon") == 1  # the lost tile
    outlines = re.search(r'class="tiles"><path d="([^"]*)"', svg)
    assert outlines is not None
    assert outlines[1].count("M") == 35
    seams = svg[svg.index('class="seams"') :]
    assert len(re.findall(r"<g><title>", seams)) == 10
    assert sum(d.count("M") for d in re.findall(r'<path class="g\d" d="([^"]*)"', seams)) == 58 - 10
    assert "The first 12 of 58 lines" in page.text


def test_one_run_with_truth_shows_its_errors(tmp_path):
    run, truth = made_up_run(2, 2)

    page, _ = page_of(tmp_path, {"auto": run}, truth=truth)

    assert "Against the truth" in page.text
    assert "error, px" in page.text


@pytest.mark.parametrize("store", [None, TileStore()])
def test_zero_pairs_one_tile_no_tile_and_all_rejected_make_a_page(run, tmp_path, store):
    one, _ = made_up_run(1, 1)
    nothing = replace(one, layout=Layout(()), solution=Solution(Layout(()), {}, {}, {}), placed_by={})
    all_lost = without_pairs(run, [Rejected(p.fixed, p.moving, REASON, "sift") for p in run.pairs])
    cases = {"one": one, "none": nothing, "no pairs": without_pairs(run), "all lost": all_lost}

    for name, result in cases.items():
        page, _ = page_of(tmp_path, {name: result}, store=store)
        assert len(page.all("section", class_="verdict")) == 1

    page, _ = page_of(tmp_path, cases, store=store)
    assert len(page.all("section", class_="verdict")) == 4


def test_a_tile_that_cannot_be_read_costs_its_pictures_only(tmp_path):
    run, _ = made_up_run(1, 2)  # its files do not exist

    page, _ = page_of(tmp_path, {"auto": run}, store=TileStore())

    assert "No picture:" in page.text
    assert run.layout.tiles[0].path.name in page.text


def test_a_thousand_tiles_stay_under_ten_megabytes(tmp_path):
    """The preview is white noise, the worst that a JPEG can meet."""
    run, truth = made_up_run(25, 40, lost=[(r, 7) for r in range(20)], matches=12)
    noise = np.random.default_rng(0).integers(0, 256, (2600, 4000), dtype=np.uint8)
    preview = Preview(noise, 0.75, (0.0, 0.0))

    page, markup = page_of(
        tmp_path, {"auto": run, "sift": run}, previews={"auto": preview, "sift": preview}, truth=truth
    )

    assert len(markup.encode()) < 10_000_000
    for row, col in ((0, 0), (24, 39), (12, 7)):
        assert tile_name(row, col) in page.text


def test_the_report_replaces_an_old_one_only_when_whole(run, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = replace(run, placed_by=None)

    with pytest.raises(AttributeError):
        write_report(path, {"auto": broken}, previews={})

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_report_on_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="one result"):
        write_report(tmp_path / "r.html", {}, previews={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image", "scale"),
    [
        (np.zeros((4, 4)), 1.0),
        (np.zeros((4, 4, 3), np.uint8), 1.0),
        (np.zeros((0, 4), np.uint8), 1.0),
        (np.zeros((4, 4), np.uint8), 0.0),
    ],
)
def test_a_preview_that_cannot_be_shown_is_refused(image, scale):
    with pytest.raises(InputError, match="preview"):
        Preview(image, scale, (0.0, 0.0))
