"""The page of a training: it says whether the weights are any better, needs no other file, and escapes everything."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from demis_ij.report.training import training_page, verdict, write_training_report
from demis_ij.report.training_figures import Curve, chart
from demis_ij.train.outcome import Outcome
from demis_ij.train.scores import PairPicture

SCORES = {
    "pairs": 42, "blank_pairs": 6, "auc_1px": 0.3, "auc_3px": 0.5, "auc_5px": 0.6, "auc_10px": 0.8, "right_1px": 0.45,
    "right_3px": None, "inliers": 211.9, "coverage": 0.877, "failed": 0.07, "false_pairs": 1,
}  # fmt: skip


def validated(step, mean_auc):
    return {"step": step, "validation": SCORES, "mean_auc": mean_auc}


def lost(step, coarse):
    return {"step": step, "coarse": coarse, "fine": 0.06, "rate": 1e-4, "seconds": 3.0 * step}


def picture(errors, shape=(64, 96)):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    at = rng.uniform(0, 60, (len(errors), 2))
    return PairPicture(image, image, at, at, np.array(errors), f'{len(errors)} matches <of> "a" & b')


@pytest.fixture
def outcome(tmp_path):
    side = {"folders": {"<em> & co": 8}, "images": {"a<b>.png": "0123"}}
    return Outcome(
        weights=tmp_path / "run" / "loftr.safetensors",
        last=tmp_path / "run" / "last.safetensors",
        card=tmp_path / "run" / "loftr.md",
        step=100,
        steps=100,
        best_step=100,
        history=[validated(0, 0.4), lost(50, 0.4), validated(50, 0.45), lost(100, 0.2), validated(100, 0.5)],
        facts={
            "train": side, "validation": side, "parameters": 422_608, "seed": 1, "licence": "", "scores": SCORES,
            "settings": {"train": {"steps": 100, "shapes": [[64, 64]]}},
        },
        training_pairs=[picture([0.0] * 9)],
        validation_pairs=[picture([0.1, 0.3, 0.7, 1.5, 9.0]), picture([np.inf] * 200, (96, 64)), picture([])],
        stopped_early=False,
        is_over=True,
    )  # fmt: skip


class Page(HTMLParser):
    """Insists that every element is closed."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.classes, self.addresses = [], [], []
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.classes += [(tag, c) for c in (values.get("class") or "").split()]
        self.addresses += [v for k, v in attrs if k in {"href", "src"}]
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_needs_nothing_and_escapes_what_it_is_told(outcome, tmp_path):
    path = tmp_path / "report.html"
    write_training_report(path, outcome)
    markup = path.read_text(encoding="utf-8")
    page = Page(markup)

    assert all(a.startswith("data:") for a in page.addresses)
    assert "&lt;em&gt; &amp; co" in markup
    assert "<em>" not in markup
    assert not Path(f"{path}.part").exists()
    assert len(markup) < 600_000


def test_matches_are_coloured_by_their_error(outcome):
    page = Page(training_page(outcome))
    drawn = [sum(one == ("line", f"g{n}") for one in page.classes) for n in range(5)]

    assert drawn == [1 + 9, 1, 1, 1, 1 + 80]


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, "good", "Better than the weights it began with: mean AUC 0.500 at step 100, 0.400 before training."),
        ({"history": [validated(0, 0.5), validated(50, 0.499)]}, "check", "No better than the weights it began with"),
        ({"history": [validated(50, 0.5)]}, "good", "Trained from scratch: mean AUC 0.500"),
        ({"history": [validated(50, 0.0)]}, "bad", "No validation pair is matched"),
        ({"history": [lost(50, 0.4)]}, "check", "These weights were not validated"),
        ({"is_over": False, "step": 60}, "good", "so far, 60 of 100 steps done"),
        ({"stopped_early": True}, "good", "stopped early at step 100"),
    ],
)
def test_the_first_line_says_whether_the_weights_are_any_better(outcome, change, level, said):
    found = verdict(replace(outcome, **change))

    assert found[0] == level
    assert said in found[1]
    Page(training_page(replace(outcome, **change)))


def test_a_curve_goes_where_its_values_are_and_breaks_where_there_are_none():
    drawn = chart("AUC", [Curve("to 1 px", [0, 50, 100, 150], [0.0, 1.0, None, 0.5])])
    points = [tuple(map(float, p)) for p in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]

    assert len(points) == 3
    assert points[0][1] > points[2][1] > points[1][1], "up is more"
    assert (points[1][0] - points[0][0]) * 3 == pytest.approx(points[2][0] - points[0][0], abs=0.5)
    assert drawn.count("<polyline") == 1


@pytest.mark.parametrize("values", [[0.1, 0.1], [1e-7, 3.0], [5.0, 5.0], [0.3]])
def test_a_logarithmic_chart_holds_its_values(values):
    drawn = chart("loss", [Curve("coarse", list(range(1, len(values) + 1)), values)], log=True)
    heights = [float(y) for y in re.findall(r'cy="([\d.-]+)"', drawn)]

    assert len(heights) == len(values)
    assert all(9 <= y <= 217 for y in heights)


def test_a_chart_without_values_says_so():
    assert "Nothing to draw yet" in chart("loss", [Curve("coarse", [], [])], log=True)
