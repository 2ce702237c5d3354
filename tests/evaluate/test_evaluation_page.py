"""The page of an evaluation: one file, nothing from outside, every figure there."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evaluated import by_hand, source

from demis_ij.errors import InputError
from demis_ij.evaluate import GridScore, evaluate_pairs, read_configurations
from demis_ij.evaluate.summary import grid_rows, pair_rows
from demis_ij.report.evaluation import write_evaluation


class Balance(HTMLParser):
    """Counts elements and checks that each is closed."""

    void = frozenset({"meta", "br", "input", "link", "hr", "img", "col"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    sources = [source()]
    scores = evaluate_pairs(sources, read_configurations(["sift@1", "sift@1,refine=false"]), pictures=0)
    write_evaluation(path, "pairs", pair_rows(scores), scores, sources=sources, missing={"fsim": "get <piq>"})
    return path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_stands_alone(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "default-src &#x27;none&#x27;" in page


def test_the_page_shows_curves_bars_and_matches_of_each_configuration(page):
    assert page.count("<polyline") == 4  # two configurations, textured and weak
    for title in (
        "A textured pair",
        "A weak pair",
        "The textured pair with least overlap",
        "Coverage",
        "Worst pairs",
        "Difference from sift@1",
    ):
        assert title in page
    pictures = re.findall(r"<svg [^>]*class=\"matches\".*?</svg>", page, re.DOTALL)
    assert len(pictures) >= 6
    assert all(p.count("<image") == 2 for p in pictures)
    assert page.count("data:image/jpeg") == 2 * len(pictures)
    assert "get &lt;piq&gt;" in page
    assert "not installed" in page
    assert "sift@1,refine=false" in page


def test_scenes_that_are_not_at_hand_have_no_picture_and_wrong_pairs_come_first(tmp_path):
    scores = [
        by_hand(pair=("a", "right")),
        by_hand(accepted=False, pair=("a", "lost")),
        by_hand(error=50.0, pair=("a", "wrong")),
        by_hand(kind="weak", accepted=False, pair=("a", "weak"), reason="<nothing> & more"),
    ]
    path = tmp_path / "report.html"
    write_evaluation(path, "pairs", pair_rows(scores), scores)
    text = path.read_text(encoding="utf-8")
    assert "the scene is not at hand" in text
    table = text[text.index("Worst pairs") :]
    assert table.index("a – wrong") < table.index("a – lost") < table.index("a – right")
    assert "&lt;nothing&gt; &amp; more" in text
    assert "believed, and wrong" in text


def test_the_page_of_grids_names_a_grid_without_a_result(tmp_path):
    fine = GridScore(
        scene="g", configuration="c", tiles=4, components=1, textured_px=(0.1,) * 16, textured_pairs=4,
        pair_corner_px=((0.1,) * 4,) * 4, cpu_s=1,
    )  # fmt: skip
    failed = replace(fine, scene="h", problem="it did not converge", textured_px=(), pair_corner_px=())
    path = tmp_path / "report.html"
    write_evaluation(path, "grids", grid_rows([fine, failed]), [fine, failed], title="Mine & yours")
    text = path.read_text(encoding="utf-8")
    assert "<h1>Mine &amp; yours</h1>" in text
    worst = text[text.index("Grids, worst first") :]
    assert worst.index("it did not converge") < worst.index(">0.10<")
    assert text.count("<polyline") == 2


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(InputError, match="one score at least"):
        write_evaluation(tmp_path / "r.html", "pairs", [], [])
