"""The page of an alignment: how it went, before and after, no other file needed, everything escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from demis_ij.align.results import AlignResult, PairEvidence, Round, SectionVerdict
from demis_ij.config.aligning import AlignConfig
from demis_ij.records import Affine, Field, Stack, Tile, Warp
from demis_ij.report import write_alignment
from demis_ij.report.alignment import alignment_page, verdict, worst_first
from demis_ij.report.alignment_figures import along_the_stack, maps
from demis_ij.report.alignment_pictures import Cuts, compared, cuts_through, neighbour_of

SIDE = 96
SHIFTS = (0, 5, -4, 3)


def texture(side: int = SIDE + 32) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (side, side)).astype(np.float32), (0, 0), 3)
    return cv2.normalize(noise, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)


def of_section(name: str, number: int, **facts: object) -> SectionVerdict:
    known = {
        "ncc_before": 0.4, "ncc_after": 0.9, "residual_before_px": 4.0, "residual_after_px": 0.2, "shift_px": 0.0,
        "displacement_px": 3.0, "displacement_max_px": 5.0, "min_jacobian": 0.8, "consistent_frac": 0.95,
    }  # fmt: skip
    return SectionVerdict(id=name, z=float(number), **{**known, **facts})


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Four windows on one texture, each shifted along x; the second has a name that is markup."""
    whole, tiles = texture(), []
    for i, shift in enumerate(SHIFTS):
        path = tmp_path / f"s{i}.png"
        cv2.imwrite(str(path), whole[16 : 16 + SIDE, 16 + shift : 16 + shift + SIDE])
        tiles.append(Tile("s<1>&" if i == 1 else f"s{i}", path, (SIDE, SIDE)))
    return Stack(tuple(tiles), source=tmp_path / "<em> & co")


@pytest.fixture
def result(stack: Stack) -> AlignResult:
    """The shifts undone by fields."""
    offsets = [np.stack([np.full((9, 9), -s), np.zeros((9, 9))]).astype(np.float32) for s in SHIFTS]
    warps = tuple(Warp((Field(o, 12),), (SIDE, SIDE)) for o in offsets)
    sections = tuple(of_section(name, i) for i, name in enumerate(stack.ids))
    rounds = (Round(2, 3.0, 0.5, 0.8), Round(1, 0.2, 0.1, 0.9))
    pairs = (PairEvidence(0, 1, 0.9, 0.1, 0.1),)
    return AlignResult(warps, sections, pairs, AlignConfig(), rounds, (), {"solving": 2.0})


def told(result: AlignResult, index: int, **facts: object) -> AlignResult:
    sections = list(result.sections)
    sections[index] = replace(sections[index], **facts)
    return replace(result, sections=tuple(sections))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_no_other_file_and_escapes_names(stack: Stack, result: AlignResult, tmp_path: Path) -> None:
    page = tmp_path / "report.html"

    write_alignment(page, stack, result, warnings=["<script>alert(1)</script>"], settings={"volumes": "<b>"})

    html = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(html)
    links = [v for _, a in tags.found for k, v in a.items() if k in {"src", "href"}]
    assert all(v is not None and v.startswith(("data:", "#")) for v in links)
    assert "<script>alert" not in html
    assert "<em>" not in html
    assert "s<1>" not in html
    assert "s&lt;1&gt;&amp;" in html
    assert len({a["id"] for _, a in tags.found if "id" in a}) == sum("id" in a for _, a in tags.found)
    assert not (tmp_path / "report.html.part").exists()


def test_cuts_show_the_sections_as_given_and_aligned(stack: Stack, result: AlignResult) -> None:
    found = cuts_through(stack, result)

    xz = next(c for c in found.cuts if c.name == "xz")
    given, aligned = (p[:, 10:-10].astype(float) for p in (xz.before, xz.after))
    assert xz.before.shape == (4, SIDE)
    assert np.abs(np.diff(aligned, axis=0)).mean() < 0.2 * np.abs(np.diff(given, axis=0)).mean()
    assert np.isnan(found.likeness[0]).all()
    assert all(after > 0.97 > before for before, after in found.likeness[1:])


def test_a_lost_section_leaves_its_line_black(stack: Stack, result: AlignResult) -> None:
    gap = replace(stack, z=(0, 1, 3, 4))
    stack[1].path.write_bytes(b"no image")

    found = cuts_through(gap, result)

    assert found.cuts[0].after.shape[0] == 5
    assert [bool(line.any()) for line in found.cuts[0].after] == [True, False, False, True, True]
    assert [np.isnan(v).all() for v in found.likeness] == [True, True, True, False]


def test_where_a_section_lay_before_comes_from_its_place_in_the_world(stack: Stack, result: AlignResult) -> None:
    laid = replace(
        stack,
        sections=tuple(replace(t, to_world=Affine.translation(s, 0)) for t, s in zip(stack, SHIFTS, strict=True)),
    )

    found = cuts_through(laid, result)

    assert all(before > 0.99 for before, _ in found.likeness[1:])


def test_neighbours_over_each_other_agree_once_they_are_aligned(stack: Stack, result: AlignResult) -> None:
    given, aligned = compared(stack, result, 1, 0)

    def differ(view) -> float:
        both = (view.fixed > 0) & (view.moving > 0)
        return float(np.abs(view.fixed.astype(float) - view.moving)[both].mean())

    assert differ(aligned) < 0.3 * differ(given)


def test_the_nearest_usable_section_is_the_neighbour(result: AlignResult) -> None:
    lost = told(told(result, 1, usable=False), 2, usable=False)

    assert neighbour_of(result, 1) == 0
    assert neighbour_of(result, 0) == 1
    assert neighbour_of(lost, 3) == 0
    assert neighbour_of(told(told(lost, 0, usable=False), 3, usable=False), 3) is None


def test_an_aligned_stack_is_good(result: AlignResult) -> None:
    level, said = verdict(told(result, 2, residual_after_px=1.5))

    assert level == "good"
    assert said.startswith("4 sections of 4 compared and aligned; neighbours correlate by 0.40 as given, 0.90 aligned")
    assert said.endswith("worst s2, 1.50 px from sections further away.")


def test_sections_that_are_no_better_or_bridged_are_named(result: AlignResult) -> None:
    found = told(result, 0, no_better=True, flags=("no better than doing nothing",))
    found = told(found, 3, usable=False, flags=("blank",))

    level, said = verdict(found)

    assert level == "check"
    assert "1 (s0) no better than doing nothing" in said
    assert "1 (s3) bridged" in said
    assert worst_first(found)[:2] == [3, 0]


def test_a_stack_that_is_less_alike_than_before_is_not_good(result: AlignResult) -> None:
    for index in range(4):
        result = told(result, index, ncc_before=0.9, ncc_after=0.7)

    assert verdict(result)[0] == "bad"


def test_before_is_as_given_even_where_sections_were_turned(result: AlignResult) -> None:
    assert "by 0.40 as given" in verdict(told(result, 1, moved_coarsely=True))[1]


def test_losses_are_drawn_where_a_method_has_them(result: AlignResult) -> None:
    found = replace(result, losses=((), (3.0, 1.0, 0.5), (4.0, 2.0), (1.0,)))

    assert "Loss of a section" in along_the_stack(found, Cuts((), 0, ()))
    assert "Loss of a section" not in along_the_stack(result, Cuts((), 0, ()))


def test_maps_are_drawn_for_fields_alone(result: AlignResult) -> None:
    still = replace(result, warps=tuple(Warp((), (SIDE, SIDE)) for _ in result.warps))

    drawn = maps(result, [1, 2])

    assert drawn is not None
    assert drawn.count("data:image/png") == 4
    assert maps(still, [1, 2]) is None


def test_the_page_is_whole_when_little_is_known(stack: Stack, result: AlignResult) -> None:
    nothing = {k: float("nan") for k in ("ncc_before", "ncc_after", "residual_before_px", "residual_after_px")}
    for index in range(4):
        result = told(result, index, **nothing, consistent_frac=float("nan"))
    blank = replace(result, rounds=(), warps=tuple(Warp((), (SIDE, SIDE)) for _ in result.warps))

    page = alignment_page(stack, blank)

    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()
    assert page.count("<tr>") >= 5


def test_a_page_of_five_hundred_sections_stays_small(stack: Stack, result: AlignResult) -> None:
    tiles = tuple(replace(stack[i % 4], id=f"section number {i}") for i in range(500))
    many = replace(stack, sections=tiles, z=tuple(float(i) for i in range(500)))
    found = replace(
        result,
        warps=tuple(result.warps[i % 4] for i in range(500)),
        sections=tuple(of_section(t.id, i, flags=("hardly like its neighbours",)) for i, t in enumerate(tiles)),
    )

    page = alignment_page(many, found)

    assert len(page.encode()) < 5_000_000
    assert page.count('scope="row"') >= 500


def test_more_sections_than_a_cut_holds_are_thinned_out_and_said(
    stack: Stack, result: AlignResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demis_ij.report.alignment_pictures.CUT_SECTIONS", 3)

    page = alignment_page(stack, result)

    assert "3 of 4 sections are shown" in page
    assert "neighbours correlate by 0.40" in page  # what the verdicts say: lines of sections far apart say nothing
